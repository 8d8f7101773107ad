//! What looks remember of the ones before them, and what that makes of a look: `watch` and `holds` of a check.
//!
//! A look that has nothing to compare with yet, whose fact is missing or cannot be compared, is `unknown`: it could
//! not be seen whether it is so. Facts are learned only from looks whose check itself holds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::outcome::{Answer, Verdict};
use super::time::Stamp;
use crate::plan::recorded::Operation;
use crate::plan::samples::{Against, Holds, Must, Rule, Samples};

/// A window is remembered in so many marks: it may reach back by this share of its length more than it says.
const MARKS: u64 = 24;

/// A longer value cannot be compared, in bytes of JSON: what is remembered is stored with events.
const VALUE_MAX: usize = 1024;

/// What is remembered of the looks at a list of checks, by their places in it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Memory(BTreeMap<usize, Looks>);

/// Of one check.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Looks {
    /// By fact.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    facts: BTreeMap<String, Fact>,
    /// Whether each of the last looks held, the newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    held: Vec<bool>,
}

/// Of one fact.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Fact {
    first: Value,
    last: Value,
    /// As a counter: how much it has grown since the first look.
    #[serde(default)]
    grown: f64,
    /// How much it had grown at moments of the window, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    marks: Vec<Mark>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Mark {
    at: Stamp,
    grown: f64,
}

/// Why a look does not hold together with the ones before it.
enum Finding {
    Holds,
    Absent(String),
    Unknown(String),
}

impl Memory {
    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Judges the answers of one look at `checks` together with what is remembered, and remembers them.
    pub(super) fn judge(&mut self, checks: &[Operation], answers: &mut [Answer], now: &Stamp) {
        for (place, (check, answer)) in checks.iter().zip(answers).enumerate() {
            let samples = Samples::of(check);
            if samples.is_empty() {
                continue;
            }
            let looks = self.0.entry(place).or_default();
            if answer.verdict == Verdict::Holds {
                looks.compare(&samples, answer, now);
            }
            if let Some(holds) = samples.holds {
                looks.count(holds, answer);
            }
        }
    }
}

impl Looks {
    fn compare(&mut self, samples: &Samples, answer: &mut Answer, now: &Stamp) {
        let mut worst = Finding::Holds;
        for (name, rule) in &samples.facts {
            let seen = answer.facts.get(name).or_else(|| answer.outputs.get(name));
            let finding = match seen {
                None => Finding::Unknown(format!("the answer has no `{name}`")),
                Some(value) => self.fact(name, *rule, value, now),
            };
            match (&worst, &finding) {
                (Finding::Absent(_), _) | (Finding::Unknown(_), Finding::Unknown(_) | Finding::Holds) => {}
                _ => worst = finding,
            }
        }
        match worst {
            Finding::Holds => {}
            Finding::Absent(reason) => (answer.verdict, answer.reason) = (Verdict::Absent, reason),
            Finding::Unknown(reason) => (answer.verdict, answer.reason) = (Verdict::Unknown, reason),
        }
    }

    fn fact(&mut self, name: &str, rule: Rule, value: &Value, now: &Stamp) -> Finding {
        if value.to_string().len() > VALUE_MAX {
            return Finding::Unknown(format!("`{name}` is too long to be compared"));
        }
        if matches!(rule.must, Must::Rises | Must::Falls | Must::AtMostMore(_) | Must::AtLeastMore(_))
            && number(value).is_none()
        {
            return Finding::Unknown(format!("`{name}` is {value}, which is no number"));
        }
        let Some(fact) = self.facts.get_mut(name) else {
            let mut fact = Fact { first: value.clone(), last: value.clone(), grown: 0.0, marks: Vec::new() };
            fact.mark(rule, now);
            self.facts.insert(name.to_owned(), fact);
            return Finding::Unknown(format!(
                "`{name}` is {value}, and there is no look before to compare with"
            ));
        };
        let step = growth(&fact.last, value);
        fact.grown += step;
        let finding = fact.judge(name, rule, value, step, now);
        fact.last = value.clone();
        fact.mark(rule, now);
        finding
    }

    /// Takes the look into the last ones, and lets them answer together.
    fn count(&mut self, holds: Holds, answer: &mut Answer) {
        if answer.verdict == Verdict::Unknown {
            return;
        }
        let (of_them, looks) = (holds.of_them as usize, holds.looks as usize);
        self.held.push(answer.verdict == Verdict::Holds);
        self.held.drain(..self.held.len().saturating_sub(looks));
        let held = self.held.iter().filter(|held| **held).count();
        let (seen, misses) = (self.held.len(), self.held.len() - held);
        let own = match answer.reason.as_str() {
            "" => answer.verdict.to_string(),
            reason => format!("{} ({reason})", answer.verdict),
        };
        let so_far =
            format!("{held} of the last {seen} looks held, {of_them} of {looks} are needed; now {own}");
        if held >= of_them {
            if answer.verdict != Verdict::Holds {
                (answer.verdict, answer.reason) = (Verdict::Holds, so_far);
            }
        } else if misses > looks - of_them {
            if answer.verdict == Verdict::Holds {
                answer.verdict = Verdict::Absent;
            }
            answer.reason = so_far;
        } else {
            (answer.verdict, answer.reason) = (Verdict::Unknown, so_far);
        }
    }
}

