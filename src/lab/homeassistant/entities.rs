//! The entities of a Frigate entry, named and filled as the integration does.
//!
//! Source: transcript `ha-status.json`, which lists all entities of one camera that looks for persons, each state while
//! available, after `frigate/available` = `offline`, and while the entry is not set up (`restored`).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::entry::{Entry, State};
use super::frigate::View;
use super::{Registered, Stored};

/// As Home Assistant makes an id from a name.
fn slug(name: &str) -> String {
    let mut slug = String::new();
    for character in name.chars() {
        match character.is_ascii_alphanumeric() {
            true => slug.push(character.to_ascii_lowercase()),
            false if !slug.ends_with('_') => slug.push('_'),
            false => {}
        }
    }
    slug.trim_matches('_').to_owned()
}

/// A camera's name for people: `old_ip_camera` is `Old Ip Camera`.
fn friendly(camera: &str) -> String {
    let words: Vec<String> = camera
        .split(['_', '-', ' '])
        .filter(|word| !word.is_empty())
        .map(|word| {
            let mut letters = word.chars();
            letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
        })
        .collect();
    words.join(" ")
}

/// What one camera has: domain and name.
fn of_camera(objects: &[String]) -> Vec<(&'static str, String)> {
    let mut all = vec![("camera", String::new())];
    for name in ["Review Status", "All Count", "All Active Count", "Last Recognized Face"] {
        all.push(("sensor", name.to_owned()));
    }
    for name in ["Detect", "Motion", "Recordings", "Snapshots", "Review Alerts", "Review Detections"] {
        all.push(("switch", name.to_owned()));
    }
    for name in ["All occupancy", "Motion"] {
        all.push(("binary_sensor", name.to_owned()));
    }
    for object in objects {
        let object = friendly(object);
        all.push(("sensor", format!("{object} Count")));
        all.push(("sensor", format!("{object} Active Count")));
        all.push(("binary_sensor", format!("{object} occupancy")));
        all.push(("image", object));
    }
    all
}

/// Takes the entities of what a server lists into the registry, and those of what it no longer lists out of it: the device
/// of a camera that is missing is removed, with everything that is remembered about it.
pub(super) fn register(registry: &mut BTreeMap<String, Registered>, entry_id: &str, view: &View) {
    let cameras = view.cameras();
    registry.retain(|_, known| {
        known.entry_id != entry_id || known.camera.is_empty() || cameras.contains(&known.camera)
    });
    let mut add = |id: String, camera: &str, name: String| {
        let taken = registry.get(&id).is_some_and(|known| known.entry_id != entry_id);
        // The entities of a second entry are called like those of the first, with a number.
        let id = if taken { format!("{id}_2") } else { id };
        registry.entry(id).or_insert(Registered {
            entry_id: entry_id.to_owned(),
            camera: camera.to_owned(),
            name,
        });
    };
    for camera in &cameras {
        for (domain, name) in of_camera(&view.objects(camera)) {
            let full = if name.is_empty() { camera.clone() } else { format!("{camera} {name}") };
            add(format!("{domain}.{}", slug(&full)), camera, name);
        }
    }
    add("update.frigate_server".to_owned(), "", "Server".to_owned());
}

/// Whether a camera of an entry can be used: `None`, or why not.
pub(super) fn lack(stored: &Stored, entry: Option<&Entry>, camera: &str) -> Option<String> {
    let Some(entry) = entry else { return Some("its entry is gone".to_owned()) };
    if entry.state != State::Loaded {
        return Some(format!("the entry is {}", entry.state.word()));
    }
    let Some(view) = &entry.view else { return Some("nothing is known of its server".to_owned()) };
    if stored.available.get(&view.prefix()).is_some_and(|payload| payload != "online") {
        return Some("its server is offline for MQTT".to_owned());
    }
    if !entry.reached {
        return Some("its server does not answer".to_owned());
    }
    if !view.sees(camera) {
        return Some("its server gets no frames".to_owned());
    }
    None
}

