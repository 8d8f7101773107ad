//! From a kubeconfig, or the account of a pod, to a client.
//!
//! Exec plugins run without a terminal: a run that goes on in the night has nobody to answer them. They are outside
//! programs, so they run on a thread of their own and are waited for no longer than the call may take.

use std::path::Path;
use std::time::Duration;

use kube::config::{ExecInteractiveMode, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::time::Instant;

use super::ClusterPlace;
use super::error::{KubeError, chain, no_credentials};

/// How long a connection may take to be made.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// The client and the namespace of its context.
pub(super) async fn client(place: &ClusterPlace, deadline: Instant) -> Result<(Client, String), KubeError> {
    let wanted = place.clone();
    let runtime = tokio::runtime::Handle::current();
    let made = tokio::task::spawn_blocking(move || {
        let config = runtime.block_on(config(&wanted))?;
        let namespace = config.default_namespace.clone();
        let plugin = config.auth_info.exec.as_ref().and_then(|exec| exec.command.clone());
        let client = Client::try_from(config).map_err(|error| {
            let why = match &error {
                kube::Error::Auth(error) => no_credentials(error),
                other => format!("no client can be made: {}", chain(other)),
            };
            let plugin = plugin.map_or_else(String::new, |plugin| format!(" (`{plugin}`)"));
            KubeError::access(&wanted.name, &format!("{why}{plugin}"))
        })?;
        Ok((client, namespace))
    });
    match tokio::time::timeout_at(deadline, made).await {
        Ok(Ok(made)) => made,
        Ok(Err(_)) => Err(KubeError::access(&place.name, "the kubeconfig or its plugin broke the reader")),
        Err(_) => Err(KubeError::access_late(&place.name)),
    }
}

async fn config(place: &ClusterPlace) -> Result<Config, KubeError> {
    let wrong = |message: String| KubeError::access(&place.name, &message);
    let read = match &place.kubeconfig {
        Some(path) => Some(
            Kubeconfig::read_from(path)
                .map_err(|error| wrong(format!("the kubeconfig `{}`: {}", path.display(), chain(&error))))?,
        ),
        None => usual(&place.name)?,
    };
    let options = KubeConfigOptions { context: place.context.clone(), ..KubeConfigOptions::default() };
    let mut config = match read {
        Some(read) => Config::from_custom_kubeconfig(read, &options)
            .await
            .map_err(|error| wrong(format!("its kubeconfig cannot be used: {}", chain(&error))))?,
        None if place.context.is_some() => {
            return Err(wrong("there is no kubeconfig that could hold its `context`: name one with `kubeconfig`".to_owned()));
        }
        None => Config::incluster().map_err(|_| {
            wrong(
                "there is no kubeconfig (neither `KUBECONFIG` nor `~/.kube/config`), and this is no pod with an account: \
                 name one with `kubeconfig`"
                    .to_owned(),
            )
        })?,
    };
    config.connect_timeout = Some(CONNECT_MAX);
    // Requests have deadlines of their own, and who asks knows best what may be asked again.
    config.read_timeout = None;
    config.default_retry = false;
    if let (None, Some(file)) = (&config.auth_info.token, &config.auth_info.token_file) {
        let token = std::fs::read_to_string(file)
            .map_err(|error| wrong(format!("its token file `{file}` cannot be read: {error}")))?;
        // client-go trims what is in it (1.37, transport/token_source.go); kube 5 does not, and a line break is no part of
        // a header. A file that is written anew by the minute, as a pod has it, has none: that one is left to kube.
        match token.trim() {
            "" => return Err(wrong(format!("its token file `{file}` is empty"))),
            trimmed if trimmed.len() < token.len() => {
                config.auth_info.token = Some(trimmed.to_owned().into());
            }
            _ => (),
        }
    }
    if let Some(exec) = &mut config.auth_info.exec {
        if exec.interactive_mode == Some(ExecInteractiveMode::Always) {
            let plugin = exec.command.as_deref().unwrap_or("its exec plugin");
            return Err(wrong(format!(
                "`{plugin}` asks a person, and nobody is there: log in by hand first, or use a token"
            )));
        }
        exec.interactive_mode = Some(ExecInteractiveMode::Never);
    }
    Ok(config)
}

/// The kubeconfig that `kubectl` would take.
fn usual(name: &str) -> Result<Option<Kubeconfig>, KubeError> {
    let wrong = |error| KubeError::access(name, &format!("its kubeconfig cannot be read: {}", chain(&error)));
    if let Some(found) = Kubeconfig::from_env().map_err(wrong)? {
        return Ok(Some(found));
    }
    let Some(home) = std::env::home_dir() else { return Ok(None) };
    let path = home.join(".kube/config");
    if !Path::new(&path).exists() {
        return Ok(None);
    }
    Kubeconfig::read_from(&path).map(Some).map_err(wrong)
}
