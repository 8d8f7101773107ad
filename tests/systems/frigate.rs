//! Goal: the check `frigate` tells a Frigate that works from one that only answers, in every way in which the real one was
//! seen to lie; the lab's Frigate answers as the real one was recorded. Method: the recorded exchanges of 0.16.2 are
//! replayed to the check, and asked of the lab; the lab is broken switch by switch, with time leapt over.

#![allow(clippy::unwrap_used, reason = "a test")]

use crate::support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use runner::lab::Clock;
use runner::lab::frigate::{End, Frigate, Login, Setup, Switches};
use runner::lab::mqtt::{Broker, User};
use runner::plan::recorded::Cluster;
use runner::saga::{Answer, FailureClass, Verdict};
use serde_json::{Value, json};
use support::both::Served;
use support::http::{Reply, Server};
use support::world::{World, acted, failed};

const RECORDED: &str = include_str!("../data/transcripts/frigate-api.json");

const CAMERAS: &[&str] = &["old_ip_camera", "reolink_doorbell", "trendnet_ip_572w"];

fn exchanges() -> Vec<Value> {
    let file: Value = serde_json::from_str(RECORDED).unwrap();
    file["exchanges"].as_array().unwrap().clone()
}

async fn look(world: &World, url: &str, fields: Value) -> Answer {
    let mut operation = json!({ "name": "frigate", "url": url });
    operation.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    world.checks.look(world.look(operation)).await
}

/// A house with one Frigate in it.
struct House {
    world: World,
    folder: tempfile::TempDir,
    clock: Clock,
    frigate: Frigate,
}

impl House {
    async fn with(setup: Setup) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::open(folder.path()).unwrap();
        let frigate = Frigate::start(folder.path(), 0, setup, clock.clone()).await.unwrap();
        Self { world: World::new(), folder, clock, frigate }
    }

    /// 0.16 on a GPU, up for an hour.
    async fn new() -> Self {
        let mut setup = Setup::new("0.16.0-c2f8de9", CAMERAS);
        setup.gpu = Some("NVIDIA GeForce RTX 3070".to_owned());
        setup.face_recognition = true;
        let house = Self::with(setup).await;
        house.leap(3600);
        house
    }

    fn leap(&self, seconds: u64) {
        self.clock.leap(seconds * 1000).unwrap();
    }

    async fn look(&self, fields: Value) -> Answer {
        look(&self.world, &self.frigate.url(), fields).await
    }

    fn switch(&self, work: impl FnOnce(&mut Switches)) {
        self.frigate.switch(work).unwrap();
    }
}

