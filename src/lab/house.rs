//! The whole house: a Proxmox node with the old Frigate, another one with Home Assistant's virtual machine, a broker, a
//! cluster with a GPU, and the new Frigate as soon as that cluster runs it.
//!
//! The parts know each other only as the real ones do, over the network; what the real world does by itself is done here:
//! a container that starts or ends takes its Frigate with it, and so does a Deployment whose pod becomes ready or goes.
//! The new Frigate is what its manifests make of it: version, cameras, client id and prefix are read from the cluster. What
//! it records lies in `volumes/` and goes with its volume, as a real one's does. Start reading at [`House::open`].

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::frigate::{End, Frigate, Login, Setup, Switches};
use super::homeassistant::{self, HomeAssistant, Release};
use super::kubernetes::{Gpu, Kubernetes};
use super::mqtt::{Broker, User};
use super::proxmox::{Node, Place};
use super::ssh::Ssh;
use super::{Clock, Store};

/// The old Frigate's container.
pub const CONTAINER: u32 = 110;
/// Home Assistant's virtual machine.
pub const MACHINE: u32 = 116;
/// The hook script of the container, by the name of its volume.
pub const HOOK: &str = "local:snippets/coral-lxc-hook-110.sh";
/// The cameras; the first one is down from the start, as it was in the house that this is modelled on.
pub const CAMERAS: [&str; 3] = ["old_ip_camera", "trendnet_ip_572w", "reolink_doorbell"];
/// Home Assistant's token, and the passwords of the broker's users. They open nothing outside of this house.
pub const TOKEN: &str = "lab-token-of-home-assistant";
/// The broker's user of both Frigates.
pub const USER: &str = "frigate";
/// See [`TOKEN`].
pub const PASSWORD: &str = "lab-password-of-the-broker";

/// How often a Frigate is asked whether its container runs.
const FOLLOW: Duration = Duration::from_millis(50);

/// Why the house cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("the simulated house cannot be opened: {part}")]
pub struct HouseError {
    /// What cannot be started.
    part: &'static str,
    /// Why not.
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

fn at<E: Into<Box<dyn std::error::Error + Send + Sync>>>(part: &'static str) -> impl FnOnce(E) -> HouseError {
    move |source| HouseError { part, source: source.into() }
}

/// What may be another one in a new house.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Furniture {
    /// Which Home Assistant it has.
    pub release: Release,
    /// Home Assistant has entries of other integrations, one of which has the old Frigate's address as well, with names
    /// that are not ASCII.
    pub lived_in: bool,
}

impl Default for Furniture {
    fn default() -> Self {
        Self { release: Release::Reconfigures, lived_in: false }
    }
}

impl Furniture {
    fn entries(&self, old: &str) -> Vec<Value> {
        let generic = json!({
            "data": { "still_image_url": format!("{old}/api/reolink_doorbell/latest.jpg"), "url": old },
            "domain": "generic", "entry_id": "cccccccccccccccccccccccccccccccc", "title": "Türkamera ✨",
        });
        if self.lived_in { vec![generic] } else { Vec::new() }
    }
}

/// What a house is furnished with. The default is the one that this is modelled on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blueprint {
    /// The old Frigate's container.
    pub container: u32,
    /// The name of that container.
    pub hostname: String,
    /// The volumes that it owns, by their keys in its configuration: `rootfs`, `mp1` …
    pub volumes: Vec<String>,
    /// It has a Coral.
    pub coral: bool,
    /// Home Assistant's virtual machine.
    pub machine: u32,
    /// The cameras.
    pub cameras: Vec<String>,
    /// Those of them that are down from the start.
    pub down: Vec<String>,
    /// What the old Frigate says that it is: `0.14.1-`.
    pub old_version: String,
    /// What the GPU of the cluster calls itself.
    pub gpu: String,
    /// Who both Frigates are at the broker.
    pub broker_user: String,
    /// The old Frigate's topic prefix.
    pub prefix: String,
    /// Classes of volumes that the cluster has beside its own.
    pub storage_classes: Vec<String>,
    /// What a scenario furnishes otherwise.
    pub furniture: Furniture,
}

impl Default for Blueprint {
    fn default() -> Self {
        Self {
            container: CONTAINER,
            hostname: "frigate-sf".to_owned(),
            volumes: vec!["rootfs".to_owned()],
            coral: true,
            machine: MACHINE,
            cameras: CAMERAS.map(str::to_owned).to_vec(),
            down: vec![CAMERAS[0].to_owned()],
            old_version: "0.14.1-".to_owned(),
            gpu: Gpu::default().name,
            broker_user: "frigate".to_owned(),
            prefix: "frigate".to_owned(),
            storage_classes: Vec::new(),
            furniture: Furniture::default(),
        }
    }
}

