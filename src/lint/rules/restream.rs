//! L15, L16, L17: what go2rtc offers, and who asks for it.

use super::super::config::{Camera, Config};
use super::super::sink::{Sink, Surroundings};
use super::super::target::Minor;
use super::super::words::{meant, shown};
use super::super::yaml::{NodeId, Place, Style};

/// Judges streams and the names that refer to them.
pub(crate) fn judge(config: &Config<'_>, around: &Surroundings<'_>, sink: &mut Sink) {
    let gpu = around.context.gpu.as_deref();
    if gpu != Some("none") {
        for entry in config.entries(&["go2rtc", "streams"]) {
            for (node, source) in config.texts(entry.value) {
                transcode(config, sink, gpu, node, source);
            }
        }
    }
    let streams_misspelt =
        sink.is_misspelt(config.get(&["go2rtc"]), "streams") || sink.is_misspelt(Some(config.root), "go2rtc");
    for camera in config.cameras() {
        if streams_misspelt {
            break;
        }
        for input in config.inputs(camera) {
            if let Some(node) = config.tree.get(*input, "path") {
                input_path(config, sink, camera, node);
            }
        }
        live(config, sink, camera);
    }
}

fn transcode(config: &Config<'_>, sink: &mut Sink, gpu: Option<&str>, node: NodeId, source: &str) {
    let by_go2rtc = source.starts_with("ffmpeg:")
        && source.split('#').skip(1).any(|part| {
            part.strip_prefix("video=").is_some_and(|codec| !codec.is_empty() && codec != "copy")
        })
        && !source.split('#').skip(1).any(|part| part == "hardware" || part.starts_with("hardware="));
    let by_hand =
        source.starts_with("exec:") && ["libx264", "libx265"].iter().any(|codec| source.contains(codec));
    if by_hand {
        sink.warn("L15", config.at(node), "go2rtc encodes this stream on the processor")
            .fix("use an encoder of the GPU, or a source `ffmpeg:...#video=h264#hardware`");
    }
    if !by_go2rtc {
        return;
    }
    let finding = sink.warn(
        "L15",
        config.at(node),
        "go2rtc encodes this stream on the processor: `#hardware` is missing",
    );
    finding.fix("append `#hardware`");
    let place = config.tree.node(node);
    let style = config.tree.scalar(node).map(|scalar| scalar.style);
    if gpu.is_some() && place.at.line == place.end.line {
        let back = match style {
            Some(Style::Plain) => 0,
            Some(Style::Quoted) => 1,
            _ => return,
        };
        finding.insert(Place { line: place.end.line, column: place.end.column - back }, "#hardware");
    }
}

/// The restream that a URL asks this very go2rtc for.
fn restream_of(url: &str) -> Option<&str> {
    let host_and_path = |scheme: &str| {
        let rest = url.strip_prefix(scheme)?;
        let (host, path) = rest.split_once('/')?;
        let host = host.rsplit('@').next().unwrap_or(host);
        Some((host, path))
    };
    let local = |host: &str, port: &str| {
        host.rsplit_once(':').is_some_and(|(name, number)| {
            number == port && matches!(name, "127.0.0.1" | "localhost" | "[::1]" | "0.0.0.0")
        })
    };
    if let Some((host, path)) = host_and_path("rtsp://") {
        let name = path.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
        return (local(host, "8554") && !name.is_empty()).then_some(name);
    }
    let (host, path) = host_and_path("http://")?;
    let source = path.split(['?', '&']).find_map(|part| part.strip_prefix("src="))?;
    local(host, "1984").then_some(source)
}

fn input_path(config: &Config<'_>, sink: &mut Sink, camera: &Camera<'_>, node: NodeId) {
    let Some(name) = config.tree.text(node).and_then(restream_of) else { return };
    if name.contains('{') || config.restreams().contains(&name) {
        return;
    }
    if name == "birdseye" && config.global_truth(&["birdseye", "restream"]) == Some(true) {
        return;
    }
    let message =
        format!("camera `{}` asks go2rtc for `{}`, and it has no such stream", camera.name, shown(name));
    let finding = sink.error("L16", config.at(node), message);
    match meant(name, config.restreams().iter().copied()) {
        Some(guess) => finding.fix(format!("did you mean `{guess}`?")),
        None => finding.fix(format!("add `{}` to `go2rtc.streams`", shown(name))),
    };
}

fn live(config: &Config<'_>, sink: &mut Sink, camera: &Camera<'_>) {
    let tree = config.tree;
    let names: Vec<NodeId> = if config.target.at_least(Minor::V16) {
        config
            .effective(camera, &["live", "streams"])
            .map_or(Vec::new(), |node| tree.entries(node).iter().map(|entry| entry.value).collect())
    } else {
        config.effective(camera, &["live", "stream_name"]).into_iter().collect()
    };
    for node in names {
        let Some(name) = tree.text(node).filter(|name| !name.is_empty()) else { continue };
        if config.restreams().contains(&name) {
            continue;
        }
        let message = format!(
            "the live view of camera `{}` shows `{}`, which go2rtc does not have",
            camera.name,
            shown(name)
        );
        let finding = sink.warn("L17", config.at(node), message);
        match meant(name, config.restreams().iter().copied()) {
            Some(guess) => finding.fix(format!("did you mean `{guess}`?")),
            None => finding.fix(format!("add `{}` to `go2rtc.streams`", shown(name))),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::restream_of;

    #[test]
    fn only_this_very_go2rtc_is_asked() {
        for (url, name) in [
            ("rtsp://127.0.0.1:8554/front", Some("front")),
            ("rtsp://127.0.0.1:8554/front?video=copy&audio=aac", Some("front")),
            ("rtsp://localhost:8554/front/", Some("front")),
            ("rtsp://u:p@127.0.0.1:8554/front", Some("front")),
            ("http://127.0.0.1:1984/api/stream.mp4?src=front&x=1", Some("front")),
            ("rtsp://192.0.2.235:8554/porch_hd", None),
            ("rtsp://127.0.0.1:554/front", None),
            ("rtsp://127.0.0.1:8554/", None),
        ] {
            assert_eq!(restream_of(url), name, "{url}");
        }
    }
}
