//! L7, L29, X13: whether and how often objects are looked for.

use super::super::config::{Camera, Config};
use super::super::schema::Schema;
use super::super::sink::{Sink, Surroundings};
use super::super::target::Minor;

/// What the maintainers recommend at most; a camera that only reads plates may take more.
const FPS_MAX: f64 = 10.0;
const FPS_MAX_PLATES: f64 = 15.0;

/// Judges detection.
pub(crate) fn judge(config: &Config<'_>, around: &Surroundings<'_>, sink: &mut Sink) {
    let by_default = on_by_default(config, around);
    if by_default == Some(false) {
        silent(config, sink, false);
    } else if by_default.is_none() {
        silent(config, sink, true);
    }
    for camera in config.cameras() {
        let on = config.truth(camera, &["detect", "enabled"]).unwrap_or(by_default.unwrap_or(false));
        without_motion(config, sink, camera, on);
        too_often(config, sink, camera);
    }
}

/// Whether detection is on where nobody says so; `None` if that depends on whether the file can be written.
fn on_by_default(config: &Config<'_>, around: &Surroundings<'_>) -> Option<bool> {
    if Schema::of(config.target).default_of("detect", "enabled") == "true" {
        return Some(true);
    }
    if !config.target.runs("0.16-0", &config.label()) {
        return Some(false);
    }
    // The migrator writes `detect.enabled: true` into a file that it may write.
    around.writable
}

fn silent(config: &Config<'_>, sink: &mut Sink, depends: bool) {
    let tree = config.tree;
    // A section that is no mapping says something, if only nonsense, which has been said.
    let nonsense = |node| tree.get(node, "detect").is_some_and(|section| !tree.is_mapping(section));
    let says = |camera: &Camera<'_>| {
        config.effective(camera, &["detect", "enabled"]).is_some()
            || nonsense(camera.node)
            || nonsense(config.root)
    };
    let misspelt = |sink: &Sink, node| {
        let section = tree.get(node, "detect");
        sink.is_misspelt(Some(node), "detect") || sink.is_misspelt(section, "enabled")
    };
    let mute: Vec<&Camera<'_>> = config
        .active()
        .filter(|camera| tree.is_mapping(camera.node) && !says(camera))
        .filter(|camera| !misspelt(sink, camera.node) && !misspelt(sink, config.root))
        .collect();
    if mute.is_empty() {
        return;
    }
    let on_writable = if depends { ", unless the file is writable and Frigate migrates it" } else { "" };
    if mute.len() == config.active().count() {
        let entry = tree.entry(config.root, "detect").or_else(|| tree.entry(config.root, "cameras"));
        let at = entry.map_or(config.at(config.root), |entry| config.at(entry.key));
        let message = format!(
            "nothing says `detect.enabled`, so Frigate {} looks for objects on no camera{on_writable}",
            config.target
        );
        let finding = if depends { sink.warn("L7", at, message) } else { sink.error("L7", at, message) };
        finding.fix("write `enabled: true` below `detect:`, or `enabled: false` if that is what you want");
        return;
    }
    for camera in mute {
        let at =
            tree.entry(camera.node, "detect").map_or(config.at(camera.key), |entry| config.at(entry.key));
        let message = format!(
            "nothing says `detect.enabled` for camera `{}`, so Frigate {} looks for no objects there{on_writable}",
            camera.name, config.target
        );
        sink.warn("L7", at, message).fix("write `detect.enabled: true` for it, or once globally");
    }
}

fn without_motion(config: &Config<'_>, sink: &mut Sink, camera: &Camera<'_>, on: bool) {
    let Some(motion) = config.effective(camera, &["motion", "enabled"]) else { return };
    if on && config.tree.truth(motion) == Some(false) {
        let message = format!("camera `{}` detects objects and has motion detection off", camera.name);
        sink.error("X13", config.at(motion), message)
            .fix("remove `motion.enabled: false`, or turn `detect.enabled` off as well");
    }
}

fn too_often(config: &Config<'_>, sink: &mut Sink, camera: &Camera<'_>) {
    let Some(fps) = config.effective(camera, &["detect", "fps"]) else { return };
    let plates = config.target.at_least(Minor::V16)
        && config.tree.get(camera.node, "type").and_then(|ty| config.tree.text(ty)) == Some("lpr");
    let max = if plates { FPS_MAX_PLATES } else { FPS_MAX };
    if let Some(value) = config.tree.number(fps).filter(|value| *value > max) {
        let message =
            format!("camera `{}` looks {value} times a second, more than {max} helps nobody", camera.name);
        sink.warn("L29", config.at(fps), message).fix("write `fps: 5`");
    }
}
