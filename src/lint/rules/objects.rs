//! L21, L28, X11, X14: names that have to fit together - cameras, zones, labels.

use super::super::config::{Camera, Config};
use super::super::schema::Known;
use super::super::sink::{Sink, Surroundings};
use super::super::words::{meant, shown};
use super::super::yaml::NodeId;

/// What Frigate tracks when nobody says anything.
const TRACKED_BY_DEFAULT: [&str; 1] = ["person"];

/// Judges names.
pub(crate) fn judge(config: &Config<'_>, _around: &Surroundings<'_>, sink: &mut Sink) {
    let labels = labels(config).filter(|_| {
        !sink.is_misspelt(config.get(&["model"]), "labelmap_path")
            && !sink.is_misspelt(Some(config.root), "model")
    });
    for camera in config.cameras() {
        camera_name(config, sink, camera);
        zone_names(config, sink, camera);
        zone_objects(config, sink, camera);
        required_zones(config, sink, camera);
        autotracking(config, sink, camera);
        if let Some(labels) = &labels {
            tracked(config, sink, camera, labels);
        }
    }
}

fn camera_name(config: &Config<'_>, sink: &mut Sink, camera: &Camera<'_>) {
    let fits = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    };
    let tree = config.tree;
    let own = tree.get(camera.node, "name").and_then(|node| Some((node, tree.text(node)?)));
    let named = tree.text(camera.key).map(|name| (camera.key, name));
    for (node, name) in named.into_iter().chain(own) {
        if !fits(name) {
            let tame: String =
                name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
            let message =
                format!("a camera cannot be called `{}`: only a-z, A-Z, 0-9, `_` and `-`", shown(name));
            sink.error("X14", config.at(node), message).fix(format!("call it `{tame}`"));
        }
    }
}

fn zones<'a>(config: &Config<'a>, camera: &Camera<'_>) -> Vec<(NodeId, &'a str, NodeId)> {
    let Some(zones) = config.tree.get(camera.node, "zones") else { return Vec::new() };
    let tree = config.tree;
    tree.entries(zones)
        .iter()
        .filter_map(|entry| Some((entry.key, tree.scalar(entry.key)?.text.as_ref(), entry.value)))
        .collect()
}

fn zone_names(config: &Config<'_>, sink: &mut Sink, camera: &Camera<'_>) {
    for (key, name, _) in zones(config, camera) {
        if config.cameras().iter().any(|other| other.name == name) {
            let message =
                format!("zone `{}` of camera `{}` is called like a camera", shown(name), camera.name);
            sink.error("L21", config.at(key), message).fix("rename the zone, and where it is named");
        }
    }
}

fn zone_objects(config: &Config<'_>, sink: &mut Sink, camera: &Camera<'_>) {
    let own = config.tree.get(camera.node, "objects");
    if sink.is_misspelt(own, "track")
        || sink.is_misspelt(config.get(&["objects"]), "track")
        || sink.is_misspelt(Some(camera.node), "objects")
        || sink.is_misspelt(Some(config.root), "objects")
    {
        return;
    }
    let tracked: Vec<&str> = match config.effective(camera, &["objects", "track"]) {
        Some(node) if config.tree.is_sequence(node) => {
            config.texts(node).into_iter().map(|(_, text)| text).collect()
        }
        Some(_) => return,
        None => TRACKED_BY_DEFAULT.to_vec(),
    };
    for (_, zone, node) in zones(config, camera) {
        let Some(objects) = config.tree.get(node, "objects") else { continue };
        for (item, object) in config.texts(objects) {
            if item == objects && object.contains(',') {
                let message = format!(
                    "`objects` of zone `{}` is one text with commas, which Frigate reads letter by letter",
                    shown(zone)
                );
                sink.error("L21", config.at(item), message).fix("write a list");
            } else if !tracked.contains(&object) {
                let message = format!(
                    "zone `{}` wants `{}`, which camera `{}` does not track",
                    shown(zone),
                    shown(object),
                    camera.name
                );
                sink.error("L21", config.at(item), message)
                    .fix(format!("add `{}` to `objects.track`, or remove it here", shown(object)));
            }
        }
    }
}

