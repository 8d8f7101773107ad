//! Goal: in every scenario of `runner demo` the run does what it must: it stops before harm, waits, heals, goes on, or goes
//! all the way back. Method: the real binary, several at once, each judged by what its house has on file afterwards and not
//! by what `runner` says. Also that `docs/scenarios.md` is the list that the program has.

#![cfg(feature = "demo")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use crate::support;

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::demo::Demo;
use support::lab;

/// How many houses there are at once. Most of what they do is waiting.
const AT_ONCE: usize = 6;

/// What has to be so afterwards.
type Judge = fn(&Demo);

/// The exit code of a scenario, and the judge of its house. That it was broken, and the step at which it ends, are judged of
/// all alike.
const CASES: &[(&str, i32, Judge)] = &[
    // Those that take longest first.
    ("degrades", 0, brought_back),
    ("asleep", 0, |demo| {
        demo.assert_moved();
        // Three days were watched beside the ten that nobody watched.
        let ahead = demo.file("clock.json").as_u64().unwrap();
        assert!(ahead > hours(13 * 24 - 6), "{ahead}");
    }),
    ("cluster-blip", 0, |demo| {
        demo.assert_moved();
        assert_eq!(
            demo.file("kubernetes/state.json")["faults"],
            Value::Array(Vec::new()),
            "it has not come to it"
        );
        let missed = |event: &Value| {
            event["event"] == "soak_sampled"
                && event["step"] == "soak"
                && event.to_string().contains("was told to answer so")
        };
        assert!(demo.events().iter().any(missed), "no look was lost");
    }),
    ("owns-recordings", 3, |demo| {
        stopped_and_kept(demo);
        let volumes = demo.file("still-fawn/node.json")["volumes"].clone();
        assert_eq!(volumes["local-zfs:subvol-110-disk-1"]["content"], "recordings of a year");
    }),
    ("half-destroyed", 3, |demo| {
        stopped_and_kept(demo);
        assert_eq!(demo.container()["config"]["lock"], "destroyed", "it was tried again");
    }),
    ("protected", 3, |demo| {
        stopped_and_kept(demo);
        assert_eq!(demo.container()["config"]["protection"], "1");
    }),
    ("change-of-mind", 0, |demo| {
        brought_back(demo);
        // Home Assistant polls every second: less than two of its polls without a camera, there and back.
        for (from, to, why) in demo.gaps() {
            assert!(to - from < 2_000, "{why}: {} ms", to - from);
        }
    }),
    ("home-changed", 0, |demo| {
        brought_back(demo);
        assert!(demo.entries().iter().any(|entry| entry["title"] == "Garage"), "{:?}", demo.entries());
    }),
    ("already-stopped", 0, |demo| {
        stopped_and_kept(demo);
        assert_eq!(demo.step("stop-old")["status"], "satisfied");
        let back = demo.shown(&["rollback", "--dry-run"]);
        let named = |list: &str| back[list].as_array().unwrap().iter().any(|row| row["step"] == "stop-old");
        assert!(named("stays") && !named("undo"), "{back}");
    }),
    ("last-will", 0, |demo| {
        assert_eq!((demo.available().as_str(), demo.home_assistant_uses()), ("online", "new"));
        assert!(
            demo.gaps().iter().any(|(_, _, why)| why.contains("MQTT")),
            "the will was not heard: {:?}",
            demo.gaps()
        );
        assert!(demo.gaps().iter().all(|(_, to, _)| *to != u64::MAX), "{:?}", demo.gaps());
    }),
    ("address-moves", 3, stopped_and_kept),
    ("onboot-again", 4, |demo| {
        assert_eq!(demo.home_assistant_uses(), "new");
        assert_eq!(demo.container()["config"]["onboot"], "1");
    }),
    ("started-by-hand", 3, |demo| {
        assert_eq!(demo.home_assistant_uses(), "new");
        assert_eq!(demo.container()["running"], true, "nothing was deleted");
    }),
    ("coral-unplugged", 4, stopped_and_kept),
    ("recordings-unmounted", 4, stopped_and_kept),
    ("archive-pruned", 4, stopped_and_kept),
    ("hook-gone", 4, stopped_and_kept),
    ("reconfigured", 4, |demo| {
        stopped_and_kept(demo);
        // What there was before stands in the report: somebody compares the two.
        let report = demo.report();
        let of = |name: &str| {
            let row = report.lines().find_map(|line| line.strip_prefix(&format!("| {name} | ")));
            row.unwrap_or_else(|| panic!("no `{name}` in {report}")).trim_end_matches(" |").to_owned()
        };
        assert!(of("homeassistant.entities").parse::<u32>().unwrap() > 3);
        assert!(of("homeassistant.frigate").contains(&demo.url("old")));
        assert!(of("container.config").contains("memory: 8192"), "{}", of("container.config"));
        assert_ne!(of("container.digest"), of("digest"), "`onboot` was set between the two");
    }),
    ("media-full", 3, stopped_and_kept),
    ("gpu-lost", 3, stopped_and_kept),
    ("version-moved", 3, stopped_and_kept),
    ("locked", 0, |demo| {
        stopped_and_kept(demo);
        assert_eq!(demo.container()["config"]["lock"], Value::Null);
        let acted = |event: &Value| event["event"] == "acted" && event["step"] == "stop-old";
        let acted = demo.events().into_iter().find(acted).unwrap();
        assert!(acted["trace"]["tail"].as_str().unwrap().contains("CT is locked (backup)"), "{acted}");
    }),
    ("ssh-drops", 0, stopped_and_kept),
    ("shutdown-hangs", 3, |demo| {
        assert_eq!(demo.home_assistant_uses(), "new");
        assert_eq!(demo.container()["running"], true);
        assert!(demo.runs("old") && demo.runs("new"));
    }),
    ("no-snapshots", 0, |demo| {
        assert_eq!(demo.file("still-fawn/node.json")["archives"].as_array().unwrap().len(), 1);
        assert_eq!(demo.container()["running"], true);
    }),
    ("backup-fails", 3, |demo| {
        assert_eq!(demo.file("still-fawn/node.json")["archives"].as_array().unwrap().len(), 0);
        assert_eq!(demo.container()["running"], true);
        assert_eq!(demo.container()["config"]["onboot"], "1");
    }),
    // Home Assistant.
    ("unreachable-from-home", 5, |demo| {
        demo.assert_brought_back();
        assert_eq!(demo.file("homeassistant/homeassistant.json")["writes"], 0);
    }),
    ("unreachable-from-older", 5, |demo| {
        demo.assert_brought_back();
        assert_eq!(demo.file("homeassistant/homeassistant.json")["writes"], 0, "it was stopped");
        assert!(demo.gaps().is_empty(), "{:?}", demo.gaps());
    }),
    ("not-set-up", 5, |demo| {
        demo.assert_brought_back();
        // It had the new address, and was let have the old one.
        assert!(demo.gaps().iter().any(|(_, _, why)| why.contains("entry")), "{:?}", demo.gaps());
        assert!(demo.gaps().iter().all(|(_, to, _)| *to != u64::MAX), "{:?}", demo.gaps());
    }),
    ("meddled", 5, |demo| {
        demo.assert_brought_back();
        assert_eq!(demo.file("homeassistant/homeassistant.json")["writes"], 0);
    }),
    ("disk-full", 5, |demo| {
        demo.assert_brought_back();
        assert_eq!(demo.file("homeassistant/homeassistant.json")["running"], true);
    }),
    ("entries-lost", 6, |demo| {
        // What was there before is kept beside, whole; both Frigates stay.
        let kept = fs::read_dir(demo.house().join("homeassistant/.storage")).unwrap();
        let kept =
            kept.map(|entry| entry.unwrap().path()).find(|path| path.to_string_lossy().contains(".runner-"));
        let kept = fs::read_to_string(kept.expect("a copy from before")).unwrap();
        assert!(kept.contains("Türkamera ✨") && kept.contains(&demo.url("old")), "{kept}");
        assert!(demo.runs("old") && demo.runs("new"));
        assert_eq!(demo.container()["config"]["onboot"], "1");
    }),
    ("start-outlasts", 0, repointed),
    ("overwritten", 0, repointed),
    ("cut-at-edit", 0, repointed),
    ("same-address-twice", 0, |demo| {
        repointed(demo);
        let generic = demo.entries().into_iter().find(|entry| entry["domain"] == "generic").unwrap();
        assert_eq!(generic["data"]["url"], demo.url("old"));
        assert_eq!(generic["title"], "Türkamera ✨");
        assert!(demo.storage().contains("Türkamera ✨") || demo.storage().contains("T\\u00fcrkamera"));
    }),
    // The new Frigate, beside the old one.
    ("slow-start", 0, |demo| {
        both_run(demo);
        let looks = |event: &Value| event["event"] == "verify_looked" && event["step"] == "deploy";
        assert!(demo.events().iter().any(looks), "it was not waited for");
        assert_eq!(demo.step("deploy")["attempts"], 1);
        let pods = demo.file("kubernetes/state.json")["objects"].clone();
        let pods = pods.as_object().unwrap().iter().filter(|(key, _)| key.starts_with("pods./frigate/"));
        let pods: Vec<&Value> =
            pods.map(|(_, pod)| &pod["status"]["containerStatuses"][0]["restartCount"]).collect();
        assert_eq!(pods, [0], "it was started again");
    }),
    ("camera-moved", 0, |demo| {
        assert_eq!(demo.home_assistant_uses(), "old");
        assert!(demo.runs("new"));
    }),
    ("crash-loop", 3, Demo::assert_as_before),
    ("detector-loop", 3, Demo::assert_as_before),
    ("detection-off", 3, both_run),
    ("camera-dead", 3, both_run),
    ("all-skipped", 3, both_run),
    ("camera-missing", 3, |demo| {
        both_run(demo);
        let registry = demo.file("homeassistant/homeassistant.json")["registry"].clone();
        assert!(registry["camera.reolink_doorbell"].is_object(), "its device was deleted");
    }),
    ("address-pending", 3, Demo::assert_as_before),
    ("address-taken", 3, |demo| {
        demo.assert_as_before();
        let ollama = demo.object("services./default/ollama");
        assert_eq!(ollama["status"]["loadBalancer"]["ingress"][0]["ip"], "198.51.100.83", "{ollama}");
    }),
    ("no-endpoints", 3, Demo::assert_as_before),
    ("broker-unseen", 3, both_run),
    ("clients-fight", 3, Demo::assert_as_before),
    // Before anything.
    ("same-client-id", 3, Demo::assert_untouched),
    ("agent-down", 3, Demo::assert_untouched),
    ("login-missing", 3, Demo::assert_untouched),
    ("token-revoked", 3, Demo::assert_untouched),
    ("wrong-container", 3, Demo::assert_untouched),
];

