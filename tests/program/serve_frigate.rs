//! Goal: the whole journey of `plans/frigate.toml` is made from the page alone: begun, every gate answered, days of soaking
//! watched, and the way back looked at. Method: a real browser, a real service, the simulated house of the demo in this
//! process, and clocks that leap for both.

#![cfg(feature = "demo")]
#![allow(clippy::unwrap_used, reason = "a test")]

use crate::serve_support;
use crate::worlds_support;

use crate::serve_support::browser;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use browser::Browser;
use runner::lab::house::{House as Simulated, PASSWORD, TOKEN};
use serve_support::{Serve, until};
use worlds_support::House;

/// Longer than it may take on a busy machine: a limit against hanging.
const LIMIT: Duration = Duration::from_secs(400);

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The plan as the demo has it: sampled by the hour.
fn unpack(house: &House) {
    let plan = std::fs::read_to_string(repository().join("plans/frigate.toml")).unwrap();
    let (from, to) = (r#"for = "3d", every = "5m""#, r#"for = "3d", every = "1h""#);
    assert_eq!(plan.matches(from).count(), 1);
    house.write("plans/frigate.toml", plan.replace(from, to));
    for entry in std::fs::read_dir(repository().join("plans/frigate")).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("plans/frigate/{}", path.file_name().unwrap().to_str().unwrap());
        house.write(&name, std::fs::read(&path).unwrap());
    }
}

/// Lets the house's time follow that of the service.
fn follow(clock: runner::lab::Clock, file: PathBuf, over: Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let mut ahead = 0;
        while !over.load(Ordering::SeqCst) {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            let now = text.split(' ').nth(1).and_then(|word| word.parse::<u64>().ok()).unwrap_or(ahead);
            if now > ahead {
                clock.leap(now - ahead).unwrap();
                ahead = now;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_move_is_made_from_the_page() {
    if std::env::var_os("RUNNER_FULL").is_none() {
        return worlds_support::only_in_full("the Frigate journey is made from the page with RUNNER_FULL=1");
    }
    let Some(browser) = Browser::start() else {
        return worlds_support::skipped("there is no chromium with its driver: the page is not looked at");
    };
    let house = House::new();
    unpack(&house);
    let simulated =
        Simulated::open(&house.path.join("house"), Path::new(env!("CARGO_BIN_EXE_runner"))).await.unwrap();
    let clock = house.write("clock", "0 0 leaps");
    let over = Arc::new(AtomicBool::new(false));
    let following = follow(simulated.clock.clone(), clock.clone(), Arc::clone(&over));
    let mut command = house.runner(&["serve", "--plans", "plans"]);
    command.env("RUNNER_TEST_CLOCK", &clock);
    for (name, value) in [
        ("HA_TOKEN", TOKEN),
        ("FRIGATE_MQTT_USER", "frigate"),
        ("FRIGATE_MQTT_PASSWORD", PASSWORD),
        ("FRIGATE_CAMERA_USER", "viewer"),
        ("FRIGATE_CAMERA_PASSWORD", "lab-password-of-the-cameras"),
    ] {
        command.env(name, value);
    }
    let serve = Serve::start(command).ready();
    let look = |name: &str| {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("page");
        std::fs::create_dir_all(&folder).unwrap();
        browser.picture(&folder.join(format!("frigate-{name}.png")));
    };
    browser.size(1280, 1600, false);
    browser.go(&format!("http://{}/", serve.address));
    browser.click("#plan-frigate summary");
    let variables = simulated.variables().replace(" = ", "=").replace('"', "");
    browser.write("#plan-frigate textarea", variables.trim());
    browser.write("#plan-frigate input[name=by]", "ann");
    browser.click("#plan-frigate button.yes");
    until("it is begun", || !serve.standing("frigate-1").is_empty());
    browser.says("frigate-1");
    // From here on the page says what there is to do, and somebody clicks.
    let (began, mut answered) = (Instant::now(), 0);
    loop {
        let text = browser.text();
        assert!(began.elapsed() < LIMIT, "it does not end: {text}");
        for wrong in ["has halted", "needs attention", "it failed", "is rolled back"] {
            assert!(!text.contains(wrong), "{text}");
        }
        if text.contains("frigate-1 is complete") {
            break;
        }
        if browser.script("return document.querySelectorAll('#questions button.yes').length") != 0 {
            answered += 1;
            look(&format!("gate-{answered}"));
            browser.click("#questions button.yes");
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    look("complete");
    assert!(answered >= 1, "no gate was answered");
    assert!(browser.text().contains("3 d of 3 d healthy"), "{}", browser.text());
    assert_eq!(serve.standing("frigate-1"), "complete");
    for secret in [TOKEN, PASSWORD, "lab-password-of-the-cameras"] {
        assert!(
            !browser.script("return document.documentElement.outerHTML").as_str().unwrap().contains(secret)
        );
    }
    assert!(browser.complaints().is_empty(), "{:#?}", browser.complaints());
    over.store(true, Ordering::SeqCst);
    following.join().unwrap();
}
