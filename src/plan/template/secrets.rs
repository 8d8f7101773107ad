//! Which secrets a value, an operation or a whole plan refers to.

use std::collections::BTreeSet;

use serde_json::Value;

use super::lex;
use crate::plan::recorded::{Compensate, Definition, Operation, Step};

/// The names of the secrets that the templates in `value` refer to.
pub fn secrets_in(value: &Value) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    collect(value, &mut names);
    names
}

/// The names of the secrets that an operation refers to.
pub fn secrets_of_operation(operation: &Operation) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    operation.fields.values().for_each(|value| collect(value, &mut names));
    names
}

/// The names of the secrets that anything in a plan refers to.
pub fn secrets_of_definition(definition: &Definition) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for broker in definition.brokers.values() {
        broker.password.iter().for_each(|password| collect_text(password, &mut names));
    }
    let gone = definition.resources.values().flat_map(|resource| resource.gone.values().flatten());
    let of_steps = definition.steps.iter().flat_map(operations_of_step);
    for operation in gone.chain(of_steps) {
        operation.fields.values().for_each(|value| collect(value, &mut names));
    }
    names
}

/// Every operation of a step.
fn operations_of_step(step: &Step) -> impl Iterator<Item = &Operation> {
    let compensation = match &step.compensate {
        Compensate::Action(operation) => Some(operation),
        Compensate::Inverse | Compensate::Nothing | Compensate::Irreversible(_) => None,
    };
    let evidence = step.gate.iter().flat_map(|gate| gate.evidence.iter().flatten());
    let lists = [&step.verify, &step.undone, &step.rollback_ready];
    [step.forward.as_ref(), step.probe.as_ref(), compensation]
        .into_iter()
        .flatten()
        .chain(lists.into_iter().flatten())
        .chain(evidence)
}

fn collect(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => collect_text(text, names),
        Value::Array(items) => items.iter().for_each(|item| collect(item, names)),
        Value::Object(table) => table.values().for_each(|item| collect(item, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn collect_text(text: &str, names: &mut BTreeSet<String>) {
    for reference in lex::lex(text).references {
        if let [root, name, ..] = reference.path.as_slice()
            && root == "secrets"
        {
            names.insert(name.clone());
        }
    }
}
