//! What a pod gives its Frigate container: image, GPU, variables, volumes.

use std::collections::{BTreeMap, BTreeSet};

use super::super::Context;
use super::super::yaml::{NodeId, Place, Tree};
use super::quantity;
use super::read::text_at;

/// What Kubernetes gives a container as /dev/shm when nobody mounts one.
const SHM_DEFAULT_MIB: f64 = 64.0;

/// Where Frigate keeps its files.
const CONFIG: &str = "/config";
const MEDIA: &str = "/media/frigate";
const SHM: &str = "/dev/shm";
const SECRETS: &str = "/run/secrets";

/// A Deployment, StatefulSet, DaemonSet or Pod that runs Frigate.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(super) file: String,
    kind: String,
    name: String,
    pub(super) context: Context,
    /// ConfigMaps that the pod mounts.
    pub(super) config_maps: Vec<String>,
    /// Where a ConfigMap is mounted over the configuration file.
    pub(super) sub_path_mounts: Vec<Place>,
    /// What holds the recordings, in words that are equal for equal volumes, and where it is mounted.
    pub(super) media: Option<(String, Place)>,
    pub(super) replicas: Option<(i64, Place)>,
    media_claim: Option<String>,
    env_names: BTreeSet<String>,
    /// Objects all of whose keys become variables, each with a prefix.
    env_from: Vec<(String, String)>,
}

#[derive(Debug)]
enum Volume {
    /// A ConfigMap, or a projection of some.
    Files(Vec<String>),
    Secret(String),
    Claim(String),
    Memory(Option<f64>),
    Other(Option<String>),
}

struct Mount {
    path: String,
    sub_path: Option<String>,
    volume: String,
    read_only: bool,
    at: Place,
}

impl Workload {
    /// Reads an object, if it runs Frigate.
    pub(super) fn read(file: &str, tree: &Tree<'_>, root: NodeId) -> Option<Workload> {
        let kind = text_at(tree, root, &["kind"])?;
        let spec = match kind.as_str() {
            "Pod" => tree.get(root, "spec")?,
            _ => tree.path(root, &["spec", "template", "spec"])?,
        };
        let containers = tree.get(spec, "containers")?;
        let container = tree.items(containers).iter().copied().find(|container| {
            text_at(tree, *container, &["image"]).is_some_and(|image| image_name(&image).contains("frigate"))
        })?;
        let namespace = text_at(tree, root, &["metadata", "namespace"]).unwrap_or_default();
        let volumes = volumes(tree, root, spec);
        let mounts = mounts(tree, container);
        let mut workload = Workload {
            file: file.to_owned(),
            kind,
            name: text_at(tree, root, &["metadata", "name"]).unwrap_or_default(),
            context: Context::default(),
            config_maps: Vec::new(),
            sub_path_mounts: Vec::new(),
            media: None,
            replicas: tree
                .path(root, &["spec", "replicas"])
                .and_then(|node| Some((tree.number(node)? as i64, tree.at(node)))),
            media_claim: None,
            env_names: BTreeSet::new(),
            env_from: Vec::new(),
        };
        workload.config_maps = volumes
            .values()
            .filter_map(|volume| match volume {
                Volume::Files(names) => Some(names.clone()),
                _ => None,
            })
            .flatten()
            .collect();
        workload.node(tree, spec, container);
        workload.environment(tree, container, &volumes, &mounts);
        workload.configuration(tree, container, &volumes, &mounts);
        workload.memory(&volumes, &mounts);
        workload.recordings(&namespace, &volumes, &mounts);
        Some(workload)
    }

    pub(super) fn title(&self) -> String {
        format!("{} `{}`", self.kind, self.name)
    }