fn hours(hours: u64) -> u64 {
    hours * 3_600_000
}

/// Home Assistant uses the new one, and the old container stands ready for the way back.
fn stopped_and_kept(demo: &Demo) {
    assert_eq!(demo.home_assistant_uses(), "new");
    assert!(demo.runs("new"));
    let container = demo.container();
    assert_eq!(container["running"], false, "{container}");
    assert_eq!(container["config"]["onboot"], "0", "{container}");
}

fn brought_back(demo: &Demo) {
    demo.assert_brought_back();
    assert!(demo.house().join("still-fawn/recordings/yesterday.mp4").exists());
}

/// Home Assistant uses the new one; the old one runs as it did.
fn repointed(demo: &Demo) {
    assert_eq!(demo.home_assistant_uses(), "new");
    assert_eq!(demo.container()["running"], true);
    assert_eq!(demo.file("homeassistant/homeassistant.json")["running"], true);
    assert!(demo.gaps().iter().all(|(_, to, _)| *to != u64::MAX), "{:?}", demo.gaps());
}

/// Home Assistant uses the old one, and the new one stands beside it.
fn both_run(demo: &Demo) {
    demo.assert_as_before();
    assert!(demo.runs("new"));
}

/// Scenarios that kill their own process once.
const KILLED: &[&str] = &["cut-at-edit"];

