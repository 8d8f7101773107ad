//! Every rule's own examples: the bad one has that mistake, the good one has none. And the manual is made from them.

use std::path::Path;

use runner::lint::{Context, Options, Report, Rule, Source, check, explain, manual, rules};

fn judge(rule: &Rule, text: &str) -> Report {
    let options = Options {
        target: rule.target.as_deref().map(|target| target.parse().expect("a version")),
        context: rule.context.clone().unwrap_or_default(),
    };
    check(&[Source { name: "example.yml", text: text.as_bytes() }], &options)
}

#[test]
fn every_bad_example_is_bad_and_every_good_one_is_good() {
    let mut wrong = Vec::new();
    for rule in rules() {
        let bad = judge(rule, &rule.bad);
        let severity = bad.findings.iter().find(|f| f.code == rule.code).map(|f| f.severity.word());
        if severity != Some(rule.severity.as_str()) {
            wrong.push(format!("{}: bad example: {severity:?} {:#?}", rule.code, bad.findings));
        }
        let good = judge(rule, &rule.good);
        if !good.findings.is_empty() {
            wrong.push(format!("{}: good example: {:#?}", rule.code, good.findings));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_rule_that_needs_context_is_silent_and_says_so_without_it() {
    for rule in rules().iter().filter(|rule| !rule.needs.is_empty()) {
        let bare = Rule { context: Some(Context::default()), ..rule.clone() };
        let report = judge(&bare, &rule.bad);
        assert!(
            report.findings.iter().all(|f| f.code != rule.code),
            "{} is judged without context",
            rule.code
        );
        assert!(report.not_judged.iter().any(|n| n.code == rule.code), "{} is silent about it", rule.code);
    }
}

#[test]
fn all_codes_are_there_in_order_and_each_has_its_story() {
    let codes: Vec<&str> = rules().iter().map(|rule| rule.code.as_str()).collect();
    let expected: Vec<String> = (1..=30)
        .map(|n| format!("L{n}"))
        .chain((1..=16).filter(|n| *n != 15).map(|n| format!("X{n}")))
        .collect();
    assert_eq!(codes, expected);
    for rule in rules() {
        assert!(rule.story.trim().len() > 40, "{} has a story", rule.code);
        assert!(
            !rule.why.ends_with('.') && !rule.fix.ends_with('.') && !rule.title.ends_with('.'),
            "{}",
            rule.code
        );
    }
    assert_eq!(explain("l7"), explain("L7"));
    assert_eq!(explain("L99"), None);
}

#[test]
fn the_nvenc_story_says_what_the_gpu_does_and_what_not() {
    let told = explain("L1").unwrap().told();
    for word in ["NVDEC", "NVENC", "CUDA", "Birdseye", "go2rtc", "copied", "doesn't do encoding"] {
        assert!(told.contains(word), "{word} in:\n{told}");
    }
    let seed = "ffmpeg:\n  output_args:\n    record: -f segment -segment_time 10 -c:v h264_nvenc -preset p2 -c:a aac\n";
    let report = check(&[Source { name: "seed.yml", text: seed.as_bytes() }], &Options::default());
    let found = report.findings.iter().find(|f| f.code == "L1").unwrap();
    assert_eq!((found.line, found.column), (3, 13));
    assert!(found.message.contains("h264_nvenc"));
}

/// Set RUNNER_WRITE_MANUAL to write the page anew.
#[test]
fn the_manual_page_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/lint.md");
    if std::env::vars().any(|(key, _)| key == "RUNNER_WRITE_MANUAL") {
        std::fs::write(&path, manual()).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(path).unwrap(),
        manual(),
        "run with RUNNER_WRITE_MANUAL=1 to write it anew"
    );
}
