//! Objects out of manifest files: ConfigMaps with a configuration, workloads, and what those refer to.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Source;
use super::super::yaml::{self, Dialect, NodeId, Place, Style, Tree, guard};
use super::quantity;
use super::workload::Workload;

/// What was read from all manifests.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    pub(super) embedded: Vec<Embedded>,
    pub(super) workloads: Vec<Workload>,
    pub(super) generated: Vec<Generated>,
    /// Keys of Secrets and ConfigMaps by name; `None` when they cannot be known.
    pub(super) keys: BTreeMap<String, Option<BTreeSet<String>>>,
    /// Sizes of claims by name, in GiB.
    pub(super) claims_gib: BTreeMap<String, f64>,
    files: BTreeSet<String>,
}

/// A configuration inside a ConfigMap.
#[derive(Debug)]
pub(crate) struct Embedded {
    pub(super) file: String,
    pub(super) config_map: String,
    pub(super) text: String,
    pub(super) at: Place,
    /// How far its lines and columns are from the file's, if they correspond.
    pub(super) origin: Option<Origin>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    pub(super) lines: u32,
    pub(super) columns: u32,
}

/// A ConfigMap that kustomize makes of a file.
#[derive(Debug)]
pub(crate) struct Generated {
    pub(super) config_map: String,
    file: String,
}

impl Generated {
    pub(super) fn is_made_from(&self, file: &str) -> bool {
        let wanted = self.file.trim_start_matches("./");
        file == wanted || file.ends_with(&format!("/{wanted}"))
    }
}

impl Objects {
    pub(super) fn is_manifest(&self, file: &str) -> bool {
        self.files.contains(file)
    }

    /// Reads a file, if it is one of manifests. Nothing is said about errors in it: kubectl does that.
    pub(super) fn read(&mut self, file: &str, text: &str) {
        let kustomization = is_kustomization(file);
        let objects = text.contains("apiVersion") && text.contains("kind");
        if !kustomization && !objects {
            return;
        }
        let (documents, _) = yaml::load(text, Dialect::Yaml12);
        for tree in &documents {
            let Some(root) = tree.root else { continue };
            self.object(file, tree, root, kustomization);
        }
    }

    fn object(&mut self, file: &str, tree: &Tree<'_>, root: NodeId, kustomization: bool) {
        let kind = tree.get(root, "kind").and_then(|kind| tree.text(kind));
        let known = kind.is_some() && tree.get(root, "apiVersion").is_some();
        if !known && !kustomization {
            return;
        }
        self.files.insert(file.to_owned());
        let name = text_at(tree, root, &["metadata", "name"]).unwrap_or_default();
        match kind.unwrap_or("Kustomization") {
            "List" => {
                for item in tree.get(root, "items").map_or(&[][..], |items| tree.items(items)) {
                    self.object(file, tree, *item, false);
                }
            }
            "ConfigMap" => self.config_map(file, tree, root, &name),
            "Secret" => self.add_keys(&name, keys_at(tree, root, &[&["data"], &["stringData"]])),
            "SealedSecret" => self.add_keys(&name, keys_at(tree, root, &[&["spec", "encryptedData"]])),
            "ExternalSecret" => self.external(tree, root, name),
            "PersistentVolumeClaim" => {
                let size = tree.path(root, &["spec", "resources", "requests", "storage"]);
                let size = size.and_then(|size| tree.scalar(size)).and_then(|size| quantity::gib(&size.text));
                self.claims_gib.extend(size.map(|size| (name, size)));
            }
            "Kustomization" | "Component" => self.kustomization(tree, root),
            _ => self.workloads.extend(Workload::read(file, tree, root)),
        }
    }

    fn config_map(&mut self, file: &str, tree: &Tree<'_>, root: NodeId, name: &str) {
        self.add_keys(name, keys_at(tree, root, &[&["data"]]));
        let Some(data) = tree.get(root, "data") else { return };
        for entry in tree.entries(data) {
            let (Some(key), Some(scalar)) = (tree.text(entry.key), tree.scalar(entry.value)) else {
                continue;
            };
            let yaml = key.ends_with(".yml") || key.ends_with(".yaml");
            let frigate = ["cameras:", "mqtt:"]
                .iter()
                .any(|section| scalar.text.lines().any(|line| line.starts_with(section)));
            if yaml && (frigate || key.starts_with("frigate")) {
                let at = tree.at(entry.value);
                let origin = (scalar.style == Style::Literal).then(|| origin(&scalar.text, at));
                self.embedded.push(Embedded {
                    file: file.to_owned(),
                    config_map: name.to_owned(),
                    text: scalar.text.to_string(),
                    at,
                    origin,
                });
            }
        }
    }

