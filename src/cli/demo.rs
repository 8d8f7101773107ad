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
use super::{Cli, Command, apply, rollback};
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

/// What differs from the plan as it is: what takes minutes in a real house is waited for seconds here,
const QUICK: [(&str, &str); 5] = [
    (r#"steady_for = "5s""#, r#"steady_for = "2500ms""#),
    (r#"give_up_after = "1m""#, r#"give_up_after = "4s""#),
    (r#"within = "90s""#, r#"within = "3s""#),
    (r#"ha_storage }}", within = "3m""#, r#"ha_storage }}", within = "15s""#),
    (r#"onboot = false, within = "3m""#, r#"onboot = false, within = "5s""#),
];
/// and the soak is sampled by the hour, two bad samples being no more of it than before.
const HOURLY: (&str, &str) = (
    r#"every = "5m", max_consecutive_failures = 2, error_budget = "1%""#,
    r#"every = "1h", max_consecutive_failures = 2, error_budget = "3%""#,
);
/// In a scenario it is sampled every six hours,
const SIX_HOURLY: (&str, &str) =
    (HOURLY.0, r#"every = "6h", max_consecutive_failures = 2, error_budget = "17%""#);
/// and a new Frigate that does not come is not waited for a quarter of an hour.
const WARM: (&str, &str) = (r#"verify_within = "15m""#, r#"verify_within = "1m""#);

/// The plan's secrets, as its environment variables.
const SECRETS: [(&str, &str); 4] = [
    ("HA_TOKEN", TOKEN),
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
    /// With `--json` as a table in Markdown, with what the run does about each.
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
        match session.json {
            true => session.document("scenarios", &scenarios::table()),
            false => session.say(&scenarios::list()),
        }
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
    let furniture = args.scenario.map(|scenario| scenario.furniture).unwrap_or_default();
    let house = House::open_with(&folder.join("house"), &program, &furniture).await;
    let house = Arc::new(house.map_err(|error| {
        Fail::unexpected(fail::chain(&error)).help("if another `runner demo` is running, end it first")
    })?);
    let plan = unpack(&folder, &house, args.scenario).map_err(cannot)?;
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
    let until = args.scenario.and_then(|scenario| scenario.until);
    let mut code = apply::run(&inside, &applying(&plan, args.ask, until)?).await?;
    let stopped = [exit::INTERRUPTED, exit::TERMINATED].contains(&code);
    let back = args.scenario.is_some_and(|scenario| scenario.end.goes_back());
    if back && !stopped {
        inside.note(words::BACK);
        code = rollback::run(&inside, &rolling_back("--yes")?).await?;
    }
    inside.note(&words::after(&house));
    if !(back || stopped || code == exit::ROLLED_BACK) {
        inside.note(words::UNDONE);
        rollback::run(&inside, &rolling_back("--dry-run")?).await?;
    }
    inside.note(&words::where_it_stands(&folder));
    house.home.write_due().await;
    if args.keep {
        inside.note(&words::around(&house, &folder, &plan));
        Signals::new()?.next().await;
    }
    Ok(code)
}

/// What `apply` is told.
fn applying(plan: &Path, ask: bool, until: Option<&str>) -> Result<apply::ApplyArgs, Fail> {
    let vars = plan.with_file_name("frigate.vars.toml");
    let mut words = vec!["runner".into(), "apply".into(), plan.as_os_str().to_owned()];
    words.extend(["--var-file".into(), vars.into_os_string()]);
    words.extend((!ask).then(|| "--yes".into()));
    words.extend(until.into_iter().flat_map(|step| ["--until".into(), step.into()]));
    match Cli::try_parse_from(words).map(|cli| cli.command) {
        Ok(Command::Apply(args)) => Ok(args),
        Ok(_) | Err(_) => Err(Fail::unexpected("the demo does not know how to apply its plan")),
    }
}

/// What `rollback` is told.
fn rolling_back(option: &str) -> Result<rollback::RollbackArgs, Fail> {
    match Cli::try_parse_from(["runner", "rollback", option]).map(|cli| cli.command) {
        Ok(Command::Rollback(args)) => Ok(args),
        Ok(_) | Err(_) => Err(Fail::unexpected("the demo does not know the way back")),
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
fn unpack(folder: &Path, house: &House, scenario: Option<&Scenario>) -> io::Result<PathBuf> {
    let plans = folder.join("plans");
    fs::create_dir_all(plans.join("frigate"))?;
    let write = |path: &Path, text: &str| match fs::read_to_string(path) {
        Ok(there) if there == text => Ok(()),
        _ => fs::write(path, text),
    };
    for (name, text) in MANIFESTS {
        let broken = scenario.into_iter().flat_map(|scenario| scenario.manifests);
        let broken = broken.filter(|(file, ..)| *file == name);
        let text = broken.fold(text.to_owned(), |text, (_, from, to)| text.replace(from, to));
        write(&plans.join("frigate").join(name), &text)?;
    }
    write(&plans.join("frigate.vars.toml"), &house.variables())?;
    let plan = plans.join("frigate.toml");
    let differs: &[_] = if scenario.is_some() { &[SIX_HOURLY, WARM] } else { &[HOURLY] };
    let differs = QUICK.iter().chain(differs);
    let text = differs.fold(PLAN.to_owned(), |text, (there, here)| text.replace(there, here));
    write(&plan, &text)?;
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_is_the_real_one_but_for_how_often_it_is_sampled() {
        for (there, _) in QUICK.iter().chain(&[HOURLY, WARM]) {
            assert!(PLAN.contains(there), "{there}");
        }
    }
}
