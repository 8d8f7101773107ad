//! `runner serve`: the process in which runs live for days, whoever waits for them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use tokio::net::TcpListener;

use super::access::{Access, Holding};
use super::drive::Signals;
use super::fail::{self, Fail};
use super::session::{Session, asker, environment};
use super::source::PlanFile;
use crate::plan::recorded::Definition;
use crate::plan::{Loaded, Required};
use crate::report::exit;
use crate::serve::notify::Notify;
use crate::serve::web::{self, Board, Settings, Tls, TlsFiles, Web};
use crate::transport::{BrokerPlace, topic_for_notices};

/// A token has at least so many characters: 16 of base64 are 96 bits.
const TOKEN_MIN: usize = 16;

/// What a token file holds at most, in bytes.
const TOKEN_MAX: u64 = 4_096;

/// How often the journal is asked whether it is well.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_secs(5);

/// What a file with a key holds at most, in bytes.
const KEY_MAX: u64 = 64 * 1_024;

/// What a notify file holds at most, in bytes.
const NOTIFY_MAX: u64 = 64 * 1_024;

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  \
    runner serve                                     (the page is at http://127.0.0.1:7447)\n  \
    runner serve --listen 0.0.0.0:7447 --token-file /etc/runner/token\n\n\
    Holds the journal, goes on with every open run, and takes what `runner apply` and its like hand over from other \
    terminals. Secrets are looked up here. SIGTERM lets what is in flight finish or stops it as its step declares, \
    and exits 0; killed in any moment, it goes on at the next start. `contrib/runner.service` runs it under systemd.")]
pub(super) struct ServeArgs {
    /// Answer HTTP at this address; port 0 takes a free one
    ///
    /// Any address but a loopback one needs `--token-file` or `--client-ca`.
    ///
    /// Example: runner serve --listen 127.0.0.1:8080
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7447")]
    listen: SocketAddr,
    /// Ask everybody for the token in this file, which only its owner may read
    ///
    /// Programs send it as `Authorization: Bearer TOKEN`, people sign in with it. It has at least 16 characters.
    ///
    /// Example: runner serve --token-file /etc/runner/token
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Answer HTTPS with the certificate in this file (PEM, with those between it and its authority)
    ///
    /// It is read again when it changes, as is its key.
    ///
    /// Example: runner serve --tls-cert /etc/runner/cert.pem --tls-key /etc/runner/key.pem
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The key of that certificate (PEM), which only its owner may read
    ///
    /// Example: runner serve --tls-cert /etc/runner/cert.pem --tls-key /etc/runner/key.pem
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Take a certificate of an authority in this file (PEM) for the token
    ///
    /// Without `--token-file` nobody is answered who has none.
    ///
    /// Example: runner serve --tls-cert cert.pem --tls-key key.pem --client-ca people.pem
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    client_ca: Option<PathBuf>,
    /// Let people begin runs of the plans in this folder from the page
    ///
    /// Without it, runs are begun with `runner apply` alone.
    ///
    /// Example: runner serve --plans plans
    #[arg(long, value_name = "DIR")]
    plans: Option<PathBuf>,
    /// Tell people by what is in this TOML file, which only its owner may read: webhooks, ntfy, MQTT, Home Assistant
    ///
    /// Of gates, failures, ways back that are lost, and ends; in Home Assistant each run is a device. `docs/serve.md` shows
    /// such a file.
    ///
    /// Example: runner serve --notify /etc/runner/notify.toml
    #[arg(long, value_name = "FILE")]
    notify: Option<PathBuf>,
}

/// The file of `--notify`.
#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct NotifyFile {
    /// What links to the page begin with.
    link: Option<String>,
    #[serde(default)]
    webhook: Vec<WebhookTable>,
    #[serde(default)]
    ntfy: Vec<NtfyTable>,
    #[serde(default)]
    mqtt: Vec<MqttTable>,
    homeassistant: Option<HomeTable>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct WebhookTable {
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct NtfyTable {
    url: String,
    token: Option<String>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct MqttTable {
    url: String,
    username: Option<String>,
    password: Option<String>,
    ca: Option<PathBuf>,
    topic: String,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct HomeTable {
    url: String,
    username: Option<String>,
    password: Option<String>,
    ca: Option<PathBuf>,
    #[serde(default = "discovery_prefix")]
    discovery_prefix: String,
    #[serde(default = "own_topic")]
    topic: String,
    #[serde(default = "yes")]
    buttons: bool,
}

/// Where Home Assistant looks, unless it was told otherwise.
fn discovery_prefix() -> String {
    "homeassistant".to_owned()
}

fn own_topic() -> String {
    "runner".to_owned()
}

fn yes() -> bool {
    true
}

impl NotifyFile {
    fn read(path: &Path) -> Result<Self, Fail> {
        let bytes = private(path, "notify file", NOTIFY_MAX)?;
        let shown = path.display();
        let text = String::from_utf8(bytes).map_err(|_| {
            Fail::usage(format!("the notify file `{shown}` is not UTF-8")).help("write it as TOML")
        })?;
        let file: Self = toml::from_str(&text).map_err(|error| {
            // What stands in the file may be secret, so that only the place is told.
            let line = error.span().map_or(1, |span| text[..span.start].lines().count().max(1));
            Fail::usage(format!("the notify file `{shown}` makes no sense at line {line}"))
                .help(
                    "it has `link`, and tables `[[webhook]]` (url, headers), `[[ntfy]]` (url, token), `[[mqtt]]` (url, \
                     username, password, ca, topic) and `[homeassistant]` (url, username, password, ca, \
                     discovery_prefix, topic, buttons)",
                )
        })?;
        let urls = file.webhook.iter().map(|hook| &hook.url).chain(file.ntfy.iter().map(|topic| &topic.url));
        for url in urls.chain(&file.link) {
            if !(url.starts_with("http://") || url.starts_with("https://")) {
                return Err(Fail::usage(format!("an address in `{shown}` is no URL of http or https"))
                    .help("write it whole, for example `https://ntfy.example.org/topic`"));
            }
        }
        Ok(file)
    }

    fn receivers(self, path: &Path) -> Result<(Vec<web::Receiver>, Option<web::HomeAssistant>), Fail> {
        let broker = |url: &str, username, password, ca: Option<PathBuf>| {
            // Beside the file, as everything that a file names.
            let ca = ca.map(|ca| path.parent().unwrap_or(Path::new(".")).join(ca));
            let read = |ca: &PathBuf| std::fs::read(ca).map_err(|error| fail::file("file", ca, &error));
            let ca = ca.as_ref().map(read).transpose()?;
            BrokerPlace::new("notify", url, username, password, ca).map_err(|why| {
                Fail::usage(format!("{why} in `{}`", path.display()))
                    .help("write it as in a plan: `mqtt://host:1883` or `mqtts://host:8883`")
            })
        };
        let topic = |topic: &str| {
            topic_for_notices(topic).map_err(|why| {
                Fail::usage(format!("{why}, in `{}`", path.display())).help("write another `topic`")
            })
        };
        let mut brokers = Vec::new();
        for table in self.mqtt {
            topic(&table.topic)?;
            let broker = broker(&table.url, table.username, table.password, table.ca)?;
            brokers.push(web::Receiver::Mqtt { broker, topic: table.topic });
        }
        let home = match self.homeassistant {
            None => None,
            Some(table) => {
                topic(&table.discovery_prefix)?;
                topic(&table.topic)?;
                Some(web::HomeAssistant {
                    broker: broker(&table.url, table.username, table.password, table.ca)?,
                    discovery: table.discovery_prefix.trim_end_matches('/').to_owned(),
                    base: table.topic.trim_end_matches('/').to_owned(),
                    buttons: table.buttons,
                })
            }
        };
        let hooks = self.webhook.into_iter().map(|hook| {
            let headers = hook.headers.into_iter().map(|(name, value)| (name.to_lowercase(), value));
            web::Receiver::Webhook { url: hook.url, headers: headers.collect() }
        });
        let topics = self.ntfy.into_iter();
        let topics = topics.map(|topic| web::Receiver::Ntfy { url: topic.url, token: topic.token });
        Ok((hooks.chain(topics).chain(brokers).collect(), home))
    }
}

pub(super) async fn run(session: &Session, args: &ServeArgs) -> Result<u8, Fail> {
    let token = args.token_file.as_deref().map(token).transpose()?;
    if token.is_none() && args.client_ca.is_none() && !web::is_private(&args.listen) {
        return Err(Fail::usage(format!("`{}` can be reached from other machines", args.listen))
            .help("give `--token-file FILE` or `--client-ca FILE`, or listen on 127.0.0.1"));
    }
    let tls = tls(args, token.is_some())?;
    let plans = args.plans.as_deref().map(Plans::of).transpose()?;
    let mut told = args.notify.as_deref().map(NotifyFile::read).transpose()?.unwrap_or_default();
    let link = told.link.take();
    let (receivers, home) = told.receivers(args.notify.as_deref().unwrap_or(Path::new("")))?;
    let notify = Notify::new(
        environment("NOTIFY_SOCKET").as_deref(),
        environment("WATCHDOG_USEC").as_deref(),
        environment("WATCHDOG_PID").as_deref(),
    );
    let notify = notify.map_err(|error| {
        Fail::usage(format!("NOTIFY_SOCKET names no socket: {error}")).help("start it without that variable")
    })?;
    // The port first: who cannot answer takes nothing on.
    let listener = TcpListener::bind(args.listen).await.map_err(|error| {
        Fail::usage(format!("cannot listen on `{}`: {error}", args.listen))
            .help("another process may be there: name another address with `--listen`")
    })?;
    let folder = session.state_folder(None);
    let held = match Access::open(session, &folder, true).await? {
        Access::Held(held) => held,
        Access::Remote { client, .. } => {
            let (pid, what) = (client.pid(), if client.serves() { "a service" } else { "a command" });
            return Err(Fail::usage(format!(
                "process {pid}, {what}, holds the journal in `{}`",
                folder.display()
            ))
            .help("one process holds a journal: end that one first, or name another folder with `--state`"));
        }
    };
    let board = Arc::new(Board::default());
    let watched = Arc::clone(&board);
    let mut signals = Signals::new()?;
    let mut holding = held.hold_as(|holder| holder.serving(move || watched.watcher()))?;
    let whole = std::fs::canonicalize(&folder).unwrap_or_else(|_| folder.clone());
    let settings = Settings {
        token,
        tls,
        plans: plans.map(|plans| Box::new(plans) as Box<dyn web::Plans>),
        folder: whole,
        link,
        receivers,
        home,
        transport: holding.transport.clone(),
    };
    let web = Web::start(listener, Arc::clone(&holding.holder), board, settings)
        .map_err(|error| Fail::unexpected(format!("cannot answer HTTP: {error}")))?;
    holding.offer(session);
    let url = web.url().to_owned();
    session.document("serve", &format!("{url}\n"));
    session.note(&format!("Serving the journal in `{}`. Ctrl-C ends it in good order.", folder.display()));
    let code = serve(session, &holding, &web, &notify, &mut signals, &url).await;
    notify.stopping();
    stop(session, holding, web, &mut signals, *code.as_ref().unwrap_or(&exit::UNEXPECTED)).await;
    code.map(|_| exit::COMPLETE)
}

/// Takes on what is open, then stays until a signal comes; the exit code that goes with it.
async fn serve(
    session: &Session,
    holding: &Holding,
    web: &Web,
    notify: &Notify,
    signals: &mut Signals,
    url: &str,
) -> Result<u8, Fail> {
    let by = asker();
    let resuming = async {
        let left = holding.holder.resume_open(&by).await?;
        for each in &left {
            session.warn(&format!(
                "run `{}` was not taken on: {}; `runner apply` goes on with it once that is mended",
                each.run,
                fail::chain(&each.error)
            ));
        }
        web.resumed(&left);
        notify.status(&format!("{} runs are driven, {url}", holding.holder.running().await.len()));
        notify.ready();
        Ok::<(), Fail>(())
    };
    tokio::pin!(resuming);
    let mut watchdog = tokio::time::interval(notify.watchdog_every().unwrap_or(LOOK_EVERY).min(LOOK_EVERY));
    watchdog.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut resumed = false;
    loop {
        tokio::select! {
            taken = &mut resuming, if !resumed => {
                taken?;
                resumed = true;
            }
            code = signals.next() => return Ok(code),
            _ = watchdog.tick() => match web.is_alive().await {
                Ok(true) => notify.alive(),
                // Without a word it is taken for hung, and started again: as it should when nothing answers.
                Ok(false) => {}
                // A journal that could not write once takes nothing more in this process.
                Err(error) => {
                    return Err(Fail::from(error).help(
                        "what is on stable storage is right: start `runner serve` again when that is mended, and every \
                         run goes on",
                    ));
                }
            },
        }
    }
}

/// Lets what is in flight finish or stops it as it declares; a second signal ends at once.
async fn stop(session: &Session, holding: Holding, web: Web, signals: &mut Signals, code: u8) {
    session.note(
        "Stopping: nothing new starts; what is in flight finishes or is stopped as it declares. Once more ends at \
         once, and nothing that was recorded is lost.",
    );
    holding.holder.stop_by(code).await;
    let close = async {
        holding.holder.rest().await;
        web.close().await;
        holding.close().await;
    };
    tokio::pin!(close);
    tokio::select! {
        () = &mut close => {}
        code = signals.next() => {
            #[expect(clippy::disallowed_methods, reason = "a second signal asks for an end at once")]
            std::process::exit(i32::from(code))
        }
    }
}

/// What stands in a file that only its owner may read.
fn private(path: &Path, what: &str, most: u64) -> Result<Vec<u8>, Fail> {
    let shown = path.display();
    let found = std::fs::metadata(path).map_err(|error| fail::file(what, path, &error))?;
    if !found.is_file() || found.len() > most {
        return Err(Fail::usage(format!("`{shown}` is no {what} of at most {most} bytes"))
            .help(format!("name a regular file as {what}")));
    }
    if found.mode() & 0o077 != 0 {
        let mode = found.mode() & 0o7777;
        return Err(Fail::usage(format!("the {what} `{shown}` can be read by others (mode {mode:04o})"))
            .help(format!("run `chmod 600 {shown}`")));
    }
    std::fs::read(path).map_err(|error| fail::file(what, path, &error))
}

/// TLS, when there is a certificate for it.
fn tls(args: &ServeArgs, has_token: bool) -> Result<Option<Tls>, Fail> {
    let (Some(certificate), Some(key)) = (&args.tls_cert, &args.tls_key) else { return Ok(None) };
    drop(private(key, "key file", KEY_MAX)?);
    let files =
        TlsFiles { certificate: certificate.clone(), key: key.clone(), clients: args.client_ca.clone() };
    let tls = Tls::new(files, args.client_ca.is_some() && !has_token);
    tls.map(Some).map_err(|why| Fail::usage(why).help("name files with PEM in them that go together"))
}

/// The token in a file that only its owner may read.
fn token(path: &Path) -> Result<Vec<u8>, Fail> {
    let (bytes, shown) = (private(path, "token file", TOKEN_MAX)?, path.display());
    let token = bytes.trim_ascii().to_vec();
    if token.len() < TOKEN_MIN || token.iter().any(|byte| !byte.is_ascii_graphic()) {
        return Err(Fail::usage(format!(
            "the token in `{shown}` is no line of at least {TOKEN_MIN} printable characters"
        ))
        .help(format!("`openssl rand -base64 32 > {shown}` makes one")));
    }
    Ok(token)
}

/// The folder of plans that runs can be begun from.
struct Plans(PathBuf);

impl Plans {
    fn of(folder: &Path) -> Result<Self, Fail> {
        let whole = std::fs::canonicalize(folder).map_err(|error| fail::file("folder", folder, &error))?;
        if !whole.is_dir() {
            return Err(
                Fail::usage(format!("`{}` is no folder", folder.display())).help("name a folder with plans")
            );
        }
        Ok(Self(whole))
    }

    /// The names of plan files, as far as they are harmless ones: no path leads out of the folder.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some(name.strip_suffix(".toml")?.to_owned())
        });
        let mut names: Vec<String> =
            names.filter(|name| !name.is_empty() && !name.starts_with('.')).collect();
        names.sort();
        names
    }

    fn judged(&self, file: &str, vars: &[(String, String)], required: Required) -> Result<Loaded, String> {
        // Only a name that the folder has: what was asked is compared, and leads nowhere by itself.
        let name = self.names().into_iter().find(|name| name == file);
        let name = name.ok_or_else(|| format!("there is no plan `{}`", crate::report::text_line(file)))?;
        let file =
            PlanFile::read(&self.0.join(format!("{name}.toml")), vars, &[]).map_err(|fail| fail.message)?;
        file.judged(&BTreeMap::new(), required)
            .map_err(|diagnostics| diagnostics.render(false, 100).trim_end().to_owned())
    }
}

impl web::Plans for Plans {
    fn list(&self) -> Vec<web::PlanFile> {
        let names = self.names().into_iter();
        let plans = names.map(|file| {
            let loaded = self.judged(&file, &[], Required::TakenAsPresent);
            let path = self.0.join(format!("{file}.toml")).display().to_string();
            let description = match loaded {
                Ok(loaded) => loaded.definition.description.clone(),
                Err(why) => {
                    let first = why.lines().next().unwrap_or("").trim_start_matches("error: ").to_owned();
                    format!("not valid: {first}")
                }
            };
            web::PlanFile { file, path, description }
        });
        plans.collect()
    }

    fn load(&self, file: &str, vars: &[(String, String)]) -> Result<(Arc<Definition>, Vec<Vec<u8>>), String> {
        let loaded = self.judged(file, vars, Required::MustBeGiven)?;
        Ok((loaded.definition, loaded.files.into_values().collect()))
    }
}
