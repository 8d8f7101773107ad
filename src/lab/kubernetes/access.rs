//! Who asks, and whether they may: tokens, and the roles that are bound to them.

use serde_json::{Value, json};

use super::kinds;
use super::place::Place;
use super::refusal::Refusal;
use super::state::{State, User, now_ms, now_text};

/// What somebody wants to do.
#[derive(Debug, Clone, Default)]
pub(super) struct Wish<'a> {
    pub verb: &'a str,
    pub group: &'a str,
    /// `pods/exec` with its subresource.
    pub resource: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
}

/// The user whom a bearer token names. Without one it is `system:anonymous`.
///
/// # Errors
/// 401 for a token that is not known, or no longer.
pub(super) fn user(state: &State, authorization: Option<&str>) -> Result<User, Refusal> {
    let token = authorization.and_then(|text| text.strip_prefix("Bearer")).map(str::trim).unwrap_or_default();
    if token.is_empty() {
        let name = "system:anonymous".to_owned();
        return Ok(User { name, token: String::new(), master: false, until_ms: None });
    }
    let known = state.users.iter().find(|user| user.token == token);
    let valid = known.filter(|user| user.until_ms.is_none_or(|until| until > now_ms()));
    valid.cloned().ok_or_else(|| Refusal::new(401, "Unauthorized", "Unauthorized"))
}

/// Whether this user may.
pub(super) fn may(state: &State, user: &User, wish: &Wish<'_>) -> bool {
    if user.master {
        return true;
    }
    const GROUP: &str = "rbac.authorization.k8s.io";
    let bindings = state.all("clusterrolebindings", GROUP).chain(
        state.all("rolebindings", GROUP).filter(|(_, one)| one["metadata"]["namespace"] == wish.namespace),
    );
    bindings.into_iter().any(|(_, binding)| {
        let named = binding["subjects"].as_array().into_iter().flatten().any(|subject| {
            (subject["kind"] == "User" && subject["name"] == user.name.as_str())
                || (subject["kind"] == "Group"
                    && subject["name"] == "system:authenticated"
                    && !user.token.is_empty())
        });
        let role = &binding["roleRef"];
        let plural = if role["kind"] == "ClusterRole" { "clusterroles" } else { "roles" };
        let namespace = if plural == "roles" { wish.namespace } else { "" };
        let name = role["name"].as_str().unwrap_or_default();
        let key = format!("{}{namespace}/{name}", kinds::prefix(plural, GROUP));
        let rules = state.get(&key).and_then(|role| role["rules"].as_array());
        named && rules.into_iter().flatten().any(|rule| allows(rule, wish))
    })
}

fn allows(rule: &Value, wish: &Wish<'_>) -> bool {
    let lists = |name: &str, wanted: &str| {
        rule[name].as_array().into_iter().flatten().any(|one| *one == wanted || *one == "*")
    };
    let names = rule["resourceNames"].as_array().filter(|names| !names.is_empty());
    lists("verbs", wish.verb)
        && lists("apiGroups", wish.group)
        && lists("resources", wish.resource)
        && names.is_none_or(|names| names.iter().any(|name| *name == wish.name))
}

/// Lets a request pass, or says in the server's words why it may not.
///
/// # Errors
/// 403.
pub(super) fn check(state: &State, user: &User, verb: &str, place: &Place) -> Result<(), Refusal> {
    let below = if place.subresource.is_empty() { String::new() } else { format!("/{}", place.subresource) };
    let resource = format!("{}{below}", place.kind.plural);
    let wish = Wish {
        verb,
        group: &place.kind.group,
        resource: &resource,
        namespace: &place.namespace,
        name: &place.name,
    };
    if may(state, user, &wish) {
        return Ok(());
    }
    Err(Refusal::forbidden(&user.name, verb, &place.kind, &below, (&place.namespace, &place.name)))
}

/// Answers a review: who am I, may I. Nothing for another path.
pub(super) fn review(state: &State, user: &User, path: &str, mut asked: Value) -> Option<Value> {
    let plural = path.rsplit('/').next()?;
    let (group, kind, _) = kinds::REVIEWS
        .iter()
        .find(|(group, _, known)| *known == plural && path == format!("/apis/{group}/v1/{known}"))?;
    if !asked.is_object() {
        asked = json!({});
    }
    asked["kind"] = (*kind).into();
    asked["apiVersion"] = format!("{group}/v1").into();
    if *kind == "SelfSubjectReview" {
        let groups = if user.master {
            json!(["system:masters", "system:authenticated"])
        } else {
            json!(["system:authenticated"])
        };
        asked["metadata"]["creationTimestamp"] = now_text().into();
        asked["status"] = json!({ "userInfo": { "username": user.name, "groups": groups } });
        return Some(asked);
    }
    let wanted = &asked["spec"]["resourceAttributes"];
    let text = |name: &str| wanted[name].as_str().unwrap_or_default();
    let resource = match text("subresource") {
        "" => text("resource").to_owned(),
        below => format!("{}/{below}", text("resource")),
    };
    let wish = Wish {
        verb: text("verb"),
        group: text("group"),
        resource: &resource,
        namespace: text("namespace"),
        name: text("name"),
    };
    let allowed = may(state, user, &wish);
    asked["metadata"] = json!({});
    asked["status"] = json!({ "allowed": allowed });
    Some(asked)
}
