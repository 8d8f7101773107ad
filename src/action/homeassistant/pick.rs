//! Which config entry is meant, and what stands in it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::Fields;
use super::guest::{Stored, StoredEntry};
use crate::transport::{ConfigEntry, Form};

/// The domain of Frigate's integration.
pub(super) const DOMAIN: &str = "frigate";

/// How the plan names the entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pick {
    /// There is only one.
    Only,
    Id(String),
    Title(String),
    Url(String),
}

/// What stands in a Frigate entry. `Debug` is not derived: it holds a password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Data {
    pub(super) url: String,
    /// Absent: as it is.
    pub(super) validate_ssl: Option<bool>,
    /// Absent: as it is.
    pub(super) username: Option<String>,
    /// Absent: as it is.
    pub(super) password: Option<String>,
}

impl Pick {
    pub(super) fn read(fields: Fields<'_>) -> Result<Self, String> {
        Ok(match (fields.text("entry_id")?, fields.text("title")?, fields.text("current_url")?) {
            (Some(id), None, None) => Pick::Id(id),
            (None, Some(title), None) => Pick::Title(title),
            (None, None, Some(url)) => Pick::Url(url),
            (None, None, None) => Pick::Only,
            _ => {
                return Err(
                    "`homeassistant.repoint` takes at most one of `entry_id`, `title`, `current_url`"
                        .to_owned(),
                );
            }
        })
    }

    pub(super) fn words(&self) -> String {
        match self {
            Pick::Only => "the Frigate entry".to_owned(),
            Pick::Id(id) => format!("the Frigate entry with the id `{id}`"),
            Pick::Title(title) => format!("the Frigate entry `{title}`"),
            Pick::Url(url) => format!("the Frigate entry of `{url}`"),
        }
    }

    /// The one entry that is meant. One named by what it was called before is still found when it is called as it shall
    /// be afterwards.
    ///
    /// # Errors
    /// In words: there is none, there are several, or another one has the address already.
    pub(super) fn among<'e>(&self, all: &'e [ConfigEntry], data: &Data) -> Result<&'e ConfigEntry, String> {
        let frigate: Vec<&ConfigEntry> = all.iter().filter(|entry| entry.domain == DOMAIN).collect();
        let new = title_of(&data.url);
        let before: Vec<&ConfigEntry> = frigate
            .iter()
            .copied()
            .filter(|entry| match self {
                Pick::Only => true,
                Pick::Id(id) => entry.entry_id == *id,
                Pick::Title(title) => entry.title == *title,
                Pick::Url(url) => entry.title == title_of(url),
            })
            .collect();
        let found = match before.as_slice() {
            [] => frigate.iter().copied().filter(|entry| entry.title == new).collect(),
            _ => before,
        };
        let [entry] = found.as_slice() else {
            let titles: Vec<String> = frigate.iter().map(|entry| format!("`{}`", entry.title)).collect();
            let known = match titles.is_empty() {
                true => "it has none at all".to_owned(),
                false => format!("it has {}", titles.join(", ")),
            };
            let count = if found.is_empty() { "no".to_owned() } else { found.len().to_string() };
            return Err(format!(
                "Home Assistant has {count} config entries that are {}; {known}: name one with `entry_id` or `title`",
                self.words()
            ));
        };
        if let Some(other) =
            frigate.iter().find(|other| other.entry_id != entry.entry_id && other.title == new)
        {
            return Err(format!(
                "another Frigate entry, `{}` with the id `{}`, has the address `{}` already: remove it in Home Assistant \
                 first",
                other.title, other.entry_id, data.url
            ));
        }
        if let Some(by) = &entry.disabled_by {
            return Err(format!(
                "the Frigate entry `{}` is disabled by `{by}`: enable it first",
                entry.title
            ));
        }
        Ok(entry)
    }
}

impl Pick {
    /// The same among the entries of the storage file, where the address itself can be seen.
    ///
    /// # Errors
    /// As [`among`](Self::among).
    pub(super) fn stored<'s>(&self, stored: &'s Stored, data: &Data) -> Result<&'s StoredEntry, String> {
        let all = &stored.frigate;
        let new = |entry: &&StoredEntry| same_url(&entry.data.url, &data.url);
        let before: Vec<&StoredEntry> = all
            .iter()
            .filter(|entry| match self {
                Pick::Only => true,
                Pick::Id(id) => entry.entry_id == *id,
                Pick::Title(title) => entry.title == *title,
                Pick::Url(url) => same_url(&entry.data.url, url),
            })
            .collect();
        let found = if before.is_empty() { all.iter().filter(new).collect() } else { before };
        let [entry] = found.as_slice() else {
            let known: Vec<String> = all.iter().map(|entry| format!("`{}`", entry.title)).collect();
            return Err(format!(
                "in the storage file {} entries are {}, of {}: name one with `entry_id` or `title`",
                found.len(),
                self.words(),
                if known.is_empty() { "none at all".to_owned() } else { known.join(", ") }
            ));
        };
        if let Some(other) = all.iter().filter(new).find(|other| other.place != entry.place) {
            return Err(format!(
                "another Frigate entry, `{}` with the id `{}`, has the address `{}` already: remove it in Home Assistant \
                 first",
                other.title, other.entry_id, data.url
            ));
        }
        match entry.disabled {
            true => Err(format!("the Frigate entry `{}` is disabled: enable it first", entry.title)),
            false => Ok(entry),
        }
    }
}

