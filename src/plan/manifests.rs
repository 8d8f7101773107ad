//! Kubernetes manifests as text: read, told apart, checked for what no server has to be asked.
//!
//! The text may hold several files: a line `# Source: NAME` begins the next one, as `helm template` writes it. It is read
//! as `kubectl` reads it, old spellings of booleans and octal numbers included (YAML 1.1), so that a manifest means the
//! same to both.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// One object as somebody wrote it.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// `v1`, `apps/v1`.
    pub api_version: String,
    /// `Deployment`.
    pub kind: String,
    /// As written; absent: the one of the step or of the kubeconfig's context, or none at all.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// The whole of it.
    pub value: Value,
    /// The file that it stands in.
    pub source: String,
}

impl Manifest {
    /// As people write it: `Deployment frigate/frigate`.
    pub fn shown(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{} {namespace}/{}", self.kind, self.name),
            None => format!("{} {}", self.kind, self.name),
        }
    }

    /// Whether it is a Secret with its values in it: base64 hides nothing.
    pub fn has_values_in_clear(&self) -> bool {
        let filled = |part: &str| {
            let values = self.value.get(part).and_then(Value::as_object).into_iter().flatten();
            values.into_iter().any(|(_, value)| !matches!(value, Value::Null) && value != "")
        };
        self.kind == "Secret" && self.group().is_empty() && (filled("data") || filled("stringData"))
    }

    /// The group of its kind; empty for the core group.
    pub fn group(&self) -> &str {
        self.api_version.rsplit_once('/').map_or("", |(group, _)| group)
    }
}

/// What the text before the first named file is called.
pub(crate) const UNNAMED: &str = "manifests";

/// What begins the next file in a text of several.
const SOURCE: &str = "# Source: ";

/// Joins files into one text that [`read`] takes apart again.
pub fn joined(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut text = Vec::new();
    for (name, content) in files {
        text.extend_from_slice(format!("---\n{SOURCE}{name}\n").as_bytes());
        text.extend_from_slice(content);
        if !content.ends_with(b"\n") {
            text.push(b'\n');
        }
    }
    text
}

/// Reads the objects of a text, in its order.
///
/// # Errors
/// Everything that is wrong with it, each in one line that names the file: no UTF-8, no YAML, no object, an object twice,
/// what only a server may write.
pub fn read(text: &[u8]) -> Result<Vec<Manifest>, Vec<String>> {
    let Ok(text) = std::str::from_utf8(text) else {
        return Err(vec!["the manifests are not UTF-8".to_owned()]);
    };
    let (mut all, mut wrong) = (Vec::new(), Vec::new());
    for (source, text) in files(text) {
        let documents = match documents(text) {
            Ok(documents) => documents,
            Err(why) => {
                wrong.push(format!("`{source}` {why}"));
                continue;
            }
        };
        for (number, document) in documents.into_iter().enumerate() {
            let at = format!("`{source}`, document {}", number + 1);
            take(document, source, &at, &mut all, &mut wrong);
        }
    }
    let mut seen: BTreeMap<(String, String, Option<String>, String), String> = BTreeMap::new();
    for manifest in &all {
        let Manifest { kind, namespace, name, source, .. } = manifest;
        let key = (manifest.group().to_owned(), kind.clone(), namespace.clone(), name.clone());
        if let Some(first) = seen.insert(key, source.clone()) {
            wrong.push(format!(
                "`{source}` has {} a second time; it is in `{first}` already",
                manifest.shown()
            ));
        }
    }
    if all.is_empty() && wrong.is_empty() {
        wrong.push("there is no object in the manifests".to_owned());
    }
    if wrong.is_empty() { Ok(all) } else { Err(wrong) }
}

/// The files of a text, each with its name.
pub(crate) fn files(text: &str) -> Vec<(&str, &str)> {
    let mut files = Vec::new();
    let (mut name, mut begin, mut at) = (UNNAMED, 0, 0);
    let mut before = "---";
    for line in text.split_inclusive('\n') {
        // Only behind a document's beginning: in the middle of one it may be a line of a script.
        if let (Some(next), "---") = (line.strip_prefix(SOURCE), before.trim_end()) {
            files.push((name, &text[begin..at]));
            (name, begin) = (next.trim(), at + line.len());
        }
        at += line.len();
        before = line;
    }
    files.push((name, &text[begin..]));
    files
}

fn documents(text: &str) -> Result<Vec<Value>, String> {
    let options = serde_saphyr::options! {
        legacy_octal_numbers: true,
        with_snippet: false,
    };
    serde_saphyr::from_multiple_with_options::<Value>(text, options).map_err(|error| {
        let why = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        format!("is no YAML that can be read: {why}")
    })
}

