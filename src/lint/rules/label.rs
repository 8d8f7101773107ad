//! L4, L5, L6: the `version` label, which decides what the migrator does.

use super::super::config::Config;
use super::super::schema::Known;
use super::super::sink::{Sink, Surroundings};
use super::super::target::Minor;
use super::super::yaml::{Kind, NodeId, Place};

/// Judges the label, and the label against the shape of the file.
pub(crate) fn judge(config: &Config<'_>, around: &Surroundings<'_>, sink: &mut Sink) {
    let tree = config.tree;
    let target = config.target;
    let entry = tree.entry(config.root, "version");
    let Some(entry) = entry.filter(|entry| !tree.is_null(entry.value)) else {
        // Files for 0.14 have had no label before: it was the first version to write one.
        if sink.is_misspelt(Some(config.root), "version") || !target.at_least(Minor::V15) {
            return;
        }
        let place = entry.map_or(Place { line: 1, column: 1 }, |entry| config.at(entry.key));
        let message = match entry {
            None => "the file has no `version`: Frigate takes it for 0.13 and runs every migration it may",
            Some(_) => {
                "`version` is empty: Frigate takes that for newer than everything and migrates nothing"
            }
        };
        sink.warn("L5", place, message).fix(format!("add `version: {}`", target.label_in_file()));
        return;
    };
    let Some(scalar) = tree.scalar(entry.value) else { return };
    let label = config.label();
    if target.at_least(Minor::V15) && matches!(scalar.kind, Kind::Int(_) | Kind::BigInt | Kind::Float(_)) {
        number(config, around, sink, entry.value, &label);
    } else if scalar.kind == Kind::Text && target.at_least(Minor::V15) {
        mismatch(config, sink, entry.value, &label);
    }
}

fn number(config: &Config<'_>, around: &Surroundings<'_>, sink: &mut Sink, node: NodeId, label: &str) {
    let target = config.target;
    let repaired = target.rewrites(label);
    let mut wanted = format!("\"{label}\"");
    if label.starts_with(target.0.name()) && old_shape(config).is_none() {
        wanted = target.label_in_file();
    }
    let message = match (repaired, around.writable) {
        (true, Some(true)) => {
            format!("`version` is a number; Frigate {target} repairs that only because it can write the file")
        }
        (true, None) => format!(
            "`version` is a number, and Frigate {target} wants text: it repairs a writable file and refuses a read-only one"
        ),
        (true, Some(false)) => format!("`version` is a number, and Frigate {target} wants text"),
        (false, _) => format!(
            "`version` is a number, Frigate {target} wants text, and its migrator takes {label} for a newer label"
        ),
    };
    let finding = if repaired && around.writable == Some(true) {
        sink.warn("L4", config.at(node), message)
    } else {
        sink.error("L4", config.at(node), message)
    };
    finding.fix(format!("write `version: {wanted}`")).replace(config.tree, node, wanted);
}

/// The first key of an older shape, with the migration that would have moved it.
fn old_shape(config: &Config<'_>) -> Option<(NodeId, &'static str)> {
    let tree = config.tree;
    let known = Known::of(config.target);
    let homes = std::iter::once(config.root).chain(config.cameras().iter().map(|camera| camera.node));
    for home in homes {
        for (section, record, key) in [
            ("record", "record", "events"),
            ("live", "camera-live", "stream_name"),
            ("record", "record", "retain"),
        ] {
            let Some(entry) = tree.get(home, section).and_then(|section| tree.entry(section, key)) else {
                continue;
            };
            if let Some(step) = known.moved(record, key).and_then(|moved| moved.step) {
                return Some((entry.key, step));
            }
        }
    }
    None
}

fn mismatch(config: &Config<'_>, sink: &mut Sink, node: NodeId, label: &str) {
    let target = config.target;
    if label == target.label() {
        return;
    }
    if let Some((key, step)) = old_shape(config)
        && label >= step
    {
        let line = config.at(key).line;
        let message = format!(
            "the label `{}` says that the file is newer than it is: the migrator skips step {step}, which line {line} needs",
            super::super::words::shown(label)
        );
        sink.error("L6", config.at(node), message).fix(format!(
            "write the label of the version that the file was made for, or move the old keys and write `{}`",
            target.label_in_file()
        ));
    } else if label > target.label() && label.bytes().next().is_some_and(|b| b.is_ascii_digit()) {
        let message =
            format!("the label `{}` is newer than Frigate {target}", super::super::words::shown(label));
        sink.warn("L6", config.at(node), message).fix(format!("write `version: {}`", target.label_in_file()));
    }
}
