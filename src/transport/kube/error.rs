//! What can go wrong with a request to a cluster, and what it means.
//!
//! Three answers share the code 409, and one that is never going to be another shares 500 with those that may
//! (facts/transcripts/k8s-apply.json, Kubernetes 1.36.2): reason and causes are read, not the code alone.

use std::error::Error;
use std::io;
use std::time::Duration;

use kube::client::AuthError;
use serde_json::Value;

/// A request that did not end as it was meant to.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub(crate) struct KubeError {
    /// What it means.
    pub(crate) why: Why,
    /// What happened, where, and what to do. May hold what the server said.
    pub(crate) message: String,
}

/// What an error means.
#[derive(Debug, Clone)]
pub(crate) enum Why {
    /// There is no way to ask: the kubeconfig, its plugin, or a kind that is not served. Nothing was sent.
    Access,
    /// No connection. Nothing was sent.
    NotSent {
        /// It will not heal by itself: nobody trusts the certificate.
        permanent: bool,
    },
    /// It may have been received; the answer is lost.
    Lost,
    /// The same, because it took too long.
    TimedOut,
    /// The server answered, and it was no.
    Refused(Box<Refusal>),
    /// The server answered what nobody understands.
    Strange,
}

/// What the server said, of `meta/v1.Status`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Refusal {
    /// The HTTP status.
    pub(crate) code: u16,
    /// Empty where the server gave none.
    pub(crate) reason: String,
    /// Its own words.
    pub(crate) message: String,
    /// What exactly, as far as it says so.
    pub(crate) causes: Vec<Cause>,
    /// It asks to be left alone for so long.
    pub(crate) retry_after: Option<Duration>,
}

/// One of the causes that a refusal names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cause {
    /// For example `FieldManagerConflict`.
    pub(crate) reason: String,
    /// The path of the field.
    pub(crate) field: String,
    /// The server's words.
    pub(crate) message: String,
}

/// What was asked, for messages.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked {
    /// As RBAC says it: `get`, `patch`.
    pub(super) verb: &'static str,
    /// Empty for the core group.
    pub(super) group: String,
    /// For example `deployments`, `pods/log`.
    pub(super) resource: String,
    pub(super) namespace: Option<String>,
}

impl KubeError {
    pub(super) fn access(cluster: &str, what: &str) -> Self {
        Self { why: Why::Access, message: format!("cluster `{cluster}`: {what}") }
    }

    pub(super) fn access_late(cluster: &str) -> Self {
        let message = format!(
            "cluster `{cluster}`: its credentials did not come in time (an exec plugin?); nothing was sent"
        );
        Self { why: Why::NotSent { permanent: false }, message }
    }

    pub(super) fn strange(cluster: &str, what: &str) -> Self {
        Self { why: Why::Strange, message: format!("cluster `{cluster}`: {what}") }
    }

    /// The answer's refusal, if it is one.
    pub(crate) fn refusal(&self) -> Option<&Refusal> {
        match &self.why {
            Why::Refused(refusal) => Some(refusal),
            Why::Access | Why::NotSent { .. } | Why::Lost | Why::TimedOut | Why::Strange => None,
        }
    }

    fn is(&self, code: u16, reason: &str) -> bool {
        self.refusal().is_some_and(|refusal| refusal.code == code && refusal.reason == reason)
    }

    /// The object, its namespace or its kind is not there.
    pub(crate) fn is_not_found(&self) -> bool {
        self.refusal().is_some_and(|refusal| refusal.code == 404)
    }

    /// The server does not serve the kind (yet): a 404 that names no object.
    pub(crate) fn is_no_kind(&self) -> bool {
        self.is_not_found()
            && self.refusal().is_some_and(|refusal| refusal.message.contains("the requested resource"))
    }

    /// Somebody changed the object since it was read. The first meaning of 409.
    pub(crate) fn is_stale(&self) -> bool {
        self.is(409, "Conflict") && self.conflicts().is_empty()
    }

    /// It is there already. The second meaning of 409.
    pub(crate) fn is_already_there(&self) -> bool {
        self.is(409, "AlreadyExists")
    }

    /// Fields that belong to other managers, each with its owner. The third meaning of 409.
    pub(crate) fn conflicts(&self) -> Vec<&Cause> {
        let causes = self.refusal().into_iter().flat_map(|refusal| &refusal.causes);
        causes.filter(|cause| cause.reason == "FieldManagerConflict").collect()
    }

    /// The namespace is on its way out.
    pub(crate) fn is_namespace_terminating(&self) -> bool {
        let mut causes = self.refusal().into_iter().flat_map(|refusal| &refusal.causes);
        causes.any(|cause| cause.reason == "NamespaceTerminating")
    }

    /// The account may not do that.
    pub(crate) fn is_forbidden(&self) -> bool {
        self.refusal().is_some_and(|refusal| refusal.code == 403) && !self.is_namespace_terminating()
    }

