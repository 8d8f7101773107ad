//! Goal: the plans that teach are true: each goes forward, has nothing to do the second time, and leaves nothing behind
//! on its way back. Method: a copy of the file as it lies in `plans/`, applied and rolled back by the binary.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of any test function")]

mod support;
mod worlds_support;

use std::fs;
use std::path::Path;

use support::sshd::Sshd;
use worlds_support::*;

/// The text of an example.
fn example(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("plans").join(name)).unwrap()
}

#[test]
fn every_example_is_valid_and_tried_here() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("plans");
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["hello.toml", "parallel.toml", "remote.toml", "soak.toml"],
        "a new example needs a test here"
    );
    let house = House::new();
    for name in &names {
        house.write(&format!("plans/{name}"), example(name));
    }
    let said = house.shell("$R validate plans/*.toml");
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
}

#[test]
fn hello_goes_there_and_back() {
    let house = House::new();
    house.write("plans/hello.toml", example("hello.toml"));
    let folder = house.path.join("hello");
    let var = format!("folder={}", folder.display());
    let apply = ["apply", "plans/hello.toml", "--var", &var];
    let said = house.run(&apply);
    assert_eq!(said.code, 0, "{said:?}");
    settings().bind(|| insta::assert_snapshot!("hello_apply", house.shown(&said)));
    assert_eq!(house.read("hello/greeting"), "hello, world\n");
    assert!(house.run(&["events"]).out.contains("the greeting says: hello, world"));
    let said = house.run(&apply);
    assert_eq!(said.code, 0);
    settings().bind(|| insta::assert_snapshot!("hello_again", house.shown(&said)));
    let said = house.run(&["rollback"]);
    assert_eq!(said.code, 0);
    settings().bind(|| insta::assert_snapshot!("hello_rollback", house.shown(&said)));
    assert!(!folder.exists());
    // A folder that was there before stays there.
    fs::create_dir(&folder).unwrap();
    assert_eq!(house.run(&[&apply[..], &["--new-run"]].concat()).code, 0);
    assert_eq!(house.run(&["rollback"]).code, 0);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}

#[test]
fn parallel_goes_there_and_back() {
    let house = House::new();
    house.write("plans/parallel.toml", example("parallel.toml"));
    let var = format!("folder={}", house.path.join("kitchen").display());
    let said = house.run(&["apply", "plans/parallel.toml", "--var", &var]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(house.read("kitchen/sandwich"), "bread: two slices, cheese: one slice, tomato: a few\n");
    // All three were under way before the first was done, and the last step came after all of them.
    let events = objects(&house.run(&["--json", "events"]).out);
    let place = |event: &str, step: &str| {
        events.iter().position(|found| found["event"] == event && found["step"] == step).unwrap()
    };
    let parts = ["bread", "cheese", "tomato"];
    let started = parts.iter().map(|step| place("started", step)).max().unwrap();
    let done = |which: fn(&[usize]) -> usize| {
        which(&parts.iter().map(|step| place("verified", step)).collect::<Vec<_>>())
    };
    assert!(started < done(|all| *all.iter().min().unwrap()));
    assert!(done(|all| *all.iter().max().unwrap()) < place("started", "sandwich"));
    let said = house.run(&["rollback", "parallel"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(!house.path.join("kitchen").exists());
}

#[test]
fn remote_goes_there_and_back() {
    let (Some(from), Some(to)) = (Sshd::start(), Sshd::start()) else { return };
    let house = House::new();
    // The lines that are there as comments are filled in, for each host its own.
    let mut text = example("remote.toml");
    for sshd in [&from, &to] {
        for (key, value) in [
            ("port          = 22", format!("port = {}", sshd.port())),
            (
                "identity_file = \"~/.ssh/id_ed25519\"",
                format!("identity_file = \"{}\"", sshd.identity_file()),
            ),
            ("known_hosts   = \"~/.ssh/known_hosts\"", format!("known_hosts = \"{}\"", sshd.known_hosts())),
        ] {
            let comment = format!("# {key}");
            assert!(text.contains(&comment), "{comment}");
            text = text.replacen(&comment, &value, 1);
        }
    }
    house.write("plans/remote.toml", text);
    let user = Sshd::user();
    let (var_from, var_to) = (format!("from={user}@127.0.0.1"), format!("to={user}@127.0.0.1"));
    let folder = house.path.join("remote");
    let var_folder = format!("folder={}", folder.display());
    let apply = ["apply", "plans/remote.toml", "--var", &var_from, "--var", &var_to, "--var", &var_folder];
    let said = house.run(&apply);
    assert_eq!(said.code, 0, "{said:?}");
    settings().bind(|| insta::assert_snapshot!("remote_apply", house.shown(&said)));
    let name = house.shell("uname -n").out;
    assert_eq!(house.read("remote/note"), name);
    // The second time the run is known, with its variables.
    assert_eq!(house.run(&["apply", "plans/remote.toml"]).code, 0);
    let said = house.run(&["rollback", "remote"]);
    assert_eq!(said.code, 0, "{said:?}");
    settings().bind(|| insta::assert_snapshot!("remote_rollback", house.shown(&said)));
    assert!(!folder.exists());
}

#[test]
fn soak_watches_and_goes_back_when_it_does_not_last() {
    let house = House::new();
    house.write("plans/soak.toml", example("soak.toml"));
    let var = format!("folder={}", house.path.join("soak").display());
    let said = house.run(&["apply", "plans/soak.toml", "--var", &var]);
    assert_eq!(said.code, 0, "{said:?}");
    let events = objects(&house.run(&["--json", "events"]).out);
    let good_ms: u64 = events.iter().filter_map(|event| event["good_ms"].as_u64()).sum();
    assert!(good_ms >= 10_000, "{good_ms}");
    assert!(house.run(&["events"]).out.contains("ten good seconds"));
    assert_eq!(house.run(&["rollback"]).code, 0);
    assert!(!house.path.join("soak").exists());
    // What it watches goes away: two bad samples in a row, and everything is taken back.
    let child = house.start(&["apply", "plans/soak.toml", "--new-run", "--var", &var]);
    let alive = house.path.join("soak/alive");
    let sampled = || house.run(&["--json", "events", "soak-2"]).out.contains("soak_sampled");
    while !sampled() {
        std::thread::yield_now();
    }
    fs::remove_file(&alive).unwrap();
    let said = worlds_support::said(child.wait_with_output().unwrap());
    assert_eq!(said.code, 5, "{said:?}");
    assert!(said.out.contains("2 bad samples in a row, at most 1"), "{said:?}");
    assert!(!house.path.join("soak").exists());
}
