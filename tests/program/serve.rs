//! Goal: runs live in `runner serve`, whoever waits for them and however it ends; who asks it over HTTP is answered
//! rightly, and who misbehaves disturbs nobody. Method: the real binary, killed, flooded and lied to.

#![allow(clippy::unwrap_used, reason = "a test")]

use crate::serve_support;
use crate::worlds_support;

use crate::support::json_schema;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use serde_json::json;
use serve_support::{Serve, until};
use worlds_support::{House, said};

fn serve(house: &House) -> Serve {
    Serve::start(house.runner(&["serve", "--plans", "plans"])).ready()
}

/// A plan with a gate in its middle.
const GATED: &str = r#"
[[step]]
id = "before"
forward = { action = "command", script = "echo '<img src=x onerror=alert(1)>'; echo before >> ../log" }
compensate = { action = "command", script = "echo back before >> ../log" }

[[step]]
id = "gated"
approve = "Go on?"
forward = { action = "command", script = "echo gated >> ../log" }
compensate = { action = "command", script = "echo back gated >> ../log" }
"#;

/// A plan that soaks; each look leaves a line in `looks-NAME`.
fn soaking(name: &str, for_: &str, every: &str) -> String {
    format!(
        "[[step]]\nid = \"soak\"\nsoak = {{ for = \"{for_}\", every = \"{every}\" }}\n\
         verify = [{{ check = \"command\", script = 'echo >> ../looks-{name}; test ! -e ../bad' }}]\n"
    )
}

fn begin(serve: &Serve, plan: &str) {
    let begun = serve.post("/api/v1/runs", &json!({ "plan": plan, "by": "ann" }));
    assert_eq!(begun.status, 201, "{begun:?}");
}

#[test]
fn an_empty_journal_shows_health_metrics_and_the_document() {
    let house = House::new();
    let serve = serve(&house);
    assert_eq!((serve.get("/healthz").status, serve.get("/readyz").status), (200, 200));
    assert_eq!(serve.metric(&format!("runner_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"))), 1.0);
    for name in [
        "runner_runs{state=\"open\"}",
        "runner_runs{state=\"needs_attention\"}",
        "runner_soak_samples_total{result=\"bad\"}",
        "runner_step_duration_seconds_count{result=\"done\"}",
        "runner_journal_append_seconds_count",
    ] {
        assert_eq!(serve.metric(name), 0.0, "{name}");
    }
    let document = serve.get("/openapi.json").json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    // Every path that can be read without a run is there.
    for (path, what) in document["paths"].as_object().unwrap() {
        if what.get("get").is_some() && !path.contains('{') && !path.ends_with("/live") {
            assert_eq!(serve.get(path).status, 200, "{path}");
        }
        if path.contains("{run}") && what.get("get").is_some() {
            let path = path.replace("{run}", "nobody-1").replace("{step}", "x");
            let answer = serve.get(&path);
            assert_eq!((answer.status, &answer.json()["type"]), (404, &"problem".into()), "{path}");
        }
    }
    let page = serve.get("/");
    assert!(page.body.contains("There are no runs yet"), "{}", page.body);
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let (code, error) = serve.terminate();
    assert_eq!(code, Some(0), "{error}");
}

/// Which schema the document has for an answer, and whether the answer is what that says.
#[track_caller]
fn as_described(document: &serde_json::Value, method: &str, path: &str, answer: &serve_support::Answer) {
    let at = |mut part: serde_json::Value| {
        while let Some(place) = part["$ref"].as_str() {
            part = document.pointer(place.trim_start_matches('#')).unwrap().clone();
        }
        part
    };
    let answers = &document["paths"][path][method]["responses"];
    let described = at(answers[answer.status.to_string()].clone());
    let schema = &described["content"]["application/json"]["schema"];
    assert!(schema["$ref"].is_string(), "{method} {path} says nothing of {}: {answer:?}", answer.status);
    let judge = json_schema::Judge { schema: document, strict: true };
    judge.fits(schema, &answer.json()).unwrap_or_else(|why| panic!("{method} {path}: {why}"));
}

#[test]
fn every_answer_is_as_the_document_says() {
    let house = House::new();
    house.plan("g", &format!("{GATED}{}", soaking("g", "1h", "50ms")));
    let serve = serve(&house);
    let document = serve.get("/openapi.json").json();
    let post = |path: &str, described: &str, body: serde_json::Value| {
        let answer = serve.post(path, &body);
        as_described(&document, "post", described, &answer);
        answer.status
    };
    let get = |path: &str, described: &str| {
        let answer = serve.get(path);
        as_described(&document, "get", described, &answer);
        answer.status
    };
    let say = "/api/v1/runs/{run}/{word}";
    assert_eq!(post("/api/v1/runs", "/api/v1/runs", json!({ "plan": "g", "by": "ann" })), 201);
    until("it asks", || serve.step("g-1", "gated") == "awaiting_approval");
    let read = || {
        for (path, described) in [
            ("/api/v1/runs", "/api/v1/runs"),
            ("/api/v1/plans", "/api/v1/plans"),
            ("/api/v1/runs/g", "/api/v1/runs/{run}"),
            ("/api/v1/runs/g/events", "/api/v1/runs/{run}/events"),
            ("/api/v1/runs/g/rollback", "/api/v1/runs/{run}/rollback"),
            ("/api/v1/runs/g/steps/gated", "/api/v1/runs/{run}/steps/{step}"),
        ] {
            assert_eq!(get(path, described), 200, "{path}");
        }
    };
    read();
    let step = json!({ "step": "gated", "by": "ann", "note": "yes" });
    assert_eq!(post("/api/v1/runs/g/approve", say, step.clone()), 200);
    assert_eq!(post("/api/v1/runs/g/approve", say, step), 200);
    until("it soaks", || serve.step("g-1", "soak") == "soaking");
    for word in ["pause", "resume", "rollback"] {
        assert_eq!(post(&format!("/api/v1/runs/g/{word}"), say, json!({})), 200, "{word}");
    }
    until("it is rolled back", || serve.standing("g-1") == "rolled_back");
    read();
    // A refusal is described as well.
    assert_eq!(post("/api/v1/runs", "/api/v1/runs", json!({ "plan": "nobody" })), 400);
    assert_eq!(post("/api/v1/runs/g/pause", say, json!({})), 409);
    assert_eq!(post("/api/v1/runs/g/fly", say, json!({})), 404);
    assert_eq!(get("/api/v1/runs/nobody", "/api/v1/runs/{run}"), 404);
    // What it does not describe is not answered.
    for (path, what) in document["paths"].as_object().unwrap() {
        let asked = path.replace("{run}", "g-1").replace("{step}", "gated").replace("{word}", "fly");
        for method in ["get", "post", "put", "delete", "patch"] {
            // The one word that has a path of its own, described with the others.
            let is_word = method == "post" && path.ends_with("/rollback");
            if what.get(method).is_none() && !is_word {
                let status = serve.ask(&method.to_uppercase(), &asked, &[], "").status;
                assert_eq!(status, 405, "{method} {path}");
            }
        }
    }
}

