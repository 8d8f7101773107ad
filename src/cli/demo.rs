//! `runner demo`: the whole journey of `plans/frigate.toml`, in a simulated house on this machine.
//!
//! The plan, the actions, the journal and the ways back are the real ones; only the house is simulated, and its clock
//! leaps over long waits. What is told beside the run is in `demo/words.rs`, what may be broken in `demo/scenarios.rs`.

mod own;
mod scenarios;
mod words;

use std::collections::BTreeMap;
use std::ffi::OsString;
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
use super::near::step;
use super::session::{Session, environment};
use super::source::{self, PlanFile};
use super::{Cli, Command, access::Access, apply, rollback};
use crate::driver::{Leaps, history};
use crate::lab::house::{Blueprint, House, Outside, PASSWORD, TOKEN};
use crate::plan::{Required, StepId, did_you_mean};
use crate::report::exit;
use crate::saga::{End, State};

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
    runner demo --back-from soak              (as far as that step, and all the way back)\n  \
    runner demo my/frigate.toml --var-file my/house.toml    (your own plan, in a house made to fit it)\n  \
    runner demo --keep                        (the house stays, to look around in from another terminal)\n\n\
    Everything is in `demo/` below the state folder: the house in `demo/house`, the journal in `demo/state`. Killed at \
    any instant, the same command goes on; remove the folder to begin again.")]
pub(super) struct DemoArgs {
    /// Your own plan, adapted from `plans/frigate.toml`; default: that one
    ///
    /// A house is made to fit it: container, names, volumes and cameras are taken from its variables. Those that say where
    /// things are get the house's own values, so that nothing real is reached; a plan that would is refused. Secrets are not
    /// looked up. An edited plan gets a new house. A scenario has its own plan.
    #[arg(value_name = "PLAN", conflicts_with = "scenario")]
    plan: Option<PathBuf>,
    /// Set a variable of your own plan; may be repeated
    ///
    /// Example: runner demo my/frigate.toml --var vmid=105
    #[arg(long, value_name = "NAME=VALUE", requires = "plan", value_hint = clap::ValueHint::Other, value_parser = source::variable)]
    var: Vec<(String, String)>,
    /// Read variables of your own plan from a TOML file; may be repeated
    ///
    /// Example: runner demo my/frigate.toml --var-file my/house.toml
    #[arg(long, value_name = "FILE", requires = "plan")]
    var_file: Vec<PathBuf>,
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
    /// Go as far as this step, and then all the way back
    ///
    /// Example: runner demo --back-from stop-old
    #[arg(long, value_name = "STEP", value_hint = clap::ValueHint::Other, value_parser = step)]
    back_from: Option<StepId>,
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
    let own = match &args.plan {
        Some(plan) => Some(Own::read(session, plan, args)?),
        None => None,
    };
    let folder = session.state_folder(None).join("demo");
    let folder = match (args.scenario, &own) {
        (Some(scenario), _) => folder.join("scenarios").join(scenario.name),
        (None, Some(own)) => folder.join(&own.folder),
        (None, None) => folder,
    };
    let cannot = |error: io::Error| Fail::unexpected(format!("cannot use `{}`: {error}", folder.display()));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(cannot)?;
    let folder = folder.canonicalize().map_err(cannot)?;
    let secrets = own.as_ref().map_or_else(usual_secrets, |own| own.secrets.clone());
    if secrets.iter().any(|(name, value)| environment(name).as_deref() != Some(value)) {
        return Err(again_with(secrets));
    }
    let program = std::env::current_exe()
        .map_err(|error| Fail::unexpected(format!("cannot find this program itself: {error}")))?;
    let mut blueprint = own.as_ref().map(|own| own.blueprint.clone()).unwrap_or_default();
    blueprint.furniture = args.scenario.map(|scenario| scenario.furniture).unwrap_or_default();
    let house = House::open_as(&folder.join("house"), &program, blueprint, Outside::default()).await;
    let house = Arc::new(house.map_err(|error| {
        Fail::unexpected(fail::chain(&error)).help("if another `runner demo` is running, end it first")
    })?);
    let plan = match &own {
        Some(own) => own.lead(session, args, &folder, &house)?,
        None => unpack(&folder, &house, args.scenario).map_err(cannot)?,
    };
    if let Some(step) = &args.back_from {
        plan.has(session, step)?;
    }
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
    inside.fit = own.as_ref().map(|_| own::fit as _);
    inside.teller = Some(words::teller(Arc::clone(&house), args.scenario));
    if let Some(scenario) = args.scenario.filter(|scenario| scenario.at.is_none()) {
        scenarios::strike(scenario, &house, &folder);
    }
    inside.note(&words::before(&house, args.scenario, own.is_some()));
    // A run that went all the way back is followed by a new one.
    let before = newest(&inside, &folder, plan.path()).await?;
    let afresh = before.is_some_and(|state| matches!(state.end, Some(End::RolledBack { .. })));
    let mut code = apply::run(&inside, &arguments(&plan, args, afresh)?).await?;
    let stopped = [exit::INTERRUPTED, exit::TERMINATED].contains(&code);
    let back = match (&args.back_from, args.scenario) {
        (Some(step), _) => (code == exit::COMPLETE).then(|| words::back(step)),
        (None, Some(scenario)) => (scenario.end.goes_back() && !stopped).then(|| words::BACK.to_owned()),
        (None, None) => None,
    };
    if let Some(words) = &back {
        inside.note(words);
        code = rollback::run(&inside, &rolling_back("--yes")?).await?;
    }
    if let Some(state) = newest(&inside, &folder, plan.path()).await? {
        inside.note(&words::moved(&state));
    }
    inside.note(&words::after(&house));
    if back.is_none() && !stopped && code != exit::ROLLED_BACK {
        inside.note(words::UNDONE);
        rollback::run(&inside, &rolling_back("--dry-run")?).await?;
    }
    inside.note(&words::where_it_stands(&folder, code == exit::COMPLETE && back.is_none()));
    if !args.keep && code != exit::COMPLETE {
        inside.note(words::RESTS);
    }
    if args.keep {
        inside.note(&words::around(&house, &folder, &plan, &secrets));
        Signals::new()?.next().await;
    }
    // The house goes to rest with this process, and Home Assistant writes a little later than it changes.
    house.home.write_due().await;
    Ok(code)
}

