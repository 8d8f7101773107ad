//! Goal: `runner demo` takes the simulated house where it says, whatever happens on the way. Method: the real binary, judged by
//! what the house itself has on file, not by what `runner` says; what it says is held against that too.

#![cfg(feature = "demo")]
#![allow(clippy::unwrap_used, reason = "a test")]

use crate::support;

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use support::demo::Demo;
use support::house::{on_file, settled, without_what_is_made_up};
use support::lab;

#[test]
fn the_journey_ends_where_it_should_and_nobody_misses_a_camera() {
    let demo = Demo::new(None);
    assert_eq!(demo.run(), 0, "{}", demo.said());
    demo.assert_moved();
    // Home Assistant polls every second: less than two of its polls without a camera, and each of them was missed and was back.
    let gaps = demo.file("homeassistant/homeassistant.json")["gaps"].clone();
    let gaps = gaps.as_array().unwrap();
    for camera in ["trendnet_ip_572w", "reolink_doorbell"] {
        let own: Vec<_> = gaps.iter().filter(|gap| gap["camera"] == camera).collect();
        assert!(!own.is_empty(), "nobody has measured how long `{camera}` was missed: {gaps:?}");
        let missed: u64 =
            own.iter().map(|gap| gap["to_ms"].as_u64().unwrap() - gap["from_ms"].as_u64().unwrap()).sum();
        assert!(missed < 2_000, "`{camera}` was missed for {missed} ms: {own:?}");
    }
    the_story_is_told(&demo);
    // Again it has nothing to do.
    assert_eq!(demo.run(), 0, "{}", demo.said());
    demo.assert_moved();
}

/// What was moved from where to where, and what would be undone how: held against what the house has on file.
fn the_story_is_told(demo: &Demo) {
    let archives = demo.file("still-fawn/node.json")["archives"].clone();
    let archive = archives[0]["volid"].as_str().unwrap();
    let service = demo.object("services./frigate/frigate");
    let address = service["status"]["loadBalancer"]["ingress"][0]["ip"].as_str().unwrap();
    let said = demo.said();
    for words in [
        format!("deploy       the new Frigate: came up at {address} on node gpu-1\n"),
        format!("repoint      Home Assistant: moved from {} to {}\n", demo.url("old"), demo.url("new")),
        format!("backup       container 110 on host `old`: backed up as {archive}\n"),
        "stop-old     container 110 on host `old`: shut down, and kept\n".to_owned(),
        "delete-old   container 110 on host `old`: deleted\n".to_owned(),
        "delete-old              lxc.destroy: restored from the archive\n".to_owned(),
        "stop-old                lxc.stop: started again, its `onboot` as it was; then a check until it holds\n"
            .to_owned(),
        "repoint                 homeassistant.repoint: the address that it had, by the same way; then a check"
            .to_owned(),
        "deploy                  kubernetes.apply: what it made is deleted and what it changed is as it was"
            .to_owned(),
        "why STEP`.\nThere is no way back from a deletion but the archive".to_owned(),
    ] {
        assert!(said.contains(&words), "no `{words}` in:\n{said}");
    }
}

#[test]
fn killed_at_any_instant_it_ends_as_undisturbed() {
    let kills = if lab::full() { 100 } else { 6 };
    let mut dice = lab::Dice::new("the journey");
    let demo = Demo::new(None);
    settled(&demo.house());
    demo.keep();
    assert_eq!(demo.run(), 0, "{}", demo.said());
    demo.assert_moved();
    let undisturbed = without_what_is_made_up(&on_file(&demo.house()));
    let judge = |code: i32| {
        assert_eq!(code, 0, "{}", demo.said());
        demo.assert_moved();
        let disturbed = without_what_is_made_up(&on_file(&demo.house()));
        let lacks: Vec<_> = undisturbed.iter().filter(|line| !disturbed.contains(line)).collect();
        let more: Vec<_> = disturbed.iter().filter(|line| !undisturbed.contains(line)).collect();
        assert_eq!(undisturbed, disturbed, "lacks {lacks:#?}\nhas {more:#?}\n{}", demo.said());
    };
    demo.again();
    let mut killed = 0;
    while killed < kills {
        let mut child = demo.start();
        std::thread::sleep(Duration::from_millis(dice.below(9_000)));
        child.kill().unwrap();
        let status = child.wait().unwrap();
        match status.signal() {
            Some(_) => killed += 1,
            // It had come to its end before: another journey is disturbed.
            None => {
                judge(status.code().unwrap());
                demo.again();
            }
        }
    }
    judge(demo.run());
}

#[test]
fn kept_the_house_can_be_looked_around_in_as_it_says() {
    // Nobody is there to be asked: it waits before the deletion.
    let demo = Demo::new(None);
    let mut child = demo.start_with(&["--ask", "--keep"]);
    demo.until_said(&mut child, "rollback         runner");
    let waits = demo.shown(&["status"]);
    let steps = waits["steps"].as_array().unwrap();
    let open: Vec<_> = steps.iter().filter(|step| step["status"] == "awaiting_approval").collect();
    assert!(open.len() == 1 && open[0]["id"] == "delete-old", "{waits}");
    assert_eq!(demo.container()["running"], false);
    assert_eq!(demo.home_assistant_uses(), "new");
    // The commands that it prints, with the secrets that it prints.
    let said = demo.said();
    let lines: Vec<&str> = said.lines().map(str::trim).collect();
    let printed = |name: &str| {
        let line = lines
            .iter()
            .find(|line| line.starts_with(&format!("{name} ")) && line.contains("runner --state"));
        line.unwrap_or_else(|| panic!("no `{name}`: {said}"))[name.len()..].trim().to_owned()
    };
    let secrets = lines.iter().find(|line| line.starts_with("export ")).unwrap();
    let typed = |name: &str| {
        let output = demo.typed(&format!("{secrets}; {}", printed(name)));
        let text =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.code().unwrap(), text)
    };
    let (code, text) = typed("status");
    assert!(code == 0 && text.contains("Delete LXC 110"), "{code}: {text}");
    let (code, text) = typed("plan");
    assert!(code == 0 && text.contains("undone by lxc.destroy"), "{code}: {text}");
    assert_eq!(demo.container()["running"], false, "they only look");
    let (code, text) = typed("rollback");
    assert_eq!(code, 0, "{text}");
    // Home Assistant writes its file a little later than it changes, and when the house is closed.
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(demo.end(child), 4, "{}", demo.said());
    demo.assert_brought_back();
}
