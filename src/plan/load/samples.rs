//! `watch` and `holds` of a check: how its facts must behave from look to look.

use std::collections::BTreeMap;

use serde_json::Value;
use toml::de::DeValue;

use super::Loader;
use super::table::{Entry, Table, duration_ms, text, unknown_word};
use super::texts::Use;
use crate::plan::catalog;
use crate::plan::diagnostic::{did_you_mean, list, with_article};
use crate::plan::keys;
use crate::plan::recorded::Operation;
use crate::plan::samples::{Against, HOLDS, Holds, LOOKS_MAX, Must, Rule, WATCH, facts_of, recorded};

/// The keys a check may have beside its own.
pub(super) const KEYS: [&str; 2] = [WATCH, HOLDS];

/// What a fact must do, in one word.
const WORDS: [(&str, Must); 4] =
    [("rises", Must::Rises), ("falls", Must::Falls), ("same", Must::Same), ("changes", Must::Changes)];

const RULE_HELP: &str = "write \"rises\", \"falls\", \"same\" or \"changes\", or a table such as \
                         `{ at_most_more = 2, within = \"1h\" }`";

impl<'d> Loader<'d, '_> {
    /// Reads what a check says of its looks together, into its recorded fields.
    pub(super) fn samples(
        &mut self,
        table: &Table<'d>,
        check: &catalog::Entry,
        using: Use,
        operation: &mut Operation,
    ) {
        for entry in KEYS.iter().filter_map(|key| table.get(key)) {
            if using.place != "verify" {
                let message = format!("`{}` has no meaning in `{}`", entry.name(), using.place);
                let help = "looks are compared with each other only in `verify`";
                self.problems.add_help(&entry.key.span(), "key-needs-another", message, help);
                continue;
            }
            let value = match entry.name() {
                WATCH => self.watched(entry, check, &operation.fields),
                _ => self.holds(entry).map(|holds| recorded(&holds)),
            };
            if let Some(value) = value {
                operation.fields.insert(entry.name().to_owned(), value);
            }
        }
    }

    fn watched(
        &mut self,
        entry: Entry<'d>,
        check: &catalog::Entry,
        fields: &serde_json::Map<String, Value>,
    ) -> Option<Value> {
        let table = super::table::table(entry, &mut self.problems)?;
        let mut rules = BTreeMap::new();
        for (key, value) in table {
            let fact = Entry { key, value };
            if let Some(known) = facts_of(check.name) {
                let outputs = fields.get("outputs").and_then(Value::as_object);
                let outputs = outputs.into_iter().flat_map(|outputs| outputs.keys().map(String::as_str));
                let known: Vec<&str> = known.iter().copied().chain(outputs).collect();
                if !known.contains(&fact.name()) {
                    let message = format!("check `{}` answers with no fact `{}`", check.name, fact.name());
                    let help = match did_you_mean(fact.name(), known.iter().copied()) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("known facts: {}; declare another one under `outputs`", list(&known)),
                    };
                    self.problems.add_help(&key.span(), "unknown-fact", message, help);
                    continue;
                }
            }
            if let Some(rule) = self.rule(fact) {
                rules.insert(fact.name().to_owned(), rule);
            }
        }
        if table.is_empty() {
            let message = "`watch` names no fact";
            let help = "write `watch = { exit = \"same\" }`, with the fact and what it must do";
            self.problems.add_help(&entry.span(), "empty", message, help);
        }
        Some(recorded(&rules))
    }

    fn rule(&mut self, entry: Entry<'d>) -> Option<Rule> {
        match entry.value.get_ref() {
            DeValue::String(_) => {
                let must = self.word(entry)?;
                Some(Rule { must, against: Against::Last })
            }
            DeValue::Table(entries) => self.rule_table(entry, entries),
            _ => {
                let found = entry.value.get_ref().type_str();
                let message = format!(
                    "what `{}` must do is a word or a table, not {}",
                    entry.name(),
                    with_article(found)
                );
                self.problems.add_help(&entry.span(), "wrong-type", message, RULE_HELP);
                None
            }
        }
    }

    fn word(&mut self, entry: Entry<'d>) -> Option<Must> {
        let word = text(entry, &mut self.problems)?;
        let found = WORDS.iter().find(|(name, _)| *name == word.text).map(|(_, must)| *must);
        if found.is_none() {
            unknown_word(&word, entry.name(), WORDS.iter().map(|(name, _)| *name), &mut self.problems);
        }
        found
    }

    fn rule_table(&mut self, entry: Entry<'d>, entries: &'d toml::de::DeTable<'d>) -> Option<Rule> {
        const MUST: [&str; 3] = ["is", "at_most_more", "at_least_more"];
        let what = format!("the rule for `{}`", entry.name());
        let table = Table::new(entries, entry.key.span(), what, &keys::RULE, &mut self.problems);
        let given: Vec<Entry<'d>> = MUST.iter().filter_map(|name| table.get(name)).collect();
        for extra in given.iter().skip(1) {
            let message = format!("`{}` and `{}` exclude each other", given[0].name(), extra.name());
            self.problems.add_help(
                &extra.key.span(),
                "exclusive-keys",
                message,
                format!("keep one of {}", list(&MUST)),
            );
        }
        let Some(first) = given.first() else {
            let message = format!("the rule for `{}` does not say what it must do", entry.name());
            self.problems.add_help(&entry.span(), "missing-key", message, RULE_HELP);
            return None;
        };
        let must = match first.name() {
            "is" => self.word(*first),
            name => {
                let many = table.integer(name, &mut self.problems);
                Some(if name == "at_most_more" { Must::AtMostMore(many) } else { Must::AtLeastMore(many) })
            }
        };
        let is = must.filter(|must| !matches!(must, Must::AtMostMore(_) | Must::AtLeastMore(_)));
        let words = [("last", Against::Last), ("first", Against::First)];
        let against = table.word("against", &words, &mut self.problems);
        let within = table.get("within").and_then(|entry| duration_ms(entry, &mut self.problems));
        if let Some(within) = table.get("within") {
            if table.get("against").is_some() {
                let message = "`against` and `within` exclude each other";
                self.problems.add_help(
                    &within.key.span(),
                    "exclusive-keys",
                    message,
                    "keep the one that is meant",
                );
            }
            if let Some(must) = is {
                let message = format!("`within` has no meaning with `is = \"{}\"`", word_of(must));
                let help = "write `at_most_more = …` or `at_least_more = …`, or compare with the last look";
                self.problems.add_help(&within.key.span(), "key-needs-another", message, help);
            }
        }
        let against = within.map(Against::Within).or(against).unwrap_or_default();
        Some(Rule { must: must?, against })
    }

    fn holds(&mut self, entry: Entry<'d>) -> Option<Holds> {
        if !entry.value.get_ref().is_str() {
            let message =
                format!("`holds` must be a string, not {}", with_article(entry.value.get_ref().type_str()));
            self.problems.add_help(&entry.span(), "wrong-type", message, "write \"3 of 5\"");
            return None;
        }
        let text = text(entry, &mut self.problems)?;
        let read = || {
            let (of_them, looks) = text.text.split_once(" of ")?;
            let number = |text: &str| text.trim().parse::<u32>().ok();
            let holds = Holds { of_them: number(of_them)?, looks: number(looks)? };
            (1..=holds.looks).contains(&holds.of_them).then_some(holds).filter(|h| h.looks <= LOOKS_MAX)
        };
        let holds = read();
        if holds.is_none() {
            let message = format!("`holds` cannot be `{}`", text.text);
            let help = format!("write \"3 of 5\": at least 1, of at most {LOOKS_MAX} looks");
            self.problems.add_help(&text.span, "bad-holds", message, help);
        }
        holds
    }

    /// Windows of a soak that no two samples lie in.
    pub(super) fn check_windows(&mut self, step: &Table<'d>, every_ms: u64) {
        let checks = step.get("verify").and_then(|entry| entry.value.get_ref().as_array());
        for check in checks.into_iter().flatten() {
            let watch = check.get_ref().as_table().and_then(|check| check.get(WATCH));
            for (_, rule) in watch.and_then(|watch| watch.get_ref().as_table()).into_iter().flatten() {
                let within = rule.get_ref().as_table().and_then(|rule| rule.get_key_value("within"));
                let Some((key, value)) = within else { continue };
                let within_ms =
                    value.get_ref().as_str().and_then(|text| crate::plan::duration::parse(text).ok());
                if within_ms.is_some_and(|within| within < every_ms) {
                    let help =
                        "make it at least as long as the soak's `every`, so that two samples lie in it";
                    self.problems.add_help(
                        &Entry { key, value }.span(),
                        "out-of-range",
                        "`within` is shorter than `every`",
                        help,
                    );
                }
            }
        }
    }
}

fn word_of(must: Must) -> &'static str {
    WORDS.iter().find(|(_, known)| *known == must).map_or("…", |(word, _)| word)
}
