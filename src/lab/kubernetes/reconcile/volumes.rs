//! Claims and volumes: provisioned by their class, bound by hand, protected while somebody uses them.

use serde_json::{Value, json};

use super::super::kinds::{self, prefix};
use super::super::state::{State, annotation};
use super::garbage::release;
use super::scheduler::{SELECTED, waits_for_pod};
use super::{deleting, text};

/// That of the classes that are provisioned here.
pub(in super::super) const PROVISIONER: &str = "rancher.io/local-path";

const CONTROLLER: &str = "kube-controller-manager";

pub(super) fn run(state: &mut State) {
    for key in state.keys("persistentvolumeclaims", "") {
        let Some(claim) = state.get(&key).cloned() else { continue };
        if deleting(&claim) {
            if !used(state, &claim) {
                release(state, &key, &["kubernetes.io/pvc-protection"]);
            }
        } else if text(&claim, "/status/phase") != "Bound" {
            bind(state, &key, &claim);
        }
    }
    for key in state.keys("persistentvolumes", "") {
        let Some(volume) = state.get(&key).cloned() else { continue };
        let claim = &volume["spec"]["claimRef"];
        let claim_key = format!(
            "{}{}/{}",
            prefix("persistentvolumeclaims", ""),
            text(claim, "/namespace"),
            text(claim, "/name")
        );
        let bound = state.get(&claim_key).is_some_and(|there| there["metadata"]["uid"] == claim["uid"]);
        let phase = match (claim.is_object(), bound) {
            (false, _) => "Available",
            (true, true) => "Bound",
            (true, false) => "Released",
        };
        state.edit(&key, CONTROLLER, |volume| volume["status"]["phase"] = phase.into());
        let ours = annotation(&volume, "pv.kubernetes.io/provisioned-by") == Some(PROVISIONER);
        let given_back =
            phase == "Released" && ours && volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete";
        if given_back || (deleting(&volume) && !bound) {
            state.remove(&key);
        }
    }
}

fn used(state: &State, claim: &Value) -> bool {
    let (namespace, name) = (&claim["metadata"]["namespace"], text(claim, "/metadata/name"));
    state.all("pods", "").any(|(_, pod)| {
        pod["metadata"]["namespace"] == *namespace
            && pod["spec"]["volumes"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|volume| text(volume, "/persistentVolumeClaim/claimName") == name)
    })
}

fn bind(state: &mut State, key: &str, claim: &Value) {
    let class_name = text(claim, "/spec/storageClassName").to_owned();
    let reference = json!({
        "kind": "PersistentVolumeClaim", "apiVersion": "v1", "namespace": claim["metadata"]["namespace"],
        "name": claim["metadata"]["name"], "uid": claim["metadata"]["uid"],
    });
    let free = state.all("persistentvolumes", "").find(|(_, volume)| {
        let wanted = text(claim, "/spec/volumeName");
        let named = wanted.is_empty() || text(volume, "/metadata/name") == wanted;
        named
            && (volume["spec"]["claimRef"].is_null() || volume["spec"]["claimRef"]["uid"] == reference["uid"])
            && text(volume, "/spec/storageClassName") == class_name
            && volume["spec"]["accessModes"] == claim["spec"]["accessModes"]
            && !deleting(volume)
    });
    if let Some((volume_key, volume)) = free.map(|(key, volume)| (key.clone(), volume.clone())) {
        state.edit(&volume_key, CONTROLLER, |volume| {
            volume["spec"]["claimRef"] = reference;
            volume["status"]["phase"] = "Bound".into();
        });
        state.edit(key, CONTROLLER, |claim| {
            let notes = super::super::defaults::table(claim, &["metadata", "annotations"]);
            notes.insert("pv.kubernetes.io/bind-completed".to_owned(), "yes".into());
            notes.insert("pv.kubernetes.io/bound-by-controller".to_owned(), "yes".into());
            claim["spec"]["volumeName"] = volume["metadata"]["name"].clone();
            claim["status"] = json!({
                "phase": "Bound", "accessModes": volume["spec"]["accessModes"], "capacity": volume["spec"]["capacity"],
            });
        });
        return;
    }
    let class = state.get(&format!("{}/{class_name}", prefix("storageclasses", "storage.k8s.io"))).cloned();
    if class.is_none() && !class_name.is_empty() {
        // As the controller of 1.36 says it (pkg/controller/volume/persistentvolume/pv_controller.go).
        let message = format!("storageclass.storage.k8s.io \"{class_name}\" not found");
        state.event(key, "persistentvolume-controller", "Warning", "ProvisioningFailed", &message);
    }
    let Some(class) = class.filter(|class| class["provisioner"] == PROVISIONER) else { return };
    if state.failure("PersistentVolumeClaim", claim) == "pending" {
        let message = "failed to provision volume with StorageClass: no space left on the device";
        state.event(key, "local-path", "Warning", "ProvisioningFailed", message);
        return;
    }
    let node = annotation(claim, SELECTED);
    if node.is_none() && waits_for_pod(state, claim) {
        return;
    }
    let name = format!("pvc-{}", text(claim, "/metadata/uid"));
    let node = node.unwrap_or(super::super::FIRST_NODE);
    let volume = json!({
        "metadata": { "name": name, "annotations": { "pv.kubernetes.io/provisioned-by": PROVISIONER } },
        "spec": {
            "capacity": claim["spec"]["resources"]["requests"], "accessModes": claim["spec"]["accessModes"],
            "persistentVolumeReclaimPolicy": class["reclaimPolicy"], "storageClassName": class_name,
            "volumeMode": claim["spec"]["volumeMode"], "claimRef": reference,
            "hostPath": { "path": format!("/opt/local-path-provisioner/{name}"), "type": "" },
            "nodeAffinity": { "required": { "nodeSelectorTerms": [{ "matchExpressions": [
                { "key": "kubernetes.io/hostname", "operator": "In", "values": [node] },
            ] }] } },
        },
    });
    if let Some(kind) = kinds::find(state, "", "v1", "persistentvolumes") {
        state.make(&kind, volume);
    }
}
