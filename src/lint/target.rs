//! Frigate versions: which one a file is meant for, and what its migrator would do to the file first.

use std::fmt;

use super::yaml::Dialect;

/// A minor version whose schema we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Minor {
    /// 0.14
    V14,
    /// 0.15
    V15,
    /// 0.16
    V16,
    /// 0.17
    V17,
}

impl Minor {
    /// All of them, oldest first.
    pub const ALL: [Minor; 4] = [Minor::V14, Minor::V15, Minor::V16, Minor::V17];

    /// Its name, such as `0.16`.
    pub fn name(self) -> &'static str {
        match self {
            Minor::V14 => "0.14",
            Minor::V15 => "0.15",
            Minor::V16 => "0.16",
            Minor::V17 => "0.17",
        }
    }

    /// The minor version of that name.
    pub fn named(name: &str) -> Option<Minor> {
        Minor::ALL.into_iter().find(|minor| minor.name() == name)
    }
}

/// The Frigate version a configuration is meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target(pub(crate) Minor);

/// The version is not one that the lint knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a Frigate version that is known here: 0.14, 0.15, 0.16 and 0.17 are, with any patch level"
)]
pub struct UnknownVersion(pub String);

impl Default for Target {
    fn default() -> Self {
        Target(Minor::V16)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0.name())
    }
}

impl std::str::FromStr for Target {
    type Err = UnknownVersion;

    /// Takes `0.16`, `0.16.2`, `v0.16.0-abc`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || UnknownVersion(text.to_owned());
        let bare = text.trim().trim_start_matches(['v', 'V']);
        let core = bare.split(['-', '+']).next().unwrap_or_default();
        let mut parts = core.split('.');
        let (Some(major), Some(minor), patch) = (parts.next(), parts.next(), parts.next()) else {
            return Err(unknown());
        };
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if parts.next().is_some() || !patch.is_none_or(digits) {
            return Err(unknown());
        }
        Minor::named(&format!("{major}.{minor}")).map(Target).ok_or_else(unknown)
    }
}

/// The migrator's steps and the first version that has them. Source: `util/config.py` of each version; the label that a
/// step leaves behind is its name.
const STEPS: [(&str, Minor); 5] = [
    ("0.14", Minor::V14),
    ("0.15-0", Minor::V15),
    ("0.15-1", Minor::V15),
    ("0.16-0", Minor::V16),
    ("0.17-0", Minor::V17),
];

impl Target {
    /// Whether this version is at least that one.
    pub(crate) fn at_least(self, minor: Minor) -> bool {
        self.0 >= minor
    }

    /// The label that this version writes into a file it has migrated.
    pub(crate) fn label(self) -> &'static str {
        STEPS.iter().rev().find(|(_, since)| *since <= self.0).map_or("", |(label, _)| label)
    }

    /// How the label is written in a file: 0.14 wants a number, later ones text.
    pub(crate) fn label_in_file(self) -> String {
        if self.at_least(Minor::V15) { format!("\"{}\"", self.label()) } else { self.label().to_owned() }
    }

    /// Whether the migrator would run that step on a writable file with that label. Labels are compared as text, as
    /// Frigate does it (0.14 compares numbers, with the same outcome for the labels that occur).
    pub(crate) fn runs(self, step: &str, label: &str) -> bool {
        label != self.label()
            && STEPS.iter().any(|(name, since)| *name == step && *since <= self.0)
            && label < step
    }

    /// Whether the migrator would rewrite the label of a writable file.
    pub(crate) fn rewrites(self, label: &str) -> bool {
        STEPS.iter().any(|(step, _)| self.runs(step, label))
    }

    /// Which reader this version reads with.
    pub(crate) fn dialect(self) -> Dialect {
        if self.at_least(Minor::V15) { Dialect::Yaml12 } else { Dialect::Yaml11 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_taken_in_every_usual_spelling() {
        for text in ["0.16", "0.16.2", "v0.16.0-abc", "0.16.0-beta1", " 0.16.1 ", "0.16.0-c2f8de9"] {
            assert_eq!(text.parse::<Target>(), Ok(Target(Minor::V16)), "{text}");
        }
        for text in ["", "0.13", "0.18.0", "1.0", "latest", "0.16.x", "0.16.2.1", "0"] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
        assert_eq!(Target::default().to_string(), "0.16");
    }

    #[test]
    fn the_migrator_compares_labels_as_text() {
        let v16 = Target(Minor::V16);
        assert_eq!(v16.label(), "0.16-0");
        assert!(v16.runs("0.16-0", "0.16"));
        assert!(!v16.runs("0.15-0", "0.16"), "a wrong label skips the step that moves record.events");
        assert!(v16.runs("0.15-0", "0.14"));
        assert!(!v16.runs("0.17-0", "0.14"), "0.16 does not have it");
        assert!(v16.rewrites("0.13"));
        assert!(!v16.rewrites("None"), "a null label counts as newer than everything");
        assert!(!v16.rewrites("16"));
        assert_eq!(Target(Minor::V15).label(), "0.15-1");
        assert_eq!(Target(Minor::V14).label_in_file(), "0.14");
    }
}
