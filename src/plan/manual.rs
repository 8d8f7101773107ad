//! The manual page `docs/plan-file.md`, made from what the loader itself reads by: [`keys`](super::keys) and
//! [`catalog`]. What stands between the tables is written by hand, in `manual.md`.
//!
//! A line `<!-- keys: NAME -->` there is replaced by the keys of that group, `<!-- actions -->` and `<!-- checks -->`
//! by every action and check.

use std::fmt::Write;

use serde_json::Value;

use super::catalog::{self, Entry, Field, Kind, OnStop};
use super::keys::{GROUPS, Group, Takes};
use super::schema::schema;

const TEXT: &str = include_str!("manual.md");

/// Examples of fields that take any text, in TOML: a type says nothing about them.
const EXAMPLES: &[(&str, &str)] = &[
    ("allow", "[\"L9\"]"),
    ("available", "\"frigate\""),
    ("baseline", "\"{{ steps.baseline.outputs.frigate }}\""),
    ("body", "\"The new one is live.\""),
    ("contains", "\"ready\""),
    ("configmap", "\"frigate/frigate-config\""),
    ("content", "\"Welcome.\\n\""),
    ("cwd", "\"/srv/app\""),
    ("deployment", "\"frigate/frigate\""),
    ("hostname", "\"frigate-sf\""),
    ("name", "\"nas.home.arpa\""),
    ("node", "\"gpu-node\""),
    ("object", "\"Deployment frigate/frigate\""),
    ("payload", "\"online\""),
    ("script", "'echo \"$SITE\" > site'"),
    ("snapshot", "\"before-move\""),
    ("stdin", "\"yes\\n\""),
    ("storage", "\"local\""),
    ("token", "\"{{ secrets.ha_token }}\""),
    ("topic", "\"frigate/available\""),
];

/// The page as it is committed.
pub fn manual() -> String {
    let schema = schema();
    let mut page = String::new();
    for line in TEXT.lines() {
        let order = line.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->"));
        match order {
            Some("actions") => entries(&mut page, Kind::Action, &schema),
            Some("checks") => entries(&mut page, Kind::Check, &schema),
            Some(order) => match order.strip_prefix("keys: ").and_then(group) {
                Some(group) => keys(&mut page, group),
                None => line_of(&mut page, line),
            },
            None => line_of(&mut page, line),
        }
    }
    page
}

fn line_of(page: &mut String, line: &str) {
    page.push_str(line);
    page.push('\n');
}

fn group(name: &str) -> Option<&'static Group> {
    GROUPS.into_iter().find(|group| group.name == name)
}

/// A table of keys: the required ones first by their mark, not by order, which is that of the loader.
fn keys(page: &mut String, group: &Group) {
    if !group.one_of.is_empty() {
        let _ = writeln!(page, "Exactly one of {} must be there.\n", words(group.one_of));
    }
    line_of(page, "| key | takes | default | example | |");
    line_of(page, "|---|---|---|---|---|");
    for key in group.keys {
        let default = absence(key.required, key.default);
        let example = key.examples.first().copied().unwrap_or_default();
        let _ = writeln!(
            page,
            "| `{}` | {} | {default} | {} | {} |",
            key.name,
            cell(&takes(key.takes)),
            code(example),
            cell(key.doc)
        );
    }
}

/// What stands for a key that is not there.
fn absence(required: bool, default: Option<&str>) -> String {
    match (required, default) {
        (true, _) => "**required**".to_owned(),
        // A default in TOML is code; one in words is not.
        (false, Some(default)) if default.contains(' ') => cell(default),
        (false, Some(default)) => code(default),
        (false, None) => String::new(),
    }
}

