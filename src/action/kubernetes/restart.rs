//! `kubernetes.restart`: new pods from the same template, as `kubectl rollout restart` makes them.
//!
//! The annotation is `kubectl`'s own, so that both tools see what the other did. There is nothing to undo.

use futures_util::future::BoxFuture;
use serde_json::{Map, json};

use super::MANAGER;
use super::object::{Named, reach};
use super::settled::{acted, late, outcome_of, rolled_out, unreached, until};
use crate::action::outcome::refused;
use crate::action::{Action, Call, Fields, Needs};
use crate::saga::Outcome;
use crate::transport::{Patch, Transport};

/// Of the template: kubectl 1.36, `pkg/polymorphichelpers/objectrestarter.go`.
const RESTARTED: &str = "kubectl.kubernetes.io/restartedAt";

pub(in crate::action) struct Restart;

impl Action for Restart {
    fn act(&self, transport: Transport, call: Call) -> BoxFuture<'static, Outcome> {
        Box::pin(async move {
            let fields = Fields::new(&call.operation);
            let named = match Named::workload(fields, "kubernetes.restart") {
                Ok(named) => named,
                Err(message) => return refused(&message, &call.redactor),
            };
            let _working = transport.begin_inside(&call.key.to_string());
            let kube = match reach(&transport, fields, &call.places, &call.folder, call.timeout).await {
                Ok(kube) => kube,
                Err(why) => return unreached(why, &call),
            };
            let object = match named.find(&kube).await {
                Ok(object) => object,
                Err(error) => return outcome_of(&error, &call),
            };
            let now = jiff::Timestamp::now().to_string();
            let annotations = json!({ "metadata": { "annotations": { RESTARTED: now } } });
            let patch = Patch::Merge(json!({ "spec": { "template": annotations } }));
            if let Err(error) = kube.patch(&object, None, &patch, MANAGER).await {
                return outcome_of(&error, &call);
            }
            match until(&kube, &object, &call, rolled_out).await {
                Ok(()) => acted(Map::new()),
                Err(why) => {
                    late(&format!("{} was restarted and is not there yet", object.shown()), &why, &call)
                }
            }
        })
    }

    fn needs(&self) -> Option<&dyn Needs> {
        Some(self)
    }
}
