//! `runner demo`: the whole journey of `plans/frigate.toml`, in a simulated house on this machine.
//!
//! The plan, the actions, the journal and the ways back are the real ones; only the house is simulated, and its clock
//! leaps over long waits. What is told beside the run is in `demo/words.rs`, what may be broken in `demo/scenarios.rs`.

mod scenarios;
mod words;

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Parser};

use self::scenarios::Scenario;
use super::drive::Signals;
use super::fail::{self, Fail};
use super::session::{Session, environment};
use super::{Cli, Command, apply};
use crate::driver::Leaps;
use crate::lab::house::{House, PASSWORD, TOKEN};
use crate::report::exit;

/// The plan and its manifests, so that the program needs no other file for it.
const PLAN: &str = include_str!("../../plans/frigate.toml");
/// See [`PLAN`].
const MANIFESTS: [(&str, &str); 5] = [
    ("00-namespace.yaml", include_str!("../../plans/frigate/00-namespace.yaml")),
    ("10-config.yaml", include_str!("../../plans/frigate/10-config.yaml")),
    ("20-volumes.yaml", include_str!("../../plans/frigate/20-volumes.yaml")),
    ("30-services.yaml", include_str!("../../plans/frigate/30-services.yaml")),
    ("40-deployment.yaml", include_str!("../../plans/frigate/40-deployment.yaml")),
];

/// The one line that differs from the plan as it is: the soak is sampled by the hour.
const EVERY: (&str, &str) = (r#"for = "3d", every = "5m""#, r#"for = "3d", every = "1h""#);

/// The plan's secrets, as its environment variables.
const SECRETS: [(&str, &str); 5] = [
    ("HA_TOKEN", TOKEN),
    ("FRIGATE_MQTT_USER", "frigate"),
    ("FRIGATE_MQTT_PASSWORD", PASSWORD),
    ("FRIGATE_CAMERA_USER", "viewer"),
    ("FRIGATE_CAMERA_PASSWORD", "lab-password-of-the-cameras"),
];

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  \
    runner demo                               (the journey as it should go)\n  \
    runner demo --scenario detection-off      (the world is broken on purpose)\n  \
    runner demo --keep                        (the house stays, to look around in from another terminal)\n\n\
    Everything is in `demo/` below the state folder: the house in `demo/house`, the journal in `demo/state`. Killed at \
    any instant, the same command goes on; remove the folder to begin again.")]
pub(super) struct DemoArgs {
    /// Break the house on purpose
    ///
    /// Each scenario has a house of its own.
    ///
    /// Example: runner demo --scenario detection-off
    #[arg(long, value_name = "NAME", value_parser = scenarios::named)]
    scenario: Option<&'static Scenario>,
    /// List the scenarios
    ///
    /// Example: runner demo --list
    #[arg(long)]
    list: bool,
    /// Ask at gates instead of answering them
    ///
    /// Example: runner demo --ask
    #[arg(long)]
    ask: bool,
    /// Leave the house running when the run rests, until Ctrl-C
    ///
    /// Its addresses are printed, and the commands to look around with.
    ///
    /// Example: runner demo --keep
    #[arg(long)]
    keep: bool,
}

pub(super) async fn run(session: &Session, args: &DemoArgs) -> Result<u8, Fail> {
    if args.list {
        session.say(&scenarios::list());
        return Ok(exit::COMPLETE);
    }
    let folder = session.state_folder(None).join("demo");
    let folder = match args.scenario {
        Some(scenario) => folder.join("scenarios").join(scenario.name),
        None => folder,
    };
    let cannot = |error: io::Error| Fail::unexpected(format!("cannot use `{}`: {error}", folder.display()));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(cannot)?;
    let folder = folder.canonicalize().map_err(cannot)?;
    if SECRETS.iter().any(|(name, value)| environment(name).as_deref() != Some(*value)) {
        return Err(again_with_secrets());
    }
    let program = std::env::current_exe()
        .map_err(|error| Fail::unexpected(format!("cannot find this program itself: {error}")))?;
    let house = House::open(&folder.join("house"), &program).await;
    let house = Arc::new(house.map_err(|error| {
        Fail::unexpected(fail::chain(&error)).help("if another `runner demo` is running, end it first")
    })?);
    let plan = unpack(&folder, &house).map_err(cannot)?;
    let leaps = {
        let clock = house.clock.clone();
        let leap = move |ms| {
            if let Err(error) = clock.leap(ms) {
                tracing::warn!(%error, "the time of the simulated house cannot be kept");
            }
        };
        Leaps { ahead_ms: house.clock.ahead_ms(), leap: Arc::new(leap) }
    };
    let mut inside = session.clone();
    inside.set_state(folder.join("state"));
    inside.leaps = Some(leaps);
    inside.teller = Some(words::teller(Arc::clone(&house), args.scenario));
    if let Some(scenario) = args.scenario.filter(|scenario| scenario.at.is_none()) {
        scenarios::strike(scenario, &house, &folder);
    }
    inside.note(&words::before(args.scenario));
    let code = apply::run(&inside, &arguments(&plan, args.ask)?).await?;
    inside.note(&words::after(&house, &folder, code));
    if args.keep {
        inside.note(&words::around(&house, &folder, &plan));
        Signals::new()?.next().await;
    }
    Ok(code)
}

/// What `apply` is told.
fn arguments(plan: &Path, ask: bool) -> Result<apply::ApplyArgs, Fail> {
    let vars = plan.with_file_name("frigate.vars.toml");
    let mut words = vec!["runner".into(), "apply".into(), plan.as_os_str().to_owned()];
    words.extend(["--var-file".into(), vars.into_os_string()]);
    words.extend((!ask).then(|| "--yes".into()));
    match Cli::try_parse_from(words).map(|cli| cli.command) {
        Ok(Command::Apply(args)) => Ok(args),
        Ok(_) | Err(_) => Err(Fail::unexpected("the demo does not know how to apply its plan")),
    }
}

/// Becomes this program again, with the plan's secrets in its environment. Gives why that failed.
fn again_with_secrets() -> Fail {
    let mut arguments = std::env::args_os();
    let mut program = std::process::Command::new("/proc/self/exe");
    if let Some(name) = arguments.next() {
        program.arg0(name);
    }
    let error = program.args(arguments).envs(SECRETS).exec();
    Fail::unexpected(format!("the demo cannot be started: {error}"))
}

/// Writes the plan, its manifests and the variables that lead into the house.
fn unpack(folder: &Path, house: &House) -> io::Result<PathBuf> {
    let plans = folder.join("plans");
    fs::create_dir_all(plans.join("frigate"))?;
    let write = |path: &Path, text: &str| match fs::read_to_string(path) {
        Ok(there) if there == text => Ok(()),
        _ => fs::write(path, text),
    };
    for (name, text) in MANIFESTS {
        write(&plans.join("frigate").join(name), text)?;
    }
    write(&plans.join("frigate.vars.toml"), &house.variables())?;
    let plan = plans.join("frigate.toml");
    write(&plan, &PLAN.replace(EVERY.0, EVERY.1))?;
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_is_the_real_one_but_for_how_often_it_is_sampled() {
        assert_eq!(PLAN.matches(EVERY.0).count(), 1);
    }
}
