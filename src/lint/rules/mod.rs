//! The rules, one file per family.
//!
//! Every family reads the merged configuration and reports into the sink; none depends on another, except that
//! [`shape`] goes first, since a key that is misspelt there is not also missing elsewhere.

mod detect;
mod detectors;
mod ffmpeg;
mod label;
mod mqtt;
mod objects;
mod recognition;
mod restream;
mod roles;
mod secrets;
mod shape;
mod storage;
mod zones;

use super::config::Config;
use super::sink::{Sink, Surroundings};

/// Judges a configuration by every rule.
pub(crate) fn judge(config: &Config<'_>, around: &Surroundings<'_>, sink: &mut Sink) {
    let families = [
        shape::judge,
        label::judge,
        mqtt::judge,
        roles::judge,
        detect::judge,
        objects::judge,
        zones::judge,
        ffmpeg::judge,
        restream::judge,
        secrets::judge,
        recognition::judge,
        detectors::judge,
        storage::judge,
    ];
    for family in families {
        family(config, around, sink);
    }
}
