//! Whether finished steps still are what they were, and what each system looks like now: what was seen, in words.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::guard;
use super::shown::SHOWN_VERSION;
use super::step::shape;
use super::{Look, Tone};
use crate::plan::{RunId, StepId};
use crate::saga::{Finding, State, Status, Verdict};

/// Whether a finished step still is what it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Drift {
    /// It is.
    Holds,
    /// It is not.
    Drifted,
    /// It is not, because a later step of the run changed it on purpose.
    Replaced,
    /// It could not be looked at.
    NotLooked,
    /// Nothing says whether it is.
    NoCheck,
}

impl Drift {
    fn word(self) -> &'static str {
        match self {
            Drift::Holds => "holds",
            Drift::Drifted => "drifted",
            Drift::Replaced => "replaced",
            Drift::NotLooked => "not_looked",
            Drift::NoCheck => "no_check",
        }
    }

    fn tone(self) -> Tone {
        match self {
            Drift::Holds => Tone::Good,
            Drift::Drifted => Tone::Bad,
            Drift::NotLooked => Tone::Warn,
            Drift::Replaced | Drift::NoCheck => Tone::Plain,
        }
    }
}

/// What was seen of a run's finished steps.
#[derive(Debug, Clone)]
pub struct Seen<'a> {
    /// The run.
    pub state: &'a State,
    /// What was looked at.
    pub findings: &'a [Finding],
    /// The steps whose result a later one changed on purpose, with that one.
    pub replaced: BTreeMap<StepId, StepId>,
}

/// The finished steps and whether each still is what it was. One look that saw a difference decides; one that could not
/// be taken spoils what the others saw.
pub fn drift_of(seen: &Seen<'_>) -> Vec<(StepId, Drift)> {
    let Seen { state, findings, replaced } = seen;
    let steps = state.definition.steps.iter().zip(&state.steps);
    let finished = steps.filter(|(_, found)| matches!(found.status, Status::Done | Status::Satisfied));
    let drift = finished.map(|(step, _)| {
        let mut seen = findings.iter().filter(|f| f.step == step.id).map(|f| f.answer.verdict).peekable();
        let drift = if seen.peek().is_none() {
            Drift::NoCheck
        } else {
            let seen: Vec<Verdict> = seen.collect();
            match (seen.iter().any(|v| matches!(v, Verdict::Absent | Verdict::Partial)), &seen) {
                (true, _) if replaced.contains_key(&step.id) => Drift::Replaced,
                (true, _) => Drift::Drifted,
                (false, seen) if seen.contains(&Verdict::Unknown) => Drift::NotLooked,
                (false, _) => Drift::Holds,
            }
        };
        (step.id.clone(), drift)
    });
    drift.collect()
}

/// One finding in words: `verify on still-fawn: command: test -e x: absent (exit status 1)`.
pub(super) fn finding_text(finding: &Finding) -> String {
    guard::line(&format!(
        "{}, {}: {}: {}",
        finding.purpose.word(),
        finding.place,
        finding.check,
        shape(&finding.answer)
    ))
}

/// The drift of a run, for people.
pub fn drift_text(seen: &Seen<'_>, look: &Look) -> String {
    let Seen { state, findings, replaced } = seen;
    let drift = drift_of(seen);
    if drift.is_empty() {
        return format!("{}: no step has ended well yet, so that nothing can have drifted.\n", state.run);
    }
    let of = |which: Drift| drift.iter().filter(|(_, found)| *found == which).count();
    let mut text = format!(
        "{}: {} drifted, {} as it was left{}, {} not looked at, {} without a check\n\n",
        state.run,
        of(Drift::Drifted),
        of(Drift::Holds),
        match of(Drift::Replaced) {
            0 => String::new(),
            some => format!(", {some} replaced on purpose"),
        },
        of(Drift::NotLooked),
        of(Drift::NoCheck)
    );
    let widest = drift.iter().map(|(step, _)| step.as_str().len()).max().unwrap_or(0);
    for (step, found) in &drift {
        let word = found.tone().paint(&format!("{:<10}", found.word()), look.color);
        let by = replaced.get(step).filter(|_| *found == Drift::Replaced);
        let by = by.map_or_else(String::new, |by| format!("  by step `{by}`, on purpose"));
        text.push_str(format!("  {:<widest$}  {word}{by}", step.as_str()).trim_end());
        text.push('\n');
        if *found == Drift::Holds && look.verbose == 0 {
            continue;
        }
        for finding in findings.iter().filter(|finding| finding.step == *step) {
            text.push_str(&format!("      {}\n", finding_text(finding)));
            for line in finding.diff.lines() {
                text.push_str(&format!("        {}\n", guard::line(line)));
            }
        }
    }
    if let Some((step, _)) = drift.iter().find(|(_, found)| *found == Drift::Drifted) {
        let plan = guard::shell_word(&guard::line(&state.definition.path));
        text.push_str(&format!(
            "\nNothing was changed. A finished step never runs again by itself: mend it by hand, or run it \
             again with `runner apply {plan} --redo {step}`.\n  `runner why {} {step}` says what decided it\n",
            state.run
        ));
    }
    text
}

/// The drift of a run, for programs: one object.
pub fn drift_json(seen: &Seen<'_>) -> Value {
    let Seen { state, findings, replaced } = seen;
    let steps: Vec<Value> = drift_of(seen)
        .into_iter()
        .map(|(step, drift)| {
            let looked: Vec<&Finding> = findings.iter().filter(|finding| finding.step == step).collect();
            let by = replaced.get(&step).filter(|_| drift == Drift::Replaced);
            json!({ "step": step, "drift": drift, "replaced_by": by, "looked": looked })
        })
        .collect();
    json!({ "v": SHOWN_VERSION, "type": "drift", "run": state.run, "seq": state.seq, "steps": steps })
}

/// What each system looks like now, for the end of a run that did not go well; empty when nobody looked.
pub fn systems_text(findings: &[Finding]) -> String {
    if findings.is_empty() {
        return String::new();
    }
    let mut text = "What each system looks like now:\n".to_owned();
    for place in places(findings) {
        text.push_str(&format!("  {}\n", guard::line(place)));
        for finding in findings.iter().filter(|finding| finding.place == place) {
            let seen = guard::line(&format!(
                "step `{}`, {}: {}: {}",
                finding.step,
                finding.purpose.word(),
                finding.check,
                shape(&finding.answer)
            ));
            text.push_str(&format!("    {seen}\n"));
        }
    }
    text
}

/// The same for programs: one object, or none.
pub fn systems_json(run: &RunId, findings: &[Finding]) -> Option<Value> {
    let systems = places(findings).into_iter().map(|place| {
        let looked: Vec<&Finding> = findings.iter().filter(|finding| finding.place == place).collect();
        json!({ "place": place, "looked": looked })
    });
    let systems: Vec<Value> = systems.collect();
    (!systems.is_empty())
        .then(|| json!({ "v": SHOWN_VERSION, "type": "systems", "run": run, "systems": systems }))
}

fn places(findings: &[Finding]) -> Vec<&str> {
    let mut places: Vec<&str> = Vec::new();
    for finding in findings {
        if !places.contains(&finding.place.as_str()) {
            places.push(&finding.place);
        }
    }
    places
}