/// Somebody's own plan.
struct Own {
    folder: PathBuf,
    blueprint: Blueprint,
    secrets: Vec<(String, String)>,
}

/// A plan in the house: its file, and the files of its variables.
struct Led {
    plan: PathBuf,
    var_files: Vec<PathBuf>,
    vars: Vec<(String, String)>,
}

impl Own {
    fn read(session: &Session, plan: &Path, args: &DemoArgs) -> Result<Self, Fail> {
        let file = PlanFile::read(plan, &args.var, &args.var_file)?;
        let loaded = file.load(session, &BTreeMap::new(), Required::MustBeGiven)?;
        Ok(Self {
            folder: own::folder(&loaded.definition),
            blueprint: own::blueprint(&loaded)?,
            secrets: own::secrets(&loaded.definition),
        })
    }

    /// Leads the plan into the house, and sees to it that nothing leads out again.
    fn lead(&self, session: &Session, args: &DemoArgs, folder: &Path, house: &House) -> Result<Led, Fail> {
        let plan = args.plan.clone().unwrap_or_default();
        let load = |var_files: &[PathBuf], vars: &[(String, String)]| {
            let file = PlanFile::read(&plan, vars, var_files)?;
            Ok::<_, Fail>(file.load(session, &BTreeMap::new(), Required::MustBeGiven)?.definition)
        };
        let own = folder.join("house.toml");
        let leads = own::leads(&*load(&args.var_file, &args.var)?, house);
        fs::write(&own, leads)
            .map_err(|error| Fail::unexpected(format!("cannot write `{}`: {error}", own.display())))?;
        let var_files: Vec<PathBuf> = args.var_file.iter().cloned().chain([own]).collect();
        // An option counts for more than a file.
        let vars: Vec<_> = args.var.iter().filter(|(name, _)| !own::is_led(name, house)).cloned().collect();
        own::stays_inside(&*load(&var_files, &vars)?, house)?;
        Ok(Led { plan, var_files, vars })
    }
}