/// Systems that the house does not have itself.
#[derive(Default)]
pub struct Outside {
    /// The port of a broker on loopback and the password of everybody there; absent: the house has its own.
    pub broker: Option<(u16, String)>,
    /// Where the new Frigate's objects are looked up: plural, group, namespace, name. Absent: in the house's own cluster.
    pub objects: Option<Objects>,
}

/// Gives an object of a cluster.
pub type Objects = Arc<dyn Fn(&str, &str, &str, &str) -> Option<Value> + Send + Sync>;

impl fmt::Debug for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outside").field("broker", &self.broker.is_some()).finish_non_exhaustive()
    }
}

/// All of it, running. Dropped, it is gone as in a power cut; opened again on the same folder, it is as it was.
#[derive(Debug)]
pub struct House {
    folder: PathBuf,
    /// What it was furnished with.
    pub blueprint: Blueprint,
    /// The port of the broker that is used.
    broker_port: u16,
    /// The time there.
    pub clock: Clock,
    /// The broker.
    pub broker: Broker,
    /// The old Frigate.
    pub old: Arc<Frigate>,
    /// The new Frigate.
    pub new: Arc<Frigate>,
    /// Home Assistant.
    pub home: HomeAssistant,
    /// The cluster.
    pub cluster: Arc<Kubernetes>,
    /// The node of the old Frigate.
    pub still_fawn: Place,
    /// The node of Home Assistant.
    pub chief_horse: Place,
    doors: [Ssh; 2],
    following: JoinHandle<()>,
}

impl House {
    /// Opens the house in a folder; `runner` is this program, which its tools are made of.
    ///
    /// # Errors
    /// [`HouseError`] when a port of it is taken or its folder cannot be used.
    pub async fn open(folder: &Path, runner: &Path) -> Result<Self, HouseError> {
        Self::open_as(folder, runner, Blueprint::default(), Outside::default()).await
    }

