//! L1, L14, X12, and presets that do not exist (X2): arguments for ffmpeg.

use super::super::config::Config;
use super::super::schema::Known;
use super::super::sink::{Sink, Surroundings};
use super::super::words::{self, is_certain, meant, one_of, shown};
use super::super::yaml::NodeId;

/// The longest recording segment, in seconds. Source: `verify_recording_segments_setup_with_reasonable_time`.
const SEGMENT_MAX_S: i64 = 60;

/// Judges the arguments, global ones and those of each camera and input.
pub(crate) fn judge(config: &Config<'_>, around: &Surroundings<'_>, sink: &mut Sink) {
    let tree = config.tree;
    let global = config.get(&["ffmpeg"]);
    let own = config.cameras().iter().filter_map(|camera| tree.get(camera.node, "ffmpeg"));
    for section in global.into_iter().chain(own) {
        let inputs = tree.get(section, "inputs").map_or(&[][..], |inputs| tree.items(inputs));
        for holder in std::iter::once(&section).chain(inputs) {
            if let Some(node) = tree.get(*holder, "hwaccel_args")
                && is_split(config, sink, node)
            {
                hardware(config, around, sink, node);
                preset(config, sink, node, "hwaccel_args", &Known::of(config.target).hwaccel);
            }
            if let Some(node) = tree.get(*holder, "input_args")
                && is_split(config, sink, node)
            {
                preset(config, sink, node, "input_args", &Known::of(config.target).input);
            }
        }
        for path in [&["global_args"][..], &["output_args", "detect"]] {
            if let Some(node) = tree.path(section, path) {
                is_split(config, sink, node);
            }
        }
        if let Some(node) = tree.path(section, &["output_args", "record"])
            && is_split(config, sink, node)
        {
            encoder(config, sink, node);
            preset(config, sink, node, "output_args.record", &Known::of(config.target).record);
        }
    }
    for camera in config.cameras() {
        if let Some(node) = config.effective(camera, &["ffmpeg", "output_args", "record"]) {
            segments(config, sink, camera.name, node);
        }
    }
}

/// Arguments as a list, however they are written.
fn arguments(config: &Config<'_>, node: NodeId) -> Vec<String> {
    match config.tree.text(node) {
        Some(text) => words::arguments(text).unwrap_or_default(),
        None => {
            let items = config.tree.items(node).iter();
            items.filter_map(|item| Some(config.tree.scalar(*item)?.text.to_string())).collect()
        }
    }
}

/// Whether the quotes in arguments are closed; if not, that is said.
fn is_split(config: &Config<'_>, sink: &mut Sink, node: NodeId) -> bool {
    let closed = config.tree.text(node).is_none_or(|text| words::arguments(text).is_some());
    if !closed {
        sink.error("X2", config.at(node), "a quote in these arguments is not closed")
            .fix("close it, or write the arguments as a list");
    }
    closed
}

fn encoder(config: &Config<'_>, sink: &mut Sink, node: NodeId) {
    let arguments = arguments(config, node);
    let video = arguments.windows(2).find(|pair| {
        let option = pair[0].as_str();
        let for_video = option == "-c"
            || option == "-codec"
            || option == "-vcodec"
            || option.starts_with("-c:v")
            || option.starts_with("-codec:v");
        for_video && pair[1] != "copy"
    });
    if let Some([_, encoder]) = video {
        let message = format!(
            "recordings are encoded again with `{}`: Frigate only needs to copy them",
            shown(encoder)
        );
        sink.warn("L1", config.at(node), message)
            .fix("write `preset-record-generic-audio-aac`, or `-c:v copy` instead of the encoder");
    }
}

fn segments(config: &Config<'_>, sink: &mut Sink, camera: &str, node: NodeId) {
    if config.tree.text(node).is_some_and(|text| words::arguments(text).is_none()) {
        return;
    }
    let arguments = arguments(config, node);
    if arguments.first().is_some_and(|first| first.starts_with("preset")) {
        return;
    }
    let at = arguments.iter().position(|argument| argument == "-segment_time");
    let value = at.and_then(|at| arguments.get(at + 1));
    let flaw = match (at, value.and_then(|value| value.parse::<i64>().ok())) {
        (None, _) => "have no `-segment_time`".to_owned(),
        (Some(_), None) => "have a `-segment_time` without a whole number of seconds".to_owned(),
        (Some(_), Some(seconds)) if seconds > SEGMENT_MAX_S => {
            format!("have `-segment_time {seconds}`, and {SEGMENT_MAX_S} is the most")
        }
        _ => return,
    };
    sink.error("X12", config.at(node), format!("the record arguments of camera `{camera}` {flaw}"))
        .fix("write `-segment_time 10`, or use a preset");
}

fn preset(config: &Config<'_>, sink: &mut Sink, node: NodeId, what: &str, known: &[&'static str]) {
    let Some(text) = config.tree.text(node) else { return };
    if !text.starts_with("preset") || known.contains(&text) {
        return;
    }
    let guess = meant(text, known.iter().copied());
    let message = match guess {
        Some(guess) => format!("`{what}` has no preset `{}`: did you mean `{guess}`?", shown(text)),
        None => format!("`{what}` has no preset `{}` in Frigate {}", shown(text), config.target),
    };
    let finding = sink.error("X2", config.at(node), message);
    match guess {
        Some(guess) => finding.fix(format!("write `{guess}`")),
        None => finding.fix(format!("choose one of {}", one_of(known.iter().copied()))),
    };
    if let Some(guess) = guess.filter(|guess| is_certain(text, guess)) {
        finding.replace(config.tree, node, guess);
    }
}

/// What arguments for hardware are made for.
fn made_for(arguments: &[String]) -> Option<(&'static str, &'static [&'static str])> {
    let has = |word: &str| arguments.iter().any(|argument| argument.contains(word));
    if has("qsv") {
        Some(("Intel QuickSync", &["intel"]))
    } else if has("vaapi") {
        Some(("VAAPI", &["intel", "amd"]))
    } else if has("nvidia") || has("cuda") || has("cuvid") || has("nvdec") {
        Some(("NVIDIA", &["nvidia"]))
    } else {
        None
    }
}

fn hardware(config: &Config<'_>, around: &Surroundings<'_>, sink: &mut Sink, node: NodeId) {
    let Some((what, gpus)) = made_for(&arguments(config, node)) else { return };
    let Some(gpu) = around.context.gpu.as_deref() else {
        sink.needs("L14", "gpu");
        return;
    };
    if gpus.iter().any(|fit| gpu.eq_ignore_ascii_case(fit)) {
        return;
    }
    let (node_has, preset) = match gpu.to_ascii_lowercase().as_str() {
        "nvidia" => ("an NVIDIA GPU".to_owned(), Some("preset-nvidia")),
        "intel" => ("an Intel GPU".to_owned(), Some("preset-vaapi")),
        "amd" => ("an AMD GPU".to_owned(), Some("preset-vaapi")),
        "none" => ("no GPU".to_owned(), None),
        other => (format!("`{other}`"), None),
    };
    let message = format!("these arguments are for {what}, and the node has {node_has}");
    let finding = sink.error("L14", config.at(node), message);
    match preset {
        Some(preset) => finding.fix(format!("write `hwaccel_args: {preset}`")),
        None => finding.fix("remove `hwaccel_args`"),
    };
}