impl Led {
    fn path(&self) -> &Path {
        &self.plan
    }

    /// Refuses the name of a step that the plan does not have.
    fn has(&self, session: &Session, step: &StepId) -> Result<(), Fail> {
        let file = PlanFile::read(&self.plan, &self.vars, &self.var_files)?;
        let definition = file.load(session, &BTreeMap::new(), Required::MustBeGiven)?.definition;
        let steps = &definition.steps;
        let known = || steps.iter().map(|step| step.id.as_str());
        if known().any(|name| name == step.as_str()) {
            return Ok(());
        }
        let lists = format!("its steps are: {}", known().collect::<Vec<_>>().join(", "));
        let fail = Fail::usage(format!("`--back-from`: the plan has no step `{step}`"));
        Err(fail.help(match did_you_mean(step.as_str(), known()) {
            Some(meant) => format!("did you mean `{meant}`? {lists}"),
            None => lists,
        }))
    }
}

/// The last run of this plan, as the journal knows it.
async fn newest(inside: &Session, folder: &Path, plan: &Path) -> Result<Option<State>, Fail> {
    let state = folder.join("state");
    if !state.join("journal").exists() {
        return Ok(None);
    }
    let plan = plan.canonicalize().unwrap_or_else(|_| plan.to_owned());
    let access = Access::open(inside, &state, false).await?;
    let plan = plan.to_str().unwrap_or_default();
    let newest = match history::newest_of(access.history(), access.bodies(), plan).await {
        Ok(Some(run)) => history::state(access.history(), access.bodies(), &run).await.map(Some),
        Ok(None) => Ok(None),
        Err(error) => Err(error),
    };
    access.close().await;
    Ok(newest?)
}

/// What `apply` is told.
fn arguments(led: &Led, args: &DemoArgs, afresh: bool) -> Result<apply::ApplyArgs, Fail> {
    let mut words: Vec<OsString> = vec!["runner".into(), "apply".into(), led.plan.clone().into_os_string()];
    for file in &led.var_files {
        words.extend(["--var-file".into(), file.clone().into_os_string()]);
    }
    for (name, value) in &led.vars {
        words.extend(["--var".into(), format!("{name}={value}").into()]);
    }
    let until = args.scenario.and_then(|scenario| scenario.until);
    if let Some(step) = args.back_from.as_ref().map(StepId::as_str).or(until) {
        words.extend(["--until".into(), step.into()]);
    }
    words.extend(afresh.then(|| "--new-run".into()));
    words.extend((!args.ask).then(|| "--yes".into()));
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

fn usual_secrets() -> Vec<(String, String)> {
    SECRETS.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

/// Becomes this program again, with the plan's secrets in its environment. Gives why that failed.
fn again_with(secrets: Vec<(String, String)>) -> Fail {
    let mut arguments = std::env::args_os();
    let mut program = std::process::Command::new("/proc/self/exe");
    if let Some(name) = arguments.next() {
        program.arg0(name);
    }
    let error = program.args(arguments).envs(secrets).exec();
    Fail::unexpected(format!("the demo cannot be started: {error}"))
}

/// Writes the plan, its manifests and the variables that lead into the house.
fn unpack(folder: &Path, house: &House, scenario: Option<&Scenario>) -> io::Result<Led> {
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
    let vars = plans.join("frigate.vars.toml");
    write(&vars, &house.variables())?;
    let plan = plans.join("frigate.toml");
    let differs: &[_] = if scenario.is_some() { &[SIX_HOURLY, WARM] } else { &[HOURLY] };
    let differs = QUICK.iter().chain(differs);
    let text = differs.fold(PLAN.to_owned(), |text, (there, here)| text.replace(there, here));
    write(&plan, &text)?;
    Ok(Led { plan, var_files: vec![vars], vars: Vec::new() })
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
