//! Goal: the plans that teach are true: each goes forward, has nothing to do the second time, and leaves nothing behind
//! on its way back. Method: a copy of the file as it lies in `plans/`, applied and rolled back by the binary.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of any test function")]

use crate::support;
use crate::worlds_support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use support::http::{Reply, Server};
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
        .filter(|name| name.ends_with(".toml") && !name.contains(".vars."))
        .collect();
    names.sort();
    let tried = [
        "approval.toml",
        "file.toml",
        // By `tests/program/demo.rs`, which has a house.
        "frigate.toml",
        "hello.toml",
        "http.toml",
        // By `tests/kubernetes/runs.rs`, which has a cluster.
        "kubernetes.toml",
        "parallel.toml",
        "remote.toml",
        "soak.toml",
        "window.toml",
    ];
    assert_eq!(names, tried, "a new example needs a test here");
    let house = House::new();
    for name in &names {
        house.write(&format!("plans/{name}"), example(name));
    }
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("plans/frigate")).unwrap() {
        let entry = entry.unwrap();
        let name = format!("plans/frigate/{}", entry.file_name().to_str().unwrap());
        house.write(&name, fs::read_to_string(entry.path()).unwrap());
    }
    let said = house.shell("$R validate plans/*.toml");
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    let variables = "frigate.vars.example.toml";
    house.write(&format!("plans/{variables}"), example(variables));
    let said = house.shell(&format!("$R validate plans/frigate.toml --var-file plans/{variables}"));
    // What is somebody else's house is in the example; the rest is seldom another one.
    let left = "Nobody gives these variables, so they are as the plan has them: `ha_port`, `ha_storage`, `known_hosts`, \
                `kubeconfig`, `old_port`, `ssh_key`.\n";
    assert_eq!((said.code, said.err.as_str()), (0, left), "{said:?}");
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