    /// The same for another house than the usual one.
    ///
    /// # Errors
    /// [`HouseError`], also when the folder has one that was furnished otherwise.
    pub async fn open_as(
        folder: &Path,
        runner: &Path,
        blueprint: Blueprint,
        outside: Outside,
    ) -> Result<Self, HouseError> {
        let first = !folder.join("still-fawn").exists();
        let kept =
            Store::open(folder.join("house.json"), || blueprint.clone()).map_err(at("its blueprint"))?;
        if kept.look(|kept| *kept != blueprint) {
            let why = format!(
                "it was furnished for other variables; remove `{}` to begin again",
                folder.parent().unwrap_or(folder).display()
            );
            return Err(at("its blueprint")(why));
        }
        let clock = Clock::open(folder).map_err(at("its clock"))?;
        let users =
            BTreeMap::from([(blueprint.broker_user.clone(), user()), ("homeassistant".to_owned(), user())]);
        let broker = Broker::start(&folder.join("mqtt"), 0, users).await.map_err(at("the broker"))?;
        let (broker_port, password) = outside.broker.unwrap_or_else(|| (broker.port(), PASSWORD.to_owned()));
        let login =
            Login { port: broker_port, user: blueprint.broker_user.clone(), password: password.clone() };
        let cameras: Vec<&str> = blueprint.cameras.iter().map(String::as_str).collect();
        let setup = |version: &str| Setup {
            broker: Some(login.clone()),
            stats_every: 1,
            topic_prefix: blueprint.prefix.clone(),
            ..Setup::new(version, &cameras)
        };
        let start = |name: &str, setup| {
            let (folder, clock) = (folder.join(name), clock.clone());
            async move { Frigate::start(&folder, 0, setup, clock).await.map(Arc::new) }
        };
        let old = start("frigate-old", setup(&blueprint.old_version)).await.map_err(at("the old Frigate"))?;
        // Until it is deployed it is no client of the broker: two of one id would throw each other out.
        let alone = Setup { broker: None, ..setup("0.16.2-") };
        let new = start("frigate-new", alone).await.map_err(at("the new Frigate"))?;
        let cluster = Kubernetes::start(&folder.join("kubernetes"), 0).await.map_err(at("the cluster"))?;
        let cluster = Arc::new(cluster);
        if first {
            let down = |broken: &mut Switches| broken.dead = blueprint.down.iter().cloned().collect();
            old.switch(down).map_err(at("the old Frigate"))?;
            new.switch(down).map_err(at("the new Frigate"))?;
            new.end(End::Kill).await.map_err(at("the new Frigate"))?;
            new.set_up(|setup| setup.broker = Some(login.clone())).map_err(at("the new Frigate"))?;
            let gpu = Gpu { name: blueprint.gpu.clone(), ..Gpu::default() };
            cluster.set_gpu(gpu).map_err(at("the cluster"))?;
            for class in &blueprint.storage_classes {
                cluster.add_storage_class(class).map_err(at("the cluster"))?;
            }
        }
        let settings = homeassistant::Settings {
            token: TOKEN.to_owned(),
            frigate_url: old.url(),
            broker: Some(homeassistant::Broker {
                host: "127.0.0.1".to_owned(),
                port: broker_port,
                username: "homeassistant".to_owned(),
                password,
            }),
            release: blueprint.furniture.release,
            entries: blueprint.furniture.entries(&old.url()),
            poll: Duration::from_secs(1),
            starting: Duration::from_millis(100),
            // Four seconds were measured; a house of the lab is not waited for longer than it takes to see it.
            down: Duration::from_secs(1),
            ..homeassistant::Settings::default()
        };
        let home = HomeAssistant::start(&folder.join("homeassistant"), 0, settings).await;
        let home = home.map_err(at("Home Assistant"))?;
        // Nobody saw it start: time in the house stands still between two openings.
        home.up().await;
        let (still_fawn, chief_horse) =
            (Place::new(folder.join("still-fawn")), Place::new(folder.join("chief-horse")));
        if first {
            furnish(folder, &still_fawn, &chief_horse, runner, &home, &blueprint)
                .map_err(at("the Proxmox nodes"))?;
        }
        let doors = [
            door(folder, &still_fawn).await.map_err(at("the door of still-fawn"))?,
            door(folder, &chief_horse).await.map_err(at("the door of chief-horse"))?,
        ];
        let known = |door: &Ssh| fs::read_to_string(door.known_hosts());
        let all = known(&doors[0]).and_then(|first| known(&doors[1]).map(|second| first + &second));
        all.and_then(|all| fs::write(folder.join("known_hosts"), all)).map_err(at("the doors' keys"))?;
        let own = Arc::clone(&cluster);
        let objects = outside.objects.unwrap_or_else(|| {
            Arc::new(move |plural: &str, group: &str, namespace: &str, name: &str| {
                own.object(plural, group, namespace, name)
            })
        });
        let following = Following {
            node: still_fawn.clone(),
            container: blueprint.container,
            old: Arc::clone(&old),
            new: Arc::clone(&new),
            objects,
            gpu: blueprint.gpu.clone(),
            clock: clock.clone(),
            volumes: folder.join("volumes"),
        };
        Ok(Self {
            folder: folder.to_owned(),
            blueprint,
            broker_port,
            clock,
            broker,
            old,
            new,
            home,
            cluster,
            still_fawn,
            chief_horse,
            doors,
            following: tokio::spawn(following.follow()),
        })
    }

    /// Where it lives.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Cuts every connection to the node of the old Frigate; what was begun there goes on, and new ones are taken.
    pub fn cut(&self) {
        self.doors[0].cut();
    }

    /// Whether the recordings of the old Frigate are where they were.
    pub fn recordings_are_there(&self) -> bool {
        self.folder.join("still-fawn/recordings/yesterday.mp4").exists()
    }

    /// The variables of `plans/frigate.toml` that lead into this house, as TOML.
    pub fn variables(&self) -> String {
        let mut table = toml::Table::new();
        let mut set = |name: &str, value: toml::Value| drop(table.insert(name.to_owned(), value));
        let path = |path: PathBuf| toml::Value::from(path.display().to_string());
        let port = |door: &Ssh| toml::Value::from(i64::from(door.port()));
        set("old_host", "root@127.0.0.1".into());
        set("old_port", port(&self.doors[0]));
        set("ha_host", "root@127.0.0.1".into());
        set("ha_port", port(&self.doors[1]));
        set("ssh_key", path(self.doors[0].identity_file()));
        set("known_hosts", path(self.folder.join("known_hosts")));
        set("old_url", self.old.url().into());
        set("new_url", self.new.url().into());
        set("ha_url", self.home.url().into());
        set("ha_storage", path(self.home.storage_file()));
        set("broker", format!("mqtt://127.0.0.1:{}", self.broker_port).into());
        set("kubeconfig", path(self.cluster.kubeconfig()));
        set("context", "lab".into());
        set("node", "gpu-1".into());
        table.to_string()
    }

