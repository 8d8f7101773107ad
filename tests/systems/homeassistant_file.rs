//! Goal: where an entry cannot be reconfigured, exactly this entry is edited while Home Assistant is stopped, and wherever
//! the attempt is cut off it is finished or undone. Method: the action through the simulated Proxmox node's guest agent, the
//! simulated Home Assistant in that guest, and files as the recorded ones; every case of the facts about the storage file
//! (facts/migration.md 1.3, 4.2, 8: F9, F10, F12 to F16, F40 to F42) is one below.

#![allow(clippy::unwrap_used, reason = "a test")]

use crate::homeassistant_support;
use crate::support;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use homeassistant_support::estate::{Estate, VMID};
use runner::lab::proxmox::Agent;
use runner::saga::{FailureClass, Settlement, Verdict};
use serde_json::{Value, json};
use support::world::{acted, failed};

/// Each command in a guest takes a second.
macro_rules! full {
    () => {
        if std::env::var_os("RUNNER_FULL").is_none() {
            support::skip::say("more of the storage file in a guest: RUNNER_FULL=1 tries it");
            return;
        }
    };
}

macro_rules! estate {
    ($start:expr) => {
        match $start.await {
            Some(estate) => estate,
            None => return,
        }
    };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stop_edit_start_and_all_the_way_back() {
    let estate = estate!(Estate::start());
    let (house, before) = (&estate.house, estate.file());
    let (old, new) = (house.old.url(), house.new.url());
    assert_eq!(estate.probe().await.0, Verdict::Absent);
    let pre_image = estate.pre_image().await;
    assert_eq!(estate.file(), before, "a look changed the file");
    // Nothing done is undone.
    acted(estate.undo(1, &pre_image).await);
    estate.is_at(&old, &house.old.title(), &before).await;

    let (outputs, _) = acted(estate.act(1).await);
    assert_eq!(outputs["url"], json!(new));
    estate.is_at(&new, &house.new.title(), &before).await;
    assert_eq!(house.home.writes(), 2, "a stop and a start: the API added nothing");
    assert_eq!(estate.probe().await.0, Verdict::Holds);
    let settled = house.world.actions.settle(house.world.call("repoint", 1, estate.step())).await;
    assert!(matches!(settled, Settlement::Over), "{settled:?}");
    // The file as it was is kept beside it.
    let backup = house.home.storage_file().with_file_name("core.config_entries.runner-r-1-repoint");
    assert_eq!(serde_json::from_slice::<Value>(&fs::read(&backup).unwrap()).unwrap(), before);
    // Twice is once: it is not even stopped.
    let gaps = house.home.gaps().len();
    acted(estate.act(2).await);
    assert_eq!(house.home.gaps().len(), gaps);

    // F40: meanwhile another integration changed. It stays changed.
    assert_eq!(house.home.core("stop").await.exit, 0);
    let mut file = estate.file();
    file["data"]["entries"][0]["data"]["token"] = json!("refreshed");
    fs::write(house.home.storage_file(), file.to_string()).unwrap();
    assert_eq!(house.home.core("start").await.exit, 0);
    let mut changed = before.clone();
    changed["data"]["entries"][0]["data"]["token"] = json!("refreshed");
    for attempt in 2..=3 {
        acted(estate.undo(attempt, &pre_image).await);
        estate.is_at(&old, &house.old.title(), &changed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_anywhere_it_is_recognised_and_finished_or_undone() {
    let estate = estate!(Estate::start());
    let (house, before) = (&estate.house, estate.file());
    let (old, new) = (house.old.url(), house.new.url());
    let pre_image = estate.pre_image().await;
    // Edited while it runs, as the owner's script did; stopped and not edited; edited and not started.
    for (attempt, (stops, edits, undo, verdict, words)) in (1..).zip([
        (false, true, false, Verdict::Partial, "was edited and not started again"),
        (false, true, true, Verdict::Partial, "was edited and not started again"),
        (true, false, false, Verdict::Absent, "has another address"),
        (true, true, false, Verdict::Partial, "does not run"),
        (true, true, true, Verdict::Partial, "does not run"),
    ]) {
        if stops {
            assert_eq!(house.home.core("stop").await.exit, 0);
        }
        if edits {
            estate.edit(&new, &house.new.title());
        }
        let (seen, reason) = estate.probe().await;
        assert_eq!((seen, reason.contains(words)), (verdict, true), "{reason}");
        if undo {
            acted(estate.undo(attempt, &pre_image).await);
            estate.is_at(&old, &house.old.title(), &before).await;
            continue;
        }
        acted(estate.act(attempt).await);
        estate.is_at(&new, &house.new.title(), &before).await;
        assert_eq!(estate.probe().await.0, Verdict::Holds);
        // And back without us, for the next one.
        assert_eq!(house.home.core("stop").await.exit, 0);
        estate.edit(&old, &house.old.title());
        assert_eq!(house.home.core("start").await.exit, 0);
        house.until("it is loaded", async |house| house.entry_state().await == "loaded").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_save_from_memory_does_not_lose_the_edit() {
    // F14: an entry is saved at the very stop, and the file is written from memory.
    full!();
    let estate = estate!(Estate::start());
    estate.house.home.break_it(|mishaps| mishaps.saves_at_stop = true).unwrap();
    let before = estate.file();
    acted(estate.act(1).await);
    estate.is_at(&estate.house.new.url(), &estate.house.new.title(), &before).await;
    // Edited while it runs: that one is lost at the stop, noticed, and done again.
    estate.edit(&estate.house.old.url(), &estate.house.old.title());
    acted(estate.act(2).await);
    estate.is_at(&estate.house.new.url(), &estate.house.new.title(), &before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_be_known_before_is_known_before_it_is_stopped() {
    let estate = estate!(Estate::start());
    let (house, before) = (&estate.house, estate.file());
    let expect = async |attempt: u32, class: FailureClass, words: &str| {
        let (seen, message, _) = failed(estate.act(attempt).await);
        assert!(message.contains(words), "{message}");
        assert_eq!(seen, class, "{message}");
        assert_eq!(estate.file(), before);
        assert_eq!(house.entry_state().await, "loaded");
    };
    // F18.
    house.new.says(|says| says.cameras.truncate(1));
    expect(1, FailureClass::Permanent, "does not list `reolink_doorbell`").await;
    house.new.says(|says| says.cameras.push(("reolink_doorbell".to_owned(), 5.0)));
    // F9: the server is there for us; from inside Home Assistant it is not.
    let curl = estate.pve.place.guest(VMID).join("bin/curl");
    fs::write(&curl, "#!/bin/sh\necho 'curl: (6) Could not resolve host' >&2\nexit 6\n").unwrap();
    fs::set_permissions(&curl, fs::Permissions::from_mode(0o755)).unwrap();
    expect(2, FailureClass::Transient, "from inside Home Assistant").await;
    fs::remove_file(curl).unwrap();
    // F10.
    estate.pve.change(|node| node.machines.get_mut(&VMID).unwrap().agent = Agent::Stopped);
    let (_, message, _) = failed(estate.act(3).await);
    assert!(message.contains("agent"), "{message}");
    assert_eq!(estate.probe().await.0, Verdict::Unknown);
    estate.pve.change(|node| node.machines.get_mut(&VMID).unwrap().agent = Agent::Running);
    assert!(house.home.gaps().iter().all(|gap| !gap.why.contains("does not run")), "{:?}", house.home.gaps());
    // F15: the file is damaged while it runs; nobody touches it, and it is said what would come of it.
    let file = house.home.storage_file();
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let (class, message, _) = failed(estate.act(4).await);
    assert_eq!((class, message.contains("is damaged")), (FailureClass::Permanent, true), "{message}");
    assert_eq!(fs::read(&file).unwrap(), &whole[..whole.len() / 2]);
    assert_eq!(house.entry_state().await, "loaded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_after_the_stop_it_is_started_again() {
    full!();
    let estate = estate!(Estate::start());
    let (house, before) = (&estate.house, estate.file());
    // F12: the edit cannot be written, and `qm` ends with 0 all the same.
    let folder = house.home.storage_file().parent().unwrap().to_owned();
    let cp = estate.pve.place.guest(VMID).join("bin/cp");
    fs::write(&cp, "#!/bin/sh\necho 'cp: write error: No space left on device' >&2\nexit 1\n").unwrap();
    fs::set_permissions(&cp, fs::Permissions::from_mode(0o755)).unwrap();
    let (_, message, _) = failed(estate.act(1).await);
    assert!(message.contains("is the disk full?") && message.contains("it is as it was"), "{message}");
    estate.is_at(&house.old.url(), &house.old.title(), &before).await;
    fs::remove_file(cp).unwrap();
    // The start fails: said, and the next attempt goes on from there.
    house.home.break_it(|mishaps| mishaps.start_fails = 1).unwrap();
    let (class, message, _) = failed(estate.act(2).await);
    assert_eq!((class, message.contains("told to fail")), (FailureClass::Transient, true), "{message}");
    assert_eq!(estate.probe().await.0, Verdict::Partial);
    acted(estate.act(3).await);
    estate.is_at(&house.new.url(), &house.new.title(), &before).await;
    let left: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("runner-new"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
