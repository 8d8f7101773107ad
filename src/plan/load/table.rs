//! Reading a TOML table key by key: unknown keys, wrong types and missing ones are reported where they stand.

use std::borrow::Cow;

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::plan::diagnostic::{Problems, Span, help_for, with_article};
use crate::plan::duration;
use crate::plan::keys::{Group, Key, Takes};

/// A value with the key it stands under.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'d> {
    pub(super) key: &'d Spanned<Cow<'d, str>>,
    pub(super) value: &'d Spanned<DeValue<'d>>,
}

impl<'d> Entry<'d> {
    pub(super) fn name(&self) -> &'d str {
        self.key.get_ref()
    }

    /// Where the value stands.
    pub(super) fn span(&self) -> Span {
        self.value.span()
    }
}

/// A text and where it stands, quotation marks included.
#[derive(Debug, Clone)]
pub(super) struct Text {
    pub(super) text: String,
    pub(super) span: Span,
}

/// A table whose keys were checked.
#[derive(Debug, Clone)]
pub(super) struct Table<'d> {
    entries: &'d DeTable<'d>,
    /// Where something that is missing is reported.
    pub(super) at: Span,
    /// What the table describes, for messages.
    what: Cow<'static, str>,
    /// Its keys; absent for actions and checks, which have theirs in the catalog.
    group: Option<&'static Group>,
}

impl<'d> Table<'d> {
    /// Takes a table and reports every key that its group does not have.
    pub(super) fn new(
        entries: &'d DeTable<'d>,
        at: Span,
        what: impl Into<Cow<'static, str>>,
        group: &'static Group,
        problems: &mut Problems<'_>,
    ) -> Self {
        let known: Vec<&str> = group.keys.iter().map(|key| key.name).collect();
        Self { group: Some(group), ..Self::with_keys(entries, at, what, &known, problems) }
    }

    /// Takes a table and reports every key that is not in `known`.
    pub(super) fn with_keys(
        entries: &'d DeTable<'d>,
        at: Span,
        what: impl Into<Cow<'static, str>>,
        known: &[&str],
        problems: &mut Problems<'_>,
    ) -> Self {
        let what = what.into();
        for key in entries.keys() {
            let name: &str = key.get_ref();
            if !known.contains(&name) {
                let help = help_for("keys", name, known.iter().copied());
                problems.add_help(&key.span(), "unknown-key", format!("{what} has no key `{name}`"), help);
            }
        }
        Self { entries, at, what, group: None }
    }

    /// As [`Table::new`], of a value that must be a table.
    pub(super) fn of(
        entry: Entry<'d>,
        what: impl Into<Cow<'static, str>>,
        group: &'static Group,
        problems: &mut Problems<'_>,
    ) -> Option<Self> {
        let entries = table(entry, problems)?;
        Some(Self::new(entries, entry.key.span(), what, group, problems))
    }