    /// Requests that have changed something, so far, by the system that took them: the Proxmox nodes, both Frigates, Home
    /// Assistant, the cluster, and of the broker messages of others than its own clients.
    pub fn writes(&self) -> BTreeMap<&'static str, u64> {
        let node = |place: &Place| place.look(|node| node.writes).unwrap_or(0);
        let own = [self.old.client_id(), self.new.client_id(), "homeassistant".to_owned()];
        let said = self.broker.written().into_iter().filter(|(id, _)| !own.contains(id));
        BTreeMap::from([
            ("still-fawn", node(&self.still_fawn)),
            ("chief-horse", node(&self.chief_horse)),
            ("the old Frigate", self.old.writes()),
            ("the new Frigate", self.new.writes()),
            ("Home Assistant", self.home.writes()),
            ("the cluster", self.cluster.writes()),
            ("the broker", said.map(|(_, times)| times).sum()),
        ])
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.following.abort();
        self.home.halt();
    }
}

fn user() -> User {
    User { password: PASSWORD.to_owned(), read: vec!["#".to_owned()], write: vec!["#".to_owned()] }
}

/// A node's ssh server. All doors take one key.
async fn door(folder: &Path, node: &Place) -> Result<Ssh, super::ssh::SshError> {
    let (own, one) = (node.folder().join("ssh"), folder.join("client"));
    fs::create_dir_all(&own)?;
    if one.exists() && !own.join("client").exists() {
        fs::copy(&one, own.join("client"))?;
    }
    let door = Ssh::start(own.clone(), 0, &node.folder().join("bin")).await?;
    if !one.exists() {
        fs::copy(own.join("client"), &one)?;
    }
    Ok(door)
}

/// Puts into the nodes what is there before the move.
fn furnish(
    folder: &Path,
    still_fawn: &Place,
    chief_horse: &Place,
    runner: &Path,
    home: &HomeAssistant,
    blueprint: &Blueprint,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let devices = folder.join("still-fawn").join("dev");
    let recordings = folder.join("still-fawn").join("recordings");
    fs::create_dir_all(&devices)?;
    fs::create_dir_all(&recordings)?;
    fs::write(recordings.join("yesterday.mp4"), "the only copy")?;
    for device in ["renderD128", "coral"] {
        fs::write(devices.join(device), "")?;
    }
    let container = blueprint.container;
    let text = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let device = |name: &str| devices.join(name).display().to_string();
    let mut config = vec![
        text("arch", "amd64"),
        text("cores", "8"),
        text("dev0", &device("renderD128")),
        text("features", "nesting=1,fuse=1"),
        text("hostname", &blueprint.hostname),
        text("memory", "8192"),
        text("onboot", "1"),
    ];
    if blueprint.coral {
        config.push(text("dev1", &device("coral")));
        // What wakes the Coral before the container starts.
        config.push(text("hookscript", HOOK));
        let hook = still_fawn.path_of(HOOK).unwrap_or_default();
        fs::create_dir_all(hook.parent().unwrap_or(folder))?;
        fs::write(&hook, "#!/bin/sh\nexit 0\n")?;
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o755))?;
    }
    for (number, key) in blueprint.volumes.iter().enumerate() {
        let mount = if key == "rootfs" { String::new() } else { format!(",mp=/data/{key},backup=1") };
        config.push(text(key, &format!("local-zfs:subvol-{container}-disk-{number}{mount},size=20G")));
    }
    // The recordings are on a folder of the host, under a key that no volume has.
    let free = (0..).map(|number| format!("mp{number}")).find(|key| !blueprint.volumes.contains(key));
    let mount = format!("{},mp=/media/frigate", recordings.display());
    config.push(text(&free.unwrap_or_default(), &mount));
    let config: Vec<(&str, &str)> =
        config.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    still_fawn.change(|node| *node = std::mem::take(node).with_container(container, &config, true))?;
    chief_horse.change(|node| {
        *node = Node { name: "chief-horse".to_owned(), ..Node::default() }
            .with_machine(blueprint.machine, "homeassistant");
        if let Some(machine) = node.machines.get_mut(&blueprint.machine) {
            machine.home_assistant = Some(home.supervisor_address());
        }
    })?;
    still_fawn.install(runner)?;
    chief_horse.install(runner)?;
    chief_horse.install_guest(blueprint.machine, runner)?;
    Ok(())
}

/// Lets each Frigate do what its container or its pod does.
struct Following {
    node: Place,
    container: u32,
    old: Arc<Frigate>,
    new: Arc<Frigate>,
    objects: Objects,
    gpu: String,
    clock: Clock,
    /// What the volumes of the cluster hold, a folder for each.
    volumes: PathBuf,
}

