//! The JSON Schema of a plan file, made from what the loader itself reads by: [`keys`] and
//! [`catalog`].
//!
//! Every plan that the loader takes is valid against it. What a schema cannot say (names that must exist, what excludes
//! what, templates) stays the loader's. Keywords are those that draft 7 has too, `$defs` aside, because editors lag.

use serde_json::{Map, Value, json};
use toml::de::DeValue;

use super::catalog::{self, Entry, Field, FieldType, Kind};
use super::id::NAME_MAX;
use super::keys::{self, DAYS, GROUPS, Group, Key, Takes};
use super::load::{to_json, variable_types};

/// What can stand behind a dot in a template, or name an environment variable.
const IDENTIFIER: &str = "^[A-Za-z_][A-Za-z0-9_]*$";

/// Whole numbers with units, the longest first.
const DURATION: &str = "^([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$";

/// The schema of a plan file, 2020-12.
pub fn schema() -> Value {
    let mut defs = Map::new();
    for group in GROUPS.into_iter().filter(|group| group.name != keys::PLAN.name) {
        defs.insert(group.name.to_owned(), table(group));
    }
    for kind in [Kind::Action, Kind::Check] {
        for entry in catalog::entries(kind) {
            defs.insert(entry_name(entry), operation(entry));
        }
        let each: Vec<Value> = catalog::entries(kind).map(|entry| to(&entry_name(entry))).collect();
        defs.insert(kind.word().to_owned(), json!({ "oneOf": each }));
    }
    defs.insert(
        "checks".to_owned(),
        json!({ "description": "Checks that must all hold.", "type": "array", "items": to("check") }),
    );
    let mut plan = table(&keys::PLAN);
    let head = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A plan of `runner`",
    });
    let mut whole = Map::new();
    for part in [head, plan.take()] {
        whole.extend(part.as_object().cloned().unwrap_or_default());
    }
    whole.insert("$defs".to_owned(), Value::Object(defs));
    Value::Object(whole)
}

/// The same as it is committed: indented, with a line end.
pub fn schema_text() -> String {
    format!("{:#}\n", schema())
}

fn to(definition: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{definition}") })
}

fn entry_name(entry: &Entry) -> String {
    format!("{}-{}", entry.kind.word(), entry.name)
}

