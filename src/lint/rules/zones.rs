//! X4: coordinates of zones and masks, read the way Frigate reads them.
//!
//! Frigate takes a polygon for pixels as soon as one of its numbers, *compared as text*, is greater than `1.0`; then every
//! number must be whole. So `1.2` and `1.00` make a relative polygon invalid. Source: `config/camera/zone.py`,
//! `util/config.py` and `util/image.py` of 0.16.2.

use super::super::config::{Camera, Config};
use super::super::sink::{Sink, Surroundings};
use super::super::words::shown;
use super::super::yaml::NodeId;

/// Judges every polygon of every camera.
pub(crate) fn judge(config: &Config<'_>, _around: &Surroundings<'_>, sink: &mut Sink) {
    for camera in config.cameras() {
        let tree = config.tree;
        if let Some(zones) = tree.get(camera.node, "zones") {
            for entry in tree.entries(zones) {
                if let Some(node) = tree.get(entry.value, "coordinates") {
                    zone(config, sink, camera, node);
                }
            }
        }
        for path in [&["motion", "mask"][..], &["objects", "mask"]] {
            if let Some(node) = config.effective(camera, path) {
                mask(config, sink, camera, node);
            }
        }
        if let Some(filters) = config.effective(camera, &["objects", "filters"]) {
            for entry in tree.entries(filters) {
                if let Some(node) = tree.get(entry.value, "mask") {
                    mask(config, sink, camera, node);
                }
            }
        }
    }
}

/// What is wrong with a polygon.
#[derive(Debug, PartialEq)]
enum Flaw {
    /// Frigate stops.
    Odd(usize),
    NotANumber(String),
    /// Pixels and shares in one polygon.
    Mixed(String),
    /// Frigate goes on, with a polygon that is not the one that was meant.
    Outside(String),
    TooFew(usize),
}

impl Flaw {
    fn is_fatal(&self) -> bool {
        matches!(self, Flaw::Odd(_) | Flaw::NotANumber(_) | Flaw::Mixed(_))
    }

    fn words(&self) -> String {
        match self {
            Flaw::Odd(count) => format!("{count} numbers are not pairs of x and y"),
            Flaw::NotANumber(text) => format!("`{}` is not a number", shown(text)),
            Flaw::Mixed(text) => format!(
                "`{}` is not a whole number, and another number above 1.0 makes this polygon one of pixels",
                shown(text)
            ),
            Flaw::Outside(text) => format!("`{}` lies outside of the frame", shown(text)),
            Flaw::TooFew(count) => format!("{count} points are not an area"),
        }
    }
}

fn report(config: &Config<'_>, sink: &mut Sink, camera: &Camera<'_>, node: NodeId, what: &str, flaw: &Flaw) {
    let message = format!("{what} of camera `{}`: {}", camera.name, flaw.words());
    let finding = if flaw.is_fatal() {
        sink.error("X4", config.at(node), message)
    } else {
        sink.warn("X4", config.at(node), message)
    };
    finding.fix("write x,y pairs as shares of the frame between 0 and 1");
}

fn zone(config: &Config<'_>, sink: &mut Sink, camera: &Camera<'_>, node: NodeId) {
    let tree = config.tree;
    let frame = config.frame_is_known(camera).then(|| config.frame(camera));
    let flaw = match tree.text(node) {
        Some(text) => polygon(&text.split(',').collect::<Vec<_>>(), frame),
        None if tree.is_sequence(node) => {
            let texts = config.texts(node);
            let mut numbers = Vec::new();
            let mut flaw = None;
            for (_, point) in &texts {
                let mut parts = point.split(',');
                match (parts.next(), parts.next(), parts.next()) {
                    (Some(x), Some(y), None) => numbers.extend([x, y]),
                    (Some(x), Some(y), Some(_)) => {
                        // Frigate reads the first two numbers of an item and forgets the rest.
                        numbers.extend([x, y]);
                        flaw = Some(Flaw::TooFew(texts.len()));
                    }
                    _ => flaw = Some(Flaw::Odd(1)),
                }
            }
            match flaw {
                Some(flaw @ Flaw::Odd(_)) => Some(flaw),
                _ => polygon(&numbers, frame),
            }
        }
        None => return,
    };
    if let Some(flaw) = flaw {
        report(config, sink, camera, node, "zone", &flaw);
    }
}

