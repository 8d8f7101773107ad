//! Goal: a host that cannot be used says why and what to type next, nothing ran on it, and nobody is ever asked for a
//! password; one that is lost in the middle of a command is found again and the command counted once. Method: the
//! binary against a real sshd that is bent into each of these.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of any test function")]

use crate::support;
use crate::worlds_support;

use support::sshd::{Sshd, until};
use worlds_support::*;

fn hosts(address: &str, more: &str) -> String {
    format!(
        "[hosts.box]\naddress = \"{address}\"\n{more}\n\n[[step]]\nid = \"it\"\n\
         forward = {{ action = \"ssh\", host = \"box\", script = \"echo it >> $HOME/log\" }}\ncompensate = \"nothing\"\n"
    )
}

fn keys(sshd: &Sshd) -> String {
    format!(
        "port = {}\nidentity_file = \"{}\"\nknown_hosts = \"{}\"",
        sshd.port(),
        sshd.identity_file(),
        sshd.known_hosts()
    )
}

#[track_caller]
fn refused(house: &House, name: &str, lines: &str) {
    house.plan(name, lines);
    let said = house.run(&["apply", &format!("plans/{name}.toml")]);
    assert_eq!(said.code, 3, "{said:?}");
    // The cause is what is to be read, the frame around it is the same for every failure.
    let why = said.out.split_once("Why:\n").unwrap().1.split_once("\n\n").unwrap().0;
    let mut settings = settings();
    settings.add_filter(r"\w+@127\.0\.0\.1", "[user]@127.0.0.1");
    settings.bind(|| insta::assert_snapshot!(format!("host_{name}"), why));
}

#[test]
fn hosts_that_cannot_be_reached() {
    let house = House::new();
    refused(&house, "no-such-name", &hosts("me@no-such-host.invalid", ""));
    let Some(mut sshd) = Sshd::start() else { return };
    let address = format!("{}@127.0.0.1", Sshd::user());
    sshd.stop();
    refused(&house, "refuses", &hosts(&address, &keys(&sshd)));
    sshd.restart_with_another_key();
    refused(&house, "another-key", &hosts(&address, &keys(&sshd)));
    sshd.unknown();
    refused(&house, "unknown-key", &hosts(&address, &keys(&sshd)));
    assert!(!sshd.home().join("log").exists(), "nothing ran there");
}

#[test]
fn hosts_that_do_not_let_us_in() {
    let house = House::new();
    let Some(sshd) = Sshd::start_with("") else { return };
    let address = format!("{}@127.0.0.1", Sshd::user());
    let missing = keys(&sshd).replace("/client\"", "/no-such-key\"");
    refused(&house, "no-identity", &hosts(&address, &missing));
    sshd.refuse_keys();
    refused(&house, "no-key", &hosts(&address, &keys(&sshd)));
    // The first line that sshd reads of an option counts, so this one gets a configuration of its own.
    let Some(asking) = Sshd::start_with("Match All\nPasswordAuthentication yes\nPermitRootLogin yes") else {
        return;
    };
    asking.refuse_keys();
    refused(&house, "password", &hosts(&address, &keys(&asking)));
}

#[test]
fn commands_that_cannot_start_there() {
    let house = House::new();
    let Some(sshd) = Sshd::start() else { return };
    let with = |fields: &str| {
        hosts(&format!("{}@127.0.0.1", Sshd::user()), &keys(&sshd))
            .replace("script = \"echo it >> $HOME/log\"", fields)
    };
    refused(&house, "not-found", &with("argv = [\"no-such-program\"]"));
    refused(&house, "no-cwd", &with("argv = [\"true\"], cwd = \"/no/such\""));
    refused(&house, "killed", &with("script = \"kill -9 $$\""));
}

#[test]
fn a_connection_that_is_cut_in_the_middle() {
    let house = House::new();
    let Some(sshd) = Sshd::start() else { return };
    let script = "echo it >> $HOME/log; until [ -e $HOME/go ]; do sleep 0.05; done; echo over >> $HOME/log";
    let lines =
        hosts(&format!("{}@127.0.0.1", Sshd::user()), &keys(&sshd)).replace("echo it >> $HOME/log", script);
    house.plan("cut", &lines);
    let apply = house.start(&["apply", "plans/cut.toml"]);
    let log = sshd.home().join("log");
    until("it runs", || log.exists());
    sshd.cut();
    std::fs::write(sshd.home().join("go"), "").unwrap();
    let said = said(apply.wait_with_output().unwrap());
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(std::fs::read_to_string(log).unwrap(), "it\nover\n", "it ran once, and to its end");
    assert!(said.out.contains("the connection was lost"), "{}", said.out);
}

/// A host that takes the connection and never says a word: as good as one that is not there, after
/// `ConnectTimeout`.
#[test]
fn a_host_that_says_nothing() {
    let house = House::new();
    let Some(sshd) = Sshd::start() else { return };
    sshd.silence();
    refused(&house, "silent", &hosts(&format!("{}@127.0.0.1", Sshd::user()), &keys(&sshd)));
    assert!(!sshd.home().join("log").exists(), "nothing ran there");
}

/// A host that goes silent in the middle of a command and never comes back: nobody can say what became of the attempt,
/// so that a person is asked, and nothing hangs. It takes the minutes that design section 3 gives for settling.
#[test]
fn a_host_that_never_comes_back() {
    if !support::lab::full() {
        only_in_full("a host that never comes back is waited for some six minutes: RUNNER_FULL=1 does it");
        return;
    }
    let house = House::new();
    let Some(sshd) = Sshd::start() else { return };
    let lines = hosts(&format!("{}@127.0.0.1", Sshd::user()), &keys(&sshd))
        .replace("echo it >> $HOME/log", "echo it >> $HOME/log; sleep 60")
        .replace("compensate = ", "timeout = \"5s\"\ncompensate = ");
    house.plan("silent", &lines);
    let apply = house.start(&["apply", "plans/silent.toml"]);
    let log = sshd.home().join("log");
    until("it runs", || log.exists());
    sshd.silence();
    let said = said(apply.wait_with_output().unwrap());
    assert_eq!(said.code, 6, "{said:?}");
    let mut settings = settings();
    settings.add_filter(r"\w+@127\.0\.0\.1", "[user]@127.0.0.1");
    settings.add_filter(r"\d+ (s|m|min)\b", "[n] $1");
    let (_, ending) = said.out.split_once("silent-1 ").unwrap();
    let (_, ending) = ending.split_once("\nsilent-1 ").unwrap();
    let shown = worlds_support::Said { code: said.code, out: format!("silent-1 {ending}"), err: said.err };
    settings.bind(|| insta::assert_snapshot!("host_never_back", house.shown(&shown)));
    assert_eq!(std::fs::read_to_string(log).unwrap(), "it\n", "it was not run again");
    // What a person saw there ends it, and the host is not needed for that.
    let resolved = house.run(&["resolve", "silent-1", "it", "--as", "done"]);
    assert_eq!(resolved.code, 0, "{resolved:?}");
}
