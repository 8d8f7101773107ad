//! Secrets: resolved when they are needed, kept in memory, never written.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::os::unix::fs::MetadataExt;

use crate::plan::recorded::{Definition, SecretRef};
use crate::plan::template;
use crate::transport::Redactor;

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
            if found.mode() & 0o077 != 0 {
                return Err(format!(
                    "the file `{place}` can be read by others (mode {:04o}): run `chmod 600 {place}`",
                    found.mode() & 0o7777
                ));
            }
            let text = std::fs::read_to_string(&place).map_err(cannot)?;
            Ok(text
                .strip_suffix('\n')
                .map_or(text.as_str(), |t| t.strip_suffix('\r').unwrap_or(t))
                .to_owned())
        }
    }
}
