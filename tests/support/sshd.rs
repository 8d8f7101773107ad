//! A real sshd on 127.0.0.1 and a free port, with keys of its own, in a temporary folder; ended by its handle.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::port::Port;

const SSHD: &str = "/usr/sbin/sshd";

/// A running sshd.
pub struct Sshd {
    folder: TempDir,
    port: Port,
    process: Option<Child>,
    /// The home folder of commands on this host.
    home: PathBuf,
}

impl Sshd {
    /// Starts one, or says loudly why not.
    pub fn start() -> Option<Self> {
        Self::start_with("")
    }

    /// Starts one with more lines of configuration.
    pub fn start_with(config: &str) -> Option<Self> {
        if !Path::new(SSHD).exists() || Command::new("ssh").arg("-V").output().is_err() {
            super::skip::skip(
                "there is no sshd on this machine: apt-get install openssh-server openssh-client",
            );
            return None;
        }
        if rustix::process::geteuid().is_root() {
            fs::create_dir_all("/run/sshd").unwrap();
        }
        let folder = tempfile::Builder::new().prefix("sshd").tempdir().unwrap();
        let home = folder.path().join("home");
        fs::create_dir(&home).unwrap();
        let port = Port::held();
        let mut sshd = Self { folder, port, process: None, home };
        sshd.keygen("host");
        sshd.keygen("client");
        fs::copy(sshd.path("client.pub"), sshd.path("authorized_keys")).unwrap();
        let path = |name: &str| sshd.path(name).display().to_string();
        let home = sshd.home.display();
        let text = format!(
            "Port {}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile {}\n\
             StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
             PermitRootLogin prohibit-password\nMaxStartups 100\nSetEnv HOME={home}\nLogLevel ERROR\n{config}\n",
            sshd.port(),
            path("host"),
            path("authorized_keys"),
            path("pid"),
        );
        fs::write(sshd.path("config"), text).unwrap();
        sshd.know();
        sshd.run();
        Some(sshd)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn keygen(&self, name: &str) {
        for old in [self.path(name), self.path(&format!("{name}.pub"))] {
            if old.exists() {
                fs::remove_file(old).unwrap();
            }
        }
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(self.path(name))
            .status()
            .unwrap();
        assert!(made.success());
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Writes the host's key into known_hosts.
    fn know(&self) {
        let key = fs::read_to_string(self.path("host.pub")).unwrap();
        fs::write(self.path("known_hosts"), format!("[127.0.0.1]:{} {key}", self.port())).unwrap();
    }

    fn run(&mut self) {
        let mut child = Command::new(SSHD)
            .arg("-D")
            .arg("-e")
            .arg("-f")
            .arg(self.path("config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.path("log")).unwrap())
            .spawn()
            .unwrap();
        until("sshd listens", || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("sshd ended ({status}): {}", fs::read_to_string(self.path("log")).unwrap());
            }
            TcpStream::connect(("127.0.0.1", self.port())).is_ok()
        });
        self.process = Some(child);
    }

    pub fn port(&self) -> u16 {
        self.port.number()
    }

    pub fn home(&self) -> &Path {
        &self.home
    }

    pub fn identity_file(&self) -> String {
        self.path("client").display().to_string()
    }

    pub fn known_hosts(&self) -> String {
        self.path("known_hosts").display().to_string()
    }

    /// The host `box` as a plan describes it.
    pub fn host_table(&self) -> String {
        format!(
            "[hosts.box]\naddress = \"{}@127.0.0.1\"\nport = {}\nidentity_file = \"{}\"\nknown_hosts = \"{}\"\n",
            Self::user(),
            self.port(),
            self.identity_file(),
            self.known_hosts()
        )
    }

    /// The user that can log in: the one who runs the test.
    pub fn user() -> String {
        let id = Command::new("id").arg("-un").output().unwrap();
        String::from_utf8(id.stdout).unwrap().trim().to_owned()
    }

    /// Cuts every connection: kills the processes that serve them, and not what they run.
    pub fn cut(&self) {
        self.cutter()();
    }

    /// What cuts every connection, for who does not hold the server.
    pub fn cutter(&self) -> impl Fn() + Send + Sync + 'static {
        let own = self.process.as_ref().unwrap().id();
        move || {
            until("all connections are cut", || {
                let serving = serving(own);
                for pid in &serving {
                    kill("KILL", *pid);
                }
                serving.is_empty()
            });
        }
    }

    /// The machine is there and says nothing more: connections are taken by its kernel, and nobody answers.
    pub fn silence(&self) {
        let own = self.process.as_ref().unwrap().id();
        kill("STOP", own);
        for pid in serving(own) {
            kill("STOP", pid);
        }
    }

    /// How many connections it serves.
    pub fn connections(&self) -> usize {
        children(self.process.as_ref().unwrap().id()).len()
    }

    /// Stops listening and cuts all connections.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.process.take() {
            let serving = serving(child.id());
            kill("KILL", child.id());
            child.wait().unwrap();
            for pid in serving {
                kill("KILL", pid);
            }
        }
    }

    /// Listens again on the same port.
    pub fn restart(&mut self) {
        self.stop();
        self.run();
    }

    /// Listens again with a host key that nobody knows.
    pub fn restart_with_another_key(&mut self) {
        self.stop();
        self.keygen("host");
        self.run();
    }

    /// Forgets the host's key, as on a machine that never saw it.
    pub fn unknown(&self) {
        fs::write(self.path("known_hosts"), "").unwrap();
    }

    /// Takes the client's key away.
    pub fn refuse_keys(&self) {
        fs::write(self.path("authorized_keys"), "").unwrap();
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The processes of sshd below this one that serve connections. Not what they run: that is a shell's child.
fn serving(parent: u32) -> Vec<u32> {
    let mut all = Vec::new();
    for child in children(parent) {
        if fs::read_to_string(format!("/proc/{child}/comm")).is_ok_and(|name| name.trim().starts_with("sshd"))
        {
            all.extend(serving(child));
            all.push(child);
        }
    }
    all
}

/// The children of a process that still run.
pub fn children(parent: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let mut fields = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace();
        let state = fields.next().unwrap();
        if state != "Z" && fields.next().unwrap().parse() == Ok(parent) {
            found.push(pid);
        }
    }
    found
}

/// Sends a signal to a process; one that is gone is fine.
pub fn kill(signal: &str, pid: u32) {
    let signal = match signal {
        "KILL" => rustix::process::Signal::KILL,
        "STOP" => rustix::process::Signal::STOP,
        _ => rustix::process::Signal::TERM,
    };
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    match rustix::process::kill_process(pid, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => panic!("cannot kill: {error}"),
    }
}

/// Waits until `condition` holds; the limit only ends a test that hangs.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < limit, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