    /// The description of a key.
    fn key(&self, name: &str) -> Option<&'static Key> {
        self.group.map(|group| group.key(name).expect("every key that is read is in its group"))
    }

    pub(super) fn get(&self, name: &str) -> Option<Entry<'d>> {
        debug_assert!(self.group.is_none_or(|group| group.key(name).is_some()), "`{name}` is in no group");
        // A step is asked for thirty keys and has five: a look at each takes less than a hash.
        self.iter().find(|entry| entry.name() == name)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Entry<'d>> + use<'d> {
        self.entries.iter().map(|(key, value)| Entry { key, value })
    }

    /// The value of a key that must be there.
    pub(super) fn require(&self, name: &str, problems: &mut Problems<'_>) -> Option<Entry<'d>> {
        let found = self.get(name);
        debug_assert!(self.key(name).is_none_or(|key| key.required), "the schema does not require `{name}`");
        if found.is_none() {
            let looks_like = self.example(name);
            let message = format!("{} needs `{name}`", self.what);
            problems.add_help(&self.at, "missing-key", message, format!("add `{name} = {looks_like}`"));
        }
        found
    }

    pub(super) fn text(&self, name: &str, problems: &mut Problems<'_>) -> Option<Text> {
        self.get(name).and_then(|entry| text(entry, problems))
    }

    /// What a key looks like, for messages.
    pub(super) fn example(&self, name: &str) -> &'static str {
        self.key(name).and_then(|key| key.examples.first()).copied().unwrap_or("\"…\"")
    }

    /// What is given, else the default.
    pub(super) fn bool(&self, name: &str, problems: &mut Problems<'_>) -> bool {
        debug_assert!(self.key(name).is_some_and(|key| matches!(key.takes, Takes::Flag)), "`{name}`");
        let Some(entry) = self.get(name) else {
            return self.key(name).is_some_and(|key| key.default == Some("true"));
        };
        let value = entry.value.get_ref().as_bool();
        if value.is_none() {
            wrong_type(entry, "boolean", problems);
        }
        value.unwrap_or_default()
    }

    /// An integer within the bounds of its key: what is given, else the default.
    pub(super) fn integer(&self, name: &str, problems: &mut Problems<'_>) -> u32 {
        let key = self.key(name).expect("integers stand in groups");
        let Takes::Integer { least, most } = key.takes else { unreachable!("`{name}` takes no integer") };
        let default = key.default.and_then(|default| default.parse().ok()).unwrap_or(least);
        self.given_integer(name, least, most, problems).unwrap_or(default)
    }

    fn given_integer(&self, name: &str, least: u32, most: u32, problems: &mut Problems<'_>) -> Option<u32> {
        let entry = self.get(name)?;
        let Some(integer) = entry.value.get_ref().as_integer() else {
            wrong_type(entry, "integer", problems);
            return None;
        };
        let value = u32::from_str_radix(integer.as_str(), integer.radix()).ok();
        let value = value.filter(|value| (least..=most).contains(value));
        if value.is_none() {
            let message =
                format!("`{name}` is `{}`, which is out of range", problems.source.slice(&entry.span()));
            problems.add_help(
                &entry.span(),
                "out-of-range",
                message,
                format!("write a number from {least} to {most}"),
            );
        }
        value
    }

    /// A duration, in milliseconds, if it is given.
    pub(super) fn duration_ms(&self, name: &str, problems: &mut Problems<'_>) -> Option<u64> {
        debug_assert!(self.key(name).is_some_and(|key| matches!(key.takes, Takes::Duration)), "`{name}`");
        self.get(name).and_then(|entry| duration_ms(entry, problems))
    }

    /// A duration, in milliseconds: what is given, else the default.
    pub(super) fn duration_or_default_ms(&self, name: &str, problems: &mut Problems<'_>) -> u64 {
        let default = self.group.and_then(|group| group.default_ms(name));
        self.duration_ms(name, problems).or(default).expect("the key has a default")
    }

    /// A share such as `"1%"`, 0 to 1.
    pub(super) fn percent(&self, name: &str, problems: &mut Problems<'_>) -> Option<f64> {
        const HELP: &str = "write a percentage from \"0%\" to \"100%\"";
        let entry = self.get(name)?;
        let Some(text) = entry.value.get_ref().as_str() else {
            let found = with_article(entry.value.get_ref().type_str());
            let message = format!("`{name}` must be a percentage, not {found}");
            problems.add_help(&entry.span(), "wrong-type", message, HELP);
            return None;
        };
        let share = duration::percent(text);
        if share.is_none() {
            problems.add_help(&entry.span(), "bad-percent", format!("`{text}` is no percentage"), HELP);
        }
        share
    }

    /// One of the words of its key, in their order: what is given, else the default if it has one.
    pub(super) fn word<T: Copy>(
        &self,
        name: &str,
        words: &[(&str, T)],
        problems: &mut Problems<'_>,
    ) -> Option<T> {
        let key = self.key(name).expect("words stand in groups");
        let known =
            matches!(key.takes, Takes::OneOf(known) if known.iter().eq(words.iter().map(|(word, _)| word)));
        debug_assert!(known, "`{name}` takes other words than its group says");
        if self.get(name).is_none() {
            let default = key.default?.trim_matches('"');
            return words.iter().find(|(word, _)| *word == default).map(|(_, value)| *value);
        }
        let text = self.text(name, problems)?;
        let found = words.iter().find(|(word, _)| *word == text.text).map(|(_, value)| *value);
        if found.is_none() {
            unknown_word(&text, name, words.iter().map(|(word, _)| *word), problems);
        }
        found
    }
}

/// Reports a word that is none of those a key takes.
pub(super) fn unknown_word<'w>(
    text: &Text,
    key: &str,
    words: impl Iterator<Item = &'w str>,
    problems: &mut Problems<'_>,
) {
    let words: Vec<String> = words.map(|word| format!("\"{word}\"")).collect();
    let message = format!("`{key}` cannot be `{}`", text.text);
    problems.add_help(&text.span, "unknown-word", message, format!("write {}", words.join(" or ")));
}

/// Reports a value of the wrong type.
pub(super) fn wrong_type(entry: Entry<'_>, expected: &str, problems: &mut Problems<'_>) {
    let name = format!("`{}`", entry.name());
    wrong_type_at(&entry.span(), &name, entry.value.get_ref().type_str(), expected, problems);
}

