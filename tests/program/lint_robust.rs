//! Whatever stands in a file, the lint answers: quickly, inside the file, without secrets, and a fix mends.
//!
//! The random changes come from a seed that is printed with every failure; set LINT_SEED to run one again.

use std::time::{Duration, Instant};

use runner::lint::{Minor, Options, Severity, Source, Target, check, fix, redact};

const HOUSE: &str = include_str!("../data/lint/house.yml");

/// SplitMix64, so that a seed means the same for ever.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % sides as u64) as usize
    }
}

const PIECES: [&str; 30] = [
    "",
    " ",
    "\t",
    ":",
    ": ",
    "- ",
    "#",
    "\"",
    "'",
    "{",
    "}",
    "[",
    "]",
    "*small",
    "&a ",
    "<<: *small",
    "~",
    "no",
    "0.16",
    "12:30",
    "{FRIGATE_X}",
    "{",
    "rtsp://admin:hunter2@h/x",
    "password: hunter2",
    "ä",
    "\u{85}",
    "|\n",
    "!secret x",
    ",",
    "9999999999999999999999",
];

fn mutated(seed: u64) -> String {
    let mut dice = Dice(seed);
    let mut lines: Vec<String> = HOUSE.lines().map(str::to_owned).collect();
    for _ in 0..=dice.roll(4) {
        let at = dice.roll(lines.len());
        match dice.roll(5) {
            0 => drop(lines.remove(at)),
            1 => {
                let copy = lines[dice.roll(lines.len())].clone();
                lines.insert(at, copy);
            }
            2 => {
                let place = dice.roll(lines[at].len() + 1);
                if lines[at].is_char_boundary(place) {
                    lines[at].insert_str(place, PIECES[dice.roll(PIECES.len())]);
                }
            }
            3 => {
                if let Some((key, _)) = lines[at].clone().split_once(':') {
                    lines[at] = format!("{key}: {}", PIECES[dice.roll(PIECES.len())]);
                }
            }
            _ => {
                let other = dice.roll(lines.len());
                lines.swap(at, other);
            }
        }
    }
    lines.join("\n")
}

fn seeds() -> Vec<u64> {
    match std::env::vars().find(|(key, _)| key == "LINT_SEED") {
        Some((_, seed)) => vec![seed.parse().expect("LINT_SEED is a number")],
        None => (0..600).collect(),
    }
}

#[test]
fn random_changes_never_confuse_it() {
    for seed in seeds() {
        let text = mutated(seed);
        for minor in Minor::ALL {
            let options =
                Options { target: minor.name().parse::<Target>().ok(), context: Default::default() };
            let report = check(&[Source { name: "x", text: text.as_bytes() }], &options);
            let lines: Vec<&str> = text.split('\n').collect();
            for finding in &report.findings {
                let line = lines.get(finding.line as usize - 1).map_or(0, |line| line.chars().count());
                let inside = finding.line as usize <= lines.len() + 1 && finding.column as usize <= line + 2;
                assert!(inside, "LINT_SEED={seed}: {finding:?} lies outside\n{text}");
                let shown = format!("{} {}", finding.message, finding.fix);
                assert!(!shown.contains("hunter2"), "LINT_SEED={seed}: {finding:?} shows a secret\n{text}");
                assert!(!finding.why.is_empty() && !finding.fix.is_empty(), "LINT_SEED={seed}: {finding:?}");
            }
        }
    }
}

#[test]
fn a_fix_takes_findings_away_and_is_done_after_one_round() {
    let options = Options::default();
    let mut fixes = 0;
    for seed in seeds().into_iter().take(400) {
        let text = mutated(seed);
        let sources = [Source { name: "x", text: text.as_bytes() }];
        let before = check(&sources, &options);
        let fixed = fix(&sources, "x", &options);
        if fixed.applied.is_empty() {
            assert_eq!(fixed.text, text, "LINT_SEED={seed}");
            continue;
        }
        fixes += 1;
        let again = [Source { name: "x", text: fixed.text.as_bytes() }];
        let after = check(&again, &options);
        assert!(after.findings.len() < before.findings.len(), "LINT_SEED={seed}");
        assert!(after.count(Severity::Error) <= before.count(Severity::Error), "LINT_SEED={seed}");
        assert_eq!(
            fix(&again, "x", &options).text,
            fixed.text,
            "LINT_SEED={seed}: a second run changes nothing"
        );
        assert_eq!(
            text.lines().count(),
            fixed.text.lines().count(),
            "LINT_SEED={seed}: comments and order stay"
        );
    }
    assert!(fixes > 3, "the dice made {fixes} files that can be fixed");
}

/// What could cost much: each is about a megabyte and must be answered in the time of a debug build on a busy machine.
#[test]
fn hostile_inputs_are_answered_quickly() {
    let mega = 1024 * 1024 - 64;
    let repeat = |piece: &str| piece.repeat(mega / piece.len());
    let keys: String = (0..mega / 16).map(|n| format!("key{n:07}: 1\n")).collect();
    let cameras: String =
        (0..1900).map(|n| format!("  c{n}: {{zones: {{z{n}: {{coordinates: '0,0,1,1,0,1'}}}}}}\n")).collect();
    let merges: String = (0..1500).map(|n| format!("k{n}: &k{n} 1\n")).collect::<String>();
    let merged: String = (0..1000).map(|n| format!("  m{n}: {{<<: *all}}\n")).collect();
    let merges = format!(
        "all: &all\n{}cameras:\n{merged}",
        merges.lines().map(|line| format!("  {line}\n")).collect::<String>()
    );
    let inputs = [
        ("brackets", repeat("[")),
        ("braces", repeat("{a: ")),
        ("dashes", repeat("- ")),
        ("questions", repeat("? ")),
        ("anchors", repeat("- &a x\n")),
        ("one line", repeat("x")),
        ("quotes", format!("a: \"{}\"", repeat("x"))),
        ("block", format!("a: |\n  {}", repeat("x\n  "))),
        ("keys", keys),
        ("cameras", format!("mqtt: {{}}\ncameras:\n{cameras}")),
        ("merges", merges),
        ("comments", repeat("# x\n")),
        ("blanks", repeat(" ")),
        ("tabs", format!("a: [{}]", repeat("\t"))),
        (
            "unknown",
            format!("mqtt: {{{}}}", (0..1900).map(|n| format!("clientid{n}: 1, ")).collect::<String>()),
        ),
        (
            "roles",
            format!(
                "mqtt: {{}}\ncameras: {{c: {{ffmpeg: {{inputs: [{}]}}}}}}",
                repeat("{path: x, roles: [rec]}, ")
            ),
        ),
        ("colons", repeat("a:")),
        ("aliases", format!("a: &a [{}]\nb: [{}]", "x, ".repeat(300), "*a, ".repeat(5000))),
    ];
    for (name, text) in inputs {
        let start = Instant::now();
        let report = check(&[Source { name, text: text.as_bytes() }], &Options::default());
        let took = start.elapsed();
        assert!(took < Duration::from_secs(20), "{name} took {took:?}");
        assert!(!report.findings.is_empty(), "{name} is no configuration");
    }
}

#[test]
fn redaction_keeps_the_length_and_is_done_once() {
    for seed in seeds().into_iter().take(500) {
        let text = mutated(seed);
        let clean = redact(&text);
        assert_eq!(text.chars().count(), clean.chars().count(), "LINT_SEED={seed}");
        assert!(!clean.contains("hunter2"), "LINT_SEED={seed}\n{clean}");
    }
}
