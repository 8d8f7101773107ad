//! What a check has to know besides the file: where it will run, beside whom, and with what.

use std::collections::BTreeSet;

use serde::Deserialize;

/// The surroundings of a configuration. Every part may be missing; a rule that needs a missing one is not judged.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct Context {
    /// The Frigate version it is meant for; `--frigate` wins over it.
    pub target: Option<String>,
    /// The container image with its tag.
    pub image: Option<String>,
    /// The node's processor: `amd64`, `arm64`.
    pub arch: Option<String>,
    /// The node's GPU: `nvidia`, `intel`, `amd`, `none`.
    pub gpu: Option<String>,
    /// Whether Frigate can write its configuration: `read-only`, `writable`.
    pub config_mount: Option<String>,
    /// The environment variables that exist in the container, by name.
    pub env: Option<BTreeSet<String>>,
    /// Size of the volume for recordings in GiB.
    pub media_gib: Option<f64>,
    /// Size of `/dev/shm` in MiB.
    pub shm_mib: Option<f64>,
    /// Where in a migration the file is used.
    pub phase: Option<Phase>,
    /// The `client_id` of the old instance.
    pub old_client_id: Option<String>,
    /// The `topic_prefix` of the old instance.
    pub old_topic_prefix: Option<String>,
}

/// Where in a migration a configuration is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// No other instance runs.
    Alone,
    /// An old instance still runs: its client id and topic prefix are taken.
    Parallel,
    /// The old instance is gone, and what it was called has to be kept.
    Cutover,
}

/// The context file is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the context is neither JSON nor TOML of the right shape: {0}")]
pub struct BadContext(pub String);

impl Context {
    /// Reads a context from JSON or TOML; unknown keys are ignored.
    pub fn parse(text: &str) -> Result<Context, BadContext> {
        let text = text.trim_start_matches('\u{feff}');
        if text.trim_start().starts_with('{') {
            serde_json::from_str(text).map_err(|error| BadContext(error.to_string()))
        } else {
            toml::from_str(text).map_err(|error| BadContext(error.message().to_owned()))
        }
    }

    /// Fills what is missing here from another context.
    pub(crate) fn or(self, other: Context) -> Context {
        Context {
            target: self.target.or(other.target),
            image: self.image.or(other.image),
            arch: self.arch.or(other.arch),
            gpu: self.gpu.or(other.gpu),
            config_mount: self.config_mount.or(other.config_mount),
            env: self.env.or(other.env),
            media_gib: self.media_gib.or(other.media_gib),
            shm_mib: self.shm_mib.or(other.shm_mib),
            phase: self.phase.or(other.phase),
            old_client_id: self.old_client_id.or(other.old_client_id),
            old_topic_prefix: self.old_topic_prefix.or(other.old_topic_prefix),
        }
    }

    /// Whether Frigate can write the file; `None` when nobody said.
    pub(crate) fn writable(&self) -> Option<bool> {
        match self.config_mount.as_deref() {
            Some("writable" | "read-write" | "rw") => Some(true),
            Some(_) => Some(false),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_toml_say_the_same() {
        let json = Context::parse(
            r#"{"target": "0.16", "env": ["A"], "media_gib": 500, "phase": "parallel", "x": 1}"#,
        );
        let toml = Context::parse(
            "target = \"0.16\"\nenv = [\"A\"]\nmedia_gib = 500.0\nphase = \"parallel\"\nx = 1\n",
        );
        assert_eq!(json, toml);
        let context = json.unwrap();
        assert_eq!(context.phase, Some(Phase::Parallel));
        assert_eq!(context.media_gib, Some(500.0));
        assert_eq!(Context::parse("media_gib = 500\n").unwrap().media_gib, Some(500.0));
    }

    #[test]
    fn a_wrong_type_is_an_error_and_not_a_silent_none() {
        assert!(Context::parse("shm_mib = \"64\"").is_err());
        assert!(Context::parse("{\"phase\": \"before\"}").is_err());
        assert!(Context::parse("{").is_err());
    }
}
