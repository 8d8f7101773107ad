//! L2, X16, L27: detectors that cannot start, and the version check.

use super::super::config::Config;
use super::super::sink::{Sink, Surroundings};
use super::super::target::Minor;

/// Judges each detector, and telemetry.
pub(crate) fn judge(config: &Config<'_>, around: &Surroundings<'_>, sink: &mut Sink) {
    for entry in config.entries(&["detectors"]) {
        let Some(ty) = config.tree.get(entry.value, "type") else { continue };
        match config.tree.text(ty) {
            Some("tensorrt") if config.target.at_least(Minor::V16) => match on_amd64(around) {
                Some(true) => {
                    let message = format!("Frigate {} has no `tensorrt` detector on amd64", config.target);
                    sink.error("L2", config.at(ty), message)
                        .fix("write `type: onnx` with a model of your own, or `type: cpu`");
                }
                Some(false) => {}
                None => sink.needs("L2", "arch"),
            },
            Some("onnx") => onnx(config, sink, entry.value, ty),
            _ => {}
        }
    }
    if config.global_truth(&["telemetry", "version_check"]) == Some(false)
        && let Some(node) = config.get(&["telemetry", "version_check"])
    {
        sink.info(
            "L27",
            config.at(node),
            "the version check is off: `latest_version` says `disabled`, nothing is broken",
        );
    }
}

/// Whether the container runs on amd64, from what was said or from the image.
fn on_amd64(around: &Surroundings<'_>) -> Option<bool> {
    if let Some(arch) = around.context.arch.as_deref() {
        return Some(matches!(arch.to_ascii_lowercase().as_str(), "amd64" | "x86_64" | "x86-64" | "x64"));
    }
    let image = around.context.image.as_deref()?;
    if image.contains("-jp") || image.contains("arm64") {
        return Some(false);
    }
    // The plain `-tensorrt` image is built for amd64 alone.
    image.ends_with("-tensorrt").then_some(true)
}

fn onnx(
    config: &Config<'_>,
    sink: &mut Sink,
    detector: super::super::yaml::NodeId,
    ty: super::super::yaml::NodeId,
) {
    let given = |node: Option<super::super::yaml::NodeId>| {
        node.is_some_and(|node| config.tree.text(node).is_some_and(|path| !path.trim().is_empty()))
    };
    let model = config.get(&["model"]);
    let own = given(config.tree.get(detector, "model_path"))
        || (!config.target.at_least(Minor::V15) && given(config.tree.path(detector, &["model", "path"])));
    if own
        || given(config.get(&["model", "path"]))
        || sink.is_misspelt(model, "path")
        || sink.is_misspelt(Some(detector), "model_path")
        || sink.is_misspelt(Some(config.root), "model")
    {
        return;
    }
    sink.error(
        "X16",
        config.at(ty),
        "an `onnx` detector has no model of its own, and `model.path` names none",
    )
    .fix("add `model.path` with an ONNX file below /config/model_cache");
}
