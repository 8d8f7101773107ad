//! The whole house: a Proxmox node with the old Frigate, another one with Home Assistant's virtual machine, a broker, a
//! cluster with a GPU, and the new Frigate as soon as that cluster runs it.
//!
//! The parts know each other only as the real ones do, over the network; what the real world does by itself is done here:
//! a container that starts or ends takes its Frigate with it, and so does a Deployment whose pod becomes ready or goes.
//! The new Frigate is what its manifests make of it: version, cameras, client id and prefix are read from the cluster.
//! Start reading at [`House::open`].

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinHandle;

use super::Clock;
use super::frigate::{End, Frigate, Login, Setup, Switches};
use super::homeassistant::{self, HomeAssistant};
use super::kubernetes::Kubernetes;
use super::mqtt::{Broker, User};
use super::proxmox::{Node, Place};
use super::ssh::Ssh;

/// The old Frigate's container.
pub const CONTAINER: u32 = 110;
/// Home Assistant's virtual machine.
pub const MACHINE: u32 = 116;
/// The cameras; the first one is down from the start, as it was in the house that this is modelled on.
pub const CAMERAS: [&str; 3] = ["old_ip_camera", "trendnet_ip_572w", "reolink_doorbell"];
/// Home Assistant's token, and the passwords of the broker's users. They open nothing outside of this house.
pub const TOKEN: &str = "lab-token-of-home-assistant";
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

/// All of it, running. Dropped, it is gone as in a power cut; opened again on the same folder, it is as it was.
#[derive(Debug)]
pub struct House {
    folder: PathBuf,
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
        let clock = Clock::open(folder).map_err(at("its clock"))?;
        let users = BTreeMap::from([("frigate".to_owned(), user()), ("homeassistant".to_owned(), user())]);
        let broker = Broker::start(&folder.join("mqtt"), 0, users).await.map_err(at("the broker"))?;
        let login = Login { port: broker.port(), user: "frigate".to_owned(), password: PASSWORD.to_owned() };
        let setup = |version: &str| Setup {
            broker: Some(login.clone()),
            stats_every: 1,
            ..Setup::new(version, &CAMERAS)
        };
        let start = |name: &str, setup| {
            let (folder, clock) = (folder.join(name), clock.clone());
            async move { Frigate::start(&folder, 0, setup, clock).await.map(Arc::new) }
        };
        let first = !folder.join("still-fawn").exists();
        let old = start("frigate-old", setup("0.14.1-")).await.map_err(at("the old Frigate"))?;
        let new = start("frigate-new", setup("0.16.2-")).await.map_err(at("the new Frigate"))?;
        let cluster = Kubernetes::start(&folder.join("kubernetes"), 0).await.map_err(at("the cluster"))?;
        let cluster = Arc::new(cluster);
        if first {
            let down = |broken: &mut Switches| broken.dead = [CAMERAS[0].to_owned()].into();
            old.switch(down).map_err(at("the old Frigate"))?;
            new.switch(down).map_err(at("the new Frigate"))?;
            new.end(End::Kill).await.map_err(at("the new Frigate"))?;
        }
        let settings = homeassistant::Settings {
            token: TOKEN.to_owned(),
            frigate_url: old.url(),
            broker: Some(homeassistant::Broker {
                host: "127.0.0.1".to_owned(),
                port: broker.port(),
                username: "homeassistant".to_owned(),
                password: PASSWORD.to_owned(),
            }),
            poll: Duration::from_secs(1),
            starting: Duration::from_millis(100),
            ..homeassistant::Settings::default()
        };
        let home = HomeAssistant::start(&folder.join("homeassistant"), 0, settings).await;
        let home = home.map_err(at("Home Assistant"))?;
        let (still_fawn, chief_horse) =
            (Place::new(folder.join("still-fawn")), Place::new(folder.join("chief-horse")));
        if first {
            furnish(folder, &still_fawn, &chief_horse, runner, &home).map_err(at("the Proxmox nodes"))?;
        }
        let doors = [
            door(folder, &still_fawn).await.map_err(at("the door of still-fawn"))?,
            door(folder, &chief_horse).await.map_err(at("the door of chief-horse"))?,
        ];
        let known = |door: &Ssh| fs::read_to_string(door.known_hosts());
        let all = known(&doors[0]).and_then(|first| known(&doors[1]).map(|second| first + &second));
        all.and_then(|all| fs::write(folder.join("known_hosts"), all)).map_err(at("the doors' keys"))?;
        let following = tokio::spawn(follow(
            still_fawn.clone(),
            Arc::clone(&old),
            Arc::clone(&cluster),
            Arc::clone(&new),
        ));
        Ok(Self {
            folder: folder.to_owned(),
            clock,
            broker,
            old,
            new,
            home,
            cluster,
            still_fawn,
            chief_horse,
            doors,
            following,
        })
    }

    /// Where it lives.
    pub fn folder(&self) -> &Path {
        &self.folder
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
        set("broker", format!("mqtt://127.0.0.1:{}", self.broker.port()).into());
        set("kubeconfig", path(self.cluster.kubeconfig()));
        set("context", "lab".into());
        set("node", "gpu-1".into());
        table.to_string()
    }

    /// Requests that have changed something anywhere in the house, so far.
    pub fn writes(&self) -> u64 {
        let node = |place: &Place| place.look(|node| node.writes).unwrap_or(0);
        let nodes = node(&self.still_fawn) + node(&self.chief_horse);
        nodes + self.old.writes() + self.new.writes() + self.home.writes() + self.cluster.writes()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.following.abort();
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
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let devices = folder.join("still-fawn").join("dev");
    let recordings = folder.join("still-fawn").join("recordings");
    fs::create_dir_all(&devices)?;
    fs::create_dir_all(&recordings)?;
    fs::write(recordings.join("yesterday.mp4"), "the only copy")?;
    for device in ["renderD128", "coral"] {
        fs::write(devices.join(device), "")?;
    }
    let (render, coral) = (devices.join("renderD128"), devices.join("coral"));
    let (render, coral) = (render.display().to_string(), coral.display().to_string());
    let mount = format!("{},mp=/media/frigate", recordings.display());
    let config = [
        ("arch", "amd64"),
        ("cores", "8"),
        ("dev0", render.as_str()),
        ("dev1", coral.as_str()),
        ("features", "nesting=1,fuse=1"),
        ("hostname", "frigate-sf"),
        ("memory", "8192"),
        ("mp0", mount.as_str()),
        ("onboot", "1"),
        ("rootfs", "local-zfs:subvol-110-disk-0,size=20G"),
    ];
    still_fawn.change(|node| *node = std::mem::take(node).with_container(CONTAINER, &config, true))?;
    chief_horse.change(|node| {
        *node =
            Node { name: "chief-horse".to_owned(), ..Node::default() }.with_machine(MACHINE, "homeassistant");
        if let Some(machine) = node.machines.get_mut(&MACHINE) {
            machine.home_assistant = Some(home.supervisor_address());
        }
    })?;
    still_fawn.install(runner)?;
    chief_horse.install(runner)?;
    chief_horse.install_guest(MACHINE, runner)?;
    Ok(())
}