#[test]
fn apply_hands_over_and_the_service_resolves_the_secrets() {
    let house = House::new();
    let plan = |name: &str| {
        format!(
            "[secrets]\nword = {{ env = \"{name}\" }}\n[[step]]\nid = \"it\"\ncompensate = \"nothing\"\n\
             forward = {{ action = \"command\", script = 'test -n \"$W\" && echo \"it is $W\"', \
             env = {{ W = \"{{{{ secrets.word }}}}\" }} }}\n"
        )
    };
    house.plan("has", &plan("THE_WORD"));
    house.plan("lacks", &plan("NO_WORD"));
    let mut command = house.runner(&["serve", "--plans", "plans"]);
    command.env("THE_WORD", "hunter2-secret");
    let serve = Serve::start(command).ready();
    // The command has no such variable; the service has.
    let applied = house.run(&["apply", "plans/has.toml"]);
    assert_eq!(applied.code, 0, "{applied:?}");
    let refused = house.run(&["apply", "plans/lacks.toml"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(
        refused.err.contains("NO_WORD") && refused.err.contains("nothing was started"),
        "{}",
        refused.err
    );
    let begun = serve.post("/api/v1/runs", &json!({ "plan": "lacks" }));
    assert_eq!(begun.status, 409, "{begun:?}");
    assert_eq!(serve.get("/api/v1/runs").json()["runs"].as_array().unwrap().len(), 1);
    // Nothing that is shown has it.
    for path in ["/runs/has-1", "/runs/has-1/events", "/api/v1/runs/has-1/events", "/runs/has-1/report.html"]
    {
        let shown = serve.get(path);
        assert_eq!(shown.status, 200, "{path}");
        assert!(!shown.body.contains("hunter2"), "{path}: {}", shown.body);
    }
    assert!(serve.get("/runs/has-1").body.contains("it is ***"), "what it wrote is shown, masked");
}

#[test]
fn a_second_service_is_refused_and_a_dead_one_is_no_obstacle() {
    let house = House::new();
    let first = serve(&house);
    let second = house.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(second.code, 2, "{second:?}");
    assert!(second.err.contains(&format!("process {}, a service", first.pid())), "{}", second.err);
    let taken = house.run(&["serve", "--listen", &first.address.to_string(), "--state", "other"]);
    assert_eq!(taken.code, 2, "{taken:?}");
    assert!(!house.path.join("other").exists());
    first.kill();
    let third = serve(&house);
    assert_eq!(house.run(&["runs"]).code, 0);
    assert_eq!(third.terminate().0, Some(0));
    assert!(!house.path.join("state/holder.json").exists());
}

#[test]
fn approvals_by_two_people_twice_and_where_nobody_waits() {
    let house = House::new();
    house.plan("g", GATED);
    let serve = serve(&house);
    begin(&serve, "g");
    let early = serve.post("/api/v1/runs/g/approve", &json!({ "step": "before" }));
    assert_eq!(early.status, 409, "{early:?}");
    until("it asks", || serve.step("g-1", "gated") == "awaiting_approval");
    assert_eq!(serve.metric("runner_runs_waiting_for_approval"), 1.0);
    let both: Vec<_> = std::thread::scope(|scope| {
        let ask = |name: &'static str| {
            let serve = &serve;
            scope.spawn(move || {
                serve.post("/api/v1/runs/g-1/approve", &json!({ "step": "gated", "by": name }))
            })
        };
        let both = [ask("ann"), ask("bob")];
        both.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(both.iter().all(|one| one.status == 200), "{both:?}");
    let changed: Vec<bool> = both.iter().map(|one| one.json()["changed"].as_bool().unwrap()).collect();
    assert_eq!(changed.iter().filter(|changed| **changed).count(), 1, "{both:?}");
    let second = both.iter().find(|one| one.json()["changed"] == false).unwrap();
    assert!(second.body.contains("was approved already by"), "{second:?}");
    until("it is complete", || serve.standing("g-1") == "complete");
    let events = serve.get("/api/v1/runs/g-1/events").json();
    let approved = events["events"].as_array().unwrap().iter().filter(|event| event["event"] == "approved");
    assert_eq!(approved.count(), 1);
    assert_eq!(house.read("log"), "before\ngated\n");
    // What would be undone is said first; a rollback over HTTP then does it.
    let plan = serve.get("/api/v1/runs/g-1/rollback").json();
    assert_eq!(plan["undo"][0]["step"], "gated");
    assert_eq!(serve.post("/api/v1/runs/g-1/rollback", &json!({})).status, 200);
    until("it is rolled back", || serve.standing("g-1") == "rolled_back");
    assert_eq!(house.read("log"), "before\ngated\nback gated\nback before\n");
    for (word, body, status) in [
        ("approve", json!({}), 400),
        ("approve", json!({ "step": "nobody" }), 404),
        ("pause", json!({}), 409),
        ("resolve", json!({ "step": "gated" }), 400),
        ("skip", json!({ "step": "gated" }), 400),
        ("fly", json!({}), 404),
        ("pause", json!({ "surprise": 1 }), 400),
    ] {
        let answer = serve.post(&format!("/api/v1/runs/g-1/{word}"), &body);
        assert_eq!(answer.status, status, "{word}: {answer:?}");
    }
}

#[test]
fn a_failed_run_is_tried_again_and_a_pause_outlives_a_kill() {
    let house = House::new();
    house.plan(
        "f",
        "[[step]]\nid = \"it\"\nforward = { action = \"command\", script = \"test -e ../good\" }\ncompensate = \"nothing\"\n\
         [[step]]\nid = \"last\"\nforward = { action = \"command\", script = \"echo last >> ../log\" }\ncompensate = \"nothing\"\n",
    );
    house.plan("s", &soaking("s", "30s", "100ms"));
    let first = serve(&house);
    begin(&first, "f");
    until("it has halted", || first.standing("f-1") == "halted");
    begin(&first, "s");
    until("it soaks", || first.step("s-1", "soak") == "soaking");
    assert_eq!(first.post("/api/v1/runs/s-1/pause", &json!({})).status, 200);
    first.kill();
    let second = serve(&house);
    let paused = second.get("/api/v1/runs/s-1").json();
    assert_eq!((&paused["paused"], &paused["standing"]), (&true.into(), &"open".into()));
    assert_eq!(second.standing("f-1"), "halted", "a failed step is not tried again by itself");
    assert_eq!(second.post("/api/v1/runs/s-1/resume", &json!({})).status, 200);
    assert!(!second.get("/api/v1/runs/s-1").json()["paused"].as_bool().unwrap());
    house.write("good", "");
    assert_eq!(second.post("/api/v1/runs/f-1/apply", &json!({ "by": "ann" })).status, 200);
    until("it is complete", || second.standing("f-1") == "complete");
    assert_eq!(house.read("log"), "last\n");
    // A second terminal says the same, and cancels.
    assert_eq!(house.run(&["cancel", "s"]).code, 0);
    assert_eq!(second.standing("s-1"), "cancelled");
}

#[test]
fn killed_at_random_instants_during_three_soaks() {
    let kills = if std::env::var_os("RUNNER_FULL").is_some() { 200 } else { 20 };
    if kills < 200 {
        worlds_support::only_in_full("the service is killed 20 times; 200 times with RUNNER_FULL=1");
    }
    // No process lives for 180 ms before it is killed, and more than 100 ms between two samples count for nothing.
    let (for_ms, every_ms) = (kills * 300, 50);
    let house = House::new();
    let plans = ["a", "b", "c"];
    plans.iter().for_each(|name| house.plan(name, &soaking(name, &format!("{for_ms}ms"), "50ms")));
    let began = Instant::now();
    let first = serve(&house);
    plans.iter().for_each(|name| begin(&first, name));
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut serving = first;
    for kill in 0..kills {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        std::thread::sleep(Duration::from_millis(seed % 180));
        for name in plans {
            let run = format!("{name}-1");
            assert_eq!(serving.standing(&run), "open", "{run} is over: kill {kill} would disturb nobody");
        }
        serving.kill();
        serving = Serve::start(house.runner(&["serve", "--plans", "plans"]));
    }
    let serve = serving.ready();
    for name in plans {
        let run = format!("{name}-1");
        let end = Instant::now() + Duration::from_millis(for_ms) + Duration::from_secs(60);
        while serve.standing(&run) == "open" {
            assert!(Instant::now() < end, "{run} does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(serve.standing(&run), "complete");
        let events = serve.get(&format!("/api/v1/runs/{run}/events")).json();
        let events = events["events"].as_array().unwrap();
        let sum = |name: &str| -> u64 { events.iter().filter_map(|event| event[name].as_u64()).sum() };
        let (good, good_ms) = (sum("good"), sum("good_ms"));
        let looks = house.read(&format!("looks-{name}")).lines().count() as u64;
        // A look whose answer a kill took away was taken and not counted; none is counted twice: samples are as far
        // apart as the plan says, but for the first one of a process.
        assert!(good <= looks, "{run}: {good} good samples of {looks} looks");
        let took = u64::try_from(began.elapsed().as_millis()).unwrap();
        let most = took * 10 / (every_ms * 9) + kills + 1;
        assert!(good <= most, "{run}: {good} good samples in {took} ms of {} processes", kills + 1);
        assert!((for_ms..for_ms + 1_000).contains(&good_ms), "{run}: {good_ms} ms of good time");
        assert!(u128::from(good_ms) <= began.elapsed().as_millis(), "{run}: time was counted twice");
    }
    assert_eq!(serve.terminate().0, Some(0));
}

/// Many open runs take a while to be taken on.
#[test]
fn a_service_is_not_ready_while_it_resumes_and_measures_what_it_did() {
    let house = House::new();
    house.plan("done", "[[step]]\nid = \"it\"\nforward = { action = \"command\", argv = [\"true\"] }\ncompensate = \"nothing\"\n");
    let gated = "[[step]]\nid = \"it\"\napprove = \"Go?\"\nforward = { action = \"command\", argv = [\"true\"] }\ncompensate = \"nothing\"\n";
    let names: Vec<String> = (0..150).map(|number| format!("open{number}")).collect();
    names.iter().for_each(|name| house.plan(name, gated));
    let first = serve(&house);
    begin(&first, "done");
    until("it is complete", || first.standing("done-1") == "complete");
    for name in [
        "runner_step_duration_seconds_count{result=\"done\"}",
        "runner_step_duration_seconds_sum{result=\"done\"}",
    ] {
        assert!(first.metric(name) > 0.0, "{name}");
    }
    // Every event that the run has was appended, and each append took its time.
    assert!(first.metric("runner_journal_append_seconds_count") >= 3.0);
    assert!(first.metric("runner_journal_append_seconds_sum") > 0.0);
    assert_eq!(first.metric("runner_step_duration_seconds_count{result=\"failed\"}"), 0.0);
    names.iter().for_each(|name| begin(&first, name));
    first.kill();
    let begin_again = || {
        let serve = Serve::start(house.runner(&["serve", "--plans", "plans"]));
        let asked = serve.get("/readyz");
        (serve, asked)
    };
    let (mut second, mut asked) = begin_again();
    // A machine that keeps us from asking while it resumes shows nothing.
    for _ in 0..10 {
        if asked.status == 503 {
            break;
        }
        second.kill();
        (second, asked) = begin_again();
    }
    assert_eq!((asked.status, asked.body.as_str()), (503, "resuming\n"), "it was ready before it could be");
    assert_eq!(second.get("/healthz").status, 200, "it lives, whatever it still does");
    until("it is ready", || second.get("/readyz").status == 200);
    assert_eq!(second.metric("runner_ready"), 1.0);
    assert_eq!(second.metric("runner_runs{state=\"open\"}"), 150.0);
    assert_eq!(second.metric("runner_runs_unresumed"), 0.0);
}

/// A plan that holds `door` from its first step to its second, and waits in between for the file `go-NAME`.
fn at_the_door(name: &str) -> String {
    let act = |what: &str| format!("{{ action = \"command\", script = 'echo {what} {name} >> ../log' }}");
    format!(
        "[resources.door]\nowners = [\"{name}\"]\n\
         gone.{name} = [{{ check = \"command\", argv = [\"true\"] }}]\n\
         [[step]]\nid = \"enter\"\ntakes = {{ door = \"{name}\" }}\nforward = {}\ncompensate = {}\n\
         verify = [{{ check = \"command\", argv = [\"test\", \"-e\", \"../go-{name}\"] }}]\nverify_within = \"1h\"\n\
         [[step]]\nid = \"leave\"\nfrees = {{ door = \"{name}\" }}\nforward = {}\ncompensate = {}\n",
        act("enter"),
        act("undo enter"),
        act("leave"),
        act("undo leave")
    )
}

#[test]
fn a_resource_has_one_owner_across_runs_and_kills() {
    let house = House::new();
    for name in ["a", "b", "c"] {
        house.plan(name, &at_the_door(name));
    }
    let first = serve(&house);
    begin(&first, "a");
    until("the first is in", || first.step("a-1", "enter") == "verifying");
    begin(&first, "b");
    let waits = "waits for `door`, which run `a-1` holds";
    let detail = |serve: &Serve| {
        let status = serve.get("/api/v1/runs/b-1");
        if status.status == 200 { status.json()["steps"][0]["detail"].to_string() } else { String::new() }
    };
    until("the second waits", || detail(&first).contains(waits));
    // Wherever somebody looks, it says for whom it waits.
    let page = first.get("/runs/b-1").body;
    assert!(page.contains("which run <code>a-1</code> holds"), "{page}");
    for words in [&["status", "b"][..], &["why", "b", "enter"], &["events", "b"]] {
        let said = house.run(words);
        assert!(said.out.contains("which run `a-1` holds"), "{words:?}: {said:?}");
    }
    // Nobody remembers but the journal.
    first.kill();
    let second = serve(&house);
    begin(&second, "c");
    until("both wait", || {
        let status = second.get("/api/v1/runs/c-1");
        status.body.contains(waits) && detail(&second).contains(waits)
    });
    assert_eq!(house.read("log"), "enter a\n");
    ["a", "b", "c"].iter().for_each(|name| drop(house.write(&format!("go-{name}"), "")));
    ["a-1", "b-1", "c-1"]
        .iter()
        .for_each(|run| until("all are through", || second.standing(run) == "complete"));
    let log = house.read("log");
    let lines: Vec<&str> = log.lines().collect();
    for pair in lines.chunks(2) {
        assert_eq!(pair[0].replace("enter", "leave"), pair[1], "two were in at once: {lines:?}");
    }
    assert_eq!(lines.len(), 6, "{lines:?}");
    // Going back takes again what was freed: the same holds there.
    house.shell("rm go-b");
    begin(&second, "b");
    until("another is in", || second.step("b-2", "enter") == "verifying");
    assert_eq!(second.post("/api/v1/runs/a-1/rollback", &json!({})).status, 200);
    until("the way back waits", || {
        let status = second.get("/api/v1/runs/a-1").body;
        status.contains("waits for `door`, which run `b-2` holds")
    });
    assert_eq!(second.post("/api/v1/runs/b-2/cancel", &json!({})).status, 200);
    house.write("go-b", "");
    until("it is back", || second.standing("a-1") == "rolled_back");
    assert!(house.read("log").ends_with("enter b\nundo leave a\nundo enter a\n"), "{}", house.read("log"));
}

/// Who is inside looks whether anybody else is; a kill at any instant changes nothing of that.
#[test]
fn six_runs_at_one_door_are_never_two_inside_however_often_they_are_killed() {
    let house = House::new();
    house.shell("mkdir in");
    let names: Vec<String> = (0..6).map(|number| format!("r{number}")).collect();
    for name in &names {
        // One of them stays inside until there were enough kills, on a machine on which each takes its time.
        let last =
            if name == "r0" { "until [ -e ../enough ] || [ ! -d ../in ]; do sleep 0.01; done" } else { ":" };
        let act = |script: &str| format!("{{ action = \"command\", script = '{script}' }}");
        let lines = [
            format!("[resources.door]\nowners = [\"{name}\"]"),
            format!("gone.{name} = [{{ check = \"command\", argv = [\"true\"] }}]"),
            format!("[[step]]\nid = \"enter\"\nidempotent = true\ntakes = {{ door = \"{name}\" }}"),
            format!(
                "forward = {}",
                act(&format!("ls ../in | grep -vx {name} >> ../both; touch ../in/{name}; sleep 0.1; {last}"))
            ),
            "compensate = \"nothing\"".to_owned(),
            format!("[[step]]\nid = \"leave\"\nidempotent = true\nfrees = {{ door = \"{name}\" }}"),
            format!(
                "forward = {}\ncompensate = \"nothing\"",
                act(&format!("sleep 0.05; rm -f ../in/{name}"))
            ),
        ];
        house.plan(name, &lines.map(|line| line + "\n").concat());
    }
    let first = serve(&house);
    std::thread::scope(|scope| {
        names.iter().for_each(|name| drop(scope.spawn(|| begin(&first, name))));
    });
    let mut serving = first;
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let all_through =
        |serving: &Serve| names.iter().all(|name| serving.standing(&format!("{name}-1")) == "complete");
    let mut kills = 0;
    while !all_through(&serving) && kills < 12 {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        std::thread::sleep(Duration::from_millis(50 + seed % 150));
        serving.kill();
        kills += 1;
        if kills == 5 {
            house.write("enough", "");
        }
        serving = Serve::start(house.runner(&["serve", "--plans", "plans"]));
    }
    until("all are through", || all_through(&serving));
    assert_eq!(house.read("both"), "", "two were inside at once");
    assert!(kills >= 5, "they were through after {kills} kills");
    assert_eq!(house.tree("in").len(), 0);
}

#[test]
fn the_service_manager_hears_ready_alive_and_stopping() {
    let house = House::new();
    let socket = house.path.join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut command = house.runner(&["serve"]);
    command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "200000");
    let serve = Serve::start(command).ready();
    let mut heard = Vec::new();
    let mut hear = |until: &str| {
        let mut bytes = [0; 256];
        while heard.last().is_none_or(|last: &String| last != until) {
            let count = manager.recv(&mut bytes).unwrap();
            heard.push(String::from_utf8_lossy(&bytes[..count]).into_owned());
        }
        heard.clone()
    };
    hear("READY=1");
    hear("WATCHDOG=1");
    let stopper = std::thread::spawn(move || serve.terminate());
    let all = hear("STOPPING=1");
    assert!(all.iter().any(|line| line.starts_with("STATUS=0 runs are driven, http://")), "{all:?}");
    assert_eq!(stopper.join().unwrap().0, Some(0));
}

#[test]
fn who_has_no_token_or_comes_from_elsewhere_is_refused() {
    let house = House::new();
    house.plan("g", GATED);
    let token = "0123456789abcdef-token";
    let file = house.write("token", format!("{token}\n"));
    let refused = |words: &[&str], why: &str| {
        let said = house.run(words);
        assert_eq!(said.code, 2, "{said:?}");
        assert!(said.err.contains(why), "{}", said.err);
        assert!(!said.err.contains(token), "{}", said.err);
    };
    refused(&["serve", "--listen", "0.0.0.0:0"], "can be reached from other machines");
    refused(&["serve", "--listen", "0.0.0.0:0", "--token-file", "token"], "can be read by others");
    house.write("short", "abc");
    house.shell("chmod 600 token short");
    refused(&["serve", "--token-file", "short"], "at least 16");
    let serve =
        Serve::start(house.runner(&["serve", "--plans", "plans", "--token-file", file.to_str().unwrap()]));
    until("it is ready", || serve.get("/readyz").status == 200);
    let with = |value: &str| serve.ask("GET", "/api/v1/runs", &[("Authorization", value)], "").status;
    assert_eq!(serve.get("/api/v1/runs").status, 401);
    assert_eq!(serve.get("/metrics").status, 401);
    assert_eq!(serve.get("/").status, 303, "people are led to the sign-in");
    assert_eq!(with("Bearer wrong"), 401);
    assert_eq!(with(token), 401);
    assert_eq!(with(&format!("Bearer {token}")), 200);
    // Signing in with the form: its session carries on.
    let page = serve.get("/login");
    let cookie = page.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let form =
        page.body.split("name=\"form\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let login = |body: &str| {
        let kind = ("Content-Type", "application/x-www-form-urlencoded");
        serve.ask("POST", "/login", &[kind, ("Cookie", &cookie)], body)
    };
    assert_eq!(login(&format!("token={token}")).status, 409, "no form of this session");
    assert_eq!(login(&format!("form={form}&token=wrong")).status, 403);
    let signed = login(&format!("form={form}&token={token}"));
    assert_eq!(signed.status, 303, "{signed:?}");
    let set = signed.header("set-cookie").unwrap();
    assert!(set.contains("HttpOnly") && set.contains("SameSite=Strict"), "{set}");
    let session = set.split(';').next().unwrap();
    assert_eq!(serve.ask("GET", "/", &[("Cookie", session)], "").status, 200);
}

#[test]
fn a_page_of_somebody_else_and_a_rebound_name_change_nothing() {
    let house = House::new();
    house.plan("g", GATED);
    let serve = serve(&house);
    begin(&serve, "g");
    until("it asks", || serve.step("g-1", "gated") == "awaiting_approval");
    let say = |headers: &[(&str, &str)], body: &str| {
        serve.ask("POST", "/api/v1/runs/g-1/approve", headers, body).status
    };
    let body = r#"{"step":"gated"}"#;
    let json = ("Content-Type", "application/json");
    assert_eq!(say(&[json, ("Origin", "http://evil.example")], body), 403);
    assert_eq!(say(&[json, ("Origin", "null")], body), 403);
    assert_eq!(say(&[json, ("Sec-Fetch-Site", "cross-site")], body), 403);
    assert_eq!(say(&[json, ("Host", "evil.example")], body), 421);
    assert_eq!(say(&[("Content-Type", "text/plain")], body), 400, "what a form of another site can send");
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    assert_eq!(serve.ask("POST", "/runs/g-1/say/approve", &form, "step=gated").status, 409);
    assert_eq!(serve.ask("GET", "/", &[("Host", "evil.example")], "").status, 421);
    assert_eq!(serve.step("g-1", "gated"), "awaiting_approval");
    // What a command wrote is shown and not run.
    let page = serve.get("/runs/g-1").body;
    assert!(!page.contains("<img") && page.contains("&lt;img"), "{page}");
    let log = serve.get("/runs/g-1/steps/before/log/0");
    assert!(log.body.contains("<img"), "{log:?}");
    assert_eq!(log.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(log.header("x-content-type-options"), Some("nosniff"));
}

#[test]
fn huge_bodies_odd_requests_and_a_flood_disturb_nobody() {
    let house = House::new();
    house.plan("s", &soaking("s", "1h", "100ms"));
    let serve = serve(&house);
    begin(&serve, "s");
    let json = ("Content-Type", "application/json");
    let huge = "x".repeat(1_000_000);
    let answer = serve.ask("POST", "/api/v1/runs", &[json], &huge);
    assert!(matches!(answer.status, 413 | 0), "{answer:?}");
    for bytes in [
        &b"\x16\x03\x01\x02\x00hello"[..],
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /%00%ff%2e%2e/etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /runs/..%2f..%2fetc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"POST /api/v1/runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 5\r\nConnection: close\r\n\r\n{\"a\"}",
    ] {
        let answer = serve.raw(bytes);
        assert!(!(200..300).contains(&answer.status), "{answer:?}");
        assert!(!answer.body.contains("root:"), "{answer:?}");
    }
    let header = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "y".repeat(200_000));
    assert!(!(200..300).contains(&serve.raw(header.as_bytes()).status));
    let before = serve.metric("runner_soak_samples_total{result=\"good\"}");
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let answer = serve.get("/runs/s-1");
                    assert!(matches!(answer.status, 200 | 503), "{answer:?}");
                }
            });
        }
        let began = Instant::now();
        assert_eq!(serve.get("/healthz").status, 200);
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    });
    until("the soak goes on", || serve.metric("runner_soak_samples_total{result=\"good\"}") > before);
}