    /// The account is not known (any more).
    pub(crate) fn is_unauthorized(&self) -> bool {
        self.refusal().is_some_and(|refusal| refusal.code == 401)
    }

    /// Asked again, the answer may be another one. A 500 without a reason is how an apply is told that its object does
    /// not fit the kind's schema: that stays.
    pub(crate) fn may_heal(&self) -> bool {
        match &self.why {
            Why::Access | Why::Strange => false,
            Why::NotSent { permanent } => !permanent,
            Why::Lost | Why::TimedOut => true,
            Why::Refused(refusal) => match refusal.code {
                408 | 425 | 429 | 502..=504 => true,
                500 => {
                    !refusal.reason.is_empty()
                        && !refusal.message.contains("failed to create typed patch object")
                }
                409 => self.is_stale(),
                403 => self.is_namespace_terminating(),
                _ => false,
            },
        }
    }

    /// It may have taken effect although no answer says so.
    pub(crate) fn may_have_happened(&self) -> bool {
        match &self.why {
            Why::Lost | Why::TimedOut => true,
            Why::Refused(refusal) => matches!(refusal.code, 500 | 502..=504) && self.may_heal(),
            Why::Access | Why::NotSent { .. } | Why::Strange => false,
        }
    }

    /// How long the server asks to be left alone.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.refusal().and_then(|refusal| refusal.retry_after)
    }

    /// An answer that is a refusal.
    pub(super) fn refused(
        cluster: &str,
        asked: &Asked,
        code: u16,
        body: &[u8],
        retry_after: Option<Duration>,
    ) -> Self {
        let refusal = read(code, body, retry_after);
        let mut message = format!("cluster `{cluster}`: {}", refusal.message.trim_end_matches('.'));
        match code {
            401 => message.push_str(
                ": the account of the kubeconfig is not known to it, or its token or certificate has run out; log in again",
            ),
            403 if refusal.causes.iter().any(|cause| cause.reason == "NamespaceTerminating") => {
                message.push_str("; wait until it is gone");
            }
            403 if refusal.message.contains("cannot ") || refusal.message.is_empty() => {
                message.push_str(&format!("; {}", asked.grant()));
            }
            429 => message.push_str("; it has too much to do"),
            _ => {}
        }
        Self { why: Why::Refused(Box::new(refusal)), message }
    }

    /// A request that got no answer.
    pub(super) fn unanswered(cluster: &str, error: &kube::Error) -> Self {
        let message = |what: &str| format!("cluster `{cluster}`: {what}");
        let all = causes(error);
        // What renews a token does so in the middle of a request: then it is inside of another error.
        if let Some(error) = all.iter().find_map(|cause| cause.downcast_ref::<AuthError>()) {
            return Self { why: Why::Access, message: message(&no_credentials(error)) };
        }
        let connecting = all.iter().any(|cause| {
            cause
                .downcast_ref::<hyper_util::client::legacy::Error>()
                .is_some_and(hyper_util::client::legacy::Error::is_connect)
        });
        if !connecting {
            let what = format!("no answer, and it may have received the request: {}", chain(error));
            return Self { why: Why::Lost, message: message(&what) };
        }
        let tls = all.iter().find_map(|cause| tls_error(*cause));
        match tls {
            Some(tls @ rustls::Error::InvalidCertificate(_)) => {
                let what = format!(
                    "no trusted connection, {tls}: its authority is not the one of the kubeconfig; nothing was sent"
                );
                Self { why: Why::NotSent { permanent: true }, message: message(&what) }
            }
            _ => {
                let what = format!("no connection: {}; nothing was sent", chain(error));
                Self { why: Why::NotSent { permanent: false }, message: message(&what) }
            }
        }
    }
}

impl Asked {
    /// The way to the right that was missing.
    fn grant(&self) -> String {
        let Self { verb, group, resource, namespace } = self;
        let kind = match namespace {
            Some(namespace) => format!("a Role in namespace `{namespace}`"),
            None => "a ClusterRole".to_owned(),
        };
        format!(
            "{kind} with the rule `{{apiGroups: [\"{group}\"], resources: [\"{resource}\"], verbs: [\"{verb}\"]}}`, bound \
             to this account, would grant it"
        )
    }
}

fn read(code: u16, body: &[u8], retry_after: Option<Duration>) -> Refusal {
    /// How much of what is no Status is shown.
    const SHOWN_MAX: usize = 300;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let status = serde_json::from_slice::<Value>(body).ok().filter(|value| value["kind"] == "Status");
    let Some(status) = status else {
        let words: String = String::from_utf8_lossy(body).chars().take(SHOWN_MAX).collect();
        let message = format!("it answers {code} {}", words.trim()).trim().to_owned();
        return Refusal { code, message, retry_after, ..Refusal::default() };
    };
    let details = &status["details"];
    let causes = details["causes"].as_array().into_iter().flatten().map(|cause| Cause {
        reason: text(&cause["reason"]),
        field: text(&cause["field"]),
        message: text(&cause["message"]),
    });
    let asked_to_wait = details["retryAfterSeconds"].as_u64().map(Duration::from_secs);
    Refusal {
        code,
        reason: text(&status["reason"]),
        message: text(&status["message"]),
        causes: causes.collect(),
        retry_after: retry_after.or(asked_to_wait),
    }
}