/// Everything that can be asked for.
fn everything() -> Value {
    json!({
        "version": "0.16.0", "cameras": CAMERAS, "detector_max_ms": 50, "face_recognition": true,
        "recordings_within": "2m", "min_free": "5%", "gpu_decode": true, "min_uptime": "5m",
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_recorded_is_read() {
    let exchanges = exchanges();
    let server = Server::start(move |asked| {
        let path = asked.target.split('?').next().unwrap();
        let fits = |exchange: &&Value| {
            exchange["request"]["path"] == json!(path) && exchange["request"]["method"] == json!(asked.method)
        };
        let Some(found) = exchanges.iter().find(fits) else { return Reply::status(404) };
        let body = match &found["response"]["body"] {
            Value::String(text) => text.clone(),
            body => body.to_string(),
        };
        let status = u16::try_from(found["response"]["status"].as_u64().unwrap()).unwrap();
        // When it was recorded the clock stood at the beginning: the recorded statistics say 0.
        Reply::Say(status, vec!["date: Thu, 01 Jan 1970 00:00:30 GMT".to_owned()], body.into_bytes())
    });
    let world = World::new();
    let fields =
        json!({ "version": "0.16.2", "cameras": ["front"], "detector_max_ms": 50, "face_recognition": true });
    let answer = look(&world, &server.url(""), fields).await;
    // It was up for five seconds: what is missing may still come.
    assert_eq!(answer.verdict, Verdict::Unknown, "{answer:?}");
    for words in ["when its statistics were taken", "exactly 10.0 ms", "face recognition is configured"] {
        assert!(answer.reason.contains(words), "{words}: {}", answer.reason);
    }
    assert_eq!(answer.facts["version"], json!("0.16.2-local"));
    assert_eq!((&answer.facts["uptime"], &answer.facts["inference_ms"]), (&json!(5.0), &Value::Null));
    assert_eq!((&answer.facts["process_fps"], &answer.facts["cameras"]), (&json!(5.0), &json!(1)));
    assert_eq!(answer.facts["faces"], json!(0));
    // Another version, another camera: that does not heal with time.
    for (fields, words) in [
        (json!({ "version": "0.16.1" }), "its version is `0.16.2-local`, not `0.16.1`"),
        (json!({ "version": "0.17" }), "not `0.17`"),
        (json!({ "cameras": ["front", "back"] }), "camera `back` is missing"),
        (json!({ "cameras": ["back"] }), "camera `front` was not expected"),
        (json!({ "grace": "1s" }), "when its statistics were taken"),
    ] {
        let answer = look(&world, &server.url(""), fields.clone()).await;
        assert_eq!(answer.verdict, Verdict::Absent, "{fields}");
        assert!(answer.reason.contains(words), "{fields}: {}", answer.reason);
    }
}

/// The keys of a value, at any depth, as far as the lab has them too; lists and names of cameras are left out.
fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lab_answers_as_the_real_one_was_recorded() {
    let mut setup = Setup::new("0.16.2-local", &["front"]);
    setup.face_recognition = true;
    let house = House::with(setup).await;
    let mut asked = 0;
    for exchange in exchanges() {
        let (case, request, recorded) = (&exchange["case"], &exchange["request"], &exchange["response"]);
        let case = case.as_str().unwrap();
        // What was recorded from a second server: recognition is off, and its configuration is in a file.
        house.switch(|switches| switches.faces_off = case.starts_with("second server"));
        let mut headers = request["headers"].as_object().unwrap().clone();
        headers.retain(|_, value| value != "TOKEN");
        let mut operation = json!({
            "name": "http", "method": request["method"], "headers": headers, "status": recorded["status"],
            "url": format!("{}{}", house.frigate.url(), request["path"].as_str().unwrap()), "outputs": { "all": "text" },
        });
        match &request["body"] {
            Value::Null => {}
            Value::String(text) => operation["body"] = json!(text),
            body => operation["body_json"] = body.clone(),
        }
        if case.ends_with("config raw") {
            // The lab has no configuration file at all; the answer of a server without one is compared above.
            operation["status"] = json!(404);
        }
        let outcome = house.world.actions.act(house.world.call("a", asked + 1, operation)).await;
        let (outputs, _) = acted(outcome);
        asked += 1;
        let got = outputs["all"].as_str().unwrap();
        if let (Value::Object(_), Ok(got)) = (&recorded["body"], serde_json::from_str::<Value>(got)) {
            let title_alone = case.starts_with("config schema");
            let missing: Vec<_> = keys(&recorded["body"]).difference(&keys(&got)).cloned().collect();
            assert!(
                missing.iter().all(|key| key == "genai" || title_alone || key == "alice"),
                "{case}: {missing:?}"
            );
            if let Some(message) =
                recorded["body"].get("message").filter(|text| !text.to_string().contains("Traceback"))
            {
                assert_eq!(&got["message"], message, "{case}");
            }
            if let Some(detail) = recorded["body"].get("detail").filter(|detail| detail.is_string()) {
                assert_eq!(&got["detail"], detail, "{case}");
            }
            for section in ["service", "cameras", "mqtt", "record"] {
                let inner = |value: &Value| value.get(section).map(keys).unwrap_or_default();
                let missing: Vec<_> = inner(&recorded["body"]).difference(&inner(&got)).cloned().collect();
                assert!(missing.is_empty(), "{case}: {section}: {missing:?}");
            }
        } else if let Some(text) =
            recorded["body"].as_str().filter(|_| !case.contains("metrics") && !case.ends_with("raw"))
        {
            assert_eq!(got.trim_matches('"'), text, "{case}");
        }
    }
    assert_eq!(usize::try_from(asked).unwrap(), exchanges().len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_works_holds_whatever_is_asked() {
    let house = House::new().await;
    let answer = house.look(everything()).await;
    assert_eq!(answer.verdict, Verdict::Holds, "{answer:?}");
    for fact in runner::plan::samples::facts_of("frigate").unwrap() {
        assert!(answer.facts.contains_key(*fact), "{fact} is missing: {:?}", answer.facts);
    }
    assert_eq!(answer.facts["inference_ms"], json!(8.31));
    // Later it has gone on.
    house.leap(60);
    let later = house.look(everything()).await;
    for fact in ["uptime", "last_updated", "newest_recording"] {
        assert!(later.facts[fact].as_f64() > answer.facts[fact].as_f64(), "{fact}");
    }
    // Gone with its container, and back with it, on the same port, as it was.
    house.frigate.end(End::Shutdown).await.unwrap();
    let answer = house.look(json!({})).await;
    assert_eq!(answer.verdict, Verdict::Absent, "{answer:?}");
    assert!(answer.reason.contains("refuses the connection"), "{}", answer.reason);
    house.frigate.run().await.unwrap();
    let answer = house.look(json!({})).await;
    assert_eq!(answer.verdict, Verdict::Holds, "{answer:?}");
    let House { folder, clock, frigate, world } = house;
    let (port, url) = (frigate.port(), frigate.url());
    drop(frigate);
    let gone = std::time::Instant::now();
    let again = loop {
        match Frigate::start(folder.path(), 0, Setup::new("0.14.1-", &[]), clock.clone()).await {
            Ok(again) => break again,
            // The port is let go a moment later.
            Err(error) => assert!(gone.elapsed() < Duration::from_secs(20), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(again.port(), port);
    assert_eq!(
        look(&world, &url, json!({ "version": "0.16.0", "cameras": CAMERAS })).await.verdict,
        Verdict::Holds
    );
}

/// F2 to F6, F31, F34 to F36, F45 and what else a switch can break.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_to_lie_is_seen() {
    type Break = fn(&mut Switches);
    let cases: &[(&str, Break, &str)] = &[
        ("F3", |s| s.detection_off = true, "detection is off for camera `old_ip_camera`"),
        ("F4", |s| s.dead = ["old_ip_camera".to_owned()].into(), "camera `old_ip_camera` sends no frames"),
        ("F5", |s| s.skipping = true, "has 100 % of its frames skipped"),
        ("frozen", |s| s.stats_frozen = true, "they stand still"),
        ("F34", |s| s.media_full = true, "of the recordings' volume is free"),
        ("F34", |s| s.media_full = true, "has recorded nothing within"),
        ("F35", |s| s.gpu_lost = true, "has lost the GPU"),
        ("F36", |s| s.version = Some("0.16.1-abc".to_owned()), "its version is `0.16.1-abc`, not `0.16.0`"),
        ("F45", |s| s.faces_off = true, "face recognition is off"),
    ];
    let house = House::new().await;
    for (case, breaks, words) in cases {
        house.switch(breaks);
        house.leap(300);
        let answer = house.look(everything()).await;
        assert_eq!(answer.verdict, Verdict::Absent, "{case}: {answer:?}");
        assert!(answer.reason.contains(words), "{case}: {}", answer.reason);
        house.switch(|switches| *switches = Switches::default());
        let answer = house.look(everything()).await;
        assert_eq!(answer.verdict, Verdict::Holds, "after {case}: {answer:?}");
    }
}

/// F6: it starts slowly: nobody is blamed before its grace is over. F2: in a loop of restarts two looks see what one does
/// not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_is_waited_for_and_a_loop_is_not() {
    let mut setup = Setup::new("0.16.0-c2f8de9", CAMERAS);
    setup.stats_every = 1;
    let house = House::with(setup).await;
    house.switch(|switches| switches.warm_up = 240);
    house.leap(60);
    let answer = house.look(json!({})).await;
    assert_eq!(answer.verdict, Verdict::Unknown, "{answer:?}");
    assert!(answer.reason.contains("after its start"), "{}", answer.reason);
    assert_eq!(house.look(json!({ "grace": "30s" })).await.verdict, Verdict::Absent);
    house.leap(240);
    assert_eq!(house.look(json!({})).await.verdict, Verdict::Holds);
    assert_eq!(house.look(json!({ "min_uptime": "1h" })).await.verdict, Verdict::Unknown);
    // Detection that is off does not come with time.
    house.switch(|switches| switches.detection_off = true);
    assert_eq!(house.look(json!({})).await.verdict, Verdict::Absent);
    house.switch(|switches| switches.detection_off = false);

    let answer = house.look(json!({ "apart": "1100ms" })).await;
    assert_eq!(answer.verdict, Verdict::Holds, "{answer:?}");
    // Between the two looks it begins anew.
    house.switch(|switches| switches.restarts_every = 2);
    let mut verdicts = Vec::new();
    for _ in 0..4 {
        let answer = house.look(json!({ "apart": "1s", "grace": "1ms" })).await;
        verdicts.push((answer.verdict, answer.reason));
    }
    let seen = |(verdict, reason): &(Verdict, String)| {
        *verdict == Verdict::Absent && reason.contains("has restarted")
    };
    assert!(verdicts.iter().any(seen), "{verdicts:?}");
}

/// F4, F44: what was dead before the move, or is dead for the old one as well, is not held against the new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_new_one_is_not_blamed_for_what_was_so_before() {
    let old = House::with(Setup::new("0.14.1-", CAMERAS)).await;
    old.switch(|switches| switches.dead = ["old_ip_camera".to_owned()].into());
    old.leap(3600);
    let operation = json!({ "name": "baseline", "url": old.frigate.url() });
    let (outputs, _) = acted(old.world.actions.act(old.world.call("baseline", 1, operation)).await);
    let before = outputs["frigate"].clone();
    assert_eq!((&before["version"], &before["client_id"]), (&json!("0.14.1-"), &json!("frigate")));
    assert_eq!(before["cameras"]["old_ip_camera"]["camera_fps"], json!(0.0));
    assert_eq!(before["cameras"]["reolink_doorbell"]["process_fps"], json!(5.0));
    assert_eq!(outputs["homeassistant"], Value::Null);

    let new = House::new().await;
    assert_eq!(new.look(json!({ "baseline": before })).await.verdict, Verdict::Holds);
    new.switch(|switches| switches.dead = ["old_ip_camera".to_owned()].into());
    let answer = new.look(json!({ "baseline": before, "recordings_within": "2m" })).await;
    assert_eq!(answer.verdict, Verdict::Holds, "{answer:?}");
    assert_eq!(answer.facts["cameras_bad_before"], json!(["old_ip_camera"]));
    assert_eq!(new.look(json!({})).await.verdict, Verdict::Absent);
    assert_eq!(new.look(json!({ "known_bad": ["old_ip_camera"] })).await.verdict, Verdict::Holds);
    // Another one dies: for the old one as well, or not.
    new.switch(|switches| switches.dead = ["reolink_doorbell".to_owned()].into());
    let fields = json!({ "baseline": before, "beside": old.frigate.url() });
    let answer = new.look(fields.clone()).await;
    assert_eq!(answer.verdict, Verdict::Absent, "{answer:?}");
    old.switch(|switches| switches.dead = ["reolink_doorbell".to_owned()].into());
    assert_eq!(new.look(fields).await.verdict, Verdict::Holds);
    // A camera that is lost on the way (F18 begins so).
    new.frigate.set_up(|setup| assert!(setup.cameras.remove("trendnet_ip_572w"))).unwrap();
    let answer = new.look(json!({ "baseline": before })).await;
    assert!(answer.reason.contains("camera `trendnet_ip_572w` is missing"), "{}", answer.reason);
    // What is no baseline is said so.
    let answer = new.look(json!({ "baseline": { "version": "x" } })).await;
    assert_eq!(answer.verdict, Verdict::Unknown);
}

/// F32, F33: a dead host and a hanging one are no answer, a server that says 502 is a bad one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_asked_is_told_apart() {
    let world = World::new();
    let broken = Server::start(|_| Reply::status(502));
    assert_eq!(look(&world, &broken.url(""), json!({})).await.verdict, Verdict::Absent);
    let strange = Server::start(|_| Reply::ok("<html>"));
    assert_eq!(look(&world, &strange.url(""), json!({})).await.verdict, Verdict::Absent);
    let hanging = Server::start(|_| Reply::Hang);
    let mut short = world.look(json!({ "name": "frigate", "url": hanging.url("") }));
    short.timeout = Duration::from_millis(300);
    assert_eq!(world.checks.look(short).await.verdict, Verdict::Unknown);
    let operation = json!({ "name": "baseline", "url": broken.url("") });
    let (class, message, _) = failed(world.actions.act(world.call("a", 1, operation)).await);
    assert_eq!(class, FailureClass::Transient, "{message}");
    let (class, _, _) = failed(world.actions.act(world.call("a", 2, json!({ "name": "baseline" }))).await);
    assert_eq!(class, FailureClass::Permanent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_port_with_a_login() {
    let mut setup = Setup::new("0.16.0-c2f8de9", CAMERAS);
    setup.login = Some(("admin".to_owned(), "s3cret word".to_owned()));
    let house = House::with(setup).await;
    house.leap(3600);
    let answer = house.look(json!({})).await;
    assert_eq!(answer.verdict, Verdict::Unknown);
    assert!(answer.reason.contains("the port with a login"), "{}", answer.reason);
    let mut world = World::new();
    world.secrets = vec!["s3cret word".to_owned(), "wrong word".to_owned()];
    let url = house.frigate.url();
    let answer = look(&world, &url, json!({ "user": "admin", "password": "wrong word" })).await;
    assert_eq!(answer.verdict, Verdict::Unknown);
    assert!(
        answer.reason.contains("refuses user `admin`") && !answer.reason.contains("wrong"),
        "{}",
        answer.reason
    );
    let answer = look(&world, &url, json!({ "user": "admin", "password": "s3cret word" })).await;
    assert_eq!(answer.verdict, Verdict::Holds, "{answer:?}");
}

/// Frigate makes its own certificate: it is trusted only where the plan says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_own_certificate_is_trusted_when_asked() {
    let (server, ca) = Server::start_tls(|_| Reply::status(503));
    let world = World::new();
    let answer = look(&world, &server.url(""), json!({})).await;
    assert_eq!(answer.verdict, Verdict::Unknown);
    assert!(answer.reason.contains("no trusted connection"), "{}", answer.reason);
    let answer = look(&world, &server.url(""), json!({ "tls": "insecure" })).await;
    assert!(answer.reason.contains("503"), "{}", answer.reason);
    let mut trusting = world.look(json!({ "name": "frigate", "url": server.url(""), "ca_file": "/ca" }));
    trusting.bodies = std::sync::Arc::new(BTreeMap::from([("/ca".to_owned(), ca.into_bytes())]));
    let answer = world.checks.look(trusting).await;
    assert!(answer.reason.contains("503"), "{}", answer.reason);
}

/// The lab's Frigate at the lab's broker: online, its will, and two of one name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lab_speaks_to_its_broker() {
    let folder = tempfile::tempdir().unwrap();
    let all = vec!["#".to_owned()];
    let user = User { password: "pw of it".to_owned(), read: all.clone(), write: all };
    let users = BTreeMap::from([("frigate".to_owned(), user)]);
    let broker = Broker::start(folder.path(), 0, users).await.unwrap();
    let login = Login { port: broker.port(), user: "frigate".to_owned(), password: "pw of it".to_owned() };
    let mut setup = Setup::new("0.14.1-", CAMERAS);
    setup.broker = Some(login.clone());
    let house = House::with(setup.clone()).await;
    house.leap(3600);
    let mut world = World::new()
        .with_broker(&format!("mqtt://127.0.0.1:{}", broker.port()), Some(("frigate", "pw of it")));
    world.secrets = vec!["pw of it".to_owned()];
    let says =
        |what: &str| broker.retained().get("frigate/available").is_some_and(|kept| kept.text() == what);
    until(|| says("online")).await;
    // What is captured of both.
    let operation = json!({ "name": "baseline", "url": house.frigate.url(), "broker": "home" });
    let (outputs, _) = acted(world.actions.act(world.call("b", 1, operation)).await);
    assert_eq!(outputs["mqtt"], json!({ "topic": "frigate/available", "available": "online" }));
    assert!(!outputs.clone().into_iter().any(|(_, value)| value.to_string().contains("pw of it")));
    // Shut down it stays online, killed it does not.
    house.frigate.end(End::Shutdown).await.unwrap();
    until(|| broker.connected().is_empty()).await;
    assert!(says("online"));
    house.frigate.run().await.unwrap();
    until(|| !broker.connected().is_empty()).await;
    house.frigate.end(End::Kill).await.unwrap();
    until(|| says("offline")).await;
    house.frigate.run().await.unwrap();
    until(|| says("online")).await;
    // A second one of the same name (F20).
    setup.version = "0.16.0-c2f8de9".to_owned();
    let second = House::with(setup).await;
    let check = json!({ "name": "mqtt", "broker": "home", "available": "frigate", "steady_for": "4s" });
    let answer = world.checks.look(world.look(check.clone())).await;
    assert_eq!(answer.verdict, Verdict::Absent, "{answer:?}");
    assert!(answer.reason.contains("two clients fight"), "{}", answer.reason);
    second.frigate.end(End::Shutdown).await.unwrap();
    until(|| says("online") && broker.connected().len() == 1).await;
}

async fn until(is: impl Fn() -> bool) {
    let since = std::time::Instant::now();
    while !is() {
        assert!(since.elapsed() < Duration::from_secs(20), "it never comes");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Part 7: the lint in a plan, with the context of manifests and baseline.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_is_judged_in_a_plan() {
    let world = World::new();
    let good = "mqtt: {host: b, client_id: frigate-k8s, topic_prefix: frigate-k8s}\nversion: 0.16-0\n\
                detect: {enabled: true}\ndetectors: {cpu: {type: cpu}}\ncameras:\n  front:\n    ffmpeg:\n      \
                inputs: [{path: \"rtsp://h/x\", roles: [detect]}]\n";
    let judge = |key: &'static str, text: String, rest: Value| {
        let mut operation = json!({ "name": "frigate.config", key: "/p/config.yml", "version": "0.16" });
        operation.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        let mut look = world.look(operation);
        look.bodies = std::sync::Arc::new(BTreeMap::from([("/p/config.yml".to_owned(), text.into_bytes())]));
        world.checks.look(look)
    };
    let answer = judge("file", good.to_owned(), json!({})).await;
    assert_eq!(answer.verdict, Verdict::Holds, "{answer:?}");
    let typo = good.replace("client_id", "clientid");
    let answer = judge("file", typo.clone(), json!({})).await;
    assert_eq!((answer.verdict, &answer.facts["errors"]), (Verdict::Absent, &json!(1)), "{answer:?}");
    let code = answer.facts["codes"][0].as_str().unwrap().to_owned();
    assert!(
        answer.reason.contains(&code) && answer.reason.contains(" in config.yml:1: "),
        "{}",
        answer.reason
    );
    // What the old instance is called is taken while it runs.
    let before = json!({ "cameras": {}, "client_id": "frigate-k8s", "topic_prefix": "frigate" });
    let answer = judge("file", good.to_owned(), json!({ "baseline": before })).await;
    assert!(answer.facts["codes"].as_array().unwrap().contains(&json!("L8")), "{answer:?}");
    assert_eq!(answer.verdict, Verdict::Absent);
    let answer = judge("file", good.to_owned(), json!({ "baseline": before, "phase": "alone" })).await;
    assert_eq!(answer.verdict, Verdict::Holds, "{answer:?}");
    // A secret has the same value, so that the baseline does not say it: two of one name are not taken for two names.
    let masked = json!({ "cameras": {}, "client_id": "***", "topic_prefix": "frigate" });
    let answer = judge("file", good.to_owned(), json!({ "baseline": masked })).await;
    assert_eq!(answer.verdict, Verdict::Unknown, "{answer:?}");
    assert!(answer.reason.contains("`client_id` of the old instance is masked"), "{}", answer.reason);
    // A ConfigMap among manifests: 0.16 in a read-only mount, and detection is nowhere switched on (L7).
    let indented: String =
        good.replace("detect: {enabled: true}\n", "").lines().map(|line| format!("    {line}\n")).collect();
    let manifests = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c, namespace: frigate}}\ndata:\n  config.yml: |\n{indented}---\n\
         apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: frigate, namespace: frigate}}\nspec:\n  template:\n    \
         spec:\n      containers:\n      - name: frigate\n        image: ghcr.io/blakeblackshear/frigate:0.16.0\n        \
         volumeMounts: [{{name: c, mountPath: /config/config.yml, subPath: config.yml}}]\n      volumes:\n      - name: c\n        \
         configMap: {{name: c}}\n"
    );
    let answer = judge("manifests", manifests.clone(), json!({})).await;
    assert!(answer.facts["codes"].as_array().unwrap().contains(&json!("L7")), "{answer:?}");
    // Of a folder, a finding is in a line of one of its files.
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: frigate}\n".to_owned();
    let config = format!("# Ours.\n{}", manifests.replace("client_id", "clientid"));
    let folder = [("00-namespace.yaml", namespace), ("10-config.yaml", config)];
    let folder = folder.map(|(name, text)| (name.to_owned(), text.into_bytes()));
    let text = String::from_utf8(runner::plan::manifests::joined(&folder)).unwrap();
    let answer = judge("manifests", text, json!({})).await;
    assert!(answer.reason.contains(" in config.yml/10-config.yaml:7: "), "{}", answer.reason);
    let answer = judge("file", "a: [".to_owned(), json!({})).await;
    assert_eq!(answer.verdict, Verdict::Absent, "{answer:?}");
}