#[test]
fn two_hundred_followers_of_whom_none_reads() {
    let house = House::new();
    house.plan("s", &soaking("s", "1h", "50ms"));
    let serve = serve(&house);
    begin(&serve, "s");
    let ask = format!("GET /api/v1/runs/s-1/follow HTTP/1.1\r\nHost: {}\r\n\r\n", serve.address);
    let mut all = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(serve.address).unwrap();
        stream.write_all(ask.as_bytes()).unwrap();
        all.push(stream);
    }
    until("all of them follow", || serve.metric("runner_followers") >= 200.0);
    let began = Instant::now();
    assert_eq!(serve.get("/api/v1/runs/s-1").status, 200);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    for _ in 200..256 {
        let mut stream = TcpStream::connect(serve.address).unwrap();
        stream.write_all(ask.as_bytes()).unwrap();
        all.push(stream);
    }
    until("there is no place left", || serve.metric("runner_followers") >= 256.0);
    assert_eq!(serve.get("/api/v1/live").status, 503);
    drop(all);
    until("the places are free again", || serve.metric("runner_followers") == 0.0);
    // One that reads hears the end.
    let mut stream = TcpStream::connect(serve.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(ask.replace("follow ", "follow?from=2 ").as_bytes()).unwrap();
    assert_eq!(serve.post("/api/v1/runs/s-1/cancel", &json!({})).status, 200);
    let mut text = String::new();
    let mut bytes = [0; 4_096];
    while !text.contains("event: rest") {
        let count = stream.read(&mut bytes).unwrap();
        assert!(count > 0, "{text}");
        text.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    assert!(!text.contains("\"event\":\"run_opened\"") && text.contains("\"event\":\"cancelled\""), "{text}");
}

#[test]
fn a_head_that_never_ends_is_let_go() {
    let house = House::new();
    let serve = serve(&house);
    let mut slow: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(serve.address).unwrap()).collect();
    slow.iter_mut().for_each(|stream| stream.write_all(b"GET / HTTP/1.1\r\nX-Slow: ").unwrap());
    assert_eq!(serve.get("/healthz").status, 200);
    let began = Instant::now();
    for stream in &mut slow {
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut rest = Vec::new();
        drop(stream.read_to_end(&mut rest));
    }
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
}

