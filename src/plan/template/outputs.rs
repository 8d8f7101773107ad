//! Whose outputs a value refers to.

use std::collections::BTreeSet;

use serde_json::Value;

use super::lex;
use crate::plan::StepId;
use crate::plan::recorded::Operation;

/// The steps whose outputs the templates in `value` refer to.
pub fn steps_in(value: &Value) -> BTreeSet<StepId> {
    let mut steps = BTreeSet::new();
    collect(value, &mut steps);
    steps
}

/// The steps whose outputs an operation refers to.
pub fn steps_of_operation(operation: &Operation) -> BTreeSet<StepId> {
    operation.fields.values().flat_map(steps_in).collect()
}

fn collect(value: &Value, steps: &mut BTreeSet<StepId>) {
    match value {
        Value::String(text) => {
            for reference in lex::lex(text).references {
                if let [root, name, ..] = reference.path.as_slice()
                    && root == "steps"
                    && let Ok(step) = StepId::new(name.clone())
                {
                    steps.insert(step);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, steps)),
        Value::Object(table) => table.values().for_each(|item| collect(item, steps)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_step_is_found_however_deep() {
        let value = json!({ "a": ["{{ steps.one.outputs.x }}"], "b": { "c": "{{ vars.v }} {{ steps.two.outputs.y }}" } });
        let names: Vec<String> = steps_in(&value).iter().map(ToString::to_string).collect();
        assert_eq!(names, ["one", "two"]);
    }
}
