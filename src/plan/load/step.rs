//! One `[[step]]`: its keys, what they require of each other, and its defaults.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use toml::de::DeValue;

use super::operation::Read;
use super::table::{Entry, Table, Text, items, text, text_item, unknown_word, wrong_type};
use super::texts::Use;
use super::{Loader, ON_FAILURE};
use crate::plan::catalog::Kind;
use crate::plan::diagnostic::Span;
use crate::plan::id::StepId;
use crate::plan::keys;
use crate::plan::recorded::{Compensate, OnFailure, Operation, Step};

/// A step as it was read, with what the later rules need.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) id: Option<StepId>,
    /// Where something that is missing is reported: the id, else the header.
    pub(super) at: Span,
    /// The entries of `needs`; absent: the step above.
    pub(super) needs: Option<Vec<Text>>,
    pub(super) takes: Vec<Claim>,
    pub(super) frees: Vec<Claim>,
    /// The outputs that its action declares.
    pub(super) outputs: BTreeSet<String>,
    /// The outputs that its probe declares, if it has one.
    pub(super) probe_outputs: Option<BTreeSet<String>>,
    /// The recorded form, when the step has a usable id.
    pub(super) step: Option<Step>,
}

impl Draft {
    /// The id for messages.
    pub(super) fn name(&self) -> &str {
        self.id.as_ref().map_or("?", StepId::as_str)
    }
}

/// An entry of `takes` or `frees`.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) resource: Text,
    pub(super) owner: Text,
}