#[test]
fn bodies_that_never_end_and_wrong_tokens_take_nobodys_turn() {
    let house = House::new();
    let file = house.write("token", "0123456789abcdef-token\n");
    house.shell("chmod 600 token");
    let serve = Serve::start(house.runner(&["serve", "--token-file", file.to_str().unwrap()]));
    until("it is ready", || serve.get("/readyz").status == 200);
    let answered = |what: &str| {
        let began = Instant::now();
        let token = [("Authorization", "Bearer 0123456789abcdef-token")];
        assert_eq!(serve.ask("GET", "/api/v1/runs", &token, "").status, 200, "{what}");
        assert!(began.elapsed() < Duration::from_secs(20), "{what}: {:?}", began.elapsed());
    };
    let login = serve.get("/login");
    let cookie = login.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let form =
        login.body.split("name=\"form\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    // Everybody may sign in, and so begin a body: more of them than there are turns.
    let slow = |kind: &str| {
        let head = format!(
            "POST /login HTTP/1.1\r\nHost: {}\r\nContent-Type: {kind}\r\nContent-Length: 1000\r\n\r\nf",
            serve.address
        );
        let mut stream = TcpStream::connect(serve.address).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    let mut all: Vec<TcpStream> = (0..40).map(|_| slow("application/x-www-form-urlencoded")).collect();
    // They are in the service, and not only on their way to it.
    std::thread::sleep(Duration::from_millis(300));
    answered("while forty bodies do not come");
    for stream in &mut all {
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut rest = String::new();
        drop(stream.read_to_string(&mut rest));
        assert!(rest.starts_with("HTTP/1.1 408"), "{rest}");
    }
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                let kind = ("Content-Type", "application/x-www-form-urlencoded");
                let guess = format!("form={form}&token=wrong");
                let status = serve.ask("POST", "/login", &[kind, ("Cookie", &cookie)], &guess).status;
                assert!(matches!(status, 403 | 503), "{status}");
            });
        }
        std::thread::sleep(Duration::from_millis(100));
        answered("while sixty-four guess a token");
    });
}

