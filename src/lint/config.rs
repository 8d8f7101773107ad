//! A configuration as Frigate sees it once the global sections have been merged into the cameras.

use super::target::Target;
use super::yaml::{Entry, NodeId, Place, Tree};

/// What a camera gets from the global sections when it does not say it itself. Source: `global_config` in
/// `config/config.py`.
const INHERITED: [&str; 16] = [
    "audio",
    "audio_transcription",
    "birdseye",
    "detect",
    "face_recognition",
    "ffmpeg",
    "genai",
    "live",
    "lpr",
    "motion",
    "notifications",
    "objects",
    "record",
    "review",
    "snapshots",
    "timestamp_style",
];

/// The tree with the questions that rules ask of it.
pub(crate) struct Config<'a> {
    pub(crate) tree: &'a Tree<'a>,
    pub(crate) root: NodeId,
    pub(crate) target: Target,
    cameras: Vec<Camera<'a>>,
    restreams: Option<Vec<&'a str>>,
}

/// One camera.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Camera<'a> {
    pub(crate) name: &'a str,
    pub(crate) key: NodeId,
    pub(crate) node: NodeId,
}

impl<'a> Config<'a> {
    pub(crate) fn new(tree: &'a Tree<'a>, root: NodeId, target: Target) -> Self {
        let cameras = tree.get(root, "cameras").map_or(Vec::new(), |node| {
            tree.entries(node)
                .iter()
                .filter_map(|entry| {
                    let name = tree.scalar(entry.key)?.text.as_ref();
                    Some(Camera { name, key: entry.key, node: entry.value })
                })
                .collect()
        });
        let mut config = Config { tree, root, target, cameras, restreams: None };
        config.restreams = Some(config.read_restreams());
        config
    }

    pub(crate) fn cameras(&self) -> &[Camera<'a>] {
        &self.cameras
    }

    /// The cameras that Frigate would start.
    pub(crate) fn active(&self) -> impl Iterator<Item = &Camera<'a>> {
        self.cameras.iter().filter(|camera| self.is_on(camera.node, &["enabled"]) != Some(false))
    }

    pub(crate) fn at(&self, id: NodeId) -> Place {
        self.tree.at(id)
    }

    pub(crate) fn get(&self, path: &[&str]) -> Option<NodeId> {
        self.tree.path(self.root, path)
    }

    pub(crate) fn text(&self, path: &[&str]) -> Option<&'a str> {
        self.get(path).and_then(|id| self.tree.text(id))
    }

    fn is_on(&self, node: NodeId, path: &[&str]) -> Option<bool> {
        self.tree.path(node, path).and_then(|id| self.tree.truth(id))
    }

    /// The global truth value at that path.
    pub(crate) fn global_truth(&self, path: &[&str]) -> Option<bool> {
        self.is_on(self.root, path)
    }

    /// What holds for a camera at that path: its own value, or the global one. Mappings are merged key by key, lists are
    /// not.
    pub(crate) fn effective(&self, camera: &Camera<'_>, path: &[&str]) -> Option<NodeId> {
        let mut node = camera.node;
        for (depth, key) in path.iter().enumerate() {
            if !self.tree.is_mapping(node) {
                return None;
            }
            match self.tree.get(node, key) {
                Some(next) => node = next,
                None if depth == 0 && !INHERITED.contains(key) => return None,
                None => return self.get(path),
            }
        }
        Some(node)
    }

    /// The truth value that holds for a camera at that path.
    pub(crate) fn truth(&self, camera: &Camera<'_>, path: &[&str]) -> Option<bool> {
        self.effective(camera, path).and_then(|id| self.tree.truth(id))
    }

    /// The number that holds for a camera at that path.
    pub(crate) fn number(&self, camera: &Camera<'_>, path: &[&str]) -> Option<f64> {
        self.effective(camera, path).and_then(|id| self.tree.number(id))
    }

    /// A camera's inputs.
    pub(crate) fn inputs(&self, camera: &Camera<'_>) -> &'a [NodeId] {
        self.tree.path(camera.node, &["ffmpeg", "inputs"]).map_or(&[], |id| self.tree.items(id))
    }

    /// The entries of the mapping at a path.
    pub(crate) fn entries(&self, path: &[&str]) -> &'a [Entry] {
        self.get(path).map_or(&[], |id| self.tree.entries(id))
    }

    /// The frame that detection works on; Frigate takes 1280x720 when it cannot ask the camera.
    pub(crate) fn frame(&self, camera: &Camera<'_>) -> (f64, f64) {
        let width = self.number(camera, &["detect", "width"]);
        let height = self.number(camera, &["detect", "height"]);
        match (width, height) {
            (Some(width), Some(height)) => (width, height),
            _ => (1280.0, 720.0),
        }
    }

    /// Whether both detect sizes are given.
    pub(crate) fn frame_is_known(&self, camera: &Camera<'_>) -> bool {
        ["width", "height"].iter().all(|key| self.number(camera, &["detect", key]).is_some())
    }

    /// The names that can be watched at `rtsp://127.0.0.1:8554/`.
    pub(crate) fn restreams(&self) -> &[&'a str] {
        self.restreams.as_deref().unwrap_or_default()
    }

    fn read_restreams(&self) -> Vec<&'a str> {
        self.entries(&["go2rtc", "streams"])
            .iter()
            .filter_map(|entry| self.tree.scalar(entry.key).map(|scalar| scalar.text.as_ref()))
            .collect()
    }

    /// The texts at a node: one, or a list of them.
    pub(crate) fn texts(&self, id: NodeId) -> Vec<(NodeId, &'a str)> {
        match self.tree.text(id) {
            Some(text) => vec![(id, text)],
            None => {
                self.tree.items(id).iter().filter_map(|item| Some((*item, self.tree.text(*item)?))).collect()
            }
        }
    }

    /// The version label as Frigate's migrator reads it.
    pub(crate) fn label(&self) -> String {
        match self.tree.get(self.root, "version") {
            None => "0.13".to_owned(),
            Some(id) if self.tree.is_null(id) => "None".to_owned(),
            Some(id) => self.tree.scalar(id).map_or(String::new(), |scalar| match scalar.number() {
                Some(value) if scalar.kind != super::yaml::Kind::Text => format!("{value}"),
                _ => scalar.text.to_string(),
            }),
        }
    }
}