fn judge(
    (name, code, judge): &(&'static str, i32, Judge),
    ends: &BTreeMap<String, String>,
) -> Result<(), String> {
    let demo = Demo::new(Some(name));
    let judged = catch_unwind(AssertUnwindSafe(|| {
        if KILLED.contains(name) {
            assert_eq!(demo.run(), 137, "it was not killed");
        }
        assert_eq!(demo.run(), *code, "the exit code");
        assert!(demo.house().join("struck").exists(), "nothing was broken");
        ends_as_told(&demo, &ends[*name], *code);
        judge(&demo);
    }));
    judged.map_err(|panic| format!("{name}: {}\n{}", words(&*panic), demo.said()))
}

/// Whether it ended as the last column of the table says, and at that step: `halts at `deploy` (exit 3)`.
fn ends_as_told(demo: &Demo, told: &str, code: i32) {
    assert!(told.ends_with(&format!("(exit {code})")), "told is `{told}`");
    let step = told.split('`').nth(1).filter(|step| !step.contains(' '));
    let events = demo.events();
    let failed = events.iter().filter(|event| event["event"] == "failed");
    let failed: BTreeSet<&str> = failed.map(|event| event["step"].as_str().unwrap()).collect();
    let fails = ["halts at", "fails, rolled back", "needs a person"].iter().any(|words| told.contains(words));
    assert_eq!(
        failed,
        step.filter(|_| fails).into_iter().collect(),
        "the steps that failed; told is `{told}`"
    );
    let status = demo.shown(&["status"]);
    let rests = status["standing"].as_str().unwrap();
    let last = |status: &str| assert_eq!(demo.step(step.unwrap())["status"], status, "told is `{told}`");
    match told {
        _ if told.contains("roll") => assert_eq!(rests, "rolled_back", "told is `{told}`"),
        _ if told.contains("needs a person") => {
            assert_eq!(rests, "needs_attention", "told is `{told}`");
            last("compensation_failed");
        }
        _ if fails => assert_eq!(rests, "halted", "told is `{told}`"),
        _ if told.starts_with("waits at") => last("soaking"),
        _ => assert!(["complete", "open"].contains(&rests), "{rests}, told is `{told}`"),
    }
}

/// How each ends, as the program tells it.
fn ends() -> BTreeMap<String, String> {
    let rows = table();
    let rows = rows.lines().filter(|line| line.starts_with("| `"));
    let each = rows.map(|row| {
        let name = row.split('`').nth(1).unwrap().to_owned();
        (name, row.trim_end_matches(" |").rsplit(" | ").next().unwrap().to_owned())
    });
    each.collect()
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

/// All with `RUNNER_FULL=1`, those that `RUNNER_SCENARIOS` names, else every third, from one that nobody foresees.
fn chosen() -> Vec<&'static (&'static str, i32, Judge)> {
    if let Some(named) = std::env::var_os("RUNNER_SCENARIOS") {
        let named = named.into_string().unwrap();
        return CASES.iter().filter(|(name, ..)| named.split(',').any(|one| one == *name)).collect();
    }
    if lab::full() {
        return CASES.iter().collect();
    }
    let first = lab::Dice::new("scenarios").below(3);
    CASES.iter().skip(usize::try_from(first).unwrap()).step_by(3).collect()
}

#[test]
fn every_scenario_ends_as_it_must() {
    let (cases, ends) = (chosen(), ends());
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let took = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let began = Instant::now();
                    if let Err(why) = judge(case, &ends) {
                        failed.lock().unwrap().push(why);
                    }
                    took.lock().unwrap().push((began.elapsed(), case.0));
                }
            });
        }
    });
    let mut took = took.into_inner().unwrap();
    took.sort();
    let each: Vec<_> = took.iter().map(|(took, name)| format!("{name} {:.1}", took.as_secs_f64())).collect();
    println!("in seconds: {}", each.join(", "));
    println!("in all: {:.0?}", took.iter().map(|(took, _)| *took).sum::<Duration>());
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} of {}:\n{}", failed.len(), cases.len(), failed.join("\n\n"));
}

/// What `demo --list` says to programs.
fn table() -> String {
    let output =
        Command::new(env!("CARGO_BIN_EXE_runner")).args(["--json", "demo", "--list"]).output().unwrap();
    assert!(output.status.success());
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    object["text"].as_str().unwrap().to_owned()
}

#[test]
fn the_page_and_the_cases_are_those_of_the_program() {
    let table = table();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let (listed, judged): (BTreeSet<&str>, BTreeSet<&str>) =
        (rows.collect(), CASES.iter().map(|(name, ..)| *name).collect());
    assert_eq!(listed, judged);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/scenarios.md");
    let page = fs::read_to_string(path).unwrap();
    let head = page.find("| scenario |").expect("the page has the table's head");
    let end = page[head..].find("\n\n").map_or(page.len(), |length| head + length + 1);
    let whole = format!("{}{table}{}", &page[..head], &page[end..]);
    if std::env::var_os("RUNNER_WRITE_MANUAL").is_some() {
        fs::write(path, whole).unwrap();
    } else {
        assert!(
            page == whole,
            "docs/scenarios.md is not what the program has: RUNNER_WRITE_MANUAL=1 writes it"
        );
    }
}