#[test]
fn a_report_is_one_file_and_says_everything() {
    let house = House::new();
    house.plan("g", &format!("{GATED}{}", soaking("g", "300ms", "50ms")));
    assert_eq!(house.run(&["apply", "plans/g.toml", "-y"]).code, 0);
    let wrong = house.run(&["report", "--out", "it.pdf"]);
    assert_eq!(wrong.code, 2, "{wrong:?}");
    for out in ["it.html", "it.md"] {
        assert_eq!(house.run(&["report", "g", "--out", out]).code, 0);
        let text = house.read(out);
        for part in [
            "What was planned",
            "Approvals",
            "Go on?",
            "Soaks",
            "Step by step",
            "How it could be undone today",
            "What happened, by event",
            "sha256",
        ] {
            assert!(text.contains(part), "{out} has no {part:?}");
        }
    }
    let markdown = house.read("it.md");
    let acts = |line: &&str| line.contains("<img") && !line.starts_with("    ") && !line.contains("\\<img");
    assert_eq!(markdown.lines().find(acts), None);
    let html = house.read("it.html");
    assert!(!html.contains("<img"));
    assert!(html.contains("<svg class=\"chart\"") && html.contains("<svg class=\"graph\""));
    for outside in ["http://", "https://", "<script", "<link", "url(\"", "@import"] {
        assert!(!html.contains(outside), "{outside}");
    }
    // The hash is the one that the journal ends with, also through a service.
    let hash = html.split("sha256 ").nth(1).unwrap()[..64].to_owned();
    let serve = serve(&house);
    assert_eq!(house.run(&["report", "g", "--out", "again.md"]).code, 0);
    assert!(house.read("again.md").contains(&hash));
    assert!(serve.get("/runs/g-1/report.html").body.contains(&hash));
}

