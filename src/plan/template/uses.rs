//! Which steps use what another one puts out.

use serde_json::Value;

use super::lex;
use crate::plan::StepId;
use crate::plan::recorded::Step;

/// Whether anything in `step`, its gate and its way back included, refers to an output of the step `of`.
pub fn uses_outputs(step: &Step, of: &StepId) -> bool {
    serde_json::to_value(step).is_ok_and(|value| refers(&value, of))
}

fn refers(value: &Value, of: &StepId) -> bool {
    match value {
        Value::String(text) => {
            lex::lex(text).references.iter().any(|reference| match reference.path.as_slice() {
                [root, step, ..] => root == "steps" && step == of.as_str(),
                _ => false,
            })
        }
        Value::Array(items) => items.iter().any(|item| refers(item, of)),
        Value::Object(table) => table.values().any(|item| refers(item, of)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}
