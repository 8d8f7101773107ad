//! Plan files as they lie on the disk.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::fail::{self, Fail};
use super::manifests;
use super::session::Session;
use crate::plan::{self, Diagnostics, Loaded, PLAN_MAX, Request, Required};
use crate::report::exit;

/// A plan file, read.
pub(super) struct PlanFile {
    /// Its absolute path, links resolved: what makes it the same plan next time.
    pub(super) path: PathBuf,
    text: Vec<u8>,
    vars: Vec<(String, String)>,
    var_files: Vec<(String, String)>,
}

/// Splits the value of `--var`.
pub(super) fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it is written NAME=VALUE")?;
    Ok((name.trim().to_owned(), value.to_owned()))
}

impl PlanFile {
    /// Reads a plan file and the var files for it; at most as much as a plan may have.
    pub(super) fn read(path: &Path, vars: &[(String, String)], var_files: &[PathBuf]) -> Result<Self, Fail> {
        let whole = std::fs::canonicalize(path).map_err(|error| fail::file("plan", path, &error))?;
        if whole.to_str().is_none() {
            let shown = path.display();
            return Err(
                Fail::usage(format!("the path `{shown}` is not UTF-8")).help("rename the file or its folder")
            );
        }
        let text = bounded(&whole, PLAN_MAX + 1).map_err(|error| fail::file("plan", path, &error))?;
        let mut texts = Vec::new();
        for path in var_files {
            let bytes = bounded(path, PLAN_MAX + 1).map_err(|error| fail::file("var file", path, &error))?;
            if bytes.len() > PLAN_MAX {
                let shown = path.display();
                return Err(Fail::usage(format!("the var file `{shown}` has more than {PLAN_MAX} bytes"))
                    .help("a var file is TOML text with a line for each variable"));
            }
            let text = String::from_utf8(bytes).map_err(|_| {
                Fail::usage(format!("the var file `{}` is not UTF-8", path.display()))
                    .help("a var file is TOML text in UTF-8; save it in that encoding")
            })?;
            texts.push((path.display().to_string(), text));
        }
        Ok(Self { path: whole, text, vars: vars.to_vec(), var_files: texts })
    }

    pub(super) fn path(&self) -> &str {
        self.path.to_str().expect("checked when it was read")
    }

    /// Checks the plan and puts it into its recorded form; notes go to standard error.
    pub(super) fn load(
        &self,
        session: &Session,
        given: &std::collections::BTreeMap<String, serde_json::Value>,
        required: Required,
    ) -> Result<Loaded, Fail> {
        self.judged(given, required).map_err(|diagnostics| self.refused(session, &diagnostics))
    }

    /// The same without a word to anybody.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub(super) fn judged(
        &self,
        given: &std::collections::BTreeMap<String, serde_json::Value>,
        required: Required,
    ) -> Result<Loaded, Diagnostics> {
        let read = |path: &str| match path.strip_suffix('/') {
            Some(path) => manifests::gather(Path::new(path)),
            None => bounded(Path::new(path), plan::FILE_MAX + 1).map_err(|error| why_not(&error)),
        };
        let request = Request {
            path: self.path(),
            text: &self.text,
            vars: &self.vars,
            var_files: &self.var_files,
            given,
            required,
            read: &read,
        };
        plan::load(&request)
    }

    /// Says what is wrong with the plan.
    fn refused(&self, session: &Session, diagnostics: &Diagnostics) -> Fail {
        if session.json {
            for diagnostic in diagnostics.iter() {
                let line = serde_json::json!({
                    "v": crate::report::SHOWN_VERSION,
                    "type": "diagnostic",
                    "file": self.path(),
                    "diagnostic": diagnostic,
                });
                session.say(&format!("{}\n", crate::report::json_line(&line)));
            }
        }
        let text = diagnostics.render(session.color_err, session.look().width);
        let message = format!("the plan `{}` is not valid", self.path());
        Fail::report(exit::USAGE, message, format!("{}\n", text.trim_end()))
    }
}

/// Why a file cannot be read, in words.
pub(super) fn why_not(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "it does not exist".to_owned(),
        std::io::ErrorKind::IsADirectory => "it is a folder".to_owned(),
        std::io::ErrorKind::InvalidInput => "it is a pipe or a device, not a file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "this user may not read it".to_owned(),
        _ => error.to_string(),
    }
}

/// A file's content, at most `most` bytes of it: what is longer is refused by its length, not read.
///
/// Only a regular file will be the same one next time, and only that never waits for a writer.
pub(super) fn bounded(path: &Path, most: usize) -> std::io::Result<Vec<u8>> {
    let found = std::fs::metadata(path)?;
    if found.is_dir() {
        return Err(std::io::ErrorKind::IsADirectory.into());
    }
    if !found.is_file() {
        return Err(std::io::ErrorKind::InvalidInput.into());
    }
    let file = std::fs::File::open(path)?;
    let mut bytes = Vec::new();
    file.take(most as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}
