//! An SSH server for the lab, where no sshd is installed: key-only, on loopback, with the stand-ins first on the `PATH`.
//!
//! A command is run by `/bin/sh -c` in a process group of its own and in an environment with nothing but `PATH` and
//! `HOME`; its three streams, its exit status and its signal pass through. A connection may have many sessions, as the
//! masters of OpenSSH have. A lost connection does not end a command, as with sshd. Keys and `known_hosts` are files of
//! the folder, made once; so is the port.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::{Ed25519Keypair, KeypairData};
use russh::keys::{PrivateKey, PublicKey};
use russh::server::{Auth, ChannelOpenHandle, Config, Handler, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId, ChannelMsg, Sig};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use super::{Store, StoreError, listen};
use crate::transport::spawn_alone;

/// Why the server cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// Its port cannot be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file of it cannot be used, or its port is taken.
    #[error("the lab's ssh server cannot be started")]
    System(#[from] io::Error),
    /// A key in its folder is none.
    #[error("the key `{path}` of the lab's ssh server cannot be used: remove it and begin again")]
    Key {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: russh::keys::Error,
    },
}

/// What it remembers.
#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    port: u16,
}

/// A running server. Dropped, it stops listening and cuts its connections; commands go on.
#[derive(Debug)]
pub struct Ssh {
    folder: PathBuf,
    port: u16,
    listening: JoinHandle<()>,
    open: Arc<Mutex<Vec<std::net::TcpStream>>>,
}

impl Ssh {
    /// Starts the server that lives in `folder`: on the port that it had, else on `port`, else on a free one. `bin` is first
    /// on the `PATH` of commands.
    ///
    /// # Errors
    /// [`SshError`], when a file cannot be used or the port is taken.
    pub async fn start(folder: PathBuf, port: u16, bin: &Path) -> Result<Self, SshError> {
        fs::create_dir_all(folder.join("home"))?;
        let store = Store::open(folder.join("ssh.json"), State::default)?;
        let host = key(&folder.join("host"))?;
        let client = key(&folder.join("client"))?;
        let wanted = store.look(|state| if state.port == 0 { port } else { state.port });
        let (listener, address) = listen(wanted).await?;
        let port = address.port();
        store.change(|state| state.port = port)?;
        let line = host.public_key().to_openssh().map_err(io::Error::other)?;
        fs::write(folder.join("known_hosts"), format!("[127.0.0.1]:{port} {line}\n"))?;
        let config = Config {
            keys: vec![host],
            auth_rejection_time: Duration::from_millis(50),
            auth_rejection_time_initial: Some(Duration::ZERO),
            nodelay: true,
            ..Config::default()
        };
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", bin.display());
        let login = Login {
            client: client.public_key().clone(),
            home: folder.join("home"),
            path,
            channels: Vec::new(),
        };
        let open = Arc::new(Mutex::new(Vec::new()));
        let listening = tokio::spawn(accept(listener, Arc::new(config), login, Arc::clone(&open)));
        Ok(Self { folder, port, listening, open })
    }

    /// Where it listens, on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The private key that may log in, as any user.
    pub fn identity_file(&self) -> PathBuf {
        self.folder.join("client")
    }

    /// The file that knows its host key.
    pub fn known_hosts(&self) -> PathBuf {
        self.folder.join("known_hosts")
    }

    /// The home folder of commands.
    pub fn home(&self) -> PathBuf {
        self.folder.join("home")
    }

    /// Cuts every connection. What they run goes on.
    pub fn cut(&self) {
        for stream in self.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // One that is closed already is as good as cut.
            drop(stream.shutdown(Shutdown::Both));
        }
    }

    /// Stops listening and cuts every connection.
    pub async fn stop(mut self) {
        self.listening.abort();
        // It was ended, or had ended: the port is free.
        drop((&mut self.listening).await);
        self.cut();
    }
}

impl Drop for Ssh {
    fn drop(&mut self) {
        self.listening.abort();
        self.cut();
    }
}

/// The key in a file; a new one where there is none.
fn key(path: &Path) -> Result<PrivateKey, SshError> {
    if path.exists() {
        return russh::keys::load_secret_key(path, None)
            .map_err(|source| SshError::Key { path: path.to_owned(), source });
    }
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(io::Error::other)?;
    let pair = KeypairData::from(Ed25519Keypair::from_seed(&seed));
    let key = PrivateKey::new(pair, "lab").map_err(io::Error::other)?;
    let text = key.to_openssh(LineEnding::LF).map_err(io::Error::other)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    Ok(key)
}