/// Why there are no credentials. What a plugin was given and what it wrote may be a secret, so neither is shown.
pub(super) fn no_credentials(error: &AuthError) -> String {
    let by_hand = "run it by hand to see why";
    let why = match error {
        AuthError::AuthExecRun { out, .. } => format!("its exec plugin failed, {}: {by_hand}", out.status),
        AuthError::AuthExecParse(_) | AuthError::ExecPluginFailed => {
            format!("its exec plugin printed no `ExecCredential` with a `status`: {by_hand}")
        }
        AuthError::AuthExecStart(error) => format!("its exec plugin cannot be run: {error}"),
        other => chain(other),
    };
    format!("no credentials: {why}")
}

/// The TLS error that an error wraps, maybe more than once.
fn tls_error<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        return Some(tls);
    }
    error.downcast_ref::<io::Error>()?.get_ref().and_then(|inner| tls_error(inner))
}

/// An error and its causes.
fn causes<'e>(error: &'e (dyn Error + 'static)) -> Vec<&'e (dyn Error + 'static)> {
    let mut all = vec![error];
    let mut next = error.source();
    while let Some(cause) = next {
        all.push(cause);
        next = cause.source();
    }
    all
}

/// An error and its causes in words, each once.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut words: Vec<String> = Vec::new();
    for cause in causes(error) {
        let text = cause.to_string();
        match words.last_mut() {
            // Some errors say their cause, and then have it as a cause too.
            Some(last) if last.ends_with(&text) => {}
            _ => words.push(text),
        }
    }
    words.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(code: u16, body: &Value) -> KubeError {
        let asked = Asked {
            verb: "patch",
            group: "apps".to_owned(),
            resource: "deployments".to_owned(),
            namespace: Some("frigate".to_owned()),
        };
        KubeError::refused("home", &asked, code, body.to_string().as_bytes(), None)
    }

    fn status(reason: &str, message: &str, causes: Value) -> Value {
        json!({ "kind": "Status", "reason": reason, "message": message, "details": { "causes": causes } })
    }

    /// Bodies as Kubernetes 1.36.2 gave them, facts/transcripts/k8s-apply.json and k8s-auth.json.
    #[test]
    fn three_answers_share_409() {
        let manager = json!([{
            "reason": "FieldManagerConflict", "message": "conflict with \"runner\"", "field": ".spec.replicas"
        }]);
        let owned = refused(409, &status("Conflict", "Apply failed with 1 conflict", manager));
        let stale = refused(409, &status("Conflict", "the object has been modified", json!([])));
        let there = refused(409, &status("AlreadyExists", "already exists", json!([])));
        let read = |error: &KubeError| {
            (error.conflicts().len(), error.is_stale(), error.is_already_there(), error.may_heal())
        };
        assert_eq!(read(&owned), (1, false, false, false));
        assert_eq!(read(&stale), (0, true, false, true));
        assert_eq!(read(&there), (0, false, true, false));
    }

    #[test]
    fn what_may_be_another_answer_the_next_time() {
        let typed = "failed to create typed patch object (a/b; apps/v1, Kind=Deployment): .spec.x: field not declared in schema";
        let terminating =
            json!([{ "reason": "NamespaceTerminating", "message": "", "field": "metadata.namespace" }]);
        for (code, body, heals) in [
            (500, status("", typed, json!([])), false),
            (500, status("InternalError", "etcd has no leader", json!([])), true),
            (500, status("", "nobody knows", json!([])), false),
            (429, status("TooManyRequests", "", json!([])), true),
            (503, json!("no Status"), true),
            (404, status("NotFound", "", json!([])), false),
            (401, status("Unauthorized", "Unauthorized", json!([])), false),
            (403, status("Forbidden", "x is forbidden: User \"u\" cannot patch", json!([])), false),
            (403, status("Forbidden", "because it is being terminated", terminating), true),
            (422, status("Invalid", "", json!([])), false),
        ] {
            assert_eq!(refused(code, &body).may_heal(), heals, "{code} {body}");
        }
    }

    #[test]
    fn a_missing_right_is_named_with_the_role_that_would_grant_it() {
        let message =
            "deployments.apps \"frigate\" is forbidden: User \"u\" cannot patch resource \"deployments\"";
        let error = refused(403, &status("Forbidden", message, json!([])));
        for words in [
            "cannot patch",
            "a Role in namespace `frigate`",
            "verbs: [\"patch\"]",
            "resources: [\"deployments\"]",
        ] {
            assert!(error.message.contains(words), "{}", error.message);
        }
        assert!(
            refused(401, &status("Unauthorized", "Unauthorized", json!([]))).message.contains("log in again")
        );
    }
}