#[test]
fn a_report_has_the_evidence_and_no_content_of_what_was_there() {
    let house = House::new();
    house.write("work/sealed", "hunter2-before\n");
    house.write("work/clear", "plain-before\n");
    house.shell("chmod 644 work/sealed work/clear");
    house.plan(
        "p",
        "[secrets]\nword = { env = \"THE_WORD\" }\n\
         [[step]]\nid = \"sealed\"\nneeds = []\n\
         forward = { action = \"file\", path = \"../work/sealed\", content = \"{{ secrets.word }}\", sensitive = true }\n\
         [[step]]\nid = \"clear\"\nforward = { action = \"file\", path = \"../work/clear\", content = \"after\" }\n\
         verify = [{ check = \"command\", script = 'test -e ../tried && exit 0; touch ../tried; exit 1' }]\n\
         [[step]]\nid = \"ask\"\napprove = \"Go on?\"\ncompensate = \"nothing\"\nforward = { action = \"command\", argv = [\"true\"] }\n\
         evidence = [{ check = \"file\", path = \"../work/clear\", contains = \"after\" }]\n",
    );
    let mut command = house.runner(&["serve", "--plans", "plans"]);
    command.env("THE_WORD", "hunter2-after");
    let serve = Serve::start(command).ready();
    begin(&serve, "p");
    until("it asks", || serve.step("p-1", "ask") == "awaiting_approval");
    let approved = json!({ "step": "ask", "by": "bob", "note": "seen it" });
    assert_eq!(serve.post("/api/v1/runs/p-1/approve", &approved).status, 200);
    until("it is complete", || serve.standing("p-1") == "complete");
    for out in ["it.html", "it.md"] {
        assert_eq!(house.run(&["report", "p", "--out", out]).code, 0);
    }
    // As it is read, whatever marks it up.
    let read = |text: String| text.replace('\\', "").replace("<code>", "").replace("</code>", "");
    let page = serve.get("/runs/p-1").body;
    for (name, text) in
        [("it.html", house.read("it.html")), ("it.md", house.read("it.md")), ("the page", page)]
    {
        let text = read(text);
        let target = |file: &str| format!("{}/plans/../work/{file}", house.path.display());
        for part in [
            target("sealed").as_str(),
            target("clear").as_str(),
            "sealed, because it may hold a secret",
            "kept in clear",
            "by ann via http from 127.0.0.1",
        ] {
            assert!(text.contains(part), "{name} has no {part:?}: {text}");
        }
        for content in ["hunter2", "plain-before"] {
            assert!(!text.contains(content), "{name} shows {content:?}");
        }
    }
    // Who opened it, what the yes was given for, and how a check that did not hold at first came to hold.
    let markdown = read(house.read("it.md"));
    let row = |cells: &[&str]| {
        let first = format!("| {}", cells[0]);
        let has = |line: &&str| line.starts_with(&first) && cells.iter().all(|cell| line.contains(cell));
        assert!(markdown.lines().any(|line| has(&line)), "no row with {cells:?} in {markdown}");
    };
    row(&["Opened", "by ann via http from 127.0.0.1"]);
    row(&["file", "work/clear", "holds"]);
    row(&["verify", "absent"]);
    row(&["verify", "holds"]);
    let answer = markdown.lines().find(|line| line.starts_with("Asked ")).unwrap();
    assert!(
        answer.contains("approved by bob via http from 127.0.0.1") && answer.contains("seen it"),
        "{answer}"
    );
}

