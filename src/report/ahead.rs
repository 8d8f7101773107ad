//! What `apply` would do now, in words and for programs.

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::human::{count, duration, wall};
use super::shown::SHOWN_VERSION;
use super::{Look, Tone, guard};
use crate::plan::RunId;
use crate::saga::{Ahead, Change, Claim, Does, Elsewhere, Finding, Purpose, StepAhead, Undo};

/// What is known of the way ahead.
#[derive(Debug, Clone, Copy)]
pub struct Outlook<'a> {
    /// The plan file's absolute path.
    pub plan: &'a str,
    /// The run that `apply` would go on with; absent: a new one.
    pub run: Option<&'a RunId>,
    /// That run's last event.
    pub seq: u64,
    /// Why the run is no more what it was, when `apply` would not go forward.
    pub note: Option<&'a str>,
    /// What the edited file changes in the run.
    pub amendment: &'a [Change],
    /// What lies ahead.
    pub ahead: &'a Ahead,
    /// What was looked at.
    pub findings: &'a [Finding],
    /// Secrets that cannot be had: the name, and why not. `apply` would refuse.
    pub secrets: &'a [(String, String)],
}

fn word(does: Does) -> (&'static str, Tone) {
    match does {
        Does::Done => ("done", Tone::Good),
        Does::Satisfied => ("satisfied", Tone::Good),
        Does::Skip => ("skipped", Tone::Plain),
        Does::Run => ("would run", Tone::Busy),
        Does::Verify => ("would look", Tone::Busy),
        Does::Soak => ("would soak", Tone::Busy),
        Does::Undo => ("would undo", Tone::Warn),
        Does::Unknown => ("not known", Tone::Warn),
        Does::Nothing => ("nothing", Tone::Plain),
    }
}

/// How a step is taken back, in one line; `None`: there is nothing to say.
fn back(step: &StepAhead) -> Option<String> {
    let ledger = &step.ledger;
    let by = match ledger.undo {
        Undo::Nothing if step.does == Does::Run => return Some("nothing of it has to be undone".to_owned()),
        Undo::Nothing | Undo::NotOurs => return None,
        Undo::Irreversible => {
            return Some(format!("cannot be undone: {}; from here on nothing before it can be", ledger.by));
        }
        Undo::Inverse | Undo::Action => &ledger.by,
    };
    Some(match (&ledger.crossed, &ledger.until) {
        (Some(step), _) => format!("can no longer be undone: step `{step}` was crossed"),
        (None, Some(step)) => format!("undone by {by}, until step `{step}` starts"),
        (None, None) => format!("undone by {by}"),
    })
}

/// What a step takes and waits for, in one line.
fn takes(claim: &Claim) -> String {
    let mut text = format!("takes `{}` as `{}`", claim.resource, claim.owner);
    for other in &claim.others {
        let owner = &other.owner;
        let seen = if other.checked { " and is seen to be gone" } else { "" };
        text.push_str(&match (&other.freed_by, other.holds) {
            (Some(step), _) => format!("; waits until step `{step}` has made `{owner}` let go{seen}"),
            (None, true) if other.checked => {
                format!(
                    "; waits until `{owner}`, which holds it, is seen to be gone: no step makes it let go"
                )
            }
            (None, true) => {
                format!("; would fail: `{owner}` holds it, and no step is left that makes it let go")
            }
            (None, false) => format!("; waits until `{owner}` is seen to be gone"),
        });
    }
    if let Some(Elsewhere { run, owner }) = &claim.elsewhere {
        text.push_str(&format!(
            "; waits until run `{run}`, which holds it for `{owner}`, has let go or is over"
        ));
    }
    text
}