fn entries(page: &mut String, kind: Kind, schema: &Value) {
    for entry in catalog::entries(kind) {
        let _ = writeln!(page, "### {} `{}`\n\n{}\n", capital(kind.word()), entry.name, entry.doc);
        for rule in rules(entry) {
            let _ = writeln!(page, "* {rule}");
        }
        page.push('\n');
        let shown = &schema["$defs"][format!("{}-{}", kind.word(), entry.name)]["properties"];
        let wanted = entry
            .fields
            .iter()
            .filter(|field| field.required || entry.one_of.first().is_some_and(|first| *first == field.name));
        let each: Option<Vec<String>> = wanted
            .map(|field| Some(format!(", {} = {}", field.name, example(field, &shown[field.name])?)))
            .collect();
        if let Some(each) = each {
            let _ = writeln!(page, "`{{ {} = \"{}\"{} }}`\n", kind.word(), entry.name, each.concat());
        }
        line_of(page, "| field | takes | default | example | |");
        line_of(page, "|---|---|---|---|---|");
        for field in entry.fields {
            let default = absence(field.required, field.default);
            let example = code(&example(field, &shown[field.name]).unwrap_or_default());
            let _ = writeln!(
                page,
                "| `{}` | {} | {default} | {example} | {} |",
                field.name,
                cell(&field_takes(field)),
                cell(field.doc)
            );
        }
        page.push('\n');
    }
    // One empty line between what is made and what follows.
    page.truncate(page.trim_end().len() + 1);
}

/// What holds for an action or check as a whole.
fn rules(entry: &Entry) -> Vec<String> {
    let mut rules = Vec::new();
    if !entry.one_of.is_empty() {
        rules.push(format!("Exactly one of {} must be there.", words(entry.one_of)));
    }
    for exclusive in entry.at_most_one {
        rules.push(format!("At most one of {} may be there.", words(exclusive)));
    }
    if entry.kind == Kind::Check {
        rules.push("In `verify` it may have `watch` and `holds`, too.".to_owned());
        return rules;
    }
    rules.push(
        match (entry.nothing_to_undo, entry.own_inverse, entry.inverse_if) {
            (true, ..) => "There is nothing to undo, unless its step says so with `compensate`.".to_owned(),
            (_, true, "") => {
                "Without `compensate` it is taken back by its own inverse, from the pre-image.".to_owned()
            }
            (_, true, field) => format!(
                "With `{field} = true` and without `compensate` it is taken back by its own inverse, from the pre-image; \
                 else its step says how: `compensate`, `\"nothing\"`, or `irreversible`."
            ),
            (_, false, _) => {
                "Its step says how it is taken back: `compensate`, `\"nothing\"`, or `irreversible`.".to_owned()
            }
        },
    );
    rules.push(
        match entry.own_probe {
            true => "Without `probe` it looks for itself whether there is anything to do.",
            false => "Whether there is anything to do only a `probe` says.",
        }
        .to_owned(),
    );
    if entry.outputs_from_probe {
        rules.push(
            "Outputs of a step that was satisfied are those of its `probe`, which declares the same names."
                .to_owned(),
        );
    }
    if entry.deletes_data {
        rules.push("It deletes user data: its step needs `approve`.".to_owned());
    }
    if let Some(field) = entry.data_field {
        rules.push(format!("With `{field}` it deletes user data: its step needs `approve`."));
    }
    if entry.on_stop == OnStop::Stop {
        rules.push("A request to stop stops it, unless `on_stop` says otherwise.".to_owned());
    }
    rules
}

/// A value as it may stand in a plan: one of our own, or as the schema shows it.
fn example(field: &Field, property: &Value) -> Option<String> {
    let list = matches!(field.kind, catalog::FieldType::TextArray | catalog::FieldType::TextSet);
    let fits = |name: &str, own: &str| name == field.name && own.starts_with('[') == list;
    if let Some((_, own)) = EXAMPLES.iter().find(|(name, own)| fits(name, own)) {
        return Some((*own).to_owned());
    }
    let either = property.get("anyOf").and_then(|each| each.get(0)).unwrap_or(&Value::Null);
    let shown = [property.get("examples"), property.get("enum"), either.get("enum")];
    let shown = shown.into_iter().flatten().find_map(|values| values.get(0))?;
    toml::Value::try_from(shown).ok().map(|value| value.to_string())
}

