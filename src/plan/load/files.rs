//! Path-typed fields: made absolute, and the files they name recorded by content.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::Loader;
use super::table::Text;
use super::texts::Use;
use crate::plan::manifests;
use crate::plan::recorded::FileRef;
use crate::plan::template::{self, Scope, Secrets, lex};

/// Largest file that a plan may name, in bytes: it is kept beside the journal for every run.
pub const FILE_MAX: usize = 16 << 20;

/// An absolute path, or as much of it as is known.
pub(super) struct Path {
    pub(super) text: String,
    /// It holds the value of a variable that nobody gave.
    placeholder: bool,
}

impl Loader<'_, '_> {
    /// Makes a path absolute. Its templates are rendered at once, because a path that was relative yesterday must
    /// not depend on where the plan file is tomorrow.
    pub(super) fn absolute(&mut self, text: Text, using: Use) -> Option<Path> {
        let lexed = lex::lex(&text.text);
        if let Some(other) = lexed.references.iter().find(|reference| reference.path[0] != "vars") {
            let message =
                format!("`{}` can use variables alone, not `{}`", using.place, other.path.join("."));
            self.problems.add_help(
                &text.span,
                "path-not-static",
                message,
                "a path is fixed when the plan is read",
            );
            return None;
        }
        let span = text.span.clone();
        let path = self.keep(text, using);
        let outputs = BTreeMap::new();
        let scope = Scope { vars: &self.vars.values, outputs: &outputs, run: "", secrets: Secrets::Masked };
        // What cannot be rendered is reported with the other templates.
        let rendered = template::render_text(&path, &scope).ok()?;
        if rendered.is_empty() || rendered.contains('\0') {
            let message = format!("`{}` is no path", using.place);
            self.problems.add_help(
                &span,
                "bad-path",
                message,
                "name a path relative to the plan file, or an absolute one",
            );
            return None;
        }
        let placeholder = lexed
            .references
            .iter()
            .any(|reference| reference.path.get(1).is_some_and(|name| self.vars.placeholders.contains(name)));
        Some(Path { text: join(&self.folder, &rendered), placeholder })
    }

    /// Makes a path absolute and records the content of its file.
    pub(super) fn file(&mut self, text: Text, using: Use) -> Option<String> {
        self.recorded(text, using, false)
    }

    /// The same for Kubernetes manifests, which may be a folder, and which are read at once.
    pub(super) fn manifests(&mut self, text: Text, using: Use) -> Option<String> {
        let span = text.span.clone();
        let path = self.recorded(text, using, true)?;
        let content = self.files.get(&path).and_then(|file| self.contents.get(&file.sha256));
        let Some(content) = content else { return Some(path) };
        match manifests::read(content) {
            Ok(all) => {
                for secret in all.iter().filter(|one| one.has_values_in_clear()) {
                    let (shown, source) = (secret.shown(), &secret.source);
                    let message = format!(
                        "`{source}` has {shown} with its values, and manifests are recorded in clear in the journal"
                    );
                    let place = match &secret.namespace {
                        Some(namespace) => format!("{namespace}/{}", secret.name),
                        None => secret.name.clone(),
                    };
                    let help = format!(
                        "take its `data` and `stringData` out, and let `kubernetes.apply` fill them in: `secrets = {{ \
                         \"{place}\" = {{ KEY = \"{{{{ secrets.name }}}}\" }} }}`"
                    );
                    self.problems.add_help(&span, "secret-in-manifest", message, help);
                }
            }
            Err(wrong) => {
                for wrong in wrong {
                    let help = "mend the file; what the server would say of the objects, `runner plan` shows";
                    self.problems.add_help(&span, "bad-manifest", wrong, help);
                }
            }
        }
        Some(path)
    }

    fn recorded(&mut self, text: Text, using: Use, manifests: bool) -> Option<String> {
        let span = text.span.clone();
        let mut path = self.absolute(text, using)?;
        if manifests {
            path.text.truncate(path.text.trim_end_matches('/').len().max(1));
        }
        if path.placeholder || self.files.contains_key(&path.text) {
            return Some(path.text);
        }
        let asked = if manifests { format!("{}/", path.text) } else { path.text.clone() };
        match (self.request.read)(&asked) {
            Ok(content) if content.len() <= FILE_MAX => {
                let sha256 = sha256(&content);
                let bytes = content.len() as u64;
                self.files.insert(path.text.clone(), FileRef { sha256: sha256.clone(), bytes });
                self.contents.insert(sha256, content);
            }
            Ok(_) => {
                let message = format!("`{}` has more than {FILE_MAX} bytes", path.text);
                let help = "it would be recorded whole; name it in `argv` to have it read when the step runs";
                self.problems.add_help(&span, "file-too-big", message, help);
            }
            Err(why) => {
                let message = format!("cannot read `{}`: {why}", path.text);
                self.problems.add_help(
                    &span,
                    "unreadable-file",
                    message,
                    "the path is relative to the plan file",
                );
            }
        }
        Some(path.text)
    }
}

/// The folder of an absolute path.
pub(super) fn folder(path: &str) -> String {
    match path.rsplit_once('/') {
        Some(("", _)) | None => "/".to_owned(),
        Some((folder, _)) => folder.to_owned(),
    }
}

/// Joins without asking the file system: `..` stays, because a link may stand before it.
fn join(folder: &str, path: &str) -> String {
    if path.starts_with('/') {
        return path.to_owned();
    }
    let mut joined = folder.trim_end_matches('/').to_owned();
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        joined.push('/');
        joined.push_str(part);
    }
    if joined.is_empty() { "/".to_owned() } else { joined }
}

/// SHA-256 as lower-case hex.
pub(in crate::plan) fn sha256(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_joined_by_text_alone() {
        for (folder, path, joined) in [
            ("/p", "a.sh", "/p/a.sh"),
            ("/p", "./a//b.sh", "/p/a/b.sh"),
            ("/p", "../a.sh", "/p/../a.sh"),
            ("/p", "/x/a.sh", "/x/a.sh"),
            ("/", "a", "/a"),
            ("/p", ".", "/p"),
        ] {
            assert_eq!(join(folder, path), joined);
        }
        assert_eq!(super::folder("/a/b.toml"), "/a");
        assert_eq!(super::folder("/b.toml"), "/");
    }

    #[test]
    fn the_digest_is_the_usual_one() {
        assert_eq!(sha256(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }
}