/// The same of what is in the cluster: a ConfigMap, with the Deployments of its namespace as the context.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_in_the_cluster_is_judged_with_what_mounts_it() {
    let served = Served::lab().await.unwrap();
    let mut world = World::new();
    let kubeconfig = Some(served.kubeconfig().display().to_string());
    world.places.clusters.insert("home".to_owned(), Cluster { context: None, kubeconfig });
    let judge = |name: &str| {
        let operation =
            json!({ "name": "frigate.config", "cluster": "home", "configmap": name, "version": "0.16" });
        world.checks.look(world.look(operation))
    };
    let answer = judge("frigate/frigate-config").await;
    assert_eq!(answer.verdict, Verdict::Unknown, "{answer:?}");
    assert!(answer.reason.contains("there is no ConfigMap `frigate/frigate-config`"), "{}", answer.reason);
    let config = |text: &str| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "frigate-config" }, "data": { "config.yml": text },
        })
    };
    let good = "mqtt: {host: b, client_id: frigate-k8s, topic_prefix: frigate-k8s}\nversion: 0.16-0\n\
                detect: {enabled: true}\ndetectors: {cpu: {type: cpu}}\ncameras:\n  front:\n    ffmpeg:\n      \
                inputs: [{path: \"rtsp://h/x\", roles: [detect]}]\n";
    served.apply("owner", &config(good), "").await.expect(201);
    assert_eq!(judge("frigate/frigate-config").await.verdict, Verdict::Holds);
    // Detection is nowhere switched on (L7): an error only where the file is mounted so that it is never migrated, which
    // the Deployment beside it says.
    let off = config(&good.replace("detect: {enabled: true}\n", ""));
    served.apply("owner", &off, "&force=true").await.expect(200);
    served.apply("owner", &mounts("frigate-config"), "").await.expect(201);
    let answer = judge("frigate/frigate-config").await;
    assert!(answer.facts["codes"].as_array().unwrap().contains(&json!("L7")), "{answer:?}");
    assert_eq!(answer.verdict, Verdict::Absent, "{answer:?}");
    let typo = config(&good.replace("client_id", "clientid"));
    served.apply("owner", &typo, "&force=true").await.expect(200);
    let answer = judge("frigate/frigate-config").await;
    assert_eq!(
        (answer.verdict, answer.reason.contains("frigate-config")),
        (Verdict::Absent, true),
        "{answer:?}"
    );
    assert_eq!(judge("frigate-config").await.verdict, Verdict::Unknown, "it has no namespace");
}

/// A Deployment of Frigate 0.16 that mounts a ConfigMap as the file, read-only.
fn mounts(config: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "frigate" },
        "spec": {
            "selector": { "matchLabels": { "app": "frigate" } },
            "template": {
                "metadata": { "labels": { "app": "frigate" } },
                "spec": {
                    "containers": [{
                        "name": "frigate", "image": "ghcr.io/blakeblackshear/frigate:0.16.0",
                        "volumeMounts": [{ "name": "c", "mountPath": "/config/config.yml", "subPath": "config.yml" }],
                    }],
                    "volumes": [{ "name": "c", "configMap": { "name": config } }],
                },
            },
        },
    })
}
