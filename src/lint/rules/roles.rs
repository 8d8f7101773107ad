//! X3, L18, X10: which input of a camera does what.

use super::super::config::{Camera, Config};
use super::super::schema::Known;
use super::super::sink::{Sink, Surroundings};
use super::super::words::{meant, one_of, shown};
use super::super::yaml::{Kind, NodeId};

/// Judges each camera's roles.
///
/// With a single input Frigate sets the roles to record and detect itself, whatever was written; only `audio` survives.
pub(crate) fn judge(config: &Config<'_>, _around: &Surroundings<'_>, sink: &mut Sink) {
    for camera in config.cameras() {
        let inputs = config.inputs(camera);
        if inputs.is_empty() {
            empty(config, sink, camera);
            continue;
        }
        let (roles, flaw) = spelling(config, sink, camera, inputs);
        needed(config, sink, camera, inputs, &roles, flaw);
    }
}

/// What was said about a camera's roles already, so that what follows from it is not said as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Flaw {
    None,
    /// Frigate sets the roles itself, save `audio`.
    Mended,
    Refused,
}

/// A camera with an empty list of inputs: no role can be there.
fn empty(config: &Config<'_>, sink: &mut Sink, camera: &Camera<'_>) {
    let Some(node) = config.tree.path(camera.node, &["ffmpeg", "inputs"]) else { return };
    if config.tree.is_sequence(node) {
        let message = format!("camera `{}` has no input, so nobody has the `detect` role", camera.name);
        sink.error("X3", config.at(node), message);
    }
}

/// The roles that are spelt right, and what was said about the others.
fn spelling<'a>(
    config: &Config<'a>,
    sink: &mut Sink,
    camera: &Camera<'_>,
    inputs: &[NodeId],
) -> (Vec<&'a str>, Flaw) {
    let tree = config.tree;
    let known = &Known::of(config.target).roles;
    let single = inputs.len() == 1;
    let mut roles: Vec<&str> = Vec::new();
    let misspelt_key = inputs.iter().any(|input| sink.is_misspelt(Some(*input), "roles"));
    let mut flaw = if misspelt_key { Flaw::Refused } else { Flaw::None };
    for input in inputs {
        let Some(entry) = tree.entry(*input, "roles") else {
            if tree.is_mapping(*input) && !sink.is_misspelt(Some(*input), "roles") {
                let message = format!("this input of camera `{}` has no `roles`", camera.name);
                report(sink, single, config.at(*input), message)
                    .fix("add `roles:` with what the input is for");
            }
            continue;
        };
        if !tree.is_sequence(entry.value) || tree.items(entry.value).is_empty() && single {
            let message = format!("`roles` of camera `{}` must be a list of roles", camera.name);
            // Frigate looks for `audio` in whatever stands there before it replaces it.
            let searchable = tree.scalar(entry.value).is_none_or(|scalar| scalar.kind == Kind::Text);
            let finding = if single {
                report(sink, searchable, config.at(entry.value), message)
            } else {
                sink.error("X2", config.at(entry.value), message)
            };
            finding.fix(format!("write a list of {}", one_of(known.iter().copied())));
            flaw = flaw.max(if single && searchable { Flaw::Mended } else { Flaw::Refused });
            continue;
        }
        for item in tree.items(entry.value) {
            let Some(role) = tree.text(*item).filter(|role| known.contains(role)) else {
                misspelt(config, sink, camera, *item, single);
                flaw = flaw.max(if single { Flaw::Mended } else { Flaw::Refused });
                continue;
            };
            if roles.contains(&role) {
                let message = format!("role `{role}` of camera `{}` is given twice", camera.name);
                report(sink, single, config.at(*item), message).fix("give each role to one input");
                flaw = flaw.max(if single { Flaw::Mended } else { Flaw::Refused });
            }
            roles.push(role);
        }
    }
    (roles, flaw)
}

fn report(
    sink: &mut Sink,
    single: bool,
    at: super::super::yaml::Place,
    message: String,
) -> &mut super::super::Finding {
    if single {
        sink.warn(
            "X3",
            at,
            format!("{message}; Frigate makes it record and detect, since it is the only input"),
        )
    } else {
        sink.error("X3", at, message)
    }
}

fn misspelt(config: &Config<'_>, sink: &mut Sink, camera: &Camera<'_>, item: NodeId, single: bool) {
    let tree = config.tree;
    let known = &Known::of(config.target).roles;
    let word = tree.scalar(item).map(|scalar| scalar.text.as_ref()).unwrap_or_default();
    let guess = meant(word, known.iter().copied());
    let message = match guess {
        Some(guess) => {
            format!("camera `{}` has no role `{}`: did you mean `{guess}`?", camera.name, shown(word))
        }
        None => format!("camera `{}`: there is no role `{}`", camera.name, shown(word)),
    };
    let finding = report(sink, single, config.at(item), message);
    match guess {
        Some(guess) => finding.fix(format!("write `{guess}`")).replace(tree, item, guess),
        None => finding.fix(format!("write {}", one_of(known.iter().copied()))),
    };
}

/// What is on needs an input for it.
fn needed(
    config: &Config<'_>,
    sink: &mut Sink,
    camera: &Camera<'_>,
    inputs: &[NodeId],
    roles: &[&str],
    flaw: Flaw,
) {
    let tree = config.tree;
    let single = inputs.len() == 1;
    let place = tree.path(camera.node, &["ffmpeg", "inputs"]).map_or(config.at(camera.key), |node| {
        tree.items(node).first().map_or(config.at(node), |first| config.at(*first))
    });
    if !roles.contains(&"detect") && !single && flaw == Flaw::None {
        let message = format!("no input of camera `{}` has the `detect` role", camera.name);
        sink.error("X3", place, message).fix("give `detect` to the input with the small picture");
    }
    if config.truth(camera, &["record", "enabled"]) == Some(true)
        && !roles.contains(&"record")
        && flaw == Flaw::None
    {
        let message = format!("camera `{}` shall record, and no input has the `record` role", camera.name);
        if single {
            sink.info("L18", place, format!("{message}; Frigate gives it to the only input"))
                .fix("add `record` to the roles");
        } else {
            sink.error("L18", place, message).fix("give `record` to the input with the full picture");
        }
    }
    if config.truth(camera, &["audio", "enabled"]) == Some(true)
        && !roles.contains(&"audio")
        && flaw != Flaw::Refused
    {
        let message = format!("camera `{}` shall listen, and no input has the `audio` role", camera.name);
        sink.error("X10", place, message).fix("add `audio` to the roles of an input with sound");
    }
}
