//! The smaller tables of a step: window, retry, soak and gate.

use super::Loader;
use super::table::{Entry, Table, Text, items, text, text_item};
use super::texts::Use;
use crate::plan::diagnostic::help_for;
use crate::plan::keys::{self, DAYS};
use crate::plan::recorded::{Gate, OnGap, Retry, Soak, Window};
use crate::plan::{duration, window};

impl<'d> Loader<'d, '_> {
    pub(super) fn retry(&mut self, entry: Option<Entry<'d>>) -> Retry {
        let default_ms = |name| keys::RETRY.default_ms(name).expect("the key has a default");
        let (first_ms, most_ms) = (default_ms("backoff"), default_ms("max_backoff"));
        let mut retry =
            Retry { attempts: 1, backoff_ms: first_ms, max_backoff_ms: most_ms, on_verify: false };
        let Some(table) =
            entry.and_then(|entry| Table::of(entry, "`retry`", &keys::RETRY, &mut self.problems))
        else {
            return retry;
        };
        retry.attempts = table.integer("attempts", &mut self.problems);
        let backoff = table.duration_ms("backoff", &mut self.problems);
        let most = table.duration_ms("max_backoff", &mut self.problems);
        retry.backoff_ms = backoff.unwrap_or(first_ms.min(most.unwrap_or(first_ms)));
        retry.max_backoff_ms = most.unwrap_or(most_ms.max(retry.backoff_ms));
        if let Some(entry) = table.get("max_backoff").filter(|_| retry.max_backoff_ms < retry.backoff_ms) {
            let message = "`max_backoff` is shorter than `backoff`";
            self.problems.add_help(
                &entry.span(),
                "out-of-range",
                message,
                "make it at least as long as `backoff`",
            );
        }
        retry.on_verify = table.word("on", &[("verify", true)], &mut self.problems).unwrap_or(false);
        retry
    }

    pub(super) fn soak(&mut self, entry: Entry<'d>) -> Option<Soak> {
        let table = Table::of(entry, "`soak`", &keys::SOAK, &mut self.problems)?;
        table.require("for", &mut self.problems);
        table.require("every", &mut self.problems);
        let for_ms = table.duration_ms("for", &mut self.problems);
        let every_ms = table.duration_ms("every", &mut self.problems);
        let max_gap_ms = table.duration_ms("max_gap", &mut self.problems);
        let max_consecutive_failures = table.integer("max_consecutive_failures", &mut self.problems);
        let error_budget = table.percent("error_budget", &mut self.problems);
        let coverage = table.percent("coverage", &mut self.problems);
        let on_gap = [("extend", OnGap::Extend), ("count", OnGap::Count), ("fail", OnGap::Fail)];
        let on_gap = table.word("on_gap", &on_gap, &mut self.problems).unwrap_or(OnGap::Extend);
        let (for_ms, every_ms) = (for_ms?, every_ms?);
        for (name, ms, why) in [
            ("for", Some(for_ms), "a soak holds at least two samples"),
            ("max_gap", max_gap_ms, "good time lies between two samples at most `max_gap` apart"),
        ] {
            if let Some(entry) = table.get(name).filter(|_| ms.is_some_and(|ms| ms < every_ms)) {
                let message = format!("`{name}` is shorter than `every`");
                self.problems.add_help(
                    &entry.span(),
                    "out-of-range",
                    message,
                    format!("make it longer: {why}"),
                );
            }
        }
        Some(Soak {
            for_ms,
            every_ms,
            max_gap_ms: max_gap_ms.unwrap_or(every_ms.saturating_mul(2)),
            max_consecutive_failures,
            error_budget,
            coverage,
            on_gap,
        })
    }

    pub(super) fn gate(&mut self, step: &Table<'d>, at: usize) -> Option<Gate> {
        let expires_ms = step.duration_ms("approve_expires", &mut self.problems);
        let evidence = step.get("evidence").map(|entry| self.checks(entry, Use::in_step(at, "evidence")));
        let Some(approve) = step.get("approve") else {
            for name in ["approve_expires", "evidence"] {
                if let Some(entry) = step.get(name) {
                    let message = format!("`{name}` has no meaning without `approve`");
                    self.problems.add_help(
                        &entry.key.span(),
                        "key-needs-another",
                        message,
                        "add `approve = \"…?\"`",
                    );
                }
            }
            return None;
        };
        let question = text(approve, &mut self.problems)?;
        if question.text.trim().is_empty() {
            self.problems.add_help(
                &question.span,
                "empty",
                "`approve` is empty",
                "write the question a person answers",
            );
        }
        let question = self.keep(question, Use::in_step(at, "approve"));
        Some(Gate { question, expires_ms, evidence })
    }

    pub(super) fn window(&mut self, entry: Entry<'d>) -> Option<Window> {
        let table = Table::of(entry, "`window`", &keys::WINDOW, &mut self.problems)?;
        for key in keys::WINDOW.keys {
            table.require(key.name, &mut self.problems);
        }
        let days = table.get("days").and_then(|entry| self.days(entry));
        let from = self.time_of_day(&table, "from");
        let to = self.time_of_day(&table, "to");
        let zone = table.text("zone", &mut self.problems);
        if let Some(zone) = zone.as_ref().filter(|zone| window::zone(&zone.text).is_none()) {
            let names = window::zone_names();
            let help = crate::plan::diagnostic::did_you_mean(&zone.text, names.iter().map(String::as_str))
                .map_or("write an IANA name such as \"Europe/Berlin\" or \"UTC\"".to_owned(), |near| {
                    format!("did you mean `{near}`?")
                });
            let message = format!("there is no time zone `{}`", zone.text);
            self.problems.add_help(&zone.span, "unknown-zone", message, help);
        }
        Some(Window { days: days?, from_minute: from?, to_minute: to?, zone: zone?.text })
    }

    fn time_of_day(&mut self, table: &Table<'d>, name: &str) -> Option<u16> {
        let entry = table.get(name)?;
        if entry.value.get_ref().is_datetime() {
            let shown = self.problems.source.slice(&entry.span());
            let help = format!("write it as \"{}\"", shown.get(..5).unwrap_or("02:00"));
            self.problems.add_help(
                &entry.span(),
                "wrong-type",
                format!("`{name}` must be a string, not a time"),
                help,
            );
            return None;
        }
        let text = text(entry, &mut self.problems)?;
        let minute = duration::time_of_day(&text.text);
        if minute.is_none() {
            let message = format!("`{}` is no time of day", text.text);
            self.problems.add_help(
                &text.span,
                "bad-time",
                message,
                "write hours and minutes, \"00:00\" to \"23:59\"",
            );
        }
        minute
    }

    fn days(&mut self, entry: Entry<'d>) -> Option<Vec<u8>> {
        let texts: Vec<Text> = match entry.value.get_ref().is_array() {
            true => items(entry, "array of strings", &mut self.problems)?
                .into_iter()
                .filter_map(|item| text_item(item, &mut self.problems))
                .collect(),
            false => vec![text(entry, &mut self.problems)?],
        };
        let mut days = Vec::new();
        for text in &texts {
            for part in text.text.split(',').map(str::trim) {
                match day_range(part) {
                    Ok(range) => days.extend(range),
                    Err(word) => {
                        let message = format!("`{word}` is no day");
                        self.problems.add_help(&text.span, "bad-day", message, help_for("days", word, DAYS));
                        return None;
                    }
                }
            }
        }
        if days.is_empty() {
            self.problems.add_help(
                &entry.span(),
                "empty",
                "`days` is empty",
                "write days such as \"mon-thu\"",
            );
            return None;
        }
        days.sort_unstable();
        days.dedup();
        Some(days)
    }
}

/// Reads `mon` or `fri-mon`; the error is the word that is no day.
fn day_range(text: &str) -> Result<Vec<u8>, &str> {
    let day = |word| DAYS.iter().position(|day| *day == word).ok_or(word);
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (day(first.trim())?, day(last.trim())?),
        None => (day(text)?, day(text)?),
    };
    let count = (last + 7 - first) % 7 + 1;
    Ok((0..count).filter_map(|step| u8::try_from((first + step) % 7).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::day_range;

    #[test]
    fn ranges_of_days_go_round_the_week() {
        assert_eq!(day_range("mon-thu"), Ok(vec![0, 1, 2, 3]));
        assert_eq!(day_range("sat-sun"), Ok(vec![5, 6]));
        assert_eq!(day_range("sun-tue"), Ok(vec![6, 0, 1]));
        assert_eq!(day_range("wed"), Ok(vec![2]));
        assert_eq!(day_range("mon-fry"), Err("fry"));
    }
}