impl Data {
    pub(super) fn read(fields: Fields<'_>) -> Result<Self, String> {
        let flag = fields
            .get("validate_ssl")
            .map(|value| value.as_bool().ok_or_else(|| fields.wrong("validate_ssl", "`true` or `false`")));
        Ok(Self {
            url: fields.text("frigate_url")?.ok_or("`homeassistant.repoint` needs a `frigate_url`")?,
            validate_ssl: flag.transpose()?,
            username: fields.text("username")?,
            password: fields.text("password")?,
        })
    }

    /// What an open reconfigure flow shows: what Home Assistant runs with.
    pub(super) fn shown(form: &Form) -> Result<Self, String> {
        let text = |name: &str| form.default(name).and_then(Value::as_str).map(str::to_owned);
        Ok(Self {
            url: text("url").ok_or("the flow of Frigate's integration shows no `url`")?,
            validate_ssl: form.default("validate_ssl").and_then(Value::as_bool),
            username: text("username"),
            password: text("password"),
        })
    }

    /// Whether an entry that has `self` is as `wanted` says.
    pub(super) fn fits(&self, wanted: &Data) -> bool {
        fn same<T: PartialEq>(have: &Option<T>, wanted: &Option<T>) -> bool {
            wanted.is_none() || have == wanted
        }
        same_url(&self.url, &wanted.url)
            && same(&self.validate_ssl, &wanted.validate_ssl)
            && same(&self.username, &wanted.username)
            && same(&self.password, &wanted.password)
    }

    /// What is sent to a flow: everything that it asks for, since what is left out would be replaced by whatever was
    /// tried last.
    ///
    /// # Errors
    /// In words: the plan gives what the flow does not ask for.
    pub(super) fn answer(&self, form: &Form) -> Result<Value, String> {
        let mut answer = serde_json::Map::new();
        for (name, default) in &form.fields {
            if let Some(default) = default {
                answer.insert(name.clone(), default.clone());
            }
        }
        let given = [
            ("url", Some(json!(self.url))),
            ("validate_ssl", self.validate_ssl.map(|flag| json!(flag))),
            ("username", self.username.as_ref().map(|text| json!(text))),
            ("password", self.password.as_ref().map(|text| json!(text))),
        ];
        for (name, value) in given {
            let Some(value) = value else { continue };
            if !form.asks(name) {
                return Err(format!(
                    "this release of Frigate's integration knows no `{name}`: leave it out of the step, or update it"
                ));
            }
            answer.insert(name.to_owned(), value);
        }
        Ok(Value::Object(answer))
    }
}

/// The title that the integration gives an entry with this URL (`config_flow.py`: the URL without its scheme).
pub(super) fn title_of(url: &str) -> String {
    url.split_once("://").map_or(url, |(_, rest)| rest).to_owned()
}

/// Whether two addresses are the same to a client.
pub(super) fn same_url(one: &str, other: &str) -> bool {
    one.trim_end_matches('/') == other.trim_end_matches('/')
}

/// The ids of all entries: none may be lost on the way.
pub(super) fn ids(all: &[ConfigEntry]) -> BTreeSet<String> {
    all.iter().map(|entry| entry.entry_id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, domain: &str, title: &str) -> ConfigEntry {
        serde_json::from_value(json!({ "entry_id": id, "domain": domain, "title": title, "state": "loaded" }))
            .unwrap()
    }

    fn to(url: &str) -> Data {
        Data { url: url.to_owned(), validate_ssl: None, username: None, password: None }
    }

    #[test]
    fn one_entry_is_meant_or_none() {
        let all = [
            entry("m", "mqtt", "old:5000"),
            entry("a", "frigate", "old:5000"),
            entry("b", "frigate", "x:5000"),
        ];
        let new = to("http://new:5000");
        let title = |text: &str| Pick::Title(text.to_owned());
        assert_eq!(title("old:5000").among(&all, &new).unwrap().entry_id, "a");
        assert_eq!(Pick::Url("http://x:5000".to_owned()).among(&all, &new).unwrap().entry_id, "b");
        assert!(Pick::Only.among(&all, &new).unwrap_err().contains("2 config entries"));
        assert_eq!(Pick::Only.among(&all[..2], &new).unwrap().entry_id, "a");
        assert!(title("gone").among(&all, &new).unwrap_err().contains("it has `old:5000`, `x:5000`"));
        // A second entry with that address, as an older release makes one.
        assert!(title("old:5000").among(&all, &to("http://x:5000")).unwrap_err().contains("remove it"));
        // Found by its old title when it has the new one already.
        assert_eq!(title("was:5000").among(&all, &to("http://x:5000")).unwrap().entry_id, "b");
    }

    #[test]
    fn what_is_left_out_stays_as_it_is() {
        let have = Data {
            url: "http://a:5000".to_owned(),
            validate_ssl: Some(false),
            username: Some("u".to_owned()),
            password: Some("p".to_owned()),
        };
        assert!(have.fits(&to("http://a:5000/")));
        assert!(!have.fits(&to("http://b:5000")));
        assert!(!have.fits(&to("https://a:5000")));
        assert!(!have.fits(&Data { validate_ssl: Some(true), ..to("http://a:5000") }));
    }
}