impl<'d> Loader<'d, '_> {
    pub(super) fn read_step(&mut self, at: usize, item: Entry<'d>, plan_on_failure: OnFailure) {
        let Some(entries) = super::table::table(item, &mut self.problems) else { return };
        let header = item.span();
        let place = entries.get("id").map_or(header, toml::Spanned::span);
        let table = Table::new(entries, place.clone(), "a step", &keys::STEP, &mut self.problems);
        let id = self.step_id(&table);

        let summary = table.text("summary", &mut self.problems);
        let summary = summary.map(|text| self.keep(text, Use::in_step(at, "summary"))).unwrap_or_default();
        let when = table.get("when").and_then(|entry| self.when(entry, at));
        let gate = self.gate(&table, at);
        let window = table.get("window").and_then(|entry| self.window(entry));
        let retry = self.retry(table.get("retry"));
        let takes = self.claims(&table, "takes");
        let frees = self.claims(&table, "frees");
        let forward = table
            .get("forward")
            .and_then(|entry| self.operation(entry, Kind::Action, Use::in_step(at, "forward")));
        let probe = table
            .get("probe")
            .and_then(|entry| self.operation(entry, Kind::Check, Use::in_step(at, "probe")));
        let verify = Use { own_outputs: true, ..Use::in_step(at, "verify") };
        let verify = table.get("verify").map(|entry| self.checks(entry, verify)).unwrap_or_default();
        let undone = self.step_checks(&table, "undone", at);
        let rollback_ready = self.step_checks(&table, "rollback_ready", at);
        let soak = table.get("soak").and_then(|entry| self.soak(entry));
        if let Some(soak) = &soak {
            self.check_windows(&table, soak.every_ms);
        }
        let compensate = self.compensate(&table, at, forward.as_ref());
        self.check_shape(&table);
        self.check_data(&table, forward.as_ref());
        let split = |read: Option<Read>| read.map(|read| (read.operation, read.outputs)).unzip();
        let ((forward, outputs), (probe, probe_outputs)) = (split(forward), split(probe));

        let problems = &mut self.problems;
        let step = id.clone().map(|id| Step {
            id,
            summary,
            needs: Vec::new(),
            when,
            gate,
            window,
            timeout_ms: table.duration_or_default_ms("timeout", problems),
            retry,
            takes: by_resource(&takes),
            frees: by_resource(&frees),
            on_failure: table.word("on_failure", &ON_FAILURE, problems).unwrap_or(plan_on_failure),
            idempotent: table.bool("idempotent", problems),
            forward,
            probe,
            verify,
            verify_within_ms: table.duration_or_default_ms("verify_within", problems),
            undone,
            undone_within_ms: table.duration_or_default_ms("undone_within", problems),
            compensate: compensate.unwrap_or(Compensate::Nothing),
            soak,
            rollback_ready,
        });
        let needs = table.get("needs").map(|entry| self.needs(entry));
        self.steps.push(Draft {
            id,
            at: place,
            needs,
            takes,
            frees,
            outputs: outputs.unwrap_or_default(),
            probe_outputs,
            step,
        });
    }

    fn step_id(&mut self, table: &Table<'d>) -> Option<StepId> {
        table.require("id", &mut self.problems)?;
        let text = table.text("id", &mut self.problems)?;
        match StepId::new(text.text) {
            Ok(id) => Some(id),
            Err(error) => {
                let help = "an id is a-z, 0-9 and `-`, and starts with a letter or digit";
                self.problems.add_help(&text.span, "bad-name", error.to_string(), help);
                None
            }
        }
    }

    fn needs(&mut self, entry: Entry<'d>) -> Vec<Text> {
        if let Some(one) = entry.value.get_ref().as_str() {
            let message = "`needs` must be an array of step ids, not a string";
            self.problems.add_help(&entry.span(), "wrong-type", message, format!("write `[\"{one}\"]`"));
            return Vec::new();
        }
        let items = items(entry, "array of step ids", &mut self.problems).unwrap_or_default();
        items.into_iter().filter_map(|item| text_item(item, &mut self.problems)).collect()
    }

    fn when(&mut self, entry: Entry<'d>, at: usize) -> Option<Value> {
        match entry.value.get_ref() {
            DeValue::Boolean(value) => Some(Value::Bool(*value)),
            DeValue::String(text) => {
                let text = Text { text: text.to_string(), span: entry.span() };
                if crate::plan::template::lex::lex(&text.text).expression.is_none() {
                    let help = "write `true`, `false`, or one expression: \"{{ vars.x }}\"";
                    self.problems.add_help(
                        &text.span,
                        "not-an-expression",
                        "`when` must be a boolean or one expression",
                        help,
                    );
                }
                Some(Value::String(self.keep(text, Use::in_step(at, "when"))))
            }
            _ => {
                wrong_type(entry, "boolean", &mut self.problems);
                None
            }
        }
    }

    fn claims(&mut self, table: &Table<'d>, name: &str) -> Vec<Claim> {
        let entries = table.get(name).and_then(|entry| super::table::table(entry, &mut self.problems));
        let mut claims = Vec::new();
        for (key, value) in entries.into_iter().flatten() {
            let resource = Text { text: key.get_ref().to_string(), span: key.span() };
            if let Some(owner) = text(Entry { key, value }, &mut self.problems) {
                claims.push(Claim { resource, owner });
            }
        }
        claims
    }

    fn step_checks(&mut self, table: &Table<'d>, name: &'static str, at: usize) -> Vec<Operation> {
        table.get(name).map(|entry| self.checks(entry, Use::in_step(at, name))).unwrap_or_default()
    }

    /// How the step is taken back; reports when an acting step does not say.
    fn compensate(&mut self, table: &Table<'d>, at: usize, forward: Option<&Read>) -> Option<Compensate> {
        let reason = table.text("irreversible", &mut self.problems);
        if let Some(reason) = reason.as_ref().filter(|reason| reason.text.trim().is_empty()) {
            let message = "`irreversible` gives no reason";
            self.problems.add_help(&reason.span, "empty", message, "say why it cannot be undone");
        }
        let entry = table.get("compensate");
        if let (Some(_), Some(irreversible)) = (entry, table.get("irreversible")) {
            let message = "`compensate` and `irreversible` exclude each other";
            self.problems.add_help(
                &irreversible.key.span(),
                "exclusive-keys",
                message,
                "keep the one that is true",
            );
        }
        if let Some(entry) = entry {
            return self.compensation(entry, at);
        }
        if let Some(reason) = reason {
            return Some(Compensate::Irreversible(reason.text));
        }
        if table.get("irreversible").is_some() {
            return None;
        }
        let forward = forward?;
        let entry = forward.entry;
        if entry.nothing_to_undo {
            return Some(Compensate::Nothing);
        }
        let given = |name: &str| forward.operation.fields.get(name) == Some(&Value::Bool(true));
        if entry.own_inverse && (entry.inverse_if.is_empty() || given(entry.inverse_if)) {
            return Some(Compensate::Inverse);
        }
        let message = format!("action `{}` does not say how it is taken back", forward.entry.name);
        let help = "add `compensate = { action = … }`, `compensate = \"nothing\"` when there is nothing to undo, or \
                    `irreversible = \"why\"`";
        self.problems.add_help(&table.at, "no-compensation", message, help);
        None
    }

    fn compensation(&mut self, entry: Entry<'d>, at: usize) -> Option<Compensate> {
        match entry.value.get_ref() {
            DeValue::String(word) if word == "nothing" => Some(Compensate::Nothing),
            DeValue::String(word) => {
                let text = Text { text: word.to_string(), span: entry.span() };
                unknown_word(&text, "compensate", ["nothing"].into_iter(), &mut self.problems);
                None
            }
            DeValue::Table(table) if table.contains_key("irreversible") => {
                let help = "write `irreversible = \"why\"` as a key of the step";
                let span = table.get_key_value("irreversible").map_or(entry.span(), |(key, _)| key.span());
                self.problems.add_help(&span, "unknown-key", "`compensate` has no key `irreversible`", help);
                None
            }
            _ => {
                let read = self.operation(entry, Kind::Action, Use::in_step(at, "compensate"))?;
                Some(Compensate::Action(read.operation))
            }
        }
    }

    /// What the keys of a step require of each other.
    fn check_shape(&mut self, table: &Table<'d>) {
        let acts = table.get("forward").is_some();
        let verifies = table
            .get("verify")
            .is_some_and(|entry| !entry.value.get_ref().as_array().is_some_and(|list| list.is_empty()));
        match (table.get("soak"), table.get("forward")) {
            (Some(soak), Some(_)) => {
                let message = "`soak` and `forward` exclude each other";
                self.problems.add_help(
                    &soak.key.span(),
                    "exclusive-keys",
                    message,
                    "make the soak a step of its own",
                );
            }
            (Some(_), None) if !verifies => {
                let message = "a soak needs `verify`, which is what it samples";
                self.problems.add_help(&table.at, "missing-key", message, "add `verify = [{ check = … }]`");
            }
            (None, None) if !verifies => {
                let message = "the step does nothing";
                let help = "add `forward = { action = … }`, or `verify = [{ check = … }]` for a step that only looks";
                self.problems.add_help(&table.at, "nothing-to-do", message, help);
            }
            (Some(_), None) | (None, _) => {}
        }
        if !acts {
            let needs_action = [
                "compensate",
                "irreversible",
                "undone",
                "undone_within",
                "retry",
                "probe",
                "timeout",
                "idempotent",
            ];
            for entry in needs_action.iter().filter_map(|name| table.get(name)) {
                let message = format!("`{}` has no meaning on a step that does not act", entry.name());
                let help = "remove it, or give the step a `forward`";
                self.problems.add_help(&entry.key.span(), "key-needs-another", message, help);
            }
        }
        for (name, other) in
            [("rollback_ready", "soak"), ("verify_within", "verify"), ("undone_within", "undone")]
        {
            if let Some(entry) =
                table.get(name).filter(|_| table.get(other).is_none() && (acts || name != "undone_within"))
            {
                let message = format!("`{name}` has no meaning without `{other}`");
                self.problems.add_help(
                    &entry.key.span(),
                    "key-needs-another",
                    message,
                    format!("add `{other}` or remove it"),
                );
            }
        }
    }

    /// An action that deletes user data needs a person's word.
    fn check_data(&mut self, table: &Table<'d>, forward: Option<&Read>) {
        let deletes = |forward: &&Read| {
            let said = forward.entry.data_field.and_then(|field| forward.operation.fields.get(field));
            // An expression may turn out to say so.
            forward.entry.deletes_data || said.is_some_and(|said| *said != serde_json::Value::Bool(false))
        };
        if let Some(forward) = forward.filter(deletes).filter(|_| table.get("approve").is_none()) {
            let message = format!("action `{}` deletes user data and nobody is asked", forward.entry.name);
            self.problems.add_help(&table.at, "no-approval", message, "add `approve = \"…?\"`");
        }
    }
}

fn by_resource(claims: &[Claim]) -> BTreeMap<String, String> {
    claims.iter().map(|claim| (claim.resource.text.clone(), claim.owner.text.clone())).collect()
}