/// Reports a value of the wrong type that stands at `span`; `name` is what it is, for the message.
pub(super) fn wrong_type_at(
    span: &Span,
    name: &str,
    found: &str,
    expected: &str,
    problems: &mut Problems<'_>,
) {
    let message = format!("{name} must be {}, not {}", with_article(expected), with_article(found));
    let shown = problems.source.slice(span);
    let quoted = expected == "string" && matches!(found, "integer" | "float" | "boolean" | "datetime");
    match quoted && !shown.is_empty() {
        true => problems.add_help(span, "wrong-type", message, format!("write it as \"{shown}\"")),
        false => problems.add_help(span, "wrong-type", message, write_as(expected)),
    }
}

/// How a value of a type is written, for help texts.
pub(super) fn write_as(expected: &str) -> &'static str {
    match expected {
        "string" => "write it in quotation marks",
        "boolean" | "bool" => "write `true` or `false`, without quotation marks",
        "integer" | "float" => "write a number, without quotation marks",
        "table" => "write `{ key = … }`",
        "array of tables" => "write `[[…]]` with two brackets, once for each of them",
        "array of checks" => "write `[{ check = … }]`",
        "array of strings" => "write `[\"…\", \"…\"]`: each word in quotation marks",
        other if other.starts_with("array") => "write `[…, …]`",
        other if other.starts_with("table") => "write `{ name = … }`",
        _ => "`runner schema` describes every key",
    }
}

pub(super) fn table<'d>(entry: Entry<'d>, problems: &mut Problems<'_>) -> Option<&'d DeTable<'d>> {
    let found = entry.value.get_ref().as_table();
    if found.is_none() {
        wrong_type(entry, "table", problems);
    }
    found
}

pub(super) fn text(entry: Entry<'_>, problems: &mut Problems<'_>) -> Option<Text> {
    let found = entry.value.get_ref().as_str();
    if found.is_none() {
        wrong_type(entry, "string", problems);
    }
    found.map(|text| Text { text: text.to_owned(), span: entry.span() })
}

/// The text of an item of an array.
pub(super) fn text_item(item: Entry<'_>, problems: &mut Problems<'_>) -> Option<Text> {
    let Some(text) = item.value.get_ref().as_str() else {
        let name = format!("an item of `{}`", item.name());
        wrong_type_at(&item.span(), &name, item.value.get_ref().type_str(), "string", problems);
        return None;
    };
    Some(Text { text: text.to_owned(), span: item.span() })
}

/// The items of an array, each with its key for messages.
pub(super) fn items<'d>(entry: Entry<'d>, of: &str, problems: &mut Problems<'_>) -> Option<Vec<Entry<'d>>> {
    let Some(array) = entry.value.get_ref().as_array() else {
        wrong_type(entry, of, problems);
        return None;
    };
    Some(array.iter().map(|value| Entry { key: entry.key, value }).collect())
}

pub(super) fn duration_ms(entry: Entry<'_>, problems: &mut Problems<'_>) -> Option<u64> {
    let Some(text) = entry.value.get_ref().as_str() else {
        let message = format!(
            "`{}` must be a duration, not {}",
            entry.name(),
            with_article(entry.value.get_ref().type_str())
        );
        problems.add_help(&entry.span(), "wrong-type", message, duration::LOOKS_LIKE);
        return None;
    };
    match duration::parse(text) {
        Ok(ms) => Some(ms),
        Err(why) => {
            let message = format!("`{}` is no duration `{text}`: {why}", entry.name());
            problems.add_help(&entry.span(), "bad-duration", message, duration::LOOKS_LIKE);
            None
        }
    }
}

/// A TOML value as JSON. The error says what JSON lacks.
pub(in crate::plan) fn to_json(value: &DeValue<'_>) -> Result<Value, &'static str> {
    Ok(match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map(Value::from)
            .map_err(|_| "an integer must fit into 64 bits")?,
        DeValue::Float(float) => float
            .as_str()
            .parse::<f64>()
            .ok()
            .and_then(serde_json::Number::from_f64)
            .map(Value::Number)
            .ok_or("a float must be a finite number")?,
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Datetime(_) => return Err("a date must be written as a string"),
        DeValue::Array(items) => {
            Value::Array(items.iter().map(|item| to_json(item.get_ref())).collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => Value::Object(
            table
                .iter()
                .map(|(key, item)| Ok((key.get_ref().to_string(), to_json(item.get_ref())?)))
                .collect::<Result<_, &'static str>>()?,
        ),
    })
}

/// Whether a text can stand behind a dot in a template, or name an environment variable.
pub(super) fn is_identifier(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Reports a key that cannot stand behind a dot in a template.
pub(super) fn check_identifier(entry: Entry<'_>, what: &str, problems: &mut Problems<'_>) -> bool {
    let good = is_identifier(entry.name());
    if !good {
        let message = format!("`{}` is not a valid name of {}", entry.name(), with_article(what));
        let help = "a name has a-z, A-Z, 0-9 and `_`, and does not start with a digit";
        problems.add_help(&entry.key.span(), "bad-name", message, help);
    }
    good
}