/// Lets each Frigate do what its container or its pod does.
async fn follow(node: Place, old: Arc<Frigate>, cluster: Arc<Kubernetes>, new: Arc<Frigate>) {
    loop {
        let runs = node.look(|node| node.containers.get(&CONTAINER).is_some_and(|found| found.running));
        complain(lead(&old, runs.unwrap_or_else(|_| old.is_running())).await);
        let deployment = cluster.object("deployments", "apps", "frigate", "frigate");
        let ready = deployment.as_ref().and_then(|found| found.pointer("/status/readyReplicas")?.as_u64());
        if let Some(found) = deployment.as_ref().filter(|_| ready.is_some() && !new.is_running()) {
            complain(new.set_up(|setup| dress(setup, found, &cluster)));
        }
        complain(lead(&new, ready.is_some_and(|ready| ready > 0)).await);
        tokio::time::sleep(FOLLOW).await;
    }
}

async fn lead(frigate: &Frigate, runs: bool) -> Result<(), super::frigate::FrigateError> {
    match (runs, frigate.is_running()) {
        (true, false) => frigate.run().await,
        (false, true) => frigate.end(End::Shutdown).await,
        _ => Ok(()),
    }
}

/// What the manifests make of the new Frigate.
fn dress(setup: &mut Setup, deployment: &Value, cluster: &Kubernetes) {
    let image = deployment.pointer("/spec/template/spec/containers/0/image").and_then(Value::as_str);
    if let Some((_, tag)) = image.and_then(|image| image.rsplit_once(':')) {
        setup.version = format!("{}-lab", tag.split('-').next().unwrap_or(tag));
    }
    let map = cluster.object("configmaps", "", "frigate", "frigate-config");
    let text = map.as_ref().and_then(|map| map.pointer("/data/config.yml")?.as_str());
    let Some(config) = text.and_then(|text| serde_saphyr::from_str::<Value>(text).ok()) else { return };
    let read = |path: &str| config.pointer(path).and_then(Value::as_str).map(str::to_owned);
    if let Some(cameras) = config.get("cameras").and_then(Value::as_object) {
        setup.cameras = cameras.keys().cloned().collect();
    }
    setup.client_id = read("/mqtt/client_id").unwrap_or_else(|| "frigate".to_owned());
    setup.topic_prefix = read("/mqtt/topic_prefix").unwrap_or_else(|| "frigate".to_owned());
    setup.face_recognition = config.pointer("/face_recognition/enabled") == Some(&Value::Bool(true));
    setup.gpu = Some("NVIDIA GeForce RTX 3070".to_owned());
}

/// The house goes on when a part of it cannot; whoever looks at it should know.
fn complain<E: std::fmt::Display>(done: Result<(), E>) {
    if let Err(error) = done {
        tracing::warn!(%error, "a part of the simulated house cannot go on");
    }
}
