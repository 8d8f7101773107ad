//! How a run stands now: a heading and a table of its steps.

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::guard;
use super::human::{duration, exact, time};
use super::shown::SHOWN_VERSION;
use super::step::{detail, tone, word};
use super::{Look, Tone};
use crate::saga::{Course, Stamp, Standing, State, standing};

/// The word for how a run stands.
pub fn standing_word(standing: &Standing) -> &'static str {
    match standing {
        Standing::Complete => "complete",
        Standing::NeedsAttention { .. } => "needs_attention",
        Standing::RolledBack { .. } => "rolled_back",
        Standing::Halted { .. } => "halted",
        Standing::Cancelled => "cancelled",
        Standing::Resting => "resting",
        Standing::Open => "open",
    }
}

pub(super) fn standing_tone(standing: &Standing) -> Tone {
    match standing {
        Standing::Complete => Tone::Good,
        Standing::NeedsAttention { .. } | Standing::Halted { .. } => Tone::Bad,
        Standing::RolledBack { .. } | Standing::Cancelled | Standing::Resting => Tone::Warn,
        Standing::Open => Tone::Busy,
    }
}

/// The word for the tone of a standing: `good`, `busy`, `warn`, `bad`.
pub fn standing_tone_word(standing: &Standing) -> &'static str {
    super::story::tone_word(standing_tone(standing))
}

/// What a run is about, beside how it stands: `going back`, `paused`.
pub fn course_words(state: &State) -> Vec<String> {
    let mut words = Vec::new();
    if state.end.is_none() {
        match &state.course {
            Course::Forward | Course::Resting => {}
            Course::Back(back) => words.push(match &back.to {
                Some(step) => format!("going back to step `{step}`"),
                None => "going back".to_owned(),
            }),
        }
        if state.paused {
            words.push("paused".to_owned());
        }
        if state.cancelling {
            words.push("being cancelled".to_owned());
        }
    }
    words
}

/// How a run stands, for people: a heading, one line per step, who holds which resource.
pub fn status_text(state: &State, now: &Stamp, look: &Look) -> String {
    let stands = standing(state);
    let word = standing_tone(&stands).paint(standing_word(&stands), look.color);
    let more: String = course_words(state).iter().map(|word| format!(", {word}")).collect();
    let definition = &state.definition;
    let mut lines = vec![format!("{}  {word}{more}", state.run)];
    if !definition.description.is_empty() {
        lines.push(guard::cut(&guard::line(&definition.description), look.width));
    }
    lines.push(guard::cut(&format!("plan     {}", guard::line(&definition.path)), look.width));
    let ago = |at: &Stamp| format!("{}, {} ago", time(at, &TimeZone::UTC), duration(now.since_ms(at)));
    let by = guard::line(&state.by);
    lines.push(guard::cut(&format!("opened   {}, by {by}", ago(&state.opened)), look.width));
    lines.push(guard::cut(&format!("changed  {}", ago(&state.last)), look.width));
    lines.push(String::new());
    lines.extend(table(state, now, look, false));
    let mut text = lines.join("\n");
    text.push('\n');
    text
}

/// One line per step, and one per exclusive resource that somebody holds; cut to the look's width. `brief`: why
/// a step needs attention is told elsewhere.
pub(super) fn table(state: &State, now: &Stamp, look: &Look, brief: bool) -> Vec<String> {
    let steps = &state.definition.steps;
    let widest = steps.iter().map(|step| step.id.as_str().len()).max().unwrap_or(0);
    let words = (0..steps.len()).map(|place| word(state, place).len()).max().unwrap_or(0);
    let mut lines = Vec::new();
    for (place, (step, found)) in steps.iter().zip(&state.steps).enumerate() {
        let word = tone(found).paint(&format!("{:<words$}", word(state, place)), look.color);
        let room = look.width.saturating_sub(2 + widest + 2 + words + 2);
        let detail = match found.needs_attention() {
            Some(_) if brief => "needs attention".to_owned(),
            // Why it failed follows below, with the end of its output.
            None if brief && matches!(found.status, crate::saga::Status::Failed { .. }) => String::new(),
            Some(_) | None => guard::cut(&detail(state, place, now), room),
        };
        lines.push(format!("  {:<widest$}  {word}  {detail}", step.id).trim_end().to_owned());
    }
    let held = state.holders.iter().filter(|(_, holders)| !holders.is_empty());
    for (at, (resource, holders)) in held.enumerate() {
        if at == 0 {
            lines.push(String::new());
        }
        let holders: Vec<&str> = holders.iter().map(String::as_str).collect();
        let text = guard::line(&format!("{resource} is held by {}", holders.join(" and ")));
        lines.push(guard::cut(&format!("  {text}"), look.width));
    }
    lines
}

/// How a run stands, for programs: one object.
pub fn status_json(state: &State, now: &Stamp) -> Value {
    let stands = standing(state);
    let steps = state.definition.steps.iter().zip(&state.steps).enumerate();
    let steps: Vec<Value> = steps
        .map(|(place, (step, found))| {
            json!({
                "id": step.id,
                "status": found.status.word(),
                "detail": detail(state, place, now),
                "attempts": found.attempts,
                "compensations": found.compensations,
                "owned": found.owned,
                "needs_attention": found.needs_attention(),
                "started_at": found.started_at.as_ref().map(exact),
                "ended_at": found.ended_at.as_ref().map(exact),
                "outputs": found.outputs,
            })
        })
        .collect();
    let course = match &state.course {
        Course::Forward => "forward",
        Course::Back(_) => "back",
        Course::Resting => "resting",
    };
    json!({
        "v": SHOWN_VERSION,
        "type": "status",
        "run": state.run,
        "plan": { "name": state.definition.name, "path": state.definition.path },
        "standing": standing_word(&stands),
        "course": course,
        "paused": state.paused,
        "cancelling": state.cancelling,
        "opened": exact(&state.opened),
        "last": exact(&state.last),
        "seq": state.seq,
        "steps": steps,
        "resources": state.holders,
    })
}
