//! Plan files as they lie on the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::fail::{self, Fail};
use super::manifests;
use super::session::Session;
use crate::driver::Known;
use crate::plan::recorded::Definition;
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

/// A plan that is being loaded while something else is done. Dropped, it was loaded in vain.
pub(super) struct Ahead {
    loaded: JoinHandle<Result<Loaded, Diagnostics>>,
    /// Its definition, for reading a run that may well have the same; taken once.
    pub(super) known: Option<oneshot::Receiver<Known>>,
}

/// Splits the value of `--var`.
pub(super) fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("it is written NAME=VALUE")?;
    Ok((name.trim().to_owned(), value.to_owned()))
}

impl PlanFile {
    /// Reads a plan file and the var files for it; at most as much as a plan may have.
    pub(super) fn read(path: &Path, vars: &[(String, String)], var_files: &[PathBuf]) -> Result<Self, Fail> {
        let whole = std::fs::canonicalize(path).map_err(|error| {
            let fail = fail::file("plan", path, &error);
            let absent = error.kind() == std::io::ErrorKind::NotFound && path.symlink_metadata().is_err();
            if absent { fail.help(not_there(path)) } else { fail }
        })?;
        if whole.to_str().is_none() {
            let shown = path.display();
            return Err(
                Fail::usage(format!("the path `{shown}` is not UTF-8")).help("rename the file or its folder")
            );
        }
        let text = bounded(&whole, PLAN_MAX + 1).map_err(|error| {
            let fail = fail::file("plan", path, &error);
            match named(&plans_in(&[path])).filter(|_| error.kind() == std::io::ErrorKind::IsADirectory) {
                Some(plans) => fail.help(format!("name the file in it: {plans}")),
                None => fail,
            }
        })?;
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
        given: &BTreeMap<String, serde_json::Value>,
        required: Required,
    ) -> Result<Loaded, Fail> {
        self.taken(session, self.judged(given, required))
    }

    /// Begins to load the plan on a thread of its own, as a run takes it that nothing was given.
    pub(super) fn load_ahead(self: &Arc<Self>) -> Ahead {
        let file = Arc::clone(self);
        let (sender, known) = oneshot::channel();
        let loaded = tokio::task::spawn_blocking(move || {
            let loaded = file.judged(&BTreeMap::new(), Required::MustBeGiven)?;
            // Nobody may want it.
            drop(sender.send(Known::new(Arc::clone(&loaded.definition))));
            Ok(loaded)
        });
        Ahead { loaded, known: Some(known) }
    }

    /// The same as [`load`](Self::load), from what was loaded ahead if that is it.
    pub(super) async fn load_from(
        &self,
        session: &Session,
        given: &BTreeMap<String, serde_json::Value>,
        ahead: Option<Ahead>,
    ) -> Result<Loaded, Fail> {
        if given.is_empty()
            && let Some(ahead) = ahead
            && let Ok(judged) = ahead.loaded.await
        {
            return self.taken(session, judged);
        }
        self.load(session, given, Required::MustBeGiven)
    }

    fn taken(&self, session: &Session, judged: Result<Loaded, Diagnostics>) -> Result<Loaded, Fail> {
        let mut loaded = judged.map_err(|diagnostics| self.refused(session, &diagnostics))?;
        if let Some(fit) = session.fit {
            fit(Arc::make_mut(&mut loaded.definition));
        }
        Ok(loaded)
    }

    /// Reads a plan some of whose files may be missing: gives those, with why each cannot be read. In their place stands as
    /// much as keeps the plan valid.
    pub(super) fn load_without(
        &self,
        session: &Session,
        given: &BTreeMap<String, serde_json::Value>,
    ) -> Result<(Loaded, Vec<(String, String)>), Fail> {
        let missing = std::cell::RefCell::new(Vec::new());
        let read = |path: &str| {
            self::read(path).or_else(|why| {
                let manifests = path.ends_with('/');
                missing.borrow_mut().push((path.trim_end_matches('/').to_owned(), why));
                Ok(if manifests { NO_MANIFEST.as_bytes().to_vec() } else { Vec::new() })
            })
        };
        let loaded = plan::load(&self.request(given, Required::MustBeGiven, &read));
        let loaded = loaded.map_err(|diagnostics| self.refused(session, &diagnostics))?;
        Ok((loaded, missing.into_inner()))
    }