fn mask(config: &Config<'_>, sink: &mut Sink, camera: &Camera<'_>, node: NodeId) {
    let frame = config.frame_is_known(camera).then(|| config.frame(camera));
    for (item, text) in config.texts(node) {
        if item == node && text.is_empty() {
            continue;
        }
        if let Some(flaw) = polygon(&text.split(',').collect::<Vec<_>>(), frame) {
            report(config, sink, camera, item, "mask", &flaw);
        }
    }
}

fn polygon(numbers: &[&str], frame: Option<(f64, f64)>) -> Option<Flaw> {
    let pixels = numbers.iter().any(|number| *number > "1.0");
    if pixels {
        if let Some(bad) = numbers.iter().find(|number| whole(number).is_none()) {
            let bad = (*bad).to_owned();
            return Some(if share(&bad).is_some() { Flaw::Mixed(bad) } else { Flaw::NotANumber(bad) });
        }
    } else if let Some(bad) = numbers.iter().find(|number| share(number).is_none()) {
        return Some(Flaw::NotANumber((*bad).to_owned()));
    }
    if !numbers.len().is_multiple_of(2) {
        return Some(Flaw::Odd(numbers.len()));
    }
    let outside = numbers.chunks(2).find(|pair| {
        let value = |text: &str| if pixels { whole(text) } else { share(text) }.unwrap_or_default();
        let (x, y) = (value(pair[0]), value(pair[1]));
        let (width, height) =
            if pixels { frame.unwrap_or((f64::INFINITY, f64::INFINITY)) } else { (1.0, 1.0) };
        x < 0.0 || y < 0.0 || x > width || y > height
    });
    if let Some(pair) = outside {
        return Some(Flaw::Outside(format!("{},{}", pair[0].trim(), pair[1].trim())));
    }
    (numbers.len() < 6).then_some(Flaw::TooFew(numbers.len() / 2))
}

/// A share as Python's `float` reads it, finite.
fn share(text: &str) -> Option<f64> {
    text.trim().replace('_', "").parse::<f64>().ok().filter(|value| value.is_finite())
}

/// A whole number as Python's `int` reads it.
fn whole(text: &str) -> Option<f64> {
    text.trim().replace('_', "").parse::<i64>().ok().map(|value| value as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flaw(text: &str) -> Option<Flaw> {
        polygon(&text.split(',').collect::<Vec<_>>(), Some((1280.0, 720.0)))
    }

    #[test]
    fn polygons_are_read_as_frigate_reads_them() {
        for fine in [
            "0,0,1,0,1,1",
            "0.1,0.1,0.9,0.1,0.9,0.9",
            "100,100,200,100,200,700",
            " 0.1, 0.2, 0.3, 0.4, 0.5, 0.6",
        ] {
            assert_eq!(flaw(fine), None, "{fine}");
        }
        assert_eq!(flaw("0,0,1,0,1"), Some(Flaw::Odd(5)));
        assert_eq!(flaw("0,0,1,0,a,1"), Some(Flaw::NotANumber("a".to_owned())));
        assert_eq!(flaw("0.1,0.1,1.2,0.1,0.9,0.9"), Some(Flaw::Mixed("0.1".to_owned())));
        assert_eq!(flaw("0,0,1.00,0,1,1"), Some(Flaw::Mixed("1.00".to_owned())));
        assert_eq!(flaw("-0.1,0,1,0,1,1"), Some(Flaw::Outside("-0.1,0".to_owned())));
        assert_eq!(flaw("0,0,2000,0,1,1"), Some(Flaw::Outside("2000,0".to_owned())));
        assert_eq!(flaw("0,0,1,0"), Some(Flaw::TooFew(2)));
        assert_eq!(flaw("0,0,1,0,"), Some(Flaw::NotANumber(String::new())));
    }
}
