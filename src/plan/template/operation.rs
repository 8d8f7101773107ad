//! Rendering the fields of an action or check, each to the type its catalog entry asks for.

use serde_json::Value;

use super::{Scope, TemplateError, render, type_name};
use crate::plan::catalog::{self, FieldType, Kind};
use crate::plan::recorded::Operation;

/// Renders every field. Where the catalog asks for text (a word of `argv`, a value of `env`, `stdin`, …), a
/// number or boolean becomes its text.
///
/// # Errors
/// [`TemplateError`] as [`render`], and when a value cannot be what its field takes.
pub fn render_operation(operation: &Operation, scope: &Scope<'_>) -> Result<Operation, TemplateError> {
    // An action and a check of one name give the fields they share the same type.
    let entries = [Kind::Action, Kind::Check].map(|kind| catalog::find(kind, &operation.name));
    let mut fields = serde_json::Map::new();
    for (name, value) in &operation.fields {
        let rendered = render(value, scope)?;
        let kind = entries.iter().flatten().find_map(|entry| entry.field(name)).map(|field| field.kind);
        let fitted = match kind {
            Some(kind) => fit(rendered, kind).map_err(|reason| {
                let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                TemplateError::new(&shown, format!("`{name}` {reason}"))
            })?,
            None => rendered,
        };
        fields.insert(name.clone(), fitted);
    }
    Ok(Operation { name: operation.name.clone(), fields })
}

fn fit(value: Value, kind: FieldType) -> Result<Value, String> {
    let wrong = |value: &Value| {
        format!("takes {}, not {}", super::super::diagnostic::with_article(kind.name()), type_name(value))
    };
    match kind {
        FieldType::Text
        | FieldType::File
        | FieldType::Folder
        | FieldType::Manifests
        | FieldType::Host
        | FieldType::Cluster
        | FieldType::Broker
        | FieldType::Duration
        | FieldType::Path
        | FieldType::Mode
        | FieldType::Sha256
        | FieldType::Url
        | FieldType::Address
        | FieldType::Server
        | FieldType::OneOf(_) => text(value).map_err(|value| wrong(&value)),
        FieldType::Bool if value.is_boolean() => Ok(value),
        FieldType::Integer if value.is_i64() || value.is_u64() => Ok(value),
        FieldType::UpTo(most) if value.as_u64().is_some_and(|number| number <= u64::from(most)) => Ok(value),
        FieldType::Bool | FieldType::Integer | FieldType::UpTo(_) => Err(wrong(&value)),
        FieldType::Json => Ok(value),
        FieldType::Expectations if value.is_object() => Ok(value),
        FieldType::Expectations => Err(wrong(&value)),
        FieldType::Statuses => match &value {
            Value::Array(items) if items.iter().all(Value::is_u64) => Ok(value),
            one if one.is_u64() => Ok(value),
            other => Err(wrong(other)),
        },
        FieldType::TextArray | FieldType::TextSet => match value {
            Value::Array(items) if !items.is_empty() || kind == FieldType::TextSet => items
                .into_iter()
                .map(text)
                .collect::<Result<_, _>>()
                .map(Value::Array)
                .map_err(|item| format!("takes strings, and one of its items is {}", type_name(&item))),
            other => Err(wrong(&other)),
        },
        FieldType::IntegerArray => match &value {
            Value::Array(items) if items.iter().all(|item| item.is_i64() || item.is_u64()) => Ok(value),
            other => Err(wrong(other)),
        },
        FieldType::Environment | FieldType::Outputs | FieldType::Headers | FieldType::AnswerOutputs => {
            match value {
                Value::Object(table) => table
                    .into_iter()
                    .map(|(key, item)| text(item).map(|item| (key, item)))
                    .collect::<Result<_, _>>()
                    .map(Value::Object)
                    .map_err(|item| format!("takes strings, and one of its values is {}", type_name(&item))),
                other => Err(wrong(&other)),
            }
        }
    }
}

/// The value as text, or the value back.
fn text(value: Value) -> Result<Value, Value> {
    match value {
        Value::String(_) => Ok(value),
        Value::Bool(_) | Value::Number(_) => Ok(Value::String(value.to_string())),
        Value::Null | Value::Array(_) | Value::Object(_) => Err(value),
    }
}
