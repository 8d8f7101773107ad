//! What can be done with objects: read, list, apply, patch, delete, and what a pod's containers have written.

use hyper::Method;
use serde_json::{Value, json};

use super::Kube;
use super::discovery::Resource;
use super::error::{Asked, KubeError};
use super::request::{Ask, escaped};

/// How many objects come with one answer of a list.
const PAGE: usize = 500;

/// An object by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Object {
    /// Its kind.
    pub(crate) resource: Resource,
    /// Absent for kinds of the whole cluster.
    pub(crate) namespace: Option<String>,
    /// Its name.
    pub(crate) name: String,
}

impl Object {
    /// As people write it: `Deployment frigate/frigate`, `Namespace frigate`.
    pub(crate) fn shown(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{} {namespace}/{}", self.resource.kind, self.name),
            None => format!("{} {}", self.resource.kind, self.name),
        }
    }
}

/// Which objects of a kind.
#[derive(Debug, Clone, Default)]
pub(crate) struct Select {
    /// Absent: all namespaces.
    pub(crate) namespace: Option<String>,
    /// A label selector, `app=frigate`.
    pub(crate) labels: Option<String>,
    /// A field selector, `involvedObject.name=frigate`.
    pub(crate) fields: Option<String>,
}

/// How a server-side apply is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Applied<'a> {
    /// Who owns the fields then.
    pub(crate) manager: &'a str,
    /// Take fields that belong to others.
    pub(crate) force: bool,
    /// Ask only what would be.
    pub(crate) dry_run: bool,
}

/// A patch, by its kind.
#[derive(Debug, Clone)]
pub(crate) enum Patch {
    /// RFC 6902.
    Json(Vec<Value>),
    /// RFC 7386.
    Merge(Value),
}

/// What becomes of what a deleted object owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Propagation {
    /// It is gone before its owner.
    Foreground,
}

impl Resource {
    /// The path of all objects of this kind, in one namespace or in the cluster.
    fn path(&self, namespace: Option<&str>) -> String {
        let root = match self.group.as_str() {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        };
        match namespace.filter(|_| self.namespaced) {
            Some(namespace) => format!("{root}/namespaces/{}/{}", escaped(namespace), self.plural),
            None => format!("{root}/{}", self.plural),
        }
    }

    fn asked(&self, verb: &'static str, namespace: Option<&str>) -> Asked {
        Asked {
            verb,
            group: self.group.clone(),
            resource: self.plural.clone(),
            namespace: namespace.map(str::to_owned),
        }
    }
}

impl Object {
    fn ask(&self, method: Method, verb: &'static str) -> Ask {
        let namespace = self.namespace.as_deref();
        let path = format!("{}/{}", self.resource.path(namespace), escaped(&self.name));
        Ask { method, ..Ask::get(path, self.resource.asked(verb, namespace)) }
    }
}

