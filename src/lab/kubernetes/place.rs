//! What a request is about: its path and its query.

use super::kinds::{self, Kind};
use super::refusal::Refusal;
use super::state::State;

/// The objects or the object that a path names.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub kind: Kind,
    /// Empty: all of them, or a kind without namespaces.
    pub namespace: String,
    /// Empty: a whole collection.
    pub name: String,
    pub subresource: String,
}

/// The query of a request.
#[derive(Debug, Clone, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Place {
    /// Reads `/api/v1/namespaces/N/pods/P/log` and its like.
    ///
    /// # Errors
    /// 404 in the words of the real server, for what no kind is at.
    pub(super) fn read(state: &State, path: &str) -> Result<Self, Refusal> {
        let words: Vec<String> = path.split('/').filter(|word| !word.is_empty()).map(decode).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (group, version, rest) = match &words[..] {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return Err(Refusal::nowhere()),
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..]
                if !rest.is_empty() && !["status", "finalize"].contains(&rest[0]) =>
            {
                (*namespace, rest)
            }
            rest => ("", rest),
        };
        let (plural, name, subresource) = match rest {
            [plural] => (*plural, "", ""),
            [plural, name] => (*plural, *name, ""),
            [plural, name, subresource] => (*plural, *name, *subresource),
            _ => return Err(Refusal::nowhere()),
        };
        let kind = kinds::find(state, group, version, plural).ok_or_else(Refusal::nowhere)?;
        let one_of_many = kind.namespaced && !name.is_empty() && namespace.is_empty();
        let known = match subresource {
            "" => true,
            "status" => kind.status,
            "scale" => kind.scale,
            "log" | "exec" => kind.plural == "pods",
            _ => false,
        };
        if one_of_many || !known || (!kind.namespaced && !namespace.is_empty()) {
            return Err(Refusal::nowhere());
        }
        let text = |word: &str| word.to_owned();
        Ok(Self { kind, namespace: text(namespace), name: text(name), subresource: text(subresource) })
    }

    /// The key of the object.
    pub(super) fn key(&self) -> String {
        self.kind.key(&self.namespace, &self.name)
    }
}

impl Query {
    pub(super) fn read(query: Option<&str>) -> Self {
        let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(&key.replace('+', " ")), decode(&value.replace('+', " ")))
                })
                .collect(),
        )
    }

    /// The first value of this name; an empty one counts as none.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let named = self.0.iter().filter(|(key, value)| key == name && !value.is_empty());
        named.map(|(_, value)| value.as_str()).next()
    }

    /// Every value of this name.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value == "true" || value == "1")
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.get(name).and_then(|value| value.parse().ok())
    }
}

/// Percent-encoding undone (RFC 3986, 2.1).
fn decode(text: &str) -> String {
    let (bytes, mut decoded, mut at) = (text.as_bytes(), Vec::new(), 0);
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match (bytes[at], hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                at += 3;
            }
            (byte, _) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
