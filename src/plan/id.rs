//! The names that travel through every room: checked once, in the constructor, and never doubted again.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a valid {what}: {rule}")]
pub struct InvalidName {
    /// What the name was meant for, as a reader would say it.
    pub what: &'static str,
    /// The offending text.
    pub text: String,
    /// What would be right.
    pub rule: &'static str,
}

/// Longest plan name and step id, in bytes. Both become parts of file names, which end at 255.
pub const NAME_MAX: usize = 64;

fn check(what: &'static str, text: &str) -> Result<(), InvalidName> {
    let invalid = |rule| Err(InvalidName { what, text: text.to_owned(), rule });
    if text.is_empty() {
        return invalid("it is empty");
    }
    if text.len() > NAME_MAX {
        return invalid("it is longer than 64 characters");
    }
    let first = text.as_bytes()[0];
    if !(first.is_ascii_lowercase() || first.is_ascii_digit()) {
        return invalid("it must start with a-z or 0-9");
    }
    if !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
        return invalid("only a-z, 0-9 and `-` are allowed");
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// Checks `text` and takes it.
            ///
            /// # Errors
            /// [`InvalidName`] unless it matches `[a-z0-9][a-z0-9-]*` and has at most [`NAME_MAX`] bytes.
            pub fn new(text: impl Into<String>) -> Result<Self, InvalidName> {
                let text = text.into();
                check($what, &text)?;
                Ok(Self(text))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> {
                Self::new(text)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name!(
    /// The `name` of a plan: the stem of its run ids.
    PlanName,
    "plan name"
);
name!(
    /// The `id` of a step, unique within its plan.
    StepId,
    "step id"
);

/// Identifies one run for ever: `frigate-3` is the third run of a plan named `frigate` in this journal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RunId {
    plan: PlanName,
    number: u32,
}

impl RunId {
    /// The `number`th run, counted from 1, of plans with this name.
    pub fn new(plan: PlanName, number: u32) -> Self {
        Self { plan, number }
    }

    /// The plan's name.
    pub fn plan(&self) -> &PlanName {
        &self.plan
    }

    /// The run's number among those of the same name, from 1.
    pub fn number(&self) -> u32 {
        self.number
    }
}

impl TryFrom<String> for RunId {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        let invalid = || InvalidName {
            what: "run id",
            text: text.clone(),
            rule: "it is a plan's name, a dash and a number, like `frigate-1`",
        };
        let (plan, number) = text.rsplit_once('-').ok_or_else(invalid)?;
        let plan = PlanName::new(plan).map_err(|_| invalid())?;
        let number: u32 = number.parse().map_err(|_| invalid())?;
        let id = Self { plan, number };
        // `frigate-01` and `frigate-+1` would be second spellings of the same run.
        if number == 0 || id.to_string() != text { Err(invalid()) } else { Ok(id) }
    }
}

impl From<RunId> for String {
    fn from(id: RunId) -> String {
        id.to_string()
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}-{}", self.plan, self.number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_once_and_for_all() {
        for good in ["a", "0", "stop-old", "x1-2-3"] {
            assert_eq!(StepId::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "-a", "A", "a_b", "a.b", "a/b", "ä", &"a".repeat(65)] {
            assert!(StepId::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_run_id_has_one_spelling() {
        let id = RunId::try_from("my-plan-12".to_owned()).unwrap();
        assert_eq!((id.plan().as_str(), id.number()), ("my-plan", 12));
        for bad in ["frigate", "frigate-", "frigate-0", "frigate-01", "-1", "frigate-x", "frigate-+1"] {
            assert!(RunId::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