    /// Image, version, processor and GPU.
    fn node(&mut self, tree: &Tree<'_>, spec: NodeId, container: NodeId) {
        let image = text_at(tree, container, &["image"]).unwrap_or_default();
        let tag = image.rsplit('/').next().unwrap_or(&image).split_once(':').map(|(_, tag)| tag.to_owned());
        self.context.target = tag.and_then(|tag| tag.split('@').next().map(str::to_owned));
        self.context.image = Some(image);
        self.context.arch = text_at(tree, spec, &["nodeSelector", "kubernetes.io/arch"]);
        let runtime = text_at(tree, spec, &["runtimeClassName"]).unwrap_or_default();
        let resources =
            ["limits", "requests"].into_iter().filter_map(|part| tree.path(container, &["resources", part]));
        let mut names =
            resources.flat_map(|part| tree.entries(part)).filter_map(|entry| tree.text(entry.key));
        let gpu = names.find_map(|name| {
            [("nvidia.com/", "nvidia"), ("gpu.intel.com/", "intel"), ("amd.com/gpu", "amd")]
                .into_iter()
                .find(|(prefix, _)| name.starts_with(prefix))
                .map(|(_, gpu)| gpu)
        });
        self.context.gpu = gpu.or(runtime.contains("nvidia").then_some("nvidia")).map(str::to_owned);
    }

    fn environment(
        &mut self,
        tree: &Tree<'_>,
        container: NodeId,
        volumes: &BTreeMap<String, Volume>,
        mounts: &[Mount],
    ) {
        let items = |key: &str| tree.get(container, key).map_or(&[][..], |node| tree.items(node));
        self.env_names.extend(items("env").iter().filter_map(|item| text_at(tree, *item, &["name"])));
        for item in items("envFrom") {
            let prefix = text_at(tree, *item, &["prefix"]).unwrap_or_default();
            for source in ["secretRef", "configMapRef"] {
                if let Some(name) = text_at(tree, *item, &[source, "name"]) {
                    self.env_from.push((name, prefix.clone()));
                }
            }
        }
        // Frigate reads files of /run/secrets as if they were variables.
        for mount in mounts.iter().filter(|mount| mount.path == SECRETS) {
            if let Some(Volume::Secret(name)) = volumes.get(&mount.volume) {
                self.env_from.push((name.clone(), String::new()));
            }
        }
        let single = mounts.iter().filter_map(|mount| mount.path.strip_prefix("/run/secrets/"));
        self.env_names.extend(single.map(str::to_owned));
    }

    /// How the configuration file gets there.
    fn configuration(
        &mut self,
        tree: &Tree<'_>,
        container: NodeId,
        volumes: &BTreeMap<String, Volume>,
        mounts: &[Mount],
    ) {
        let named =
            tree.get(container, "env").map_or(&[][..], |env| tree.items(env)).iter().find_map(|item| {
                (text_at(tree, *item, &["name"])? == "CONFIG_FILE")
                    .then(|| text_at(tree, *item, &["value"]))?
            });
        let is_file = |path: &str| match &named {
            Some(named) => path == named,
            None => matches!(path, "/config/config.yml" | "/config/config.yaml"),
        };
        let from_api =
            |mount: &Mount| matches!(volumes.get(&mount.volume), Some(Volume::Files(_) | Volume::Secret(_)));
        let file = mounts.iter().find(|mount| is_file(&mount.path));
        if let Some(mount) = file.filter(|mount| from_api(mount) && mount.sub_path.is_some()) {
            self.sub_path_mounts.push(mount.at);
        }
        let holder = file.or_else(|| mounts.iter().find(|mount| mount.path.trim_end_matches('/') == CONFIG));
        self.context.config_mount = holder.map(|mount| {
            let mode = if mount.read_only || from_api(mount) { "read-only" } else { "writable" };
            mode.to_owned()
        });
    }

    fn memory(&mut self, volumes: &BTreeMap<String, Volume>, mounts: &[Mount]) {
        let mount = mounts.iter().find(|mount| mount.path.trim_end_matches('/') == SHM);
        self.context.shm_mib = match mount.map(|mount| volumes.get(&mount.volume)) {
            None => Some(SHM_DEFAULT_MIB),
            Some(Some(Volume::Memory(size))) => *size,
            Some(_) => None,
        };
    }

