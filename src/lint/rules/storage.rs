//! L19, L20: what has to fit on the volume, and into shared memory.

use super::super::config::{Camera, Config};
use super::super::sink::{Sink, Surroundings};
use super::super::target::Minor;
use super::super::yaml::NodeId;

/// What a camera writes in a day at 1 Mbit/s, in GiB: less than any real main stream, so that a finding is certain.
const DAY_GIB: f64 = 1_000_000.0 / 8.0 * 86_400.0 / 1_073_741_824.0;

/// The share of a day that is kept, by retain mode: cautious for the same reason.
const SHARE_MOTION: f64 = 0.10;
const SHARE_OBJECTS: f64 = 0.03;

/// Judges space.
pub(crate) fn judge(config: &Config<'_>, around: &Surroundings<'_>, sink: &mut Sink) {
    retention(config, around, sink);
    shared_memory(config, around, sink);
}

fn retention(config: &Config<'_>, around: &Surroundings<'_>, sink: &mut Sink) {
    let mut total = 0.0;
    let mut longest: Option<(f64, NodeId)> = None;
    for camera in config.active() {
        if config.truth(camera, &["record", "enabled"]) != Some(true) {
            continue;
        }
        for (path, share) in kept(config, camera) {
            let Some(node) = config.effective(camera, path) else { continue };
            let Some(days) = config.tree.number(node).filter(|days| *days > 0.0) else { continue };
            let need = days * share * DAY_GIB;
            total += need;
            if longest.is_none_or(|(most, _)| need > most) {
                longest = Some((need, node));
            }
        }
    }
    let Some((_, node)) = longest else { return };
    let Some(volume) = around.context.media_gib else {
        sink.needs("L19", "media_gib");
        return;
    };
    if total > volume {
        let message = format!(
            "at 1 Mbit/s a camera this keeps {total:.0} GiB and more, and the volume has {volume:.0} GiB: the oldest go early"
        );
        sink.warn("L19", config.at(node), message)
            .fix("keep fewer days, keep only motion, or use a larger volume");
    }
}

/// The retention settings of a version, each with the share of the time that it keeps.
fn kept(config: &Config<'_>, camera: &Camera<'_>) -> Vec<(&'static [&'static str], f64)> {
    let mode_share = |path: &[&str], default: f64| match config.effective(camera, path) {
        None => default,
        Some(node) => match config.tree.text(node) {
            Some("all") => 1.0,
            Some("motion") => SHARE_MOTION,
            _ => SHARE_OBJECTS,
        },
    };
    let mut kept: Vec<(&'static [&'static str], f64)> = Vec::new();
    if config.target.at_least(Minor::V17) {
        kept.push((&["record", "continuous", "days"], 1.0));
        kept.push((&["record", "motion", "days"], SHARE_MOTION));
    } else {
        kept.push((&["record", "retain", "days"], mode_share(&["record", "retain", "mode"], 1.0)));
    }
    if config.target.at_least(Minor::V15) {
        kept.push((&["record", "alerts", "retain", "days"], SHARE_OBJECTS));
        kept.push((&["record", "detections", "retain", "days"], SHARE_OBJECTS));
    } else {
        kept.push((&["record", "events", "retain", "default"], SHARE_OBJECTS));
    }
    kept
}

fn shared_memory(config: &Config<'_>, around: &Surroundings<'_>, sink: &mut Sink) {
    let mut largest: Option<(f64, &Camera<'_>)> = None;
    let mut frame_mib = 0.0;
    for camera in config.active().filter(|camera| config.tree.is_mapping(camera.node)) {
        let (width, height) = config.frame(camera);
        let size = ((width * height * 1.5 + 270_480.0) / 1_048_576.0 * 10.0).round() / 10.0;
        frame_mib += size;
        if largest.is_none_or(|(most, _)| size > most) {
            largest = Some((size, camera));
        }
    }
    let Some((_, camera)) = largest else { return };
    let Some(given) = around.context.shm_mib else {
        sink.needs("L20", "shm_mib");
        return;
    };
    // Source: `shm_frame_count` and, for 0.14, `check_shm` in app.py.
    let restream = config.global_truth(&["birdseye", "restream"]) == Some(true);
    let (base, frames) = if config.target.at_least(Minor::V15) { (50.0, 20.0) } else { (30.0, 9.0) };
    let base = base + if restream { 8.0 } else { 0.0 };
    let needed = base + frame_mib * frames;
    if given >= needed {
        return;
    }
    let at = config
        .effective(camera, &["detect", "width"])
        .map_or(config.at(camera.key), |width| config.at(width));
    let message = format!("/dev/shm has {given:.0} MiB, and these detect sizes need {needed:.0} MiB");
    let fits_a_frame = (given - base) / frame_mib >= 2.0;
    let finding = if fits_a_frame { sink.warn("L20", at, message) } else { sink.error("L20", at, message) };
    finding.fix(format!(
        "give /dev/shm {:.0} MiB (an emptyDir with `medium: Memory`)",
        (needed / 64.0).ceil() * 64.0
    ));
}