/// Sections that name zones: the path, and whether Frigate itself checks the names.
const ZONE_LISTS: [(&[&str], bool); 7] = [
    (&["review", "alerts", "required_zones"], true),
    (&["review", "detections", "required_zones"], true),
    (&["snapshots", "required_zones"], false),
    (&["mqtt", "required_zones"], false),
    (&["onvif", "autotracking", "required_zones"], false),
    (&["objects", "genai", "required_zones"], false),
    (&["genai", "required_zones"], false),
];

fn required_zones(config: &Config<'_>, sink: &mut Sink, camera: &Camera<'_>) {
    if sink.is_misspelt(Some(camera.node), "zones") {
        return;
    }
    let defined: Vec<&str> = zones(config, camera).into_iter().map(|(_, name, _)| name).collect();
    for (path, checked) in ZONE_LISTS {
        // A camera's `mqtt` is its own section, not the global one.
        let node = if path[0] == "mqtt" || path[0] == "onvif" {
            config.tree.path(camera.node, path)
        } else {
            config.effective(camera, path)
        };
        let Some(node) = node else { continue };
        for (item, zone) in config.texts(node) {
            if item == node && zone.contains(',') && checked {
                let message = format!(
                    "`{}` is one text with commas, which Frigate reads letter by letter",
                    path.join(".")
                );
                sink.error("L21", config.at(item), message).fix("write a list");
                continue;
            }
            if defined.contains(&zone) {
                continue;
            }
            let message = format!(
                "camera `{}` has no zone `{}`, which `{}` requires",
                camera.name,
                shown(zone),
                path.join(".")
            );
            let finding = if checked {
                sink.error("L21", config.at(item), message)
            } else {
                sink.warn("L21", config.at(item), message)
            };
            match meant(zone, defined.iter().copied()) {
                Some(guess) => finding.fix(format!("did you mean `{guess}`?")),
                None => finding.fix("define the zone below the camera's `zones:`, or remove it here"),
            };
        }
    }
}

fn autotracking(config: &Config<'_>, sink: &mut Sink, camera: &Camera<'_>) {
    let tree = config.tree;
    let Some(section) = tree.path(camera.node, &["onvif", "autotracking"]) else { return };
    let Some(enabled) = tree.entry(section, "enabled") else { return };
    let zones = tree.get(section, "required_zones").map_or(0, |zones| config.texts(zones).len());
    if tree.truth(enabled.value) == Some(true)
        && zones == 0
        && !sink.is_misspelt(Some(section), "required_zones")
    {
        let message =
            format!("camera `{}` tracks by itself, and `required_zones` names no zone", camera.name);
        sink.error("X11", config.at(enabled.key), message)
            .fix("add `required_zones:` with a zone in which tracking may begin");
    }
}

/// The labels of the model, if it is one whose labels are known.
fn labels(config: &Config<'_>) -> Option<Vec<String>> {
    let tree = config.tree;
    let foreign = |path: Option<&str>| path.is_some_and(|path| path.starts_with("plus://"));
    let own_map = config.get(&["model", "labelmap_path"]).is_some_and(|node| !tree.is_null(node));
    let plus = foreign(config.text(&["model", "path"]))
        || config.entries(&["detectors"]).iter().any(|entry| {
            let path = |keys: &[&str]| tree.path(entry.value, keys).and_then(|node| tree.text(node));
            foreign(path(&["model_path"])) || foreign(path(&["model", "path"]))
        });
    if own_map || plus {
        return None;
    }
    let mut labels = Known::of(config.target).labels.clone();
    labels.extend(
        config
            .entries(&["model", "labelmap"])
            .iter()
            .filter_map(|entry| Some(tree.text(entry.value)?.to_owned())),
    );
    Some(labels)
}

fn tracked(config: &Config<'_>, sink: &mut Sink, camera: &Camera<'_>, labels: &[String]) {
    let Some(node) = config.effective(camera, &["objects", "track"]) else { return };
    for (item, label) in config.texts(node) {
        if item == node || labels.iter().any(|known| known == label) {
            continue;
        }
        let message =
            format!("the model does not know `{}`: Frigate drops it from what is tracked", shown(label));
        let finding = sink.warn("L28", config.at(item), message);
        match meant(label, labels.iter().map(String::as_str)) {
            Some(guess) => finding.fix(format!("did you mean `{guess}`?")),
            None => finding.fix("remove it, or use a model whose label map has it (`model.labelmap_path`)"),
        };
    }
}
