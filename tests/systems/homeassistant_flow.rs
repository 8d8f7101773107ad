//! Goal: Home Assistant is pointed at another Frigate by its own flow, and nothing else comes of it: every way in which the
//! owner's script went wrong (facts/migration.md 1.3, 1.4, 8) ends in words, with the entry as it was. Method: the action
//! against the simulated Home Assistant, which is held to the recorded one in `homeassistant_transcripts.rs`.

#![allow(clippy::unwrap_used, reason = "a test")]

use crate::homeassistant_support;
use crate::support;

use std::sync::atomic::{AtomicUsize, Ordering};

use homeassistant_support::{CAMERAS, Frigate, House, TOKEN};
use runner::lab::homeassistant::Release;
use runner::saga::{CutCause, Direction, FailureClass, Settlement, Verdict};
use serde_json::{Value, json};
use support::http::{Reply, Server};
use support::world::{World, acted, cut, failed};

/// The step with other or further fields.
fn with(house: &House, fields: Value) -> Value {
    let mut operation = house.repoint();
    operation.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    operation
}

async fn probe(house: &House) -> Verdict {
    house.world.actions.probe(house.world.call("repoint", 0, house.repoint())).await.verdict
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_and_back_without_a_restart() {
    let house = House::start(Release::Reconfigures).await;
    let call = house.world.call("repoint", 1, house.repoint());
    assert_eq!(probe(&house).await, Verdict::Absent);
    let pre_image = house.world.actions.pre_image(call.clone()).await.unwrap();
    assert!(pre_image.sensitive, "it holds the password of the entry");
    assert_eq!(house.home.writes(), 0, "a look changed something");

    let (outputs, _) = acted(house.world.actions.act(call.clone()).await);
    assert_eq!(outputs["title"], json!(house.new.title()));
    assert_eq!(outputs["url"], json!(house.new.url()));
    assert!(matches!(house.world.actions.settle(call.clone()).await, Settlement::Over));
    assert_eq!((house.title().await, house.entry_state().await), (house.new.title(), "loaded".to_owned()));
    assert_eq!(probe(&house).await, Verdict::Holds);
    let answer = house.world.actions.probe(house.world.call("repoint", 0, house.repoint())).await;
    assert_eq!(answer.outputs, outputs, "a satisfied step has the same outputs");
    // Twice is once.
    acted(house.world.actions.act(house.world.call("repoint", 2, house.repoint())).await);
    assert_eq!(house.home.writes(), 1);
    // It does run with the new one: the cameras say whose they are.
    let (_, camera) = house.get("/api/states/camera.front").await;
    assert_eq!(camera["attributes"]["client_id"], "frigate-k8s");
    assert_eq!(house.entries().await.len(), 1);

    for attempt in 1..=2 {
        let mut back = house.world.call("repoint", attempt, house.repoint());
        back.key.direction = Direction::Compensation;
        acted(house.world.actions.undo(back, pre_image.clone()).await);
        assert_eq!((house.title().await, house.home.writes()), (house.old.title(), 2));
    }
    assert_eq!(house.in_file()["entry_id"], json!(runner::lab::homeassistant::FRIGATE_ENTRY));
    house
        .until("the file has the old address", async |house| {
            house.in_file()["data"]["url"] == json!(house.old.url())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_entry_has_besides_the_address_stays() {
    let house = House::with(Release::Reconfigures, |settings| {
        let url = std::mem::take(&mut settings.frigate_url);
        settings.entries =
            vec![json!({ "domain": "frigate", "entry_id": "f", "title": "My cameras", "version": 2,
            "data": { "url": url, "validate_ssl": true, "username": "nvr", "password": "sesame-42" } })];
    })
    .await;
    let call = house.world.call("a", 1, house.repoint());
    let pre_image = house.world.actions.pre_image(call.clone()).await.unwrap();
    let outcome = house.world.actions.act(call).await;
    assert!(!format!("{outcome:?}").contains("sesame-42"));
    acted(outcome);
    let data =
        |url: String| json!({ "url": url, "validate_ssl": true, "username": "nvr", "password": "sesame-42" });
    house.until("it is saved", async |house| house.in_file()["data"] == data(house.new.url())).await;
    let mut back = house.world.call("a", 1, house.repoint());
    back.key.direction = Direction::Compensation;
    acted(house.world.actions.undo(back, pre_image).await);
    house.until("it is saved", async |house| house.in_file()["data"] == data(house.old.url())).await;
    // What the plan gives is sent, too.
    let other = with(&house, json!({ "username": "other", "password": "pass", "validate_ssl": false }));
    acted(house.world.actions.act(house.world.call("b", 1, other)).await);
    let other =
        json!({ "url": house.new.url(), "validate_ssl": false, "username": "other", "password": "pass" });
    house.until("it is saved", async |house| house.in_file()["data"] == other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_a_certificate_of_its_own_is_trusted_where_home_assistant_trusts_it() {
    let mut house = House::start(Release::Reconfigures).await;
    // Port 8971 as Frigate ships it.
    house.new = Frigate::start_tls("frigate-k8s", &CAMERAS);
    let login = json!({ "username": "nvr", "password": "sesame-42", "validate_ssl": true });
    let checked = with(&house, login.clone());
    let (class, message, _) = failed(house.world.actions.act(house.world.call("a", 1, checked)).await);
    assert_eq!(class, FailureClass::Transient);
    assert!(message.contains("certificate") && house.home.writes() == 0, "{message}");

    let mut trusting = with(&house, login);
    trusting["validate_ssl"] = json!(false);
    let call = house.world.call("b", 1, trusting);
    let pre_image = house.world.actions.pre_image(call.clone()).await.unwrap();
    acted(house.world.actions.act(call.clone()).await);
    assert_eq!((house.title().await, house.entry_state().await), (house.new.title(), "loaded".to_owned()));
    let (_, camera) = house.get("/api/states/camera.front").await;
    assert_eq!(camera["attributes"]["client_id"], "frigate-k8s");
    let mut back = call;
    back.key.direction = Direction::Compensation;
    acted(house.world.actions.undo(back, pre_image).await);
    assert_eq!(house.title().await, house.old.title());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_home_assistant_cannot_reach_changes_nothing() {
    let house = House::start(Release::Reconfigures).await;
    // F9: reachable or not for us says nothing.
    let dead = with(&house, json!({ "frigate_url": "http://127.0.0.1:9", "same_cameras": false }));
    let (class, message, _) = failed(house.world.actions.act(house.world.call("a", 1, dead)).await);
    assert_eq!(class, FailureClass::Transient);
    assert!(
        message.contains("itself cannot reach") && message.contains("the entry is as it was"),
        "{message}"
    );
    let strange = with(&house, json!({ "frigate_url": "ftp://127.0.0.1:9", "same_cameras": false }));
    let (class, message, _) = failed(house.world.actions.act(house.world.call("b", 1, strange)).await);
    assert_eq!((class, message.contains("invalid_url")), (FailureClass::Permanent, true), "{message}");
    assert_eq!((house.home.writes(), house.title().await), (0, house.old.title()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_camera_stops_it_before_home_assistant_deletes_its_device() {
    let house = House::start(Release::Reconfigures).await;
    house.new.says(|says| says.cameras.truncate(1));
    let (class, message, _) =
        failed(house.world.actions.act(house.world.call("a", 1, house.repoint())).await);
    assert_eq!(class, FailureClass::Permanent);
    assert!(message.contains("does not list `reolink_doorbell`"), "{message}");
    assert_eq!(house.home.writes(), 0);
    assert_eq!(house.get("/api/states/switch.reolink_doorbell_detect").await.0, 200);
    // F18: what it is spared. Told to go on, Home Assistant deletes them.
    let anyway = with(&house, json!({ "same_cameras": false }));
    acted(house.world.actions.act(house.world.call("b", 1, anyway)).await);
    assert_eq!(house.get("/api/states/switch.reolink_doorbell_detect").await.0, 404);
    // The old server cannot be asked: not guessed either.
    house.old.says(|says| says.dead = true);
    let back = with(&house, json!({ "frigate_url": house.old.url(), "title": house.new.title() }));
    let (class, message, _) = failed(house.world.actions.act(house.world.call("c", 1, back)).await);
    assert_eq!(class, FailureClass::Transient, "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn success_of_the_flow_is_not_success_of_the_step() {
    let house = House::start(Release::Reconfigures).await;
    // A server that is too old: the flow says successful, the entry then is `setup_error`.
    house.new.says(|says| says.version = "0.11.1".to_owned());
    let (class, message, _) =
        failed(house.world.actions.act(house.world.call("a", 1, house.repoint())).await);
    assert_eq!((class, message.contains("`setup_error`")), (FailureClass::Permanent, true), "{message}");
    assert_eq!(probe(&house).await, Verdict::Partial);
    // F17: and it goes back from there.
    let mut pre_image =
        house.world.actions.pre_image(house.world.call("a", 0, house.repoint())).await.unwrap();
    pre_image.value["data"]["url"] = json!(house.old.url());
    pre_image.value["loaded"] = json!(true);
    let mut back = house.world.call("a", 1, house.repoint());
    back.key.direction = Direction::Compensation;
    acted(house.world.actions.undo(back, pre_image).await);
    assert_eq!((house.title().await, house.entry_state().await), (house.old.title(), "loaded".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_entry_that_comes_meanwhile_is_named() {
    let house = House::start(Release::Reconfigures).await;
    // It takes the address and cannot set it up yet, so that the step waits.
    house.home.break_it(|mishaps| mishaps.cannot_set_up = house.new.url()).unwrap();
    let acting = tokio::spawn(house.world.actions.act(house.world.call("a", 1, house.repoint())));
    house.until("it has the new address", async |house| house.title().await == house.new.title()).await;
    let second = json!({ "domain": "frigate", "entry_id": "second", "title": "second:5000", "version": 2,
        "data": { "url": "http://127.0.0.1:9", "validate_ssl": false, "username": "", "password": "" } });
    house.home.add_entry(second).await;
    let (class, message, _) = failed(acting.await.unwrap());
    assert_eq!(class, FailureClass::Permanent, "{message}");
    assert!(message.contains("another Frigate entry meanwhile, `second:5000`"), "{message}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loaded_is_not_working() {
    let house = House::start(Release::Reconfigures).await;
    // F21: the will of the old one fires while the new one is healthy.
    house.home.available("frigate", "offline").unwrap();
    let hasty = with(&house, json!({ "within": "2s" }));
    let (class, message, _) = failed(house.world.actions.act(house.world.call("a", 1, hasty)).await);
    assert_eq!(class, FailureClass::Transient);
    assert!(message.contains("is loaded, but") && message.contains("MQTT"), "{message}");
    house.home.available("frigate", "online").unwrap();
    acted(house.world.actions.act(house.world.call("a", 2, house.repoint())).await);
    // A camera that gets no frames at the new server is not Home Assistant's.
    house.new.says(|says| says.cameras[0].1 = 0.0);
    house
        .until("it is unavailable", async |house| {
            house.get("/api/states/camera.front").await.1["state"] == "unavailable"
        })
        .await;
    acted(house.world.actions.act(house.world.call("a", 3, house.repoint())).await);
    let gaps = house.home.gaps();
    assert!(gaps.iter().any(|gap| gap.camera == "front" && gap.to_ms.is_none()), "{gaps:?}");
    assert!(gaps.iter().any(|gap| gap.why.contains("MQTT") && gap.to_ms.is_some()), "{gaps:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_is_not_guessed_and_the_probe_settles_it() {
    let house = House::start(Release::Reconfigures).await;
    house.home.break_it(|mishaps| mishaps.drops_flow_answers = 1).unwrap();
    let (cause, message, _) = cut(house.world.actions.act(house.world.call("a", 1, house.repoint())).await);
    assert_eq!(cause, CutCause::Connection, "{message}");
    house.until("it is loaded again", async |house| house.entry_state().await == "loaded").await;
    assert_eq!(probe(&house).await, Verdict::Holds);
    acted(house.world.actions.act(house.world.call("a", 2, house.repoint())).await);
    assert_eq!(house.home.writes(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loaded_from_before_settles_nothing() {
    let house = House::start(Release::Reconfigures).await;
    // A server that is too old: the entry has its address at once, is called loaded for a moment, and then is `setup_error`.
    house.new.says(|says| says.version = "0.11.1".to_owned());
    house.home.break_it(|mishaps| mishaps.drops_flow_answers = 1).unwrap();
    let (cause, message, _) = cut(house.world.actions.act(house.world.call("a", 1, house.repoint())).await);
    assert_eq!(cause, CutCause::Connection, "{message}");
    assert_eq!(probe(&house).await, Verdict::Partial);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_release_is_never_given_a_second_entry() {
    let house = House::start(Release::AddsSecond).await;
    let (class, message, _) =
        failed(house.world.actions.act(house.world.call("a", 1, house.repoint())).await);
    assert_eq!(class, FailureClass::Permanent);
    assert!(message.contains("cannot be reconfigured") && message.contains("`vmid`"), "{message}");
    assert_eq!((house.home.writes(), house.entries().await.len()), (0, 1));
    drop(house);
    // One that claims to know it and opens another flow: the form gives it away.
    let house = House::start(Release::Reconfigures).await;
    house.home.break_it(|mishaps| mishaps.lies_about_reconfigure = true).unwrap();
    let (class, message, _) =
        failed(house.world.actions.act(house.world.call("a", 1, house.repoint())).await);
    assert_eq!((class, message.contains("add another")), (FailureClass::Permanent, true), "{message}");
    assert_eq!((house.home.writes(), house.entries().await.len()), (0, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_entry_that_is_meant_is_found_or_named() {
    let house = House::with(Release::Reconfigures, |settings| {
        settings.entries = vec![
            json!({ "domain": "frigate", "entry_id": "garage", "title": "garage:5000", "version": 2,
            "data": { "url": "http://127.0.0.1:9", "validate_ssl": false, "username": "", "password": "" } }),
        ];
    })
    .await;
    let act = async |step: &str, fields: Value| {
        house.world.actions.act(house.world.call(step, 1, with(&house, fields))).await
    };
    let (class, message, _) = failed(act("a", json!({})).await);
    assert_eq!(
        (class, message.contains("name one with `entry_id` or `title`")),
        (FailureClass::Permanent, true),
        "{message}"
    );
    let (_, message, _) = failed(act("b", json!({ "title": "nobody:5000" })).await);
    assert!(message.contains("`garage:5000`"), "{message}");
    acted(act("c", json!({ "current_url": house.old.url() })).await);
    // F16: nothing else moved.
    let (_, all) = house.get("/api/config/config_entries/entry?domain=frigate").await;
    let titles: Vec<&Value> = all.as_array().unwrap().iter().map(|entry| &entry["title"]).collect();
    assert_eq!(titles, [&json!(house.new.title()), &json!("garage:5000")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_else_changes_meanwhile_is_not_overwritten() {
    // F42.
    let house = House::start(Release::Reconfigures).await;
    house.home.break_it(|mishaps| mishaps.meddles = true).unwrap();
    let (class, message, _) =
        failed(house.world.actions.act(house.world.call("a", 1, house.repoint())).await);
    assert_eq!(
        (class, message.contains("somebody else changed")),
        (FailureClass::Transient, true),
        "{message}"
    );
    assert_eq!((house.home.writes(), house.title().await), (0, house.old.title()));
    house.home.break_it(|mishaps| mishaps.meddles = false).unwrap();
    acted(house.world.actions.act(house.world.call("a", 2, house.repoint())).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_not_known_is_said_before_anything() {
    let house = House::start(Release::Reconfigures).await;
    let wrong = with(&house, json!({ "token": "revoked-token-of-old" }));
    let (class, message, trace) =
        failed(house.world.actions.act(house.world.call("a", 1, wrong.clone())).await);
    assert_eq!(
        (class, message.contains("does not know the token (401)")),
        (FailureClass::Permanent, true),
        "{message}"
    );
    assert!(!format!("{message}{trace:?}").contains("revoked-token-of-old"));
    let answer = house.world.actions.probe(house.world.call("a", 0, wrong)).await;
    assert_eq!(answer.verdict, Verdict::Unknown);
    // Nothing that was given back anywhere holds the right one either.
    let outcome = house.world.actions.act(house.world.call("b", 1, house.repoint())).await;
    assert!(!format!("{outcome:?}").contains(TOKEN));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_tells_down_from_starting_from_unavailable() {
    let house = House::start(Release::Reconfigures).await;
    let look = async |fields: Value| {
        let mut operation = json!({ "name": "homeassistant", "url": house.home.url(), "token": TOKEN });
        operation.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        house.world.checks.look(house.world.look(operation)).await
    };
    for (fields, verdict, words) in [
        (json!({}), Verdict::Holds, ""),
        (json!({ "entry": house.old.title(), "count": 1 }), Verdict::Holds, ""),
        (json!({ "entry": house.new.title() }), Verdict::Absent, "there is no entry"),
        (json!({ "count": 2 }), Verdict::Absent, "there are 1 entries of `frigate`, not 2"),
        (
            json!({ "entry": house.old.title(), "entry_state": "setup_retry" }),
            Verdict::Absent,
            "is `loaded`, not",
        ),
        (json!({ "entity": "switch.front_detect", "state": "off" }), Verdict::Holds, ""),
        (json!({ "entity": "switch.front_detect", "state": "on" }), Verdict::Absent, "is `off`, not `on`"),
        (json!({ "entity": "switch.nothing" }), Verdict::Absent, "there is no entity"),
        (json!({ "cameras": CAMERAS, "client_id": "frigate" }), Verdict::Holds, ""),
        (json!({ "client_id": "frigate-k8s" }), Verdict::Absent, "come from `frigate`"),
        (json!({ "available": ["camera.front", "camera.back"] }), Verdict::Absent, "`camera.back`"),
        (json!({ "token": "another" }), Verdict::Unknown, "401"),
        (json!({ "url": "http://127.0.0.1:9" }), Verdict::Absent, "refuses"),
    ] {
        let answer = look(fields.clone()).await;
        assert_eq!(answer.verdict, verdict, "{fields}: {answer:?}");
        assert!(answer.reason.contains(words), "{fields}: {answer:?}");
    }
    house.old.says(|says| says.cameras[1].1 = 0.0);
    house
        .until("a camera is lost", async |house| {
            house.get("/api/states/camera.reolink_doorbell").await.1["state"] == "unavailable"
        })
        .await;
    let answer = look(json!({ "entry": house.old.title(), "cameras": CAMERAS })).await;
    assert_eq!(answer.verdict, Verdict::Partial, "{answer:?}");
    assert_eq!((&answer.facts["available"], &answer.facts["unavailable"]), (&json!(1), &json!(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_is_one_that_was_seen() {
    let house = House::start(Release::Reconfigures).await;
    let restart = |attempt: u32| {
        let step = json!({ "name": "homeassistant.restart", "url": house.home.url(), "token": TOKEN, "within": "15s" });
        house.world.call("restart", attempt, step)
    };
    // 200 in milliseconds, then connections that drop, then nobody, then one that does not run yet.
    let (outputs, _) = acted(house.world.actions.act(restart(1)).await);
    assert_eq!(outputs["version"], "2025.4.4");
    assert_eq!(house.entry_state().await, "loaded");
    let gaps = house.home.gaps();
    assert!(gaps.iter().any(|gap| gap.why.contains("does not run") && gap.camera == "front"), "{gaps:?}");
    assert_eq!(house.home.writes(), 1);
    // Its configuration is not valid: it refuses, and goes on.
    house.home.break_it(|mishaps| mishaps.invalid_config = true).unwrap();
    let (class, message, _) = failed(house.world.actions.act(restart(2)).await);
    assert_eq!((class, message.contains("refuses to restart")), (FailureClass::Permanent, true), "{message}");
    // 200, and nothing comes of it.
    house
        .home
        .break_it(|mishaps| {
            mishaps.invalid_config = false;
            mishaps.ignores_restart = true;
        })
        .unwrap();
    let mut hasty = restart(3);
    hasty.timeout = std::time::Duration::from_secs(2);
    let (class, message, _) = failed(house.world.actions.act(hasty).await);
    assert_eq!((class, message.contains("was not seen to go")), (FailureClass::Transient, true), "{message}");
    // F15: it comes back RUNNING, and without a single entry.
    house.home.break_it(|mishaps| mishaps.ignores_restart = false).unwrap();
    std::fs::write(house.home.storage_file(), "").unwrap();
    let (class, message, _) = failed(house.world.actions.act(restart(4)).await);
    assert_eq!((class, message.contains("are gone")), (FailureClass::Permanent, true), "{message}");
}

/// The time is over while it is asked: that is no sign that it went.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_that_is_cut_off_has_not_seen_it_go() {
    let looks = AtomicUsize::new(0);
    let server = Server::start(move |asked| match asked.target.as_str() {
        "/api/config" if looks.fetch_add(1, Ordering::SeqCst) >= 2 => Reply::Hang,
        "/api/config" => Reply::ok(r#"{"version":"2025.4.4","state":"RUNNING"}"#),
        _ => Reply::ok("[]"),
    });
    let world = World::new();
    let step = json!({ "name": "homeassistant.restart", "url": server.url(""), "token": TOKEN });
    let mut call = world.call("restart", 1, step);
    call.timeout = std::time::Duration::from_secs(1);
    let (class, message, _) = failed(world.actions.act(call).await);
    assert_eq!((class, message.contains("was not seen to go")), (FailureClass::Transient, true), "{message}");
}

/// It answers 200 at once and takes connections that it drops, for seconds: that is neither its end nor its start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_drop_for_seconds_are_no_restart_and_no_failure() {
    let house = House::with(Release::Reconfigures, |settings| {
        settings.drops = std::time::Duration::from_secs(3);
    })
    .await;
    let step =
        json!({ "name": "homeassistant.restart", "url": house.home.url(), "token": TOKEN, "within": "30s" });
    let began = std::time::Instant::now();
    acted(house.world.actions.act(house.world.call("restart", 1, step)).await);
    assert!(began.elapsed() >= std::time::Duration::from_secs(3), "it was called over while it was going");
    assert_eq!(house.entry_state().await, "loaded");
    // A step that comes into the middle of it does its work once it is there, and a check says that nobody knows.
    let restarting = house.world.call(
        "restart",
        2,
        json!({ "name": "homeassistant.restart", "url": house.home.url(), "token": TOKEN, "within": "30s" }),
    );
    let acting = tokio::spawn(house.world.actions.act(restarting));
    house.until("it drops connections", async |house| house.get("/api/").await.0 == 0).await;
    let look = json!({ "name": "homeassistant", "url": house.home.url(), "token": TOKEN, "entry": house.old.title() });
    let answer = house.world.checks.look(house.world.look(look)).await;
    assert_ne!(answer.verdict, Verdict::Holds, "{answer:?}");
    let outcome = house.world.actions.act(house.world.call("repoint", 1, house.repoint())).await;
    assert!(
        !matches!(&outcome, runner::saga::Outcome::Failed { class: FailureClass::Permanent, .. }),
        "{outcome:?}"
    );
    acted(acting.await.unwrap());
    acted(house.world.actions.act(house.world.call("repoint", 2, house.repoint())).await);
    assert_eq!((probe(&house).await, house.title().await), (Verdict::Holds, house.new.title()));
    assert_eq!(house.entries().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_and_started_again_the_simulated_one_is_as_it_was() {
    let house = House::start(Release::Reconfigures).await;
    acted(house.world.actions.act(house.world.call("a", 1, house.repoint())).await);
    house.until("it is saved", async |house| house.in_file()["data"]["url"] == json!(house.new.url())).await;
    let (url, writes) = (house.home.url(), house.home.writes());
    let house = house.reborn().await;
    assert_eq!((house.home.url(), house.home.writes()), (url, writes));
    house.until("it is loaded", async |house| house.entry_state().await == "loaded").await;
    assert_eq!(house.title().await, house.new.title());
}

/// Whatever an attempt did, compensating leaves what was there before; and whatever it left, the next attempt goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_every_point_it_goes_back_and_on() {
    let house = House::start(Release::Reconfigures).await;
    let before = house.in_file();
    let pre_image = house.world.actions.pre_image(house.world.call("c", 0, house.repoint())).await.unwrap();
    type Half = (&'static str, fn(&House));
    let halves: [Half; 4] = [
        ("nothing was done", |_| {}),
        ("the answer was lost", |house| {
            house.home.break_it(|mishaps| mishaps.drops_flow_answers = 1).unwrap();
        }),
        ("it was done and is not working", |house| house.home.available("frigate", "offline").unwrap()),
        ("all was done", |_| {}),
    ];
    for (number, (half, leave)) in halves.iter().enumerate() {
        for on in [false, true] {
            let number = u32::try_from(number).unwrap() + 1;
            if number > 1 {
                leave(&house);
                let hasty = with(&house, json!({ "within": "1s" }));
                drop(house.world.actions.act(house.world.call("c", number, hasty)).await);
            }
            house.home.available("frigate", "online").unwrap();
            if on {
                acted(house.world.actions.act(house.world.call("c", number + 10, house.repoint())).await);
                assert_eq!(probe(&house).await, Verdict::Holds, "{half}");
            }
            for again in 1..=2 {
                let mut back = house.world.call("c", number * 10 + again, house.repoint());
                back.key.direction = Direction::Compensation;
                acted(house.world.actions.undo(back, pre_image.clone()).await);
            }
            assert_eq!(probe(&house).await, Verdict::Absent, "{half}");
            house
                .until("the file is as it was", async |house| {
                    let now = house.in_file();
                    ["data", "title", "entry_id", "options"].iter().all(|key| now[*key] == before[*key])
                })
                .await;
            assert_eq!(house.entries().await.len(), 1, "{half}");
        }
    }
}

/// The retained message of a real broker, as entities follow it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entities_follow_the_broker() {
    let Some(broker) = support::mosquitto::Mosquitto::start() else { return };
    let mut house = House::with(Release::Reconfigures, |settings| {
        settings.broker = Some(runner::lab::homeassistant::Broker {
            host: "127.0.0.1".to_owned(),
            port: broker.port(),
            username: "ha".to_owned(),
            password: support::mosquitto::PASSWORD.to_owned(),
        });
    })
    .await;
    house.world.set_broker("home", &broker.url(), Some(("ha", support::mosquitto::PASSWORD)));
    for (number, (payload, state)) in
        (1..).zip([("offline", "unavailable"), ("online", "idle"), ("offline", "unavailable")])
    {
        let publish = json!({ "name": "mqtt.publish", "broker": "home", "topic": "frigate/available", "payload": payload,
            "retain": true });
        acted(house.world.actions.act(house.world.call("p", number, publish)).await);
        house
            .until(payload, async |house| house.get("/api/states/camera.front").await.1["state"] == state)
            .await;
    }
    // Retained: it is heard again after a restart.
    assert_eq!(house.home.core("restart").await.exit, 0);
    house.until("it is loaded", async |house| house.entry_state().await == "loaded").await;
    assert_eq!(house.get("/api/states/camera.front").await.1["state"], "unavailable");
}
