//! The lint against the verdicts of Frigate's own validators: 60 configurations, most with exactly one mistake.
//!
//! `expect` holds the rows that must be found, `also` those that may be; anything else is a false alarm. Where the
//! validator of the target version refuses a file, the lint must say an error; where a file holds no mistake, none.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use runner::lint::{Context, Options, Report, Source, check};
use serde_json::Value;

fn data() -> (std::path::PathBuf, Value) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/lint/facts");
    let verdicts = fs::read_to_string(folder.join("verdicts.json")).expect("the facts are there");
    (folder, serde_json::from_str(&verdicts).expect("the facts are there"))
}

fn rows(value: &Value) -> BTreeSet<String> {
    value
        .as_array()
        .expect("the facts are there")
        .iter()
        .map(|row| row.as_str().expect("the facts are there").to_owned())
        .collect()
}

fn judge(folder: &Path, name: &str, facts: &Value) -> Report {
    let context: Context = serde_json::from_value(facts["context"].clone()).expect("the facts are there");
    let text = fs::read(folder.join(name)).expect("the facts are there");
    check(&[Source { name, text: &text }], &Options { target: None, context })
}

#[test]
fn every_row_is_found_and_nothing_else() {
    let (folder, verdicts) = data();
    let mut wrong = Vec::new();
    let mut found_rows = BTreeSet::new();
    for (name, facts) in verdicts["files"].as_object().expect("the facts are there") {
        let report = judge(&folder, name, facts);
        let found: BTreeSet<String> = report.findings.iter().map(|finding| finding.code.to_owned()).collect();
        let (expect, also) = (rows(&facts["expect"]), rows(&facts["also"]));
        let missing: Vec<_> = expect.difference(&found).collect();
        let extra: Vec<_> =
            found.iter().filter(|row| !expect.contains(*row) && !also.contains(*row)).collect();
        if !missing.is_empty() || !extra.is_empty() {
            wrong
                .push(format!("{name}: missing {missing:?}, not expected {extra:?}\n{:#?}", report.findings));
        }
        let clean = expect.is_empty();
        if clean && report.has_errors() {
            wrong.push(format!("{name}: an error on a file without a mistake"));
        }
        let target = facts["context"]["target"].as_str().expect("the facts are there");
        let verdict = if target.starts_with("0.14") { "frigate_0_14_1" } else { "frigate_0_16_2" };
        if facts[verdict]["accepted"] == false && !report.has_errors() {
            wrong.push(format!("{name}: Frigate refuses it, and there is no error"));
        }
        found_rows.extend(expect);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let all: BTreeSet<String> =
        verdicts["rows"].as_object().expect("the facts are there").keys().cloned().collect();
    assert_eq!(found_rows, all, "each row stands in some file");
}

#[test]
fn a_file_offered_to_another_version_is_refused_as_that_version_refuses_it() {
    let (folder, verdicts) = data();
    let mut wrong = Vec::new();
    for (name, facts) in verdicts["files"].as_object().expect("the facts are there") {
        for (target, verdict) in [("0.14", "frigate_0_14_1"), ("0.16", "frigate_0_16_2")] {
            let mut facts = facts.clone();
            facts["context"]["target"] = target.into();
            let report = judge(&folder, name, &facts);
            if facts[verdict]["accepted"] == false && !report.has_errors() {
                wrong.push(format!("{name} for {target}: refused with {}", facts[verdict]["error"]));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_in_a_report_gives_credentials_away() {
    let (folder, verdicts) = data();
    for (name, facts) in verdicts["files"].as_object().expect("the facts are there") {
        let lines =
            serde_json::to_string(&judge(&folder, name, facts).findings).expect("the facts are there");
        assert!(!lines.contains("example-Pass1"), "{name}");
    }
}