/// The state of an entity, as the API gives it.
pub(super) fn state(stored: &Stored, id: &str, known: &Registered, entries: &[Entry], token: &str) -> Value {
    let entry = entries.iter().find(|entry| entry.id() == known.entry_id);
    let domain = id.split('.').next().unwrap_or_default();
    let loaded = entry.filter(|entry| entry.state == State::Loaded);
    let view = loaded.and_then(|entry| entry.view.as_ref());
    let offline = view
        .is_none_or(|view| stored.available.get(&view.prefix()).is_some_and(|payload| payload != "online"));
    let unavailable = match domain {
        "camera" => lack(stored, entry, &known.camera).is_some(),
        // Read by polling, not told by messages.
        "update" => loaded.is_none_or(|entry| !entry.reached),
        _ => offline,
    };
    let mut attributes = json!({});
    let full = match (known.camera.is_empty(), known.name.is_empty()) {
        (true, _) => format!("Frigate {}", known.name),
        (false, true) => friendly(&known.camera),
        (false, false) => format!("{} {}", friendly(&known.camera), known.name),
    };
    // One whose entry is not set up is known from the registry alone.
    let restored = loaded.is_none();
    let own = if known.name.is_empty() { &full } else { &known.name };
    attributes["friendly_name"] = json!(if restored { own } else { &full });
    if restored {
        attributes["restored"] = json!(true);
        attributes["supported_features"] = json!(0);
    }
    match domain {
        "camera" => {
            attributes["device_class"] = json!("camera");
            attributes["supported_features"] = json!(0);
            attributes["entity_picture"] = json!(format!("/api/camera_proxy/{id}?token={token}"));
            if let Some(view) = view.filter(|_| !unavailable) {
                attributes["access_token"] = json!(token);
                attributes["motion_detection"] = json!(true);
                attributes["client_id"] = json!(view.client_id());
                attributes["camera_name"] = json!(known.camera);
            }
        }
        "binary_sensor" => {
            attributes["device_class"] = json!("occupancy");
            attributes["icon"] = json!("mdi:home-outline");
        }
        "sensor" => attributes["icon"] = json!("mdi:eye-check"),
        "switch" => attributes["icon"] = json!("mdi:motion-sensor"),
        _ => {}
    }
    let value = match (unavailable, domain) {
        (true, _) => "unavailable",
        (false, "camera") => "idle",
        (false, "switch" | "binary_sensor" | "update") => "off",
        (false, "sensor") if known.name.ends_with("Count") => "0",
        (false, "sensor") if known.name.ends_with("Face") => "Unknown",
        (false, _) => "unknown",
    };
    let now = Timestamp::from_millisecond(i64::try_from(super::now_ms()).unwrap_or(0)).unwrap_or_default();
    let now = super::storage::iso(now);
    json!({
        "entity_id": id,
        "state": value,
        "attributes": attributes,
        "last_changed": now,
        "last_reported": now,
        "last_updated": now,
        "context": { "id": "01M8305TMEBRAVVWW7T35D11A3", "parent_id": null, "user_id": null },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(cameras: Value) -> View {
        View { config: json!({ "cameras": cameras }), stats: json!({}) }
    }

    #[test]
    fn a_camera_that_is_missing_loses_its_entities() {
        let mut registry = BTreeMap::new();
        register(&mut registry, "e", &view(json!({ "front": {}, "old_ip_camera": {} })));
        assert!(
            registry.contains_key("camera.old_ip_camera") && registry.contains_key("switch.front_detect")
        );
        let before = registry.len();
        register(&mut registry, "e", &view(json!({ "front": {}, "old_ip_camera": {} })));
        assert_eq!(registry.len(), before);
        register(&mut registry, "e", &view(json!({ "front": {} })));
        assert!(registry.keys().all(|id| !id.contains("old_ip")), "{registry:?}");
        // A second entry for the same cameras does not take the first one's names.
        register(&mut registry, "f", &view(json!({ "front": {} })));
        assert_eq!(registry["camera.front"].entry_id, "e");
        assert_eq!(registry["camera.front_2"].entry_id, "f");
    }
}
