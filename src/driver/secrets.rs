//! Secrets: resolved when they are needed, kept in memory, never written.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Read;
use std::os::unix::fs::MetadataExt;

use crate::plan::recorded::{Definition, SecretRef};
use crate::plan::template;
use crate::transport::Redactor;

/// The longest secret file, in bytes: keys and certificate chains have a tenth of it, and every form of every line is
/// looked for in all output.
const SECRET_MAX: u64 = 64 * 1024;

/// The values of a run's secrets and what takes them out of everything that is written. `Debug` shows names only.
#[derive(Clone)]
pub struct Secrets {
    values: BTreeMap<String, String>,
    redactor: Redactor,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

/// A secret that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("secret `{name}`: {why}")]
pub struct SecretError {
    /// Its name in the plan.
    pub name: String,
    /// Why, and what to do.
    pub why: String,
}

impl Secrets {
    /// Secrets with these values.
    pub fn new(values: BTreeMap<String, String>) -> Self {
        let redactor = Redactor::new(values.values().cloned());
        Self { values, redactor }
    }

    /// The values, by name.
    pub fn values(&self) -> &BTreeMap<String, String> {
        &self.values
    }

    /// Takes every value out of what is written.
    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// Resolves the secrets that a definition's templates refer to, all of them or none.
    ///
    /// # Errors
    /// Every secret that cannot be had, at once.
    pub fn resolve(
        definition: &Definition,
        only: Option<&BTreeSet<String>>,
    ) -> Result<Self, Vec<SecretError>> {
        let mut values = BTreeMap::new();
        let mut errors = Vec::new();
        let wanted = template::secrets_of_definition(definition);
        for name in wanted.iter().filter(|name| only.is_none_or(|only| only.contains(*name))) {
            let Some(from) = definition.secrets.get(name) else { continue };
            match resolve(from) {
                Ok(value) => {
                    values.insert(name.clone(), value);
                }
                Err(why) => errors.push(SecretError { name: name.clone(), why }),
            }
        }
        if errors.is_empty() { Ok(Self::new(values)) } else { Err(errors) }
    }

    /// Those that can be had, and why the others cannot: for looks, which do without what they lack.
    pub fn what_there_is(definition: &Definition) -> (Self, Vec<SecretError>) {
        let (mut values, mut errors) = (BTreeMap::new(), Vec::new());
        for name in template::secrets_of_definition(definition) {
            match definition.secrets.get(&name).map(resolve) {
                Some(Ok(value)) => drop(values.insert(name, value)),
                Some(Err(why)) => errors.push(SecretError { name, why }),
                None => {}
            }
        }
        (Self::new(values), errors)
    }
}

/// A secret's value; the line end of a file is not part of it.
fn resolve(from: &SecretRef) -> Result<String, String> {
    match from {
        SecretRef::Env(name) => {
            #[expect(clippy::disallowed_methods, reason = "this is the secret resolver")]
            let found = std::env::var(name);
            found.map_err(|error| match error {
                std::env::VarError::NotPresent => {
                    format!("the environment variable `{name}` is not set: set it and run the command again")
                }
                std::env::VarError::NotUnicode(_) => {
                    format!("the environment variable `{name}` is not valid UTF-8")
                }
            })
        }
        SecretRef::File(path) => {
            #[expect(clippy::disallowed_methods, reason = "`~` is the home folder")]
            let home = std::env::var("HOME");
            let place = match path.strip_prefix("~/") {
                Some(rest) => {
                    let home = home.map_err(|_| {
                        format!("`{path}` needs HOME, which is not set: set it or write the whole path")
                    })?;
                    format!("{home}/{rest}")
                }
                None => path.clone(),
            };
            let cannot = |error: std::io::Error| format!("the file `{place}` cannot be read: {error}");
            let found = std::fs::metadata(&place).map_err(cannot)?;
            if !found.is_file() {
                return Err(format!("`{place}` is not a regular file: name the file that holds the secret"));
            }
            if found.mode() & 0o077 != 0 {
                return Err(format!(
                    "the file `{place}` can be read by others (mode {:04o}): run `chmod 600 {place}`",
                    found.mode() & 0o7777
                ));
            }
            let mut bytes = Vec::new();
            let file = std::fs::File::open(&place).map_err(cannot)?;
            file.take(SECRET_MAX + 1).read_to_end(&mut bytes).map_err(cannot)?;
            if bytes.len() as u64 > SECRET_MAX {
                return Err(format!(
                    "the file `{place}` has more than {SECRET_MAX} bytes: a secret is a password, token or key"
                ));
            }
            let text = String::from_utf8(bytes)
                .map_err(|_| format!("the file `{place}` is not valid UTF-8: store the secret as text"))?;
            Ok(text
                .strip_suffix('\n')
                .map_or(text.as_str(), |t| t.strip_suffix('\r').unwrap_or(t))
                .to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn file(folder: &std::path::Path, name: &str, bytes: &[u8]) -> String {
        let path = folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    #[test]
    fn a_secret_file_is_a_short_regular_file_and_everything_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let most = usize::try_from(SECRET_MAX).unwrap();
        let resolve = |path: String| resolve(&SecretRef::File(path));
        assert_eq!(resolve(file(folder.path(), "good", b"word\r\n")), Ok("word".to_owned()));
        assert!(resolve(file(folder.path(), "most", &vec![b'a'; most])).is_ok());
        let long = resolve(file(folder.path(), "long", &vec![b'a'; most + 1])).unwrap_err();
        assert!(long.contains("more than 65536"), "{long}");
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
        for path in [pipe.as_path(), folder.path()] {
            let refused = resolve(path.to_str().unwrap().to_owned()).unwrap_err();
            assert!(refused.contains("is not a regular file"), "{refused}");
        }
        let binary = resolve(file(folder.path(), "binary", &[0xff, 0xfe])).unwrap_err();
        assert!(binary.contains("not valid UTF-8"), "{binary}");
    }
}
