//! Values of fields that have a form of their own: addresses, modes, statuses, comparisons, headers.

use serde_json::{Map, Value};
use toml::de::DeValue;

use super::Loader;
use super::operation::is_pointer;
use super::table::{Entry, Text, check_identifier, items, table, text, to_json, wrong_type, wrong_type_at};
use super::texts::Use;
use crate::plan::catalog::{Field, FieldType};
use crate::plan::diagnostic::help_for;
use crate::plan::expect;
use crate::plan::template::lex;

impl<'d> Loader<'d, '_> {
    /// A text that has to look like something, unless a template is in it.
    pub(super) fn formed(&mut self, item: Entry<'d>, kind: FieldType, using: Use) -> Option<Value> {
        let text = text(item, &mut self.problems)?;
        if !lex::is_template(&text.text)
            && let Err((message, help)) = looks_like(kind, &text.text)
        {
            let message = format!("`{}` {message}", using.place);
            self.problems.add_help(&text.span, "bad-value", message, help);
        }
        Some(Value::String(self.keep(text, using)))
    }

    /// A path: on a host absolute and kept as it stands, here made absolute.
    pub(super) fn path(&mut self, item: Entry<'d>, on_host: bool, using: Use) -> Option<Value> {
        let text = text(item, &mut self.problems)?;
        let fixed = !lex::is_template(&text.text);
        if text.text.starts_with("~/") {
            let message = format!("`{}` begins with `~`, which is not expanded", using.place);
            self.problems.add_help(&text.span, "bad-path", message, "write the whole path");
            return None;
        }
        if fixed && (text.text.ends_with('/') || text.text.contains('\n')) {
            let message = format!("`{}` does not name a file", using.place);
            let help = "write a path that ends with a file's name, on one line";
            self.problems.add_help(&text.span, "bad-path", message, help);
            return None;
        }
        if !on_host {
            return self.absolute(text, using).map(|path| Value::String(path.text));
        }
        if fixed && !text.text.starts_with('/') {
            let message = format!("`{}` is not absolute", using.place);
            self.problems.add_help(&text.span, "bad-path", message, "on a host a path begins with `/`");
        }
        Some(Value::String(self.keep(text, using)))
    }

    pub(super) fn headers(&mut self, item: Entry<'d>, using: Use) -> Option<Value> {
        const OURS: &[&str] = &["host", "content-length", "transfer-encoding", "connection"];
        let table = table(item, &mut self.problems)?;
        let mut headers = Map::new();
        for (key, value) in table {
            let entry = Entry { key, value };
            let name = entry.name();
            if !is_token(name) {
                let message = format!("`{name}` cannot be the name of a header field");
                let help = "a name has letters, digits and `-`";
                self.problems.add_help(&key.span(), "bad-name", message, help);
            } else if OURS.contains(&name.to_ascii_lowercase().as_str()) {
                let message = format!("`{name}` is set for every request and cannot be given");
                self.problems.add_help(&key.span(), "bad-name", message, "remove it");
            }
            if let Some(text) = text(entry, &mut self.problems) {
                headers.insert(name.to_owned(), Value::String(self.keep(text, using)));
            }
        }
        Some(Value::Object(headers))
    }

    /// Any value; every text in it may be a template.
    pub(super) fn any(&mut self, item: Entry<'d>, using: Use) -> Option<Value> {
        match to_json(item.value.get_ref()) {
            Ok(value) => {
                self.keep_all(item, using);
                Some(value)
            }
            Err(why) => {
                let message = format!("`{}`: {why}", using.place);
                let help = "write a value that JSON has: a string, number, boolean, array or table";
                self.problems.add_help(&item.span(), "wrong-type", message, help);
                None
            }
        }
    }

    fn keep_all(&mut self, item: Entry<'d>, using: Use) {
        match item.value.get_ref() {
            DeValue::String(text) => {
                self.keep(Text { text: text.to_string(), span: item.span() }, using);
            }
            DeValue::Array(list) => {
                for value in list.iter() {
                    self.keep_all(Entry { key: item.key, value }, using);
                }
            }
            DeValue::Table(table) => {
                for (key, value) in table {
                    self.keep_all(Entry { key, value }, using);
                }
            }
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {}
        }
    }

    /// An HTTP status or several.
    pub(super) fn http_statuses(&mut self, item: Entry<'d>, field: &Field, using: Use) -> Option<Value> {
        if item.value.get_ref().is_str() {
            return self.or_expression(item, DeValue::is_integer, field, using);
        }
        if item.value.get_ref().is_integer() {
            return self.http_status(item).map(Value::from);
        }
        let list = items(item, field.kind.name(), &mut self.problems)?;
        if list.is_empty() {
            self.problems.add_help(&item.span(), "empty", "`status` is empty", "name a status, such as 200");
        }
        Some(Value::Array(
            list.into_iter().filter_map(|one| self.http_status(one)).map(Value::from).collect(),
        ))
    }

    fn http_status(&mut self, item: Entry<'d>) -> Option<u16> {
        let Some(integer) = item.value.get_ref().as_integer() else {
            let found = item.value.get_ref().type_str();
            wrong_type_at(&item.span(), "a status", found, "integer", &mut self.problems);
            return None;
        };
        let status = u16::from_str_radix(integer.as_str(), integer.radix()).ok();
        let status = status.filter(|status| (200..=599).contains(status));
        if status.is_none() {
            let message = format!("`{}` is no status that an answer has", integer.as_str());
            self.problems.add_help(&item.span(), "out-of-range", message, "write a number from 200 to 599");
        }
        status
    }

    /// Comparisons by JSON pointer.
    pub(super) fn expectations(&mut self, item: Entry<'d>, using: Use) -> Option<Value> {
        let table = table(item, &mut self.problems)?;
        let mut all = Map::new();
        for (key, value) in table {
            let entry = Entry { key, value };
            let pointer = entry.name();
            if !pointer.is_empty() && !is_pointer(pointer) {
                let message = format!("`{pointer}` is no JSON pointer");
                let help = format!("write `\"/{}\" = …`", pointer.replace('.', "/"));
                self.problems.add_help(&key.span(), "bad-pointer", message, help);
            }
            let Some(value) = self.any(entry, using) else { continue };
            self.comparisons(entry, &value);
            all.insert(pointer.to_owned(), value);
        }
        Some(Value::Object(all))
    }

    fn comparisons(&mut self, entry: Entry<'d>, value: &Value) {
        const HELP: &str =
            "write a value that it equals, or a table such as `{ at_least = 60 }`, `{ exists = true }`";
        const PATTERN: &str = "write a regular expression in single quotation marks; what stands for itself has a \\ \
                               before it: '0\\.16 \\(beta\\)'";
        let Err(wrong) = expect::parse(value) else { return };
        for wrong in wrong {
            let at = wrong.word.as_ref().and_then(|word| {
                let table = entry.value.get_ref().as_table()?;
                table.get_key_value(word.as_str())
            });
            // What a template will be is not known yet.
            if at.is_some_and(|(_, value)| value.get_ref().as_str().is_some_and(lex::is_template)) {
                continue;
            }
            match (&wrong.word, at) {
                (Some(word), Some((key, _))) if wrong.unknown_word => {
                    let help = help_for("comparisons", word, expect::WORDS.iter().copied());
                    let help = match help.starts_with("did you mean") {
                        true => help,
                        false => format!("{help}; to compare with a table write `{{ equals = {{ … }} }}`"),
                    };
                    self.problems.add_help(&key.span(), "unknown-comparison", wrong.message, help);
                }
                (word, Some((_, value))) => {
                    let help = if word.as_deref() == Some("matches") { PATTERN } else { HELP };
                    self.problems.add_help(&value.span(), "bad-comparison", wrong.message, help);
                }
                (_, None) => self.problems.add_help(&entry.span(), "bad-comparison", wrong.message, HELP),
            }
        }
    }

    /// Outputs out of an HTTP answer.
    pub(super) fn answer_outputs(&mut self, item: Entry<'d>) -> Option<Value> {
        let table = table(item, &mut self.problems)?;
        let mut outputs = Map::new();
        for (key, value) in table {
            let entry = Entry { key, value };
            check_identifier(entry, "output", &mut self.problems);
            let Some(text) = text(entry, &mut self.problems) else { continue };
            let header = text.text.strip_prefix("header:").is_some_and(is_token);
            if text.text != "text" && !is_pointer(&text.text) && !header {
                let message = format!("output `{}` cannot be `{}`", entry.name(), text.text);
                let help = "write \"text\" for the whole body, a JSON pointer into it such as \"/status/url\", or \
                            \"header:location\"";
                self.problems.add_help(&text.span, "bad-output", message, help);
            }
            outputs.insert(entry.name().to_owned(), Value::String(text.text));
        }
        Some(Value::Object(outputs))
    }

    /// An integer from 0 to a limit, or an expression.
    pub(super) fn up_to(&mut self, item: Entry<'d>, most: u32, field: &Field, using: Use) -> Option<Value> {
        let value = self.or_expression(item, DeValue::is_integer, field, using)?;
        if value.as_i64().is_some_and(|number| !(0..=i64::from(most)).contains(&number)) {
            let message = format!("`{}` is `{value}`, which is out of range", field.name);
            let help = format!("write a number from 0 to {most}");
            self.problems.add_help(&item.span(), "out-of-range", message, help);
        }
        if !value.is_number() && !value.is_string() {
            wrong_type(item, field.kind.name(), &mut self.problems);
        }
        Some(value)
    }
}