async fn accept(
    listener: TcpListener,
    config: Arc<Config>,
    login: Login,
    open: Arc<Mutex<Vec<std::net::TcpStream>>>,
) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // No descriptors, for example: others may end meanwhile.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let handle =
            stream.into_std().and_then(|stream| Ok((stream.try_clone()?, TcpStream::from_std(stream)?)));
        let Ok((handle, stream)) = handle else { continue };
        open.lock().unwrap_or_else(PoisonError::into_inner).push(handle);
        let (config, login) = (Arc::clone(&config), login.clone());
        tokio::spawn(async move {
            // Its own way to end; who talks nonsense is let go.
            if let Ok(session) = russh::server::run_stream(config, stream, login).await {
                drop(session.await);
            }
        });
    }
}

/// One connection.
struct Login {
    client: PublicKey,
    home: PathBuf,
    path: String,
    /// Sessions that have not said yet what they run.
    channels: Vec<Channel<Msg>>,
}

impl Clone for Login {
    fn clone(&self) -> Self {
        let (client, home, path) = (self.client.clone(), self.home.clone(), self.path.clone());
        Self { client, home, path, channels: Vec::new() }
    }
}

impl Handler for Login {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, _user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        let known = key.public_key.key_data() == self.client.key_data();
        Ok(if known { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        self.channels.push(channel);
        Ok(())
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let Some(at) = self.channels.iter().position(|channel| channel.id() == id) else {
            return session.channel_failure(id);
        };
        let channel = self.channels.swap_remove(at);
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(String::from_utf8_lossy(command).into_owned()).process_group(0);
        shell.env_clear().env("PATH", &self.path).env("HOME", &self.home).current_dir(&self.home);
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        match spawn_alone(|| shell.spawn()) {
            Ok(child) => {
                session.channel_success(id)?;
                tokio::spawn(serve(channel, child, session.handle()));
                Ok(())
            }
            Err(_) => session.channel_failure(id),
        }
    }
}

/// Passes the streams of a command, and then how it ended.
async fn serve(channel: Channel<Msg>, mut child: Child, handle: russh::server::Handle) {
    let (mut from, to) = channel.split();
    let (Some(mut stdin), Some(mut stdout), Some(mut stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return;
    };
    let feeding = tokio::spawn(async move {
        while let Some(message) = from.wait().await {
            match message {
                // A command that does not read any more is no fault of the connection.
                ChannelMsg::Data { data } if stdin.write_all(&data).await.is_err() => break,
                ChannelMsg::Eof | ChannelMsg::Close => break,
                _ => {}
            }
        }
    });
    let (mut out, mut err) = (to.make_writer(), to.make_writer_ext(Some(1)));
    let copied = async {
        let (one, two) =
            tokio::join!(tokio::io::copy(&mut stdout, &mut out), tokio::io::copy(&mut stderr, &mut err));
        drop((one, two));
        drop((stdout, stderr));
    };
    let (status, ()) = tokio::join!(child.wait(), copied);
    // Who listened may be gone: then nobody is told.
    drop(told(&to, &handle, status.ok()).await);
    feeding.abort();
}

async fn told(
    to: &russh::ChannelWriteHalf<Msg>,
    handle: &russh::server::Handle,
    status: Option<ExitStatus>,
) -> Result<(), russh::Error> {
    to.eof().await?;
    match status.map(|status| (status.code(), status.signal())) {
        Some((None, Some(signal))) => {
            let sent =
                handle.exit_signal_request(to.id(), signal_of(signal), false, String::new(), String::new());
            sent.await.map_err(|()| russh::Error::SendError)?;
        }
        Some((Some(code), _)) => to.exit_status(u32::try_from(code).unwrap_or(255)).await?,
        _ => to.exit_status(255).await?,
    }
    to.close().await
}

fn signal_of(signal: i32) -> Sig {
    match signal {
        1 => Sig::HUP,
        2 => Sig::INT,
        6 => Sig::ABRT,
        9 => Sig::KILL,
        11 => Sig::SEGV,
        13 => Sig::PIPE,
        15 => Sig::TERM,
        other => Sig::Custom(format!("{other}@lab")),
    }
}