    /// The same without a word to anybody.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub(super) fn judged(
        &self,
        given: &BTreeMap<String, serde_json::Value>,
        required: Required,
    ) -> Result<Loaded, Diagnostics> {
        plan::load(&self.request(given, required, &read))
    }

    fn request<'a>(
        &'a self,
        given: &'a BTreeMap<String, serde_json::Value>,
        required: Required,
        read: &'a dyn Fn(&str) -> Result<Vec<u8>, String>,
    ) -> Request<'a> {
        Request {
            path: self.path(),
            text: &self.text,
            vars: &self.vars,
            var_files: &self.var_files,
            given,
            required,
            read,
        }
    }

    /// Where a file or an option gives variables: those that none of them gives, which are as the plan has them.
    pub(super) fn left_to_the_plan<'d>(&self, definition: &'d Definition) -> Vec<&'d str> {
        if self.vars.is_empty() && self.var_files.is_empty() {
            return Vec::new();
        }
        let of_files = self.var_files.iter().filter_map(|(_, text)| text.parse::<toml::Table>().ok());
        let mut given: BTreeSet<String> =
            of_files.flat_map(|table| table.into_iter().map(|(name, _)| name)).collect();
        given.extend(self.vars.iter().map(|(name, _)| name.clone()));
        definition.vars.keys().map(String::as_str).filter(|name| !given.contains(*name)).collect()
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

/// What stands for manifests that cannot be read.
const NO_MANIFEST: &str =
    "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: missing\n  namespace: default\n";

/// A file, or manifests where there is a slash at the end.
fn read(path: &str) -> Result<Vec<u8>, String> {
    match path.strip_suffix('/') {
        Some(path) => manifests::gather(Path::new(path)),
        None => bounded(Path::new(path), plan::FILE_MAX + 1).map_err(|error| why_not(&error)),
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

/// How many plans a message names at most.
const NAMED_MAX: usize = 8;

/// The plans that somebody could have meant: `.toml` files in these folders and in `plans/` within them, by name, as
/// they are written from here. Never fails: a folder that cannot be read has none.
pub(super) fn plans_in(folders: &[&Path]) -> Vec<String> {
    let each = folders.iter().flat_map(|folder| [folder.to_path_buf(), folder.join("plans")]);
    let files = each.filter_map(|folder| {
        let folder = if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder };
        let entries = std::fs::read_dir(folder).ok()?.filter_map(Result::ok).map(|entry| entry.path());
        Some(entries.filter(|path| path.extension().is_some_and(|end| end == "toml") && path.is_file()))
    });
    let shown = files
        .flatten()
        .filter_map(|path| Some(path.strip_prefix("./").unwrap_or(&path).to_str()?.to_owned()));
    let sorted: std::collections::BTreeSet<String> = shown.collect();
    sorted.into_iter().collect()
}

/// Names of plans for a message; nothing where there are none, or too many to help.
pub(super) fn named(plans: &[String]) -> Option<String> {
    let named: Vec<String> = plans.iter().map(|plan| format!("`{plan}`")).collect();
    (1..=NAMED_MAX).contains(&plans.len()).then(|| named.join(", "))
}

/// What to do about a plan that is not at `path`.
pub(super) fn not_there(path: &Path) -> String {
    let folder = path.parent().unwrap_or(Path::new(""));
    let plans = plans_in(&[Path::new(""), folder]);
    let stem = |text: &str| Path::new(text).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let wanted = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let stems: Vec<String> = plans.iter().filter_map(|plan| stem(plan)).collect();
    let near = plan::did_you_mean(&wanted, stems.iter().map(String::as_str));
    let near = near.and_then(|near| plans.iter().find(|plan| stem(plan).as_deref() == Some(near)));
    match near {
        Some(near) => format!("did you mean `{near}`? A path is relative to the current folder"),
        None => "check the path; it is relative to the current folder".to_owned(),
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
    let mut bytes = Vec::with_capacity(usize::try_from(found.len()).unwrap_or(most).min(most));
    file.take(most as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}
