//! The fences of the house, read off its sources: what each room may name.
//!
//! `saga` and `plan` are pure, only the journal names sled, only the outside rooms name what reaches outside, and
//! arrows point down. A comment may name anything; a line of code may not.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};

fn sources(room: &str) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut open = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(room)];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                found.push((path.clone(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(!found.is_empty(), "there is no room `{room}`");
    found
}

/// The lines of code that name one of `words`, tests left out.
fn offending(room: &str, words: &[&str]) -> Vec<String> {
    let mut offending = Vec::new();
    for (path, text) in sources(room) {
        if path.ends_with("tests.rs") {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            if line.trim_start().starts_with("#[cfg(test)]") {
                break;
            }
            let code = line.split("//").next().unwrap_or("");
            if let Some(word) = words.iter().find(|word| code.contains(**word)) {
                offending.push(format!("{}:{}: `{word}`: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    offending
}

fn assert_never(room: &str, words: &[&str]) {
    let offending = offending(room, words);
    assert!(offending.is_empty(), "room `{room}` names what it must not know:\n{}", offending.join("\n"));
}

/// What touches the outside, or reads what differs from call to call.
const OUTSIDE: &[&str] = &[
    "tokio",
    "sled",
    "openssh",
    "rustix",
    "clap",
    "getrandom",
    "std::fs",
    "std::io",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "std::os",
    "SystemTime",
    "Instant",
    "println!",
    "eprintln!",
    "rand::",
    "HashMap::iter",
];

#[test]
fn saga_is_pure() {
    assert_never("saga", OUTSIDE);
    assert_never("saga", &["toml", "minijinja", "annotate_snippets", "f32"]);
}

#[test]
fn plan_is_pure() {
    assert_never("plan", OUTSIDE);
}

#[test]
fn arrows_point_down() {
    let above = |rooms: &[&'static str]| -> Vec<String> {
        rooms.iter().map(|room| format!("crate::{room}")).collect()
    };
    let rooms: &[(&str, &[&str])] = &[
        ("plan", &["saga", "journal", "transport", "action", "check", "driver", "report", "serve", "cli"]),
        ("saga", &["journal", "transport", "action", "check", "driver", "report", "serve", "cli"]),
        ("journal", &["saga", "transport", "action", "check", "driver", "report", "serve", "cli"]),
        ("transport", &["saga", "journal", "action", "check", "driver", "report", "serve", "cli"]),
        ("action", &["journal", "check", "driver", "report", "serve", "cli"]),
        ("check", &["journal", "driver", "report", "serve", "cli"]),
        ("report", &["journal", "transport", "action", "check", "driver", "serve", "cli"]),
        ("driver", &["report", "serve", "cli"]),
        ("serve", &["action", "check", "cli"]),
    ];
    for (room, forbidden) in rooms {
        let words = above(forbidden);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        assert_never(room, &words);
    }
}

#[test]
fn only_the_journal_names_sled_and_only_transport_names_openssh() {
    for room in ["action", "check", "cli", "driver", "report", "serve", "transport"] {
        assert_never(room, &["sled"]);
    }
    for room in ["action", "check", "cli", "driver", "journal", "report", "serve"] {
        assert_never(room, &["openssh::"]);
    }
    for room in ["action", "check", "cli", "driver", "journal", "report"] {
        assert_never(room, &["hyper", "rumqttc", "rustls", "simple_dns", "axum"]);
    }
    for room in
        ["action", "check", "cli", "driver", "journal", "lab", "lint", "plan", "report", "saga", "serve"]
    {
        assert_never(room, &["kube::Client", "kube::Api", "kube::api", "kube::client", "kube::config"]);
        // The lab's API server has the types of its objects from there.
        if room != "lab" {
            assert_never(room, &["k8s_openapi"]);
        }
    }
    // Servers alone: `serve` asks nobody over the network.
    assert_never(
        "serve",
        &[
            "hyper::client",
            "hyper_util::client",
            "hyper_rustls",
            "rumqttc",
            "simple_dns",
            "TcpStream::connect",
        ],
    );
    for room in ["action", "check", "cli", "journal", "report", "serve", "transport"] {
        assert_never(room, &["chacha20poly1305"]);
    }
    for room in ["action", "check", "driver", "journal", "report", "serve", "transport"] {
        assert_never(room, &["clap::", "std::process::exit"]);
    }
}

/// The crates that a build with these features needs, without those for tests and builds.
fn needed(features: &[&str]) -> std::collections::BTreeSet<String> {
    let mut cargo = std::process::Command::new(env!("CARGO"));
    cargo.args(["tree", "--offline", "--locked", "--edges", "normal", "--prefix", "none", "--format", "{p}"]);
    cargo.args(features).current_dir(env!("CARGO_MANIFEST_DIR"));
    let said = cargo.output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let text = String::from_utf8(said.stdout).unwrap();
    text.lines().filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect()
}

#[test]
fn without_page_and_demo_no_crate_is_needed_for_them() {
    let (none, serve) =
        (needed(&["--no-default-features"]), needed(&["--no-default-features", "--features", "serve"]));
    let all = needed(&[]);
    assert!(none.is_subset(&serve) && serve.is_subset(&all));
    for name in ["axum", "axum-core", "matchit", "russh"] {
        assert!(!none.contains(name), "`{name}` is needed without the features that use it");
    }
    // What the page costs: its framework, and what that is made of. A new name here has to be worth it.
    let more: Vec<&str> = serve.difference(&none).map(String::as_str).collect();
    assert!(more.contains(&"axum") && more.len() <= 12, "{more:?}");
}

#[test]
fn the_clocks_of_a_release_cannot_be_bent() {
    for room in ["driver", "cli"] {
        for (path, text) in sources(room) {
            let lines: Vec<&str> = text.lines().map(str::trim).collect();
            for (number, line) in lines.iter().enumerate() {
                let bends =
                    line.contains("RUNNER_TEST_CLOCK") || line.contains("Bent") || line.contains(".bent");
                let code = !line.starts_with("//");
                let guarded =
                    lines[..=number].iter().rev().take(6).any(|line| *line == "#[cfg(debug_assertions)]");
                assert!(!(bends && code) || guarded, "{}:{}: {line}", path.display(), number + 1);
            }
        }
    }
}
