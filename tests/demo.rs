//! Goal: `runner demo` takes the simulated house where it says, whatever happens on the way. Method: the real binary, judged by
//! what the house itself has on file, not by what `runner` says.

#![cfg(feature = "demo")]
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::time::Duration;

use support::demo::Demo;
use support::lab;

#[test]
fn the_journey_ends_where_it_should_and_nobody_misses_a_camera() {
    let demo = Demo::new(None);
    assert_eq!(demo.run(), 0, "{}", demo.said());
    demo.assert_moved();
    // Home Assistant polls every second: less than two of its polls without a camera.
    for gap in demo.file("homeassistant/homeassistant.json")["gaps"].as_array().unwrap() {
        let (from, to) = (gap["from_ms"].as_u64().unwrap(), gap["to_ms"].as_u64());
        let down_anyway = gap["camera"] == "old_ip_camera";
        assert!(down_anyway || to.is_some_and(|to| to - from < 2_000), "{gap}");
    }
    // Again it has nothing to do.
    assert_eq!(demo.run(), 0, "{}", demo.said());
    demo.assert_moved();
}

#[test]
fn killed_at_any_instant_it_ends_as_undisturbed() {
    let kills = if lab::full() { 100 } else { 6 };
    let mut dice = lab::Dice::new("the journey");
    let demo = Demo::new(None);
    for _ in 0..kills {
        let mut child = demo.start();
        std::thread::sleep(Duration::from_millis(dice.below(9_000)));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(demo.run(), 0, "{}", demo.said());
    demo.assert_moved();
}