#[test]
fn the_unit_is_one() {
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/runner.service");
    let Ok(tool) = std::process::Command::new("systemd-analyze").arg("--version").output() else {
        return worlds_support::skipped("there is no systemd-analyze");
    };
    assert!(tool.status.success());
    let house = House::new();
    // The binary and the manual page are where they are installed, which a test does not do.
    let text = std::fs::read_to_string(unit).unwrap();
    let text = text
        .replace("/usr/local/bin/runner", env!("CARGO_BIN_EXE_runner"))
        .replace("man:runner(1)", "https://example.org");
    let unit = house.write("runner.service", text);
    let judged = said(house.command("systemd-analyze").arg("verify").arg(unit).output().unwrap());
    assert_eq!((judged.code, judged.err.as_str()), (0, ""));
}

/// A server that takes what comes and says that all is well: the heads, in lower case, and the bodies.
fn taker() -> (std::net::SocketAddr, std::sync::mpsc::Receiver<(String, String)>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let (mut all, mut bytes) = (String::new(), [0; 4_096]);
            let (head, body) = loop {
                let count = stream.read(&mut bytes).unwrap();
                assert!(count > 0, "{all}");
                all.push_str(&String::from_utf8_lossy(&bytes[..count]));
                let Some((head, body)) = all.split_once("\r\n\r\n") else { continue };
                let head = head.to_lowercase();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
                if body.len() >= length.parse().unwrap() {
                    break (head, body.to_owned());
                }
            };
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
            if sender.send((head, body)).is_err() {
                return;
            }
        }
    });
    (address, told)
}