impl Kube {
    /// The object as it is; `None`: it, or its namespace, is not there. Cancel-safe, as all that only reads.
    ///
    /// # Errors
    /// As of any request.
    pub(crate) async fn get(&self, object: &Object) -> Result<Option<Value>, KubeError> {
        match self.json(&object.ask(Method::GET, "get")).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All objects of a kind that are selected, with their `apiVersion` and `kind`, which lists leave out.
    ///
    /// # Errors
    /// As of any request.
    pub(crate) async fn list(&self, resource: &Resource, select: &Select) -> Result<Vec<Value>, KubeError> {
        let namespace = select.namespace.as_deref();
        let mut all = Vec::new();
        let mut next = None;
        loop {
            let mut ask = Ask::get(resource.path(namespace), resource.asked("list", namespace));
            ask.query.push(("limit", PAGE.to_string()));
            ask.query.extend(select.labels.clone().map(|labels| ("labelSelector", labels)));
            ask.query.extend(select.fields.clone().map(|fields| ("fieldSelector", fields)));
            ask.query.extend(next.take().map(|next| ("continue", next)));
            let mut answer = self.json(&ask).await?;
            if let Some(Value::Array(items)) = answer.get_mut("items").map(Value::take) {
                all.extend(items.into_iter().map(|mut item| {
                    if let Value::Object(fields) = &mut item {
                        fields.insert("apiVersion".to_owned(), resource.api_version().into());
                        fields.insert("kind".to_owned(), resource.kind.clone().into());
                    }
                    item
                }));
            }
            match answer["metadata"]["continue"].as_str() {
                Some(more) if !more.is_empty() => next = Some(more.to_owned()),
                _ => return Ok(all),
            }
        }
    }

    /// Server-side apply; gives the object as it is then, or, of a dry run, would be. Applied again it changes nothing.
    ///
    /// # Errors
    /// As of any request; [`KubeError::conflicts`] when fields belong to others and `force` is not set.
    pub(crate) async fn apply(
        &self,
        object: &Object,
        wanted: &Value,
        how: Applied<'_>,
    ) -> Result<Value, KubeError> {
        let mut ask = object.ask(Method::PATCH, "patch");
        ask.query.push(("fieldManager", how.manager.to_owned()));
        ask.query.push(("fieldValidation", "Strict".to_owned()));
        if how.force {
            ask.query.push(("force", "true".to_owned()));
        }
        if how.dry_run {
            ask.query.push(("dryRun", "All".to_owned()));
        }
        // JSON is YAML.
        ask.body = Some(("application/apply-patch+yaml", wanted.to_string().into_bytes()));
        self.json(&ask).await
    }

    /// Patches an object, or a subresource of it such as `scale` or `status`; gives it as it is then.
    ///
    /// # Errors
    /// As of any request; [`KubeError::is_stale`] when the patch names a `resourceVersion` that is over.
    pub(crate) async fn patch(
        &self,
        object: &Object,
        subresource: Option<&str>,
        patch: &Patch,
        manager: &str,
    ) -> Result<Value, KubeError> {
        let mut ask = object.ask(Method::PATCH, "patch");
        if let Some(subresource) = subresource {
            ask.path.push_str(&format!("/{subresource}"));
            ask.asked.resource.push_str(&format!("/{subresource}"));
        }
        ask.query.push(("fieldManager", manager.to_owned()));
        ask.body = Some(match patch {
            Patch::Json(operations) => {
                ("application/json-patch+json", Value::Array(operations.clone()).to_string().into_bytes())
            }
            Patch::Merge(value) => ("application/merge-patch+json", value.to_string().into_bytes()),
        });
        self.json(&ask).await
    }

    /// Creates an object in `namespace`, or in the cluster; gives it as it is then.
    ///
    /// # Errors
    /// As of any request; [`KubeError::is_already_there`].
    pub(crate) async fn create(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        object: &Value,
        manager: &str,
    ) -> Result<Value, KubeError> {
        let ask = Ask {
            method: Method::POST,
            query: vec![("fieldManager", manager.to_owned())],
            body: Some(("application/json", object.to_string().into_bytes())),
            ..Ask::get(resource.path(namespace), resource.asked("create", namespace))
        };
        self.json(&ask).await
    }

    /// Begins to delete an object; `false`: it is not there. With a `uid` only that very one is deleted, not another
    /// of its name.
    ///
    /// # Errors
    /// As of any request.
    pub(crate) async fn delete(
        &self,
        object: &Object,
        uid: Option<&str>,
        propagation: Propagation,
    ) -> Result<bool, KubeError> {
        let mut ask = object.ask(Method::DELETE, "delete");
        let policy = match propagation {
            Propagation::Foreground => "Foreground",
        };
        let mut options = json!({ "kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy });
        if let Some(uid) = uid {
            options["preconditions"] = json!({ "uid": uid });
        }
        ask.body = Some(("application/json", options.to_string().into_bytes()));
        match self.json(&ask).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            // Another one of its name has come since.
            Err(error) if uid.is_some() && error.is_stale() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The last lines that a container has written, or its instance before the last restart.
    ///
    /// # Errors
    /// As of any request; the server answers 400 for a container that has not begun.
    pub(crate) async fn logs(
        &self,
        pod: &Object,
        container: Option<&str>,
        lines: u32,
        previous: bool,
    ) -> Result<String, KubeError> {
        /// More than what anybody reads, less than what hurts.
        const BYTES: u32 = 64 << 10;
        let mut ask = pod.ask(Method::GET, "get");
        ask.path.push_str("/log");
        ask.asked.resource.push_str("/log");
        ask.query.extend(container.map(|container| ("container", container.to_owned())));
        ask.query.push(("tailLines", lines.to_string()));
        ask.query.push(("limitBytes", BYTES.to_string()));
        if previous {
            ask.query.push(("previous", "true".to_owned()));
        }
        ask.accept = "*/*";
        Ok(String::from_utf8_lossy(&self.bytes(&ask).await?).into_owned())
    }
}
