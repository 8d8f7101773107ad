//! `runner plan`: what `apply` would do now. Changes nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::access::Access;
use super::apply::{refuse, still_open};
use super::eyes::Eyes;
use super::fail::Fail;
use super::saved::Saved;
use super::session::Session;
use super::source::{self, PlanFile};
use super::status::as_it_is;
use crate::driver::{self, Clock, Glimpse, SystemClock, history};
use crate::journal::Bodies;
use crate::plan::{Loaded, Required, RunId};
use crate::report::{self, exit};
use crate::saga::{self, Change, Command, Course, End, Event, Holders, State};

/// What `--detailed-exitcode` exits with when something would change.
const CHANGES: u8 = 10;

/// How long one look may take: a broker is watched for some seconds.
const LOOK: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  \
    runner plan plans/hello.toml\n  \
    runner plan plans/hello.toml --out hello.plan\n  \
    runner apply hello.plan\n  \
    runner plan plans/hello.toml --detailed-exitcode    (10: something would change)\n\n\
    Looks at every probe, at most 10 s each, opens no run and makes no journal. Of each step it says what would happen, \
    what it would wait for, and whether it can be undone, by what, until when; and which secrets are missing.")]
pub(super) struct PlanArgs {
    /// The plan file
    #[arg(value_name = "PLAN")]
    plan: PathBuf,
    /// Set a variable; may be repeated
    ///
    /// Example: runner plan plans/hello.toml --var folder=/tmp/elsewhere
    #[arg(long, value_name = "NAME=VALUE", value_hint = clap::ValueHint::Other, value_parser = source::variable)]
    var: Vec<(String, String)>,
    /// Read variables from a TOML file; may be repeated
    ///
    /// Example: runner plan plans/remote.toml --var-file hosts.toml
    #[arg(long, value_name = "FILE")]
    var_file: Vec<PathBuf>,
    /// Save what was seen; `apply` of that file runs exactly this plan or refuses
    ///
    /// The file has mode 0600, variables as they were given, and no secrets. A file of that name is replaced.
    ///
    /// Example: runner plan plans/hello.toml --out hello.plan
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Show what `apply --new-run` would do
    ///
    /// Refused while the plan's last run is still open.
    ///
    /// Example: runner plan plans/hello.toml --new-run
    #[arg(long)]
    new_run: bool,
    /// Exit 10 when something would change, 0 when nothing would
    ///
    /// Example: runner plan plans/hello.toml --detailed-exitcode
    #[arg(long)]
    detailed_exitcode: bool,
}

/// What `apply` would meet.
pub(super) struct Meeting {
    /// The run it would go on with.
    pub(super) run: Option<RunId>,
    /// That run's last event.
    pub(super) seq: u64,
    /// The run that is over and that a new one would follow, with its last event.
    pub(super) follows: Option<(RunId, u64)>,
    state: State,
    loaded: Option<Loaded>,
    changes: Vec<Change>,
    note: Option<String>,
    bodies: Bodies,
    /// What other runs hold, as far as its steps take something.
    elsewhere: Holders,
}