impl Fact {
    fn judge(&self, name: &str, rule: Rule, value: &Value, step: f64, now: &Stamp) -> Finding {
        let (base, of) = match rule.against {
            Against::First => (&self.first, "the first look"),
            Against::Last | Against::Within(_) => (&self.last, "the look before"),
        };
        let must = |good: bool, what: &str| match good {
            true => Finding::Holds,
            false => Finding::Absent(format!("`{name}` is {value} and was {base} at {of}: it must {what}")),
        };
        let (now_is, then) = (number(value), number(base));
        match (rule.must, rule.against) {
            (Must::Rises, _) => must(now_is > then, "rise"),
            (Must::Falls, _) => must(now_is < then, "fall"),
            (Must::Same, _) => must(value == base, "stay the same"),
            (Must::Changes, _) => must(value != base, "change"),
            (Must::AtMostMore(most), Against::Within(within)) => {
                let (least, at_most) = self.within(within, now);
                let most = f64::from(most);
                if least > most {
                    let within = seconds(within);
                    Finding::Absent(format!(
                        "`{name}` has grown by {least} within {within}, at most {most} are borne"
                    ))
                } else if at_most.is_some_and(|grown| grown > most) {
                    Finding::Unknown(format!("`{name}` has grown while nobody looked, and nobody knows when"))
                } else {
                    Finding::Holds
                }
            }
            (Must::AtLeastMore(least), Against::Within(within)) => {
                let (grown, at_most) = self.within(within, now);
                let least = f64::from(least);
                let within = seconds(within);
                if grown >= least {
                    Finding::Holds
                } else if at_most.is_some_and(|grown| grown < least) {
                    Finding::Absent(format!(
                        "`{name}` has grown by {grown} within {within}, at least {least} are needed"
                    ))
                } else {
                    Finding::Unknown(format!(
                        "`{name}` has grown by {grown}, and is not watched for {within} yet"
                    ))
                }
            }
            (Must::AtMostMore(most), Against::Last | Against::First) => {
                let grown = if rule.against == Against::First { self.grown } else { step };
                must(grown <= f64::from(most), &format!("grow by at most {most}, and has grown by {grown}"))
            }
            (Must::AtLeastMore(least), Against::Last | Against::First) => {
                let grown = if rule.against == Against::First { self.grown } else { step };
                must(
                    grown >= f64::from(least),
                    &format!("grow by at least {least}, and has grown by {grown}"),
                )
            }
        }
    }

    /// How much it has grown in the window: at least, and at most; no upper bound while the window is not full.
    fn within(&self, within_ms: u64, now: &Stamp) -> (f64, Option<f64>) {
        let since = |mark: &Mark| now.since_ms(&mark.at);
        let here = |mark: &&Mark| mark.at.boot == now.boot;
        let inner = self.marks.iter().filter(here).find(|mark| since(mark) <= within_ms);
        let outer = self.marks.iter().filter(here).rfind(|mark| since(mark) >= within_ms);
        (inner.map_or(0.0, |mark| self.grown - mark.grown), outer.map(|mark| self.grown - mark.grown))
    }

    /// Remembers this moment for the window, if the rule has one.
    fn mark(&mut self, rule: Rule, now: &Stamp) {
        let Against::Within(within_ms) = rule.against else { return };
        // Across a boot nobody knows how long it was: windows begin anew.
        self.marks.retain(|mark| mark.at.boot == now.boot);
        let apart = within_ms / MARKS;
        if self.marks.last().is_none_or(|mark| now.since_ms(&mark.at) >= apart) {
            self.marks.push(Mark { at: *now, grown: self.grown });
        }
        while self.marks.get(1).is_some_and(|mark| now.since_ms(&mark.at) >= within_ms) {
            self.marks.remove(0);
        }
    }
}

/// The number that a value says.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse::<f64>().ok().filter(|number| number.is_finite()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// How much a counter has grown. One that is lower than before was reset and has begun again at 0.
///
/// Source of the rule: Prometheus, `increase()` and `resets()`.
fn growth(before: &Value, now: &Value) -> f64 {
    let (Some(before), Some(now)) = (number(before), number(now)) else { return 0.0 };
    if now >= before { now - before } else { now.max(0.0) }
}

fn seconds(ms: u64) -> String {
    format!("{} s", ms / 1_000)
}

#[cfg(test)]
#[path = "memory/tests.rs"]
mod tests;