impl Following {
    async fn follow(self) {
        loop {
            let runs = self
                .node
                .look(|node| node.containers.get(&self.container).is_some_and(|found| found.running));
            complain(lead(&self.old, runs.unwrap_or_else(|_| self.old.is_running())).await);
            let deployment = (self.objects)("deployments", "apps", "frigate", "frigate");
            let ready =
                deployment.as_ref().and_then(|found| found.pointer("/status/readyReplicas")?.as_u64());
            let ready = ready.is_some_and(|ready| ready > 0);
            if let Some(found) = deployment.as_ref().filter(|_| ready && !self.new.is_running()) {
                complain(self.new.set_up(|setup| self.dress(setup, found)));
                complain(self.record(found));
            }
            complain(lead(&self.new, ready).await);
            complain(self.forget());
            tokio::time::sleep(FOLLOW).await;
        }
    }

    /// What the manifests make of the new Frigate.
    fn dress(&self, setup: &mut Setup, deployment: &Value) {
        let image = deployment.pointer("/spec/template/spec/containers/0/image").and_then(Value::as_str);
        if let Some((_, tag)) = image.and_then(|image| image.rsplit_once(':')) {
            setup.version = format!("{}-lab", tag.split('-').next().unwrap_or(tag));
        }
        let map = (self.objects)("configmaps", "", "frigate", "frigate-config");
        let text = map.as_ref().and_then(|map| map.pointer("/data/config.yml")?.as_str());
        let Some(config) = text.and_then(|text| serde_saphyr::from_str::<Value>(text).ok()) else { return };
        let read = |path: &str| config.pointer(path).and_then(Value::as_str).map(str::to_owned);
        if let Some(cameras) = config.get("cameras").and_then(Value::as_object) {
            setup.cameras = cameras.keys().cloned().collect();
        }
        setup.client_id = read("/mqtt/client_id").unwrap_or_else(|| "frigate".to_owned());
        setup.topic_prefix = read("/mqtt/topic_prefix").unwrap_or_else(|| "frigate".to_owned());
        setup.face_recognition = config.pointer("/face_recognition/enabled") == Some(&Value::Bool(true));
        setup.gpu = Some(self.gpu.clone());
    }

    /// The new Frigate begins to record onto its volume, if it has one.
    fn record(&self, deployment: &Value) -> std::io::Result<()> {
        let array = |path: &str| deployment.pointer(path).and_then(Value::as_array);
        let named = |all: Option<&Vec<Value>>, key: &str, value: &Value| {
            all.and_then(|all| all.iter().find(|one| one[key] == *value).cloned())
        };
        let mounts = array("/spec/template/spec/containers/0/volumeMounts");
        let mount = named(mounts, "mountPath", &Value::from("/media/frigate"));
        let volume = mount
            .and_then(|mount| named(array("/spec/template/spec/volumes"), "name", &mount["name"]))
            .and_then(|volume| Some(volume.pointer("/persistentVolumeClaim/claimName")?.as_str()?.to_owned()))
            .and_then(|claim| (self.objects)("persistentvolumeclaims", "", "frigate", &claim))
            .and_then(|claim| Some(claim.pointer("/spec/volumeName")?.as_str()?.to_owned()));
        let Some(volume) = volume else { return Ok(()) };
        let recordings = self.volumes.join(volume).join("recordings");
        fs::create_dir_all(&recordings)?;
        fs::write(recordings.join(format!("{}.mp4", self.clock.now().as_secs())), "what was seen")
    }

    /// What a volume held is gone with it.
    fn forget(&self) -> std::io::Result<()> {
        let Ok(folders) = fs::read_dir(&self.volumes) else { return Ok(()) };
        for folder in folders {
            let folder = folder?;
            let name = folder.file_name().to_string_lossy().into_owned();
            if (self.objects)("persistentvolumes", "", "", &name).is_none() {
                fs::remove_dir_all(folder.path())?;
            }
        }
        Ok(())
    }
}

async fn lead(frigate: &Frigate, runs: bool) -> Result<(), super::frigate::FrigateError> {
    match (runs, frigate.is_running()) {
        (true, false) => frigate.run().await,
        (false, true) => frigate.end(frigate.ends()).await,
        _ => Ok(()),
    }
}

/// The house goes on when a part of it cannot; whoever looks at it should know.
fn complain<E: std::fmt::Display>(done: Result<(), E>) {
    if let Err(error) = done {
        tracing::warn!(%error, "a part of the simulated house cannot go on");
    }
}