impl Meeting {
    /// Reads the plan file and the run that `apply` would go on with; changes nothing.
    pub(super) async fn of(
        session: &Session,
        file: &PlanFile,
        access: Option<&Access>,
        folder: &Path,
        new_run: bool,
    ) -> Result<Self, Fail> {
        let now = SystemClock::new().now();
        let found = match access {
            Some(access) => history::newest_of(access.history(), access.bodies(), file.path()).await?,
            None => None,
        };
        let (bodies, elsewhere) = (Bodies::at(folder), Holders::new());
        let mut follows = None;
        let mut begun = access.zip(found);
        if let Some((access, run)) = begun.take_if(|_| new_run) {
            let state = history::state(access.history(), access.bodies(), &run).await?;
            if state.end.is_none() {
                return Err(still_open(&state.run, file.path()));
            }
            follows = Some((run, state.seq));
        }
        let Some((access, run)) = begun else {
            let loaded = file.load(session, &BTreeMap::new(), Required::MustBeGiven)?;
            let name = &loaded.definition.name;
            let mut number = 1;
            if let Some(access) = access {
                let runs = access.history().runs().await?;
                number += runs.iter().filter(|head| head.run.plan() == name).count();
            }
            // The number that the run would get, unless runs of that name were pruned.
            let run = RunId::new(name.clone(), u32::try_from(number).unwrap_or(u32::MAX));
            let state = driver::unopened(run, Arc::clone(&loaded.definition), now)
                .map_err(|error| Fail::unexpected(error.to_string()))?;
            let changes = Vec::new();
            let note = follows.as_ref().map(|(run, _)| format!("Run {run} is over and stays what it is."));
            return Ok(Self {
                run: None,
                seq: 0,
                follows,
                state,
                loaded: Some(loaded),
                changes,
                note,
                bodies,
                elsewhere,
            });
        };
        let state = history::state(access.history(), access.bodies(), &run).await?;
        let seq = state.seq;
        let mut state = if access.is_remote() { state } else { as_it_is(state, now) };
        let over = match &state.end {
            Some(End::RolledBack { .. }) => Some("is rolled back"),
            Some(End::Cancelled) => Some("is cancelled"),
            Some(End::Complete) | None => None,
        };
        let note = match over {
            Some(word) => Some(format!("Run {run} {word}: only `apply --new-run` starts afresh.")),
            None if matches!(&state.course, Course::Back(back) if back.to.is_none()) => {
                Some(format!("Run {run} goes back: `apply` goes on with the rollback."))
            }
            None => None,
        };
        if note.is_some() {
            let changes = Vec::new();
            return Ok(Self {
                run: Some(run),
                seq,
                follows,
                state,
                loaded: None,
                changes,
                note,
                bodies,
                elsewhere,
            });
        }
        let loaded = file.load(session, &state.definition.given, Required::MustBeGiven)?;
        let amendment =
            driver::amendment(&state, &loaded.definition).map_err(|refused| refuse(&state, &refused))?;
        let mut changes = Vec::new();
        if let Some(amendment) = amendment {
            changes = amendment.changes;
            let definition = Arc::new(amendment.definition);
            let wish = Command::Amend { definition, changes: changes.clone() };
            // On a copy that nobody keeps: the run itself is amended by `apply`.
            for what in saga::command(&state, &wish, "")? {
                let event = Event { seq: state.seq + 1, at: now, what };
                saga::fold(&mut state, &event).map_err(|error| Fail::unexpected(error.to_string()))?;
            }
        }
        Ok(Self {
            run: Some(run),
            seq,
            follows,
            state,
            loaded: Some(loaded),
            changes,
            note,
            bodies,
            elsewhere,
        })
    }

    /// Takes in what other runs hold, if a step takes anything.
    async fn beside(mut self, access: &Access) -> Result<Self, Fail> {
        if self.definition().steps.iter().any(|step| !step.takes.is_empty()) {
            let (history, bodies) = (access.history(), access.bodies());
            self.elsewhere = driver::held_elsewhere(history, bodies, self.run.as_ref()).await?;
        }
        Ok(self)
    }

    /// Looks at the world.
    pub(super) async fn look(&self) -> Result<Glimpse, Fail> {
        let eyes = Eyes::open()?;
        let survey = eyes.survey(&self.state.definition, self.bodies.clone(), self.loaded.as_ref(), None);
        let survey = survey.patient(LOOK);
        let now = SystemClock::new().now();
        let glimpse = driver::preview(&survey, &self.state, &self.elsewhere, &now).await;
        eyes.close().await;
        Ok(glimpse)
    }

    /// The definition that `apply` would go on with.
    pub(super) fn definition(&self) -> &crate::plan::recorded::Definition {
        &self.state.definition
    }
}

pub(super) async fn run(session: &Session, args: &PlanArgs) -> Result<u8, Fail> {
    let file = PlanFile::read(&args.plan, &args.var, &args.var_file)?;
    let folder = session.state_folder(Some(&file.path));
    let access = match folder.join("journal").exists() {
        true => Some(Access::open(session, &folder, false).await?),
        false => None,
    };
    let mut meeting = Meeting::of(session, &file, access.as_ref(), &folder, args.new_run).await;
    if let Some(access) = access {
        meeting = match meeting {
            Ok(meeting) => meeting.beside(&access).await,
            refused => refused,
        };
        // Nobody has to wait for the journal while we look.
        access.close().await;
    }
    let meeting = meeting?;
    let glimpse = meeting.look().await?;
    let secrets: Vec<(String, String)> =
        glimpse.missing.iter().map(|missing| (missing.name.clone(), missing.why.clone())).collect();
    let outlook = report::Outlook {
        plan: file.path(),
        run: meeting.run.as_ref(),
        seq: meeting.seq,
        note: meeting.note.as_deref(),
        amendment: &meeting.changes,
        ahead: &glimpse.ahead,
        findings: &glimpse.findings,
        secrets: &secrets,
    };
    if session.json {
        session.say(&format!("{}\n", report::json_line(&report::ahead_json(&outlook))));
    } else {
        session.say(&report::ahead_text(&outlook, &session.look()));
    }
    if let Some(out) = &args.out {
        let saved = Saved::of(&file, args.var.clone(), &args.var_file, &meeting, &glimpse)?;
        saved.afresh(args.new_run).write(out)?;
        session.note(&format!("Saved: `runner apply {}` runs exactly this plan.", out.display()));
    }
    Ok(if args.detailed_exitcode && glimpse.ahead.changes { CHANGES } else { exit::COMPLETE })
}
