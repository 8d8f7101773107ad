//! L11, L12, L13: faces, plates and the models that read them.

use super::super::config::Config;
use super::super::sink::{Sink, Surroundings};
use super::super::target::Minor;
use super::super::words::{is_certain, meant, shown};

const SIZES: [&str; 2] = ["small", "large"];

/// Judges recognition.
pub(crate) fn judge(config: &Config<'_>, around: &Surroundings<'_>, sink: &mut Sink) {
    if config.target.at_least(Minor::V16) {
        runtime(config, around, sink);
        switches(config, sink);
    }
    sizes(config, sink);
}

/// An image without a GPU runtime recognises faces on the processor.
fn runtime(config: &Config<'_>, around: &Surroundings<'_>, sink: &mut Sink) {
    if config.global_truth(&["face_recognition", "enabled"]) != Some(true) {
        return;
    }
    // `small` is made for the processor; everything else is the large model.
    let size = config.text(&["face_recognition", "model_size"]).unwrap_or("small");
    let Some(enabled) = config.get(&["face_recognition", "enabled"]).filter(|_| size != "small") else {
        return;
    };
    let Some(image) = around.context.image.as_deref() else {
        sink.needs("L11", "image");
        return;
    };
    let Some(gpu) = around.context.gpu.as_deref() else {
        sink.needs("L11", "gpu");
        return;
    };
    let tag = image.rsplit('/').next().unwrap_or(image);
    let (runs, wanted) = match gpu.to_ascii_lowercase().as_str() {
        "nvidia" => (tag.contains("tensorrt"), "-tensorrt"),
        "amd" => (tag.contains("rocm"), "-rocm"),
        // The plain image brings OpenVINO for Intel's.
        _ => return,
    };
    if !runs {
        let message = format!(
            "image `{}` recognises faces on the processor: it has no runtime for the {gpu} GPU",
            shown(tag)
        );
        sink.warn("L11", config.at(enabled), message)
            .fix(format!("use the image whose tag ends in `{wanted}`"));
    }
}

/// On at a camera needs on globally.
fn switches(config: &Config<'_>, sink: &mut Sink) {
    for section in ["face_recognition", "lpr"] {
        let global = config.get(&[section]);
        if config.global_truth(&[section, "enabled"]) == Some(true)
            || sink.is_misspelt(Some(config.root), section)
            || sink.is_misspelt(global, "enabled")
        {
            continue;
        }
        for camera in config.cameras() {
            let Some(node) = config.tree.path(camera.node, &[section, "enabled"]) else { continue };
            if config.tree.truth(node) == Some(true) {
                let message =
                    format!("camera `{}` turns `{section}` on, and it is off globally", camera.name);
                sink.error("L12", config.at(node), message)
                    .fix(format!("add `{section}: {{enabled: true}}` globally"));
            }
        }
    }
}

fn sizes(config: &Config<'_>, sink: &mut Sink) {
    for section in ["face_recognition", "lpr", "semantic_search", "audio_transcription"] {
        let Some(node) = config.get(&[section, "model_size"]) else { continue };
        let Some(size) = config.tree.text(node).filter(|size| !SIZES.contains(size)) else { continue };
        let guess = meant(size, SIZES);
        let message = format!(
            "`{section}.model_size` is `{}`: Frigate takes whatever is not `small` for `large`",
            shown(size)
        );
        let finding = sink.warn("L13", config.at(node), message);
        finding.fix(guess.map_or("write `small` or `large`".to_owned(), |guess| format!("write `{guess}`")));
        if let Some(guess) = guess.filter(|guess| is_certain(size, guess)) {
            finding.replace(config.tree, node, guess);
        }
    }
}