#[test]
fn people_are_told_and_who_hangs_disturbs_nobody() {
    let house = House::new();
    house.plan("g", GATED);
    let it = |more: &str, argv: &str| {
        format!(
            "[[step]]\nid = \"it\"\n{more}compensate = \"nothing\"\nforward = {{ action = \"command\", argv = {argv} }}\n"
        )
    };
    house.plan("f", &it("", "[\"false\"]"));
    house.plan("n", &it("timeout = \"100ms\"\n", "[\"sleep\", \"60\"]"));
    let ready = "rollback_ready = [{ check = \"command\", script = 'test ! -e ../gone' }]\n";
    house.plan("w", &format!("{}{ready}", soaking("w", "1h", "50ms")));
    // One that takes what comes and never answers, and two that do.
    let hangs = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let hangs_at = hangs.local_addr().unwrap();
    let ((hook_at, hook), (topic_at, topic)) = (taker(), taker());
    house.write(
        "notify.toml",
        format!(
            "link = \"https://page.example\"\n[[ntfy]]\nurl = \"http://{hangs_at}/topic\"\n\
             [[ntfy]]\nurl = \"http://{topic_at}/house\"\ntoken = \"tk_word\"\n\
             [[webhook]]\nurl = \"http://{hook_at}/hook\"\nheaders = {{ X-Key = \"k3y\" }}\n"
        ),
    );
    let refused = house.run(&["serve", "--listen", "127.0.0.1:0", "--notify", "notify.toml"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    house.shell("chmod 600 notify.toml");
    let serve = Serve::start(house.runner(&["serve", "--plans", "plans", "--notify", "notify.toml"])).ready();
    // What both are told of a run: the kind, the step, the command that answers, and whether it is loud.
    let told = |kind: &str, run: &str, step: Option<&str>, command: &str, loud: bool| {
        let (head, body) = hook.recv_timeout(Duration::from_secs(20)).unwrap();
        assert!(head.starts_with("post /hook ") && head.contains("x-key: k3y"), "{head}");
        let notice: serde_json::Value = serde_json::from_str(&body).unwrap();
        let link = format!("https://page.example/runs/{run}");
        assert_eq!((&notice["type"], &notice["kind"]), (&"notice".into(), &kind.into()), "{notice}");
        assert_eq!((&notice["run"], &notice["step"]), (&run.into(), &json!(step)), "{notice}");
        assert_eq!(
            (&notice["command"], &notice["link"]),
            (&command.into(), &link.clone().into()),
            "{notice}"
        );
        let (head, body) = topic.recv_timeout(Duration::from_secs(20)).unwrap();
        let priority = if loud { "high" } else { "default" };
        for line in [
            "post /house http/1.1".to_owned(),
            format!("title: {run}: {}", kind.replace('_', " ")),
            format!("click: {link}"),
            format!("priority: {priority}"),
            "authorization: bearer tk_word".to_owned(),
        ] {
            assert!(head.lines().any(|found| found == line), "no {line:?} in {head}");
        }
        assert_eq!(body, format!("{}\n{command}", notice["text"].as_str().unwrap()));
        assert!(body.contains(run), "{body}");
    };
    begin(&serve, "g");
    told("approval", "g-1", Some("gated"), "runner approve g-1 gated", true);
    assert_eq!(serve.post("/api/v1/runs/g-1/approve", &json!({ "step": "gated" })).status, 200);
    told("complete", "g-1", None, "runner status g-1", false);
    begin(&serve, "f");
    told("halted", "f-1", None, "runner status f-1", true);
    begin(&serve, "n");
    told("needs_attention", "n-1", None, "runner status n-1", true);
    begin(&serve, "w");
    until("it soaks", || serve.step("w-1", "soak") == "soaking");
    house.write("gone", "");
    told("way_back_lost", "w-1", Some("soak"), "runner approve w-1 soak", true);
    assert_eq!(serve.post("/api/v1/runs/w-1/cancel", &json!({})).status, 200);
    told("cancelled", "w-1", None, "runner status w-1", false);
    drop(hangs);
}
