//! Reads a tool's arguments as Proxmox does: `--key value`, `-key value`, words, and what comes after `--`.

use std::collections::BTreeMap;

use super::Said;

/// Arguments, sorted.
#[derive(Debug, Default)]
pub(super) struct Options {
    pub(super) words: Vec<String>,
    pub(super) rest: Vec<String>,
    keys: BTreeMap<String, String>,
}

impl Options {
    /// Reads them; `known` are the options that there are. A boolean one may stand alone, which is `1`.
    pub(super) fn read(words: &[String], known: &[&str]) -> Result<Self, Said> {
        let mut read = Self::default();
        let mut words = words.iter().peekable();
        while let Some(word) = words.next() {
            if word == "--" {
                read.rest = words.cloned().collect();
                break;
            }
            let Some(key) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
                read.words.push(word.clone());
                continue;
            };
            let (key, value) = match key.split_once('=') {
                Some((key, value)) => (key, Some(value.to_owned())),
                None => (key, None),
            };
            if !known.contains(&key) {
                return Err(Said::die(format!("Unknown option: {key}\n400 unable to parse option")));
            }
            let value = match value {
                Some(value) => value,
                None => {
                    words.next_if(|next| !next.starts_with('-')).cloned().unwrap_or_else(|| "1".to_owned())
                }
            };
            read.keys.insert(key.to_owned(), value);
        }
        Ok(read)
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.keys.get(key).map(String::as_str)
    }

    pub(super) fn flag(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| value != "0")
    }

    /// A number, or what Proxmox says of another thing.
    pub(super) fn number(&self, key: &str) -> Result<Option<u64>, Said> {
        let read = |value: &str| {
            let wrong = || bad(key, &format!("type check ('integer') failed - got '{value}'"));
            value.parse().map_err(|_| wrong())
        };
        self.get(key).map(read).transpose()
    }

    /// The guest that the word at this place names.
    pub(super) fn vmid(&self, at: usize) -> Result<u32, Said> {
        let Some(word) = self.words.get(at) else { return Err(Said::die("400 not enough arguments")) };
        match word.parse() {
            Ok(vmid) if vmid >= 100 => Ok(vmid),
            _ => Err(bad("vmid", "type check ('integer') failed - got a wrong id")),
        }
    }
}

/// `400 Parameter verification failed.`
pub(super) fn bad(parameter: &str, reason: &str) -> Said {
    Said::die(format!(
        "400 Parameter verification failed.\n{parameter}: {reason}\npct <COMMAND> <vmid> [OPTIONS]"
    ))
}