/// Whether a text has the form of its type; else what is wrong, and what would be right.
fn looks_like(kind: FieldType, text: &str) -> Result<(), (String, &'static str)> {
    match kind {
        FieldType::Mode => {
            let octal =
                (3..=5).contains(&text.len()) && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
            let fits = u32::from_str_radix(text, 8).is_ok_and(|mode| mode <= 0o7777);
            let help = "write it in octal, as chmod takes it: \"0644\"";
            if octal && fits { Ok(()) } else { Err((format!("is no file mode: `{text}`"), help)) }
        }
        FieldType::Sha256 => {
            let hex = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            let help = "write the 64 hexadecimal digits that `sha256sum` prints";
            if hex { Ok(()) } else { Err(("is no SHA-256".to_owned(), help)) }
        }
        FieldType::Url => {
            let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
            let help = "write it as `http://host:port/path` or `https://…`";
            match rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or("")) {
                None | Some("") => Err((format!("is no address that http can reach: `{text}`"), help)),
                Some(authority) if authority.contains('@') => Err((
                    "has a user in it, which everybody would see".to_owned(),
                    "put `authorization = \"Basic …\"` or a token into `headers`, out of a secret",
                )),
                Some(_) if text.contains(|c: char| c.is_whitespace() || c.is_control()) => {
                    Err(("has white space in it".to_owned(), "write a space in an address as `%20`"))
                }
                Some(_) => Ok(()),
            }
        }
        FieldType::Address => {
            let good = text.rsplit_once(':').is_some_and(|(host, port)| {
                let bracketed = host.starts_with('[') && host.ends_with(']');
                !host.is_empty()
                    && (bracketed || !host.contains(':'))
                    && port.parse::<u16>().is_ok_and(|p| p > 0)
            });
            let help = "write `host:port`, an IPv6 address in brackets";
            if good { Ok(()) } else { Err((format!("is no address: `{text}`"), help)) }
        }
        FieldType::Server => {
            let alone = text.parse::<core::net::IpAddr>().is_ok();
            let good = alone || text.parse::<core::net::SocketAddr>().is_ok();
            let help =
                "write an IP address, with `:port` when it is not 53: \"10.0.0.1\", \"[fd00::1]:5353\"";
            if good { Ok(()) } else { Err((format!("is no address of a name server: `{text}`"), help)) }
        }
        _ => Ok(()),
    }
}

/// A token as RFC 9110 (section 5.6.2) has it.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