fn field_takes(field: &Field) -> String {
    let mut takes = match field.kind {
        catalog::FieldType::OneOf(words) => or(words),
        catalog::FieldType::UpTo(most) => format!("integer, 0 to {most}"),
        kind => kind.name().to_owned(),
    };
    if field.secrets {
        takes.push_str(", secrets too");
    }
    takes
}

/// The type in words.
fn takes(takes: Takes) -> String {
    match takes {
        Takes::Text | Takes::Words => "string".to_owned(),
        Takes::Name => "name: `[a-z0-9][a-z0-9-]*`".to_owned(),
        Takes::Flag => "boolean".to_owned(),
        Takes::Condition => "boolean, or a template of one".to_owned(),
        Takes::Integer { least, most: u32::MAX } => format!("integer, at least {least}"),
        Takes::Integer { least, most } => format!("integer, {least} to {most}"),
        Takes::Port => "port".to_owned(),
        Takes::Duration => "duration".to_owned(),
        Takes::Percent => "share".to_owned(),
        Takes::TimeOfDay => "time of day".to_owned(),
        Takes::Days => "days of the week".to_owned(),
        Takes::OneOf(words) => or(words),
        Takes::Texts => "array of strings".to_owned(),
        Takes::Ids => "array of step ids".to_owned(),
        Takes::Operation(kind) => {
            format!("{} {}", if kind == Kind::Action { "an" } else { "a" }, kind.word())
        }
        Takes::Checks => "array of checks".to_owned(),
        Takes::Compensation => "an action, or `\"nothing\"`".to_owned(),
        Takes::Claims => "table: owner by resource".to_owned(),
        Takes::ChecksByName => "table: checks by owner".to_owned(),
        Takes::Rules(group) => format!("table: a word or [{0}](#keys-of-{0}) by fact", group.name),
        Takes::Looks => "`\"N of M\"`".to_owned(),
        Takes::Variables => "table of values".to_owned(),
        Takes::Table(group) => format!("table: [{0}](#keys-of-{0})", group.name),
        Takes::Named(group) => format!("table: [{0}](#keys-of-{0}) by name", group.name),
        Takes::Tables(group) => format!("array of tables: [{0}](#keys-of-{0})", group.name),
    }
}

fn or(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
    words.join(", ")
}

fn words(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}

/// Text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn code(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("`{}`", cell(text)) }
}

fn capital(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_has_its_place_in_the_page_once_and_a_title() {
        for group in GROUPS {
            let place = format!("<!-- keys: {} -->", group.name);
            assert_eq!(TEXT.matches(&place).count(), 1, "{place}");
        }
        let page = manual();
        assert!(!page.contains("<!-- keys"), "a group that is not there");
        for link in page.split("](#").skip(1) {
            let anchor = link.split(')').next().unwrap();
            let title = format!("# {}", anchor.replace('-', " "));
            assert!(page.lines().any(|line| line.to_lowercase().ends_with(&title)), "no title `{anchor}`");
        }
    }

    #[test]
    fn every_action_and_check_has_an_example_that_is_toml() {
        let page = manual();
        for kind in [Kind::Action, Kind::Check] {
            for entry in catalog::entries(kind) {
                let begin = format!("`{{ {} = \"{}\"", kind.word(), entry.name);
                let line = page.lines().find(|line| line.starts_with(&begin)).unwrap_or(&begin);
                let example = format!("x = {}", line.split('`').nth(1).unwrap_or_default());
                assert!(example.parse::<toml::Table>().is_ok(), "{example}");
            }
        }
    }

    #[test]
    fn every_key_and_every_field_is_in_the_page() {
        let page = manual();
        let fields =
            [Kind::Action, Kind::Check].into_iter().flat_map(catalog::entries).flat_map(|e| e.fields);
        let names = GROUPS.into_iter().flat_map(|group| group.keys).map(|key| key.name);
        for name in names.chain(fields.map(|field| field.name)) {
            assert!(page.contains(&format!("| `{name}` |")), "{name}");
        }
    }
}