/// An object that has these properties and no other.
fn object(doc: &str, properties: Map<String, Value>, required: Vec<&str>, one_of: &[&str]) -> Value {
    let mut object = json!({
        "description": doc,
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    if !one_of.is_empty() {
        object["oneOf"] = one_of.iter().map(|name| json!({ "required": [name] })).collect();
    }
    object
}

fn table(group: &Group) -> Value {
    let properties = group.keys.iter().map(|key| (key.name.to_owned(), property(key))).collect();
    let required = group.keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    object(group.doc, properties, required, group.one_of)
}

fn property(key: &Key) -> Value {
    described(takes(key.takes), key.doc, key.default, key.examples)
}

/// A schema with what people are told about it. Beside `$ref`, draft 7 passes everything over, so that stands in an
/// `allOf` of its own.
fn described(schema: Value, doc: &str, default: Option<&str>, examples: &[&str]) -> Value {
    let mut all = Map::from_iter([("description".to_owned(), Value::from(doc))]);
    if let Some(default) = default.and_then(toml) {
        all.insert("default".to_owned(), default);
    }
    let examples: Vec<Value> = examples.iter().filter_map(|example| toml(example)).collect();
    if !examples.is_empty() {
        all.insert("examples".to_owned(), Value::Array(examples));
    }
    match schema {
        Value::Object(schema) if schema.contains_key("$ref") => {
            all.insert("allOf".to_owned(), json!([schema]));
        }
        Value::Object(schema) => all.extend(schema),
        other => return other,
    }
    Value::Object(all)
}

/// A value written in TOML.
fn toml(text: &str) -> Option<Value> {
    DeValue::parse(text).ok().and_then(|value| to_json(value.get_ref()).ok())
}

fn takes(takes: Takes) -> Value {
    match takes {
        Takes::Text => json!({ "type": "string" }),
        Takes::Words => json!({ "type": "string", "minLength": 1 }),
        Takes::Name => json!({ "type": "string", "pattern": "^[a-z0-9][a-z0-9-]*$", "maxLength": NAME_MAX }),
        Takes::Flag => json!({ "type": "boolean" }),
        Takes::Condition => or_expression(json!({ "type": "boolean" })),
        Takes::Integer { least, most } => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Takes::Port => or_expression(json!({ "type": "integer", "minimum": 1, "maximum": 65_535 })),
        Takes::Duration => duration(),
        Takes::Percent => json!({ "type": "string", "pattern": "^[0-9.]+ *%$" }),
        Takes::TimeOfDay => json!({ "type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$" }),
        Takes::Days => {
            let day = format!("({})", DAYS.join("|"));
            let part = format!(r"\s*{day}(\s*-\s*{day})?\s*");
            let days = json!({ "type": "string", "pattern": format!("^{part}(,{part})*$") });
            json!({ "anyOf": [days, { "type": "array", "minItems": 1, "items": days }] })
        }
        Takes::OneOf(words) => json!({ "enum": words }),
        Takes::Texts => {
            json!({ "type": "array", "minItems": 1, "uniqueItems": true, "items": { "type": "string" } })
        }
        Takes::Ids => json!({ "type": "array", "uniqueItems": true, "items": { "type": "string" } }),
        Takes::Operation(kind) => to(kind.word()),
        Takes::Checks => to("checks"),
        Takes::Compensation => json!({ "anyOf": [{ "const": "nothing" }, to("action")] }),
        Takes::Claims => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
        Takes::ChecksByName => json!({ "type": "object", "additionalProperties": to("checks") }),
        Takes::Rules(group) => {
            let words = json!({ "enum": ["rises", "falls", "same", "changes"] });
            let rule = json!({ "anyOf": [words, to(group.name)] });
            json!({ "type": "object", "minProperties": 1, "additionalProperties": rule })
        }
        Takes::Looks => json!({ "type": "string", "pattern": r"^\s*[0-9]+\s* of \s*[0-9]+\s*$" }),
        Takes::Variables => variables(),
        Takes::Table(group) => to(group.name),
        Takes::Named(group) if group.name == keys::SECRET.name => named(to(group.name), IDENTIFIER),
        Takes::Named(group) => named(to(group.name), "."),
        Takes::Tables(group) => json!({ "type": "array", "minItems": 1, "items": to(group.name) }),
    }
}

fn duration() -> Value {
    json!({ "type": "string", "pattern": DURATION, "minLength": 2 })
}

/// A value, or a string that is one expression.
fn or_expression(schema: Value) -> Value {
    json!({ "anyOf": [schema, { "type": "string", "pattern": r"\{\{" }] })
}

/// A string of a form of its own, or one with a template in it.
fn formed(pattern: &str) -> Value {
    json!({ "type": "string", "pattern": format!(r"{pattern}|\{{\{{|\{{%") })
}

fn named(each: Value, name: &str) -> Value {
    json!({ "type": "object", "propertyNames": { "pattern": name }, "additionalProperties": each })
}

fn variables() -> Value {
    let required = json!({
        "description": "A variable that must be given.",
        "type": "object",
        "properties": { "required": { "description": "Its type.", "enum": variable_types() } },
        "required": ["required"],
        "additionalProperties": false,
    });
    let table = json!({
        "type": "object",
        "not": { "required": ["required"], "maxProperties": 1 },
    });
    let plain = json!({ "type": ["string", "boolean", "number", "array"] });
    named(json!({ "anyOf": [plain, required, table] }), IDENTIFIER)
}

fn operation(entry: &Entry) -> Value {
    let word = entry.kind.word();
    let mut properties = Map::new();
    properties.insert(word.to_owned(), json!({ "description": entry.doc, "const": entry.name }));
    for field in entry.fields {
        let schema = described(field_takes(field), field.doc, field.default, &[]);
        properties.insert(field.name.to_owned(), schema);
    }
    if entry.kind == Kind::Check {
        properties.extend(keys::LOOKS.keys.iter().map(|key| (key.name.to_owned(), property(key))));
    }
    let fields = entry.fields.iter().filter(|field| field.required).map(|field| field.name);
    object(entry.doc, properties, std::iter::once(word).chain(fields).collect(), entry.one_of)
}

/// What a field of an action or check takes, with a value as it may stand in a plan.
fn field_takes(field: &Field) -> Value {
    let (mut schema, example) = match field.kind {
        FieldType::Text => (json!({ "type": "string" }), None),
        FieldType::Bool => (or_expression(json!({ "type": "boolean" })), Some(json!(true))),
        FieldType::Integer => (or_expression(json!({ "type": "integer" })), Some(json!(1))),
        FieldType::Duration => (duration(), Some(json!("30s"))),
        FieldType::TextArray => {
            let texts = json!({ "type": "array", "minItems": 1, "items": { "type": "string" } });
            let example = match field.name {
                "argv" | "exec" => json!(["systemctl", "is-active", "frigate"]),
                "volumes" => json!(["rootfs"]),
                _ => json!(["front"]),
            };
            (or_expression(texts), Some(example))
        }
        FieldType::TextSet => {
            let texts = json!({ "type": "array", "items": { "type": "string" } });
            (or_expression(texts), Some(json!(["front"])))
        }
        FieldType::IntegerArray => {
            let status = json!({ "type": "integer", "minimum": 1, "maximum": 255 });
            (json!({ "type": "array", "items": status }), Some(json!([2])))
        }
        FieldType::Environment => {
            (named(json!({ "type": "string" }), IDENTIFIER), Some(json!({ "SITE": "{{ vars.site }}" })))
        }
        FieldType::Outputs => {
            let output = json!({ "type": "string", "pattern": "^(text$|/)" });
            (named(output, IDENTIFIER), Some(json!({ "url": "/status/url" })))
        }
        FieldType::File => (json!({ "type": "string", "minLength": 1 }), Some(json!("files/it.sh"))),
        FieldType::Manifests => (json!({ "type": "string", "minLength": 1 }), Some(json!("frigate"))),
        FieldType::Folder => (json!({ "type": "string", "minLength": 1 }), Some(json!("work"))),
        FieldType::Host => (json!({ "type": "string" }), Some(json!("still-fawn"))),
        FieldType::Cluster | FieldType::Broker => (json!({ "type": "string" }), Some(json!("home"))),
        FieldType::OneOf(words) => (json!({ "enum": words }), None),
        FieldType::Path => {
            (json!({ "type": "string", "minLength": 1 }), Some(json!("/etc/frigate/config.yml")))
        }
        FieldType::Mode => (formed("^[0-7]{3,5}$"), Some(json!("0644"))),
        FieldType::Sha256 => {
            let of_nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
            (formed("^[0-9A-Fa-f]{64}$"), Some(json!(of_nothing)))
        }
        FieldType::Url => (formed("^https?://"), Some(json!("http://frigate.example:5000/api/version"))),
        FieldType::Headers => {
            let example = json!({ "authorization": "Bearer {{ secrets.token }}" });
            (named(json!({ "type": "string" }), "."), Some(example))
        }
        FieldType::Json => (json!({}), Some(json!({ "enabled": true }))),
        FieldType::Statuses => {
            let status = json!({ "type": "integer", "minimum": 200, "maximum": 599 });
            let several = json!({ "type": "array", "minItems": 1, "items": status });
            let either = json!({ "anyOf": [status, several, { "type": "string", "pattern": r"\{\{" }] });
            (either, Some(json!(200)))
        }
        FieldType::Expectations => (
            json!({ "type": "object", "propertyNames": { "pattern": "^(/.*)?$" } }),
            Some(json!({ "/version": "0.16", "/uptime": { "at_least": 60 } })),
        ),
        FieldType::AnswerOutputs => {
            let output = json!({ "type": "string", "pattern": "^(text$|/|header:)" });
            (named(output, IDENTIFIER), Some(json!({ "url": "/status/url" })))
        }
        FieldType::Address => (formed("^.+:[0-9]+$"), Some(json!("frigate.example:5000"))),
        FieldType::Server => (json!({ "type": "string" }), Some(json!("10.0.0.1:53"))),
        FieldType::UpTo(most) => {
            (or_expression(json!({ "type": "integer", "minimum": 0, "maximum": most })), Some(json!(1)))
        }
    };
    // The same type, and another thing under these names.
    let example = match field.name {
        "all" | "any" => Some(json!(["10.0.0.7"])),
        "ca_file" => Some(json!("files/ca.pem")),
        "source" => Some(json!("files/config.yml")),
        _ => example,
    };
    if let Some(example) = example {
        schema["examples"] = json!([example]);
    }
    schema
}