fn take(document: Value, source: &str, at: &str, all: &mut Vec<Manifest>, wrong: &mut Vec<String>) {
    let Value::Object(mut fields) = document else {
        if !document.is_null() {
            wrong.push(format!("{at} is no object: it has no `apiVersion`, `kind` and `metadata`"));
        }
        return;
    };
    let text =
        |fields: &Map<String, Value>, key: &str| fields.get(key).and_then(Value::as_str).map(str::to_owned);
    let (Some(api_version), Some(kind)) = (text(&fields, "apiVersion"), text(&fields, "kind")) else {
        wrong.push(format!("{at} has no `apiVersion` and `kind`"));
        return;
    };
    if kind.ends_with("List") && fields.get("items").is_some_and(Value::is_array) {
        if let Some(Value::Array(items)) = fields.remove("items") {
            items.into_iter().for_each(|item| take(item, source, at, all, wrong));
        }
        return;
    }
    let metadata = fields.get("metadata").and_then(Value::as_object).cloned().unwrap_or_default();
    for key in ["name", "namespace"] {
        if metadata.get(key).is_some_and(|value| !value.is_string() && !value.is_null()) {
            let value = &metadata[key];
            wrong.push(format!(
                "{at} ({kind}) has a `metadata.{key}` that is no text but `{value}`: quote it, as \
                 YAML 1.1 takes `y`, `n`, `on`, `off` and numbers for something else"
            ));
            return;
        }
    }
    let Some(name) = text(&metadata, "name").filter(|name| !name.is_empty()) else {
        let why = match metadata.contains_key("generateName") {
            true => "has a `generateName`: what it makes could not be found again, so give it a `name`",
            false => "has no `metadata.name`",
        };
        wrong.push(format!("{at} ({kind}) {why}"));
        return;
    };
    for key in ["resourceVersion", "uid", "managedFields"] {
        if metadata.get(key).is_some_and(|value| !value.is_null()) {
            wrong.push(format!("{at} ({kind} {name}) was copied out of a cluster: remove `metadata.{key}`"));
        }
    }
    // What `kubectl create --dry-run -o yaml` leaves behind.
    if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut)
        && metadata.get("creationTimestamp").is_some_and(Value::is_null)
    {
        metadata.remove("creationTimestamp");
    }
    fields.remove("status");
    let namespace = text(&metadata, "namespace").filter(|namespace| !namespace.is_empty());
    let source = source.to_owned();
    all.push(Manifest { api_version, kind, namespace, name, value: Value::Object(fields), source });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        read(text.as_bytes()).unwrap_err().join("\n")
    }

    const MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: a, namespace: ns }\n";

    #[test]
    fn files_and_documents_are_told_apart() {
        let script = "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: b }\ndata:\n  s: |\n    # Source: no\n    ---\n";
        let files = [
            ("a.yaml".to_owned(), MAP.as_bytes().to_vec()),
            ("b.yaml".to_owned(), script.as_bytes().to_vec()),
        ];
        let all = read(&joined(&files)).unwrap();
        let found: Vec<_> = all.iter().map(|one| (one.source.as_str(), one.shown())).collect();
        assert_eq!(found, [("a.yaml", "ConfigMap ns/a".to_owned()), ("b.yaml", "ConfigMap b".to_owned())]);
        assert_eq!(all[1].value["data"]["s"], "# Source: no\n---\n");
        let several = format!("{MAP}---\n---\n{}", MAP.replace("name: a", "name: b"));
        assert_eq!(read(several.as_bytes()).unwrap().len(), 2);
    }

    #[test]
    fn it_is_read_as_kubectl_reads_it() {
        let text = "apiVersion: v1\nkind: X\nmetadata: { name: a, creationTimestamp: null }\nmode: 0644\non: yes\ns: '1'\n\
                    base: &b { x: 1 }\nmore: { <<: *b, y: 2 }\nstatus: {}\n";
        let value = &read(text.as_bytes()).unwrap()[0].value;
        assert_eq!(value["mode"], 0o644);
        assert_eq!(value["s"], "1");
        assert_eq!(value["more"], serde_json::json!({ "x": 1, "y": 2 }));
        assert!(value.get("status").is_none() && value["metadata"].get("creationTimestamp").is_none());
    }

    #[test]
    fn a_secret_is_in_clear_when_it_has_values() {
        let clear = |more: &str| {
            let text = format!("apiVersion: v1\nkind: Secret\nmetadata: {{ name: a }}\n{more}");
            read(text.as_bytes()).unwrap()[0].has_values_in_clear()
        };
        assert!(clear("data: { k: dg== }\n") && clear("stringData: { j: '', k: v }\n"));
        assert!(!clear("type: kubernetes.io/tls\n") && !clear("data: {}\nstringData: { k: '' }\n"));
        assert!(!read(MAP.as_bytes()).unwrap()[0].has_values_in_clear());
    }

    #[test]
    fn lists_are_their_items() {
        let list = r#"{"apiVersion":"v1","kind":"List","items":[
            {"apiVersion":"v1","kind":"Namespace","metadata":{"name":"n"}}]}"#;
        assert_eq!(read(list.as_bytes()).unwrap()[0].shown(), "Namespace n");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_file() {
        assert!(wrong("a: [").contains("`manifests` is no YAML that can be read"));
        assert!(wrong("- 1\n").contains("is no object"));
        assert!(wrong("kind: X\n").contains("has no `apiVersion` and `kind`"));
        assert!(wrong("apiVersion: v1\nkind: X\nmetadata: { generateName: a- }\n").contains("generateName"));
        assert!(wrong("apiVersion: v1\nkind: X\nmetadata: { name: a, uid: u }\n").contains("`metadata.uid`"));
        assert!(wrong(&format!("{MAP}---\n{MAP}")).contains("has ConfigMap ns/a a second time"));
        assert!(wrong("a: 1\na: 2\n").contains("duplicate"));
        let surprise = wrong("apiVersion: v1\nkind: X\nmetadata: { name: a, namespace: n }\n");
        assert!(
            surprise.contains("has a `metadata.namespace` that is no text but `false`: quote it"),
            "{surprise}"
        );
        assert!(wrong("").contains("no object"));
        assert!(read(b"\xff").is_err());
    }
}