    fn add_keys(&mut self, name: &str, keys: BTreeSet<String>) {
        self.keys.insert(name.to_owned(), Some(keys));
    }

    fn external(&mut self, tree: &Tree<'_>, root: NodeId, name: String) {
        let name = text_at(tree, root, &["spec", "target", "name"]).unwrap_or(name);
        // What `dataFrom` brings is known to the store alone.
        let keys = tree.path(root, &["spec", "dataFrom"]).is_none().then(|| {
            let data = tree.path(root, &["spec", "data"]).map_or(&[][..], |data| tree.items(data));
            data.iter().filter_map(|item| text_at(tree, *item, &["secretKey"])).collect()
        });
        self.keys.insert(name, keys);
    }

    fn kustomization(&mut self, tree: &Tree<'_>, root: NodeId) {
        for (key, is_map) in [("configMapGenerator", true), ("secretGenerator", false)] {
            let generators = tree.get(root, key).map_or(&[][..], |items| tree.items(items));
            for generator in generators {
                let Some(name) = text_at(tree, *generator, &["name"]) else { continue };
                let list = |key: &str| -> Vec<&str> {
                    let items = tree.get(*generator, key).map_or(&[][..], |items| tree.items(items));
                    items.iter().filter_map(|item| tree.text(*item)).collect()
                };
                let literals = list("literals").into_iter().filter_map(|literal| literal.split_once('='));
                let mut keys: BTreeSet<String> = literals.map(|(key, _)| key.to_owned()).collect();
                for file in list("files") {
                    let (key, path) = match file.split_once('=') {
                        Some((key, path)) => (key, path),
                        None => (file.rsplit('/').next().unwrap_or(file), file),
                    };
                    keys.insert(key.to_owned());
                    if is_map {
                        self.generated.push(Generated { config_map: name.clone(), file: path.to_owned() });
                    }
                }
                let complete = list("envs").is_empty() && tree.get(*generator, "env").is_none();
                self.keys.insert(name, complete.then_some(keys));
            }
        }
    }

    /// Fills in what workloads refer to, once everything is read.
    pub(super) fn resolve(&mut self) {
        for workload in &mut self.workloads {
            workload.resolve(&self.keys, &self.claims_gib);
        }
    }
}

/// How far a literal block's own lines and columns are from those of the file around it.
fn origin(text: &str, at: Place) -> Origin {
    let blank = text.lines().take_while(|line| line.trim().is_empty()).count() as u32;
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let indent = first.chars().take_while(|c| *c == ' ').count() as u32;
    Origin { lines: (at.line - 1).saturating_sub(blank), columns: (at.column - 1).saturating_sub(indent) }
}

pub(super) fn text_at(tree: &Tree<'_>, node: NodeId, path: &[&str]) -> Option<String> {
    tree.path(node, path).and_then(|node| tree.text(node)).map(str::to_owned)
}

fn keys_at(tree: &Tree<'_>, root: NodeId, paths: &[&[&str]]) -> BTreeSet<String> {
    let sections = paths.iter().filter_map(|path| tree.path(root, path));
    sections
        .flat_map(|section| tree.entries(section))
        .filter_map(|entry| tree.text(entry.key).map(str::to_owned))
        .collect()
}

fn is_kustomization(file: &str) -> bool {
    matches!(file.rsplit('/').next(), Some("kustomization.yaml" | "kustomization.yml" | "Kustomization"))
}

/// The files and folders that a kustomization names, relative to it: its resources, and what its ConfigMaps are made of.
/// Nothing for any other source.
pub fn references(source: &Source<'_>) -> Vec<String> {
    let Ok(text) = guard::text(source.text) else { return Vec::new() };
    let named = is_kustomization(source.name);
    if !named && !text.contains("kustomize.config.k8s.io") {
        return Vec::new();
    }
    let (documents, _) = yaml::load(text, Dialect::Yaml12);
    let mut found = Vec::new();
    for tree in &documents {
        let Some(root) = tree.root else { continue };
        let items = |node: Option<NodeId>| node.map_or(&[][..], |node| tree.items(node));
        for key in ["resources", "bases", "components"] {
            let names = items(tree.get(root, key)).iter().filter_map(|item| tree.text(*item));
            found.extend(names.filter(|name| !name.contains("://")).map(str::to_owned));
        }
        for generator in items(tree.get(root, "configMapGenerator")) {
            let files = items(tree.get(*generator, "files")).iter().filter_map(|item| tree.text(*item));
            found.extend(files.map(|file| file.split_once('=').map_or(file, |(_, path)| path).to_owned()));
        }
    }
    found
}
