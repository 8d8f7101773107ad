//! Actions and checks as they stand in the file, read against the catalog.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use toml::de::DeValue;

use super::Loader;
use super::table::{
    Entry, Table, Text, check_identifier, duration_ms, is_identifier, items, text, text_item, unknown_word,
    wrong_type, wrong_type_at,
};
use super::texts::Use;
use crate::plan::catalog::{self, Field, FieldType, Kind};
use crate::plan::diagnostic::{Problems, help_for, list, with_article};
use crate::plan::recorded::Operation;

/// One action or check that was read.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) operation: Operation,
    pub(super) entry: &'static catalog::Entry,
    /// The names of the outputs it declares.
    pub(super) outputs: BTreeSet<String>,
}

impl<'d> Loader<'d, '_> {
    /// Reads an array of checks.
    pub(super) fn checks(&mut self, entry: Entry<'d>, using: Use) -> Vec<Operation> {
        if entry.value.get_ref().is_table() {
            let message = format!("`{}` must be an array of checks, not one table", entry.name());
            self.problems.add_help(
                &entry.span(),
                "wrong-type",
                message,
                "put it into brackets: `[{ check = … }]`",
            );
            return Vec::new();
        }
        let items = items(entry, "array of checks", &mut self.problems).unwrap_or_default();
        items
            .into_iter()
            .filter_map(|item| self.operation(item, Kind::Check, using))
            .map(|read| read.operation)
            .collect()
    }

    /// Reads one action or check.
    pub(super) fn operation(&mut self, place: Entry<'d>, kind: Kind, using: Use) -> Option<Read> {
        let Some(entries) = place.value.get_ref().as_table() else {
            let found = with_article(place.value.get_ref().type_str());
            let message = format!("`{}` must be a table, not {found}", place.name());
            let help = format!("write `{{ {} = \"command\", argv = [\"…\", \"…\"] }}`", kind.word());
            self.problems.add_help(&place.span(), "wrong-type", message, help);
            return None;
        };
        let word = kind.word();
        let other = match kind {
            Kind::Action => Kind::Check,
            Kind::Check => Kind::Action,
        };
        if let (None, Some((key, _))) = (entries.get(word), entries.get_key_value(other.word())) {
            let message = format!("`{}` takes {} here, not {}", place.name(), a(kind), a(other));
            self.problems.add_help(&key.span(), "wrong-kind", message, format!("write `{word} = …`"));
            return None;
        }
        let Some((key, value)) = entries.get_key_value(word) else {
            let names: Vec<&str> = catalog::entries(kind).map(|entry| entry.name).collect();
            let message = format!("`{}` does not say which {word} it is", place.name());
            let help = format!("add `{word} = \"…\"`; known {word}s: {}", list(&names));
            self.problems.add_help(&place.span(), "missing-key", message, help);
            return None;
        };
        let name = text(Entry { key, value }, &mut self.problems)?;
        let Some(entry) = catalog::find(kind, &name.text) else {
            let code = if kind == Kind::Action { "unknown-action" } else { "unknown-check" };
            let help =
                help_for(&format!("{word}s"), &name.text, catalog::entries(kind).map(|entry| entry.name));
            self.problems.add_help(&name.span, code, format!("there is no {word} `{}`", name.text), help);
            return None;
        };
        let mut known: Vec<&str> =
            std::iter::once(word).chain(entry.fields.iter().map(|field| field.name)).collect();
        if kind == Kind::Check {
            known.extend(super::samples::KEYS);
        }
        let what = [word, " `", entry.name, "`"].concat();
        let table = Table::with_keys(entries, value.span(), what, &known, &mut self.problems);
        self.check_presence(&table, entry);
        let mut read = Read {
            operation: Operation { name: entry.name.to_owned(), fields: Map::new() },
            entry,
            outputs: entry.outputs.iter().map(|&name| name.to_owned()).collect(),
        };
        for item in table.iter() {
            let Some(field) = entry.field(item.name()) else { continue };
            if matches!(field.kind, FieldType::Outputs | FieldType::AnswerOutputs) {
                let declared = item.value.get_ref().as_table().into_iter().flatten();
                read.outputs.extend(declared.map(|(key, _)| key.get_ref().to_string()));
            }
            let on_host = table.get("host").is_some();
            let value = match field.kind {
                FieldType::Path => self.path(item, on_host, placed(field, using)),
                _ => self.field(item, field, using),
            };
            if let Some(value) = value {
                read.operation.fields.insert(field.name.to_owned(), value);
            }
        }
        if kind == Kind::Check {
            self.samples(&table, entry, using, &mut read.operation);
        }
        Some(read)
    }

    fn check_presence(&mut self, table: &Table<'d>, entry: &catalog::Entry) {
        for field in entry.fields.iter().filter(|field| field.required) {
            table.require(field.name, &mut self.problems);
        }
        let given: Vec<Entry<'d>> = entry.one_of.iter().filter_map(|name| table.get(name)).collect();
        match given.as_slice() {
            [] if !entry.one_of.is_empty() => {
                let message = match entry.one_of.contains(&"argv") {
                    true => format!("{} `{}` does not say what runs", entry.kind.word(), entry.name),
                    false => {
                        format!("{} `{}` does not say what shall be there", entry.kind.word(), entry.name)
                    }
                };
                let help = format!("add one of {}", list(entry.one_of));
                self.problems.add_help(&table.at, "missing-key", message, help);
            }
            [first, more @ ..] => {
                for extra in more {
                    let message = format!("`{}` and `{}` exclude each other", first.name(), extra.name());
                    let help = format!("keep one of {}", list(entry.one_of));
                    self.problems.add_help(&extra.key.span(), "exclusive-keys", message, help);
                }
            }
            [] => {}
        }
        for together in entry.at_most_one {
            let given: Vec<Entry<'d>> = together.iter().filter_map(|name| table.get(name)).collect();
            if let [first, second, ..] = given.as_slice()
                && !(entry.one_of.contains(&first.name()) && entry.one_of.contains(&second.name()))
            {
                let message = format!("`{}` and `{}` exclude each other", first.name(), second.name());
                let help = format!("keep one of {}", list(together));
                self.problems.add_help(&second.key.span(), "exclusive-keys", message, help);
            }
        }
    }

    fn field(&mut self, item: Entry<'d>, field: &'static Field, using: Use) -> Option<Value> {
        let using = placed(field, using);
        match field.kind {
            FieldType::Path => self.path(item, false, using),
            FieldType::Mode | FieldType::Sha256 | FieldType::Url | FieldType::Address | FieldType::Server => {
                self.formed(item, field.kind, using)
            }
            FieldType::Headers => self.headers(item, using),
            FieldType::Json => self.any(item, using),
            FieldType::Statuses => self.http_statuses(item, field, using),
            FieldType::Expectations => self.expectations(item, using),
            FieldType::AnswerOutputs => self.answer_outputs(item),
            FieldType::UpTo(most) => self.up_to(item, most, field, using),
            FieldType::Text => {
                let text = text(item, &mut self.problems)?;
                Some(Value::String(self.keep(text, using)))
            }
            FieldType::Bool => self.or_expression(item, DeValue::is_bool, field, using),
            FieldType::Integer => self.or_expression(item, DeValue::is_integer, field, using),
            FieldType::Duration => {
                duration_ms(item, &mut self.problems)?;
                item.value.get_ref().as_str().map(Value::from)
            }
            FieldType::TextArray | FieldType::TextSet => self.texts(item, field, using),
            FieldType::IntegerArray => self.statuses(item),
            FieldType::Environment => self.environment(item, using),
            FieldType::Outputs => self.outputs(item),
            FieldType::File => {
                let text = text(item, &mut self.problems)?;
                self.file(text, using).map(Value::String)
            }
            FieldType::Manifests => {
                let text = text(item, &mut self.problems)?;
                self.manifests(text, using).map(Value::String)
            }
            FieldType::Folder => {
                let text = text(item, &mut self.problems)?;
                self.absolute(text, using).map(|path| Value::String(path.text))
            }
            FieldType::Host => {
                named(item, ("host", "hosts", "unknown-host"), &self.hosts, &mut self.problems)
            }
            FieldType::Cluster => {
                named(item, ("cluster", "clusters", "unknown-cluster"), &self.clusters, &mut self.problems)
            }
            FieldType::Broker => {
                named(item, ("broker", "brokers", "unknown-broker"), &self.brokers, &mut self.problems)
            }
            FieldType::OneOf(words) => {
                let text = text(item, &mut self.problems)?;
                if !words.contains(&text.text.as_str()) {
                    unknown_word(&text, field.name, words.iter().copied(), &mut self.problems);
                }
                Some(Value::String(text.text))
            }
        }
    }

    /// A value of the field's own type, or a string that is one expression.
    pub(super) fn or_expression(
        &mut self,
        item: Entry<'d>,
        fits: fn(&DeValue<'d>) -> bool,
        field: &Field,
        using: Use,
    ) -> Option<Value> {
        if let Some(text) = item.value.get_ref().as_str()
            && crate::plan::template::lex::lex(text).expression.is_some()
        {
            return Some(Value::String(self.keep(Text { text: text.to_owned(), span: item.span() }, using)));
        }
        if !fits(item.value.get_ref()) {
            wrong_type(item, field.kind.name(), &mut self.problems);
            return None;
        }
        super::table::to_json(item.value.get_ref()).ok()
    }

    fn texts(&mut self, item: Entry<'d>, field: &Field, using: Use) -> Option<Value> {
        if item.value.get_ref().is_str() {
            return self.or_expression(item, DeValue::is_array, field, using);
        }
        let words = items(item, field.kind.name(), &mut self.problems)?;
        if words.is_empty() && field.kind == FieldType::TextArray {
            let message = format!("`{}` is empty", field.name);
            self.problems.add_help(&item.span(), "empty", message, "name at least a program");
        }
        let words = words.into_iter().filter_map(|word| {
            let text = text_item(word, &mut self.problems)?;
            Some(Value::String(self.keep(text, using)))
        });
        Some(Value::Array(words.collect()))
    }

    fn statuses(&mut self, item: Entry<'d>) -> Option<Value> {
        let list = items(item, "array of integers", &mut self.problems)?;
        let mut statuses = Vec::new();
        for status in list {
            let Some(integer) = status.value.get_ref().as_integer() else {
                wrong_type_at(
                    &status.span(),
                    "an item of `absent_on`",
                    status.value.get_ref().type_str(),
                    "integer",
                    &mut self.problems,
                );
                continue;
            };
            match u8::from_str_radix(integer.as_str(), integer.radix()) {
                Ok(number @ 1..) => statuses.push(Value::from(number)),
                _ => {
                    let message = format!("`{}` cannot mean `absent`", integer.as_str());
                    let help = "write exit statuses from 1 to 255; 0 always means `holds`";
                    self.problems.add_help(&status.span(), "out-of-range", message, help);
                }
            }
        }
        Some(Value::Array(statuses))
    }

    fn environment(&mut self, item: Entry<'d>, using: Use) -> Option<Value> {
        let table = super::table::table(item, &mut self.problems)?;
        let mut variables = Map::new();
        for (key, value) in table {
            let entry = Entry { key, value };
            if !is_identifier(entry.name()) {
                let message = format!("`{}` cannot name an environment variable", entry.name());
                let help = "a name has a-z, A-Z, 0-9 and `_`, and does not start with a digit";
                self.problems.add_help(&key.span(), "bad-name", message, help);
            }
            if let Some(text) = text(entry, &mut self.problems) {
                variables.insert(entry.name().to_owned(), Value::String(self.keep(text, using)));
            }
        }
        Some(Value::Object(variables))
    }

    fn outputs(&mut self, item: Entry<'d>) -> Option<Value> {
        let table = super::table::table(item, &mut self.problems)?;
        let mut outputs = Map::new();
        for (key, value) in table {
            let entry = Entry { key, value };
            check_identifier(entry, "output", &mut self.problems);
            let Some(text) = text(entry, &mut self.problems) else { continue };
            if text.text != "text" && !is_pointer(&text.text) {
                let message = format!("output `{}` cannot be `{}`", entry.name(), text.text);
                let help =
                    "write \"text\" for the whole output, or a JSON pointer into it such as \"/status/url\"";
                self.problems.add_help(&text.span, "bad-output", message, help);
            }
            outputs.insert(entry.name().to_owned(), Value::String(text.text));
        }
        Some(Value::Object(outputs))
    }
}

/// The name of an entry of one of the plan's sections; `words` are what it is, its section, and the diagnostic's code.
fn named(
    item: Entry<'_>,
    words: (&str, &str, &'static str),
    known: &BTreeSet<String>,
    problems: &mut Problems<'_>,
) -> Option<Value> {
    let (what, section, code) = words;
    let text = text(item, problems)?;
    if !known.contains(&text.text) {
        let help = help_for(section, &text.text, known.iter().map(String::as_str));
        problems.add_help(&text.span, code, format!("there is no {what} `{}`", text.text), help);
    }
    Some(Value::String(text.text))
}

/// The place of a field's texts.
fn placed(field: &'static Field, using: Use) -> Use {
    Use { secrets: field.secrets, shell: field.shell, place: field.name, ..using }
}

/// A JSON pointer (RFC 6901) that is not empty.
pub(super) fn is_pointer(text: &str) -> bool {
    text.starts_with('/') && text.split('~').skip(1).all(|part| part.starts_with(['0', '1']))
}

fn a(kind: Kind) -> &'static str {
    match kind {
        Kind::Action => "an action",
        Kind::Check => "a check",
    }
}