    fn recordings(&mut self, namespace: &str, volumes: &BTreeMap<String, Volume>, mounts: &[Mount]) {
        let mount = [MEDIA, "/media/frigate/recordings", "/media"]
            .into_iter()
            .find_map(|path| mounts.iter().find(|mount| mount.path.trim_end_matches('/') == path));
        let Some(mount) = mount else { return };
        let below = mount.sub_path.clone().unwrap_or_default();
        let volume = match volumes.get(&mount.volume) {
            Some(Volume::Claim(claim)) => {
                self.media_claim = Some(claim.clone());
                Some(format!("claim {namespace}/{claim}/{below}"))
            }
            Some(Volume::Other(Some(place))) => Some(format!("{place}/{below}")),
            _ => None,
        };
        self.media = volume.map(|volume| (volume, mount.at));
    }

    /// Fills in what stands in other objects.
    pub(super) fn resolve(
        &mut self,
        keys: &BTreeMap<String, Option<BTreeSet<String>>>,
        claims_gib: &BTreeMap<String, f64>,
    ) {
        let mut names = self.env_names.clone();
        let mut complete = true;
        for (object, prefix) in &self.env_from {
            match keys.get(object) {
                Some(Some(keys)) => names.extend(keys.iter().map(|key| format!("{prefix}{key}"))),
                Some(None) | None => complete = false,
            }
        }
        self.context.env = complete.then_some(names);
        if let Some(claim) = &self.media_claim {
            self.context.media_gib = self.context.media_gib.or(claims_gib.get(claim).copied());
        }
    }
}

fn image_name(image: &str) -> &str {
    image.rsplit('/').next().unwrap_or(image).split([':', '@']).next().unwrap_or(image)
}

fn mounts(tree: &Tree<'_>, container: NodeId) -> Vec<Mount> {
    let items = tree.get(container, "volumeMounts").map_or(&[][..], |items| tree.items(items));
    items
        .iter()
        .filter_map(|item| {
            Some(Mount {
                path: text_at(tree, *item, &["mountPath"])?,
                sub_path: text_at(tree, *item, &["subPath"]),
                volume: text_at(tree, *item, &["name"])?,
                read_only: tree.get(*item, "readOnly").and_then(|node| tree.truth(node)) == Some(true),
                at: tree.at(*item),
            })
        })
        .collect()
}

fn volumes(tree: &Tree<'_>, root: NodeId, spec: NodeId) -> BTreeMap<String, Volume> {
    let mut volumes = BTreeMap::new();
    let items = |node: Option<NodeId>| node.map_or(&[][..], |node| tree.items(node));
    for item in items(tree.get(spec, "volumes")) {
        if let Some(name) = text_at(tree, *item, &["name"]) {
            volumes.insert(name, volume(tree, *item));
        }
    }
    for template in items(tree.path(root, &["spec", "volumeClaimTemplates"])) {
        if let Some(name) = text_at(tree, *template, &["metadata", "name"]) {
            // Each replica gets a claim of its own.
            volumes.insert(name.clone(), Volume::Other(None));
        }
    }
    volumes
}

fn volume(tree: &Tree<'_>, item: NodeId) -> Volume {
    let text = |path: &[&str]| text_at(tree, item, path);
    if let Some(name) = text(&["configMap", "name"]) {
        return Volume::Files(vec![name]);
    }
    if let Some(sources) = tree.path(item, &["projected", "sources"]) {
        let names =
            tree.items(sources).iter().filter_map(|source| text_at(tree, *source, &["configMap", "name"]));
        return Volume::Files(names.collect());
    }
    if let Some(name) = text(&["secret", "secretName"]) {
        return Volume::Secret(name);
    }
    if let Some(claim) = text(&["persistentVolumeClaim", "claimName"]) {
        return Volume::Claim(claim);
    }
    if let Some(empty) = tree.get(item, "emptyDir") {
        return match text_at(tree, empty, &["medium"]).as_deref() {
            Some("Memory") => {
                let size = tree.get(empty, "sizeLimit").and_then(|size| tree.scalar(size));
                Volume::Memory(size.and_then(|size| quantity::mib(&size.text)))
            }
            _ => Volume::Other(None),
        };
    }
    if let Some(path) = text(&["hostPath", "path"]) {
        return Volume::Other(Some(format!("host {path}")));
    }
    if let (Some(server), Some(path)) = (text(&["nfs", "server"]), text(&["nfs", "path"])) {
        return Volume::Other(Some(format!("nfs {server}:{path}")));
    }
    Volume::Other(None)
}
