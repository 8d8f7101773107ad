//! Answers that say no, in the form and the words of the real API server (facts/transcripts, Kubernetes 1.36.2).

use serde_json::{Map, Value, json};

use super::kinds::Kind;

/// A `Status` that says why not.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refusal {
    pub code: u16,
    /// Absent where the real server has none: an apply that its schema refuses.
    pub reason: Option<&'static str>,
    pub message: String,
    pub details: Option<Value>,
    /// For `Retry-After`.
    pub retry_after_s: Option<u32>,
}

/// One field that is not as it must be.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wrong {
    pub reason: &'static str,
    pub field: String,
    pub message: String,
}

impl Refusal {
    pub(super) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason: Some(reason), message: message.into(), details: None, retry_after_s: None }
    }

    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// A path that means nothing.
    pub(super) fn nowhere() -> Self {
        let mut refusal = Self::new(404, "NotFound", "the server could not find the requested resource");
        refusal.details = Some(json!({}));
        refusal
    }

    pub(super) fn not_found(kind: &Kind, name: &str) -> Self {
        let mut refusal = Self::new(404, "NotFound", format!("{} \"{name}\" not found", kind.resource()));
        refusal.details = Some(named(kind, name, &kind.plural));
        refusal
    }

    pub(super) fn exists(kind: &Kind, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", kind.resource());
        let mut refusal = Self::new(409, "AlreadyExists", message);
        refusal.details = Some(named(kind, name, &kind.plural));
        refusal
    }

    /// The object has another version than the request says.
    pub(super) fn stale(kind: &Kind, name: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{name}\": the object has been modified; please apply your changes to \
             the latest version and try again",
            kind.resource()
        );
        let mut refusal = Self::new(409, "Conflict", message);
        refusal.details = Some(named(kind, name, &kind.plural));
        refusal
    }

    /// Others own these fields: manager as the message names it, and path.
    pub(super) fn owned(conflicts: &[(String, String)]) -> Self {
        let count = conflicts.len();
        let mut message =
            format!("Apply failed with {count} conflict{}: ", if count == 1 { "" } else { "s" });
        if let [(manager, field)] = conflicts {
            message.push_str(&format!("conflict with {manager}: {field}"));
        } else {
            let mut last = "";
            for (manager, field) in conflicts {
                if manager != last {
                    let between = if last.is_empty() { "" } else { "\n" };
                    message.push_str(&format!("{between}conflicts with {manager}:"));
                    last = manager;
                }
                message.push_str(&format!("\n- {field}"));
            }
        }
        let causes: Vec<Value> = conflicts
            .iter()
            .map(|(manager, field)| {
                json!({ "reason": "FieldManagerConflict", "message": format!("conflict with {manager}"), "field": field })
            })
            .collect();
        let mut refusal = Self::new(409, "Conflict", message);
        refusal.details = Some(json!({ "causes": causes }));
        refusal
    }

    pub(super) fn invalid(kind: &Kind, name: &str, wrong: &[Wrong]) -> Self {
        let each: Vec<String> = wrong.iter().map(|one| format!("{}: {}", one.field, one.message)).collect();
        let all = if let [one] = &each[..] { one.clone() } else { format!("[{}]", each.join(", ")) };
        let mut refusal =
            Self::new(422, "Invalid", format!("{} \"{name}\" is invalid: {all}", kind.qualified()));
        let mut details = named(kind, name, &kind.kind);
        details["causes"] = wrong
            .iter()
            .map(|one| json!({ "reason": one.reason, "message": one.message, "field": one.field }))
            .collect();
        refusal.details = Some(details);
        refusal
    }

    /// An apply whose fields the schema does not know: code 500 and no reason.
    pub(super) fn untyped(kind: &Kind, namespace: &str, name: &str, field: &str, what: &str) -> Self {
        let object = if namespace.is_empty() { format!("/{name}") } else { format!("{namespace}/{name}") };
        Self {
            code: 500,
            reason: None,
            message: format!(
                "failed to create typed patch object ({object}; {}, Kind={}): {field}: {what}",
                kind.api_version(),
                kind.kind
            ),
            details: None,
            retry_after_s: None,
        }
    }

    /// A right that the user has not; `subresource` is empty or `/exec`.
    pub(super) fn forbidden(
        user: &str,
        verb: &str,
        kind: &Kind,
        subresource: &str,
        at: (&str, &str),
    ) -> Self {
        let (namespace, name) = at;
        let object = if name.is_empty() { String::new() } else { format!(" \"{name}\"") };
        let place = if namespace.is_empty() {
            " at the cluster scope".to_owned()
        } else {
            format!(" in the namespace \"{namespace}\"")
        };
        let message = format!(
            "{}{object} is forbidden: User \"{user}\" cannot {verb} resource \"{}{subresource}\" in API group \"{}\"{place}",
            kind.resource(),
            kind.plural,
            kind.group
        );
        let mut refusal = Self::new(403, "Forbidden", message);
        refusal.details = Some(named(kind, name, &kind.plural));
        refusal
    }

    /// Its namespace is on its way out.
    pub(super) fn terminating(kind: &Kind, namespace: &str, name: &str) -> Self {
        let message = format!(
            "{} \"{name}\" is forbidden: unable to create new content in namespace {namespace} because it is being \
             terminated",
            kind.resource()
        );
        let mut refusal = Self::new(403, "Forbidden", message);
        let mut details = named(kind, name, &kind.plural);
        details["causes"] = json!([{
            "reason": "NamespaceTerminating",
            "message": format!("namespace {namespace} is being terminated"),
            "field": "metadata.namespace",
        }]);
        refusal.details = Some(details);
        refusal
    }

    /// The body of the answer.
    pub(super) fn body(&self) -> Value {
        let mut body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if let Some(reason) = self.reason {
            body["reason"] = reason.into();
        }
        if let Some(details) = &self.details {
            body["details"] = details.clone();
        }
        if let Some(seconds) = self.retry_after_s {
            body["details"]["retryAfterSeconds"] = seconds.into();
        }
        body
    }
}

/// Name, group and kind, each where there is one.
pub(super) fn named(kind: &Kind, name: &str, called: &str) -> Value {
    let mut details = Map::new();
    for (key, text) in [("name", name), ("group", &kind.group), ("kind", called)] {
        if !text.is_empty() {
            details.insert(key.to_owned(), text.into());
        }
    }
    Value::Object(details)
}