/// What `apply` would do now, for people.
pub fn ahead_text(outlook: &Outlook<'_>, look: &Look) -> String {
    let Outlook { plan, run, seq, note, amendment, ahead, findings, secrets } = *outlook;
    let what = match run {
        Some(run) => format!("run {run} (event {seq})"),
        None => "a new run".to_owned(),
    };
    let mut text = format!("{}: what `apply` would do now, with {what}\n", guard::line(plan));
    if let Some(note) = note {
        text.push_str(&format!("{}\n", guard::line(note)));
    }
    if !amendment.is_empty() {
        text.push_str("\nThe edited file changes the run:\n");
        for change in amendment {
            let name = change.step.as_ref().map_or("the plan around the steps", |step| step.as_str());
            text.push_str(&format!("  {name}\n"));
            for line in guard::last_lines(&change.diff, usize::MAX) {
                text.push_str(&format!("    {line}\n"));
            }
        }
    }
    text.push('\n');
    let widest = ahead.steps.iter().map(|step| step.step.as_str().len()).max().unwrap_or(0);
    let indent = " ".repeat(widest + 4);
    for step in &ahead.steps {
        let (word, tone) = word(step.does);
        let word = tone.paint(&format!("{word:<10}"), look.color);
        let line = format!("  {:<widest$}  {word}  {}", step.step.as_str(), guard::line(&step.why));
        text.push_str(&format!("{}\n", line.trim_end()));
        let mut below = |line: String| text.push_str(&format!("{indent}  {}\n", guard::line(&line)));
        if matches!(step.does, Does::Run | Does::Soak | Does::Verify | Does::Unknown)
            && !step.summary.is_empty()
        {
            below(step.summary.clone());
        }
        if let Some(question) = &step.approval {
            below(format!("waits for an approval: {question}"));
        }
        match step.window_opens_ms {
            Some(i64::MAX) => below("its window never opens".to_owned()),
            Some(opens) => below(format!("its window opens at {}", wall(opens, &TimeZone::UTC))),
            None => {}
        }
        step.takes.iter().map(takes).for_each(&mut below);
        if let Some(soak) = step.soak_ms {
            below(format!("soaks for {} of good time", duration(soak)));
        }
        for finding in findings.iter().filter(|f| f.step == step.step && f.purpose == Purpose::Verify) {
            let reason = &finding.answer.reason;
            let why = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
            below(format!("now: {}: {}{why}", finding.check, finding.answer.verdict));
        }
        back(step).into_iter().for_each(&mut below);
        let probed = findings.iter().filter(|finding| finding.step == step.step);
        for line in probed.flat_map(|finding| finding.diff.lines()) {
            text.push_str(&format!("{indent}  {}\n", guard::line(line)));
        }
    }
    if let Some(step) = &ahead.point_of_no_return {
        text.push_str(&format!("\nPoint of no return: step `{step}`.\n"));
    }
    if !secrets.is_empty() {
        text.push_str("\nSecrets that are missing; `apply` would refuse, and start nothing:\n");
        for (name, why) in secrets {
            text.push_str(&format!("  {}\n", guard::line(&format!("{name}: {why}"))));
        }
    }
    let run = ahead.steps.iter().filter(|step| step.does == Does::Run).count();
    let unknown = ahead.steps.iter().filter(|step| step.does == Does::Unknown).count();
    let sum = match (ahead.changes, run, unknown) {
        (false, _, _) => "Nothing would be changed.".to_owned(),
        (true, run, 0) => format!("{} would run.", count(run, "step")),
        (true, run, unknown) => format!("{} would run, {unknown} not known yet.", count(run, "step")),
    };
    text.push_str(&format!("\n{sum} This was a look: nothing was changed.\n"));
    text
}

/// The same for programs: one object.
pub fn ahead_json(outlook: &Outlook<'_>) -> Value {
    json!({
        "v": SHOWN_VERSION,
        "type": "plan",
        "plan": outlook.plan,
        "run": outlook.run,
        "seq": outlook.seq,
        "note": outlook.note,
        "amendment": outlook.amendment,
        "changes": outlook.ahead.changes,
        "point_of_no_return": outlook.ahead.point_of_no_return,
        "steps": outlook.ahead.steps,
        "looked": outlook.findings,
        "secrets_missing": outlook.secrets.iter()
            .map(|(name, why)| json!({ "name": name, "why": why })).collect::<Vec<Value>>(),
    })
}