/// Programs that do their work and then end `runner` with SIGKILL, once for each of their arguments.
fn cuts(house: &House) {
    let cut = "#!/bin/sh\n/bin/${0##*/} \"$@\" || exit\nmarked=$0-$(echo \"$*\" | cksum | tr -d ' ')\n\
               [ ! -e \"$marked\" ] || exit 0\n: > \"$marked\"; p=$PPID\n\
               until grep -qx runner /proc/$p/comm; do p=$(cut -d' ' -f4 /proc/$p/stat); done\nkill -s KILL $p\n";
    for name in ["bin/rm", "bin/rmdir"] {
        fs::set_permissions(house.write(name, cut), fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// What it did is done, and nobody has written so down: it runs again, and finds nothing left to undo.
#[test]
fn every_compensation_may_be_cut_off_after_its_effect() {
    for (name, compensations) in [("hello", 2), ("parallel", 5)] {
        let house = House::new();
        house.write("plan.toml", example(&format!("{name}.toml")));
        cuts(&house);
        let folder = house.path.join("folder");
        let said = house.shell(&format!("$R apply plan.toml --var folder={}", folder.display()));
        assert_eq!(said.code, 0, "{said:?}");
        let ends = (0..=compensations).map(|_| house.shell("PATH=$PWD/bin:$PATH exec $R rollback"));
        let codes = ends.map(|said| said.code).collect::<Vec<_>>();
        assert_eq!(
            codes,
            [&vec![1009; compensations][..], &[0]].concat(),
            "{name}: {:?}",
            house.run(&["status"])
        );
        assert!(!folder.exists());
    }
}

/// One that cannot find nothing left to undo: a person is told what may have happened.
#[test]
fn a_compensation_that_fails_when_it_is_repeated_says_that_it_was() {
    let house = House::new();
    let step = "id = \"box\"\nforward = { action = \"command\", argv = [\"mkdir\", \"box\"] }\nidempotent = true\n\
                compensate = { action = \"command\", argv = [\"rmdir\", \"box\"] }";
    house.write("plan.toml", format!("name = \"p\"\n[[step]]\n{step}\n"));
    cuts(&house);
    assert_eq!(house.run(&["apply", "plan.toml"]).code, 0);
    let back = || house.shell("PATH=$PWD/bin:$PATH exec $R rollback");
    assert_eq!(back().code, 1009);
    let words = "an attempt before it was cut off, and may have taken the step back already";
    for said in [back(), house.run(&["status"])] {
        assert!(said.out.contains("No such file") && said.out.contains(words), "{said:?}");
    }
    assert_eq!(house.run(&["resolve", "p-1", "box", "--as", "done"]).code, 0);
    assert_eq!(back().code, 0);
}

#[test]
fn file_goes_there_and_back() {
    let house = House::new();
    house.write("plans/file.toml", example("file.toml"));
    house.write("files/motd", "another text\n");
    let var = format!("folder={}", house.path.join("files").display());
    let apply = ["apply", "plans/file.toml", "--var", &var];
    let said = house.run(&apply);
    assert_eq!(said.code, 0, "{said:?}");
    settings().bind(|| insta::assert_snapshot!("file_apply", house.shown(&said)));
    assert_eq!(house.read("files/motd"), "Welcome to home.\n");
    assert_eq!(house.read("files/plan.toml"), example("file.toml"));
    assert_eq!(house.run(&apply).code, 0);
    // Neither the plan nor what it names is needed any more.
    fs::remove_file(house.path.join("plans/file.toml")).unwrap();
    let said = house.run(&["rollback", "file"]);
    assert_eq!(said.code, 0, "{said:?}");
    settings().bind(|| insta::assert_snapshot!("file_rollback", house.shown(&said)));
    assert_eq!(house.read("files/motd"), "another text\n");
    assert_eq!(fs::read_dir(house.path.join("files")).unwrap().count(), 1);
}

#[test]
fn http_goes_there_and_back() {
    let server =
        Server::start(|_| Reply::Say(200, vec!["Content-Type: text/plain".to_owned()], b"here".to_vec()));
    let house = House::new();
    house.write("plans/http.toml", example("http.toml"));
    let (url, address) = (format!("url={}", server.url("")), format!("address=127.0.0.1:{}", server.port));
    let said = house.run(&["apply", "plans/http.toml", "--var", &url, "--var", &address]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(house.run(&["events"]).out.contains("it answers with text/plain"));
    assert_eq!(house.run(&["apply", "plans/http.toml"]).code, 0);
    assert_eq!(house.run(&["rollback", "http"]).code, 0);
    // The part that stands there as a comment is a good plan as well.
    let text = example("http.toml");
    let (above, below) = text.split_once("# [secrets]").unwrap();
    let whole: String = format!("# [secrets]{below}")
        .lines()
        .map(|line| format!("{}\n", line.trim_start_matches("# ")))
        .collect();
    let whole: String = whole.lines().map(|line| format!("{}\n", line.trim_start_matches('#'))).collect();
    house.write("plans/http.toml", format!("{above}{whole}"));
    let said = house.run(&["validate", "plans/http.toml"]);
    assert_eq!(said.code, 0, "{said:?}");
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
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    fs::remove_file(&alive).unwrap();
    let said = worlds_support::said(child.wait_with_output().unwrap());
    assert_eq!(said.code, 5, "{said:?}");
    assert!(said.out.contains("2 bad samples in a row, at most 1"), "{said:?}");
    assert!(!house.path.join("soak").exists());
}

#[test]
fn approval_waits_for_a_person_and_goes_back() {
    let house = House::new();
    house.write("plans/approval.toml", example("approval.toml"));
    let var = format!("folder={}", house.path.join("press").display());
    let apply = ["apply", "plans/approval.toml", "--var", &var];
    let said = house.run(&apply);
    assert_eq!(said.code, 4, "{said:?}");
    assert!(said.out.contains("runner approve approval-1 publish"), "{said:?}");
    let said = house.run(&["approve", "publish", "--note", "read it"]);
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(house.run(&apply).code, 0);
    assert_eq!(house.read("press/page"), "All is well.\n");
    assert_eq!(house.run(&["rollback"]).code, 0);
    assert!(!house.path.join("press").exists());
    let again = [&apply[..], &["--new-run", "-y"]].concat();
    assert_eq!(house.run(&again).code, 0);
    assert_eq!(house.run(&["rollback"]).code, 0);
}

#[test]
fn window_goes_there_and_back_and_waits_outside_of_its_hours() {
    let house = House::new();
    let text = example("window.toml");
    house.write("plans/window.toml", &text);
    let var = format!("folder={}", house.path.join("hours").display());
    let apply = ["apply", "plans/window.toml", "--var", &var, "--no-wait"];
    assert_eq!(house.run(&apply).code, 0);
    assert_eq!(house.run(&["rollback"]).code, 0);
    assert!(!house.path.join("hours").exists());
    // A window that is open for a minute, twelve hours from now, is not open now.
    let now = runner::driver::Clock::now(&runner::driver::SystemClock::new());
    let since = now.wall_ms.cast_unsigned() / 1_000;
    let (from, to) = ((since / 3_600 + 12) % 24, since / 60 % 59);
    let other = text
        .replace("from = \"00:00\"", &format!("from = \"{from:02}:{to:02}\""))
        .replace("America/Los_Angeles", "UTC")
        .replace("to = \"00:00\"", &format!("to = \"{from:02}:{:02}\"", to + 1));
    assert_ne!(other, text);
    house.write("plans/window.toml", other);
    let said = house.run(&[&apply[..], &["--new-run"]].concat());
    assert_eq!(said.code, 4, "{said:?}");
    assert!(said.out.contains("There is something to do again in"), "{said:?}");
    assert!(house.path.join("hours").exists() && !house.path.join("hours/note").exists());
    assert_eq!(house.run(&["rollback"]).code, 0);
}
