//! Rules and rows of values, and what each look becomes: `+` holds, `-` absent, `?` unknown.

use super::*;
use crate::plan::samples::{HOLDS, WATCH};
use serde_json::json;

const MINUTE: u64 = 60_000;

fn at(minute: u64) -> Stamp {
    Stamp { wall_ms: 0, boot: 1, up_ms: minute * MINUTE }
}

fn check(watch: Value, holds: Option<(u32, u32)>) -> Vec<Operation> {
    let mut fields = serde_json::Map::new();
    fields.insert(WATCH.to_owned(), watch);
    if let Some((of_them, looks)) = holds {
        fields.insert(HOLDS.to_owned(), json!({ "of_them": of_them, "looks": looks }));
    }
    vec![Operation { name: "command".to_owned(), fields }]
}

fn sign(verdict: Verdict) -> char {
    match verdict {
        Verdict::Holds => '+',
        Verdict::Absent => '-',
        Verdict::Partial => '/',
        Verdict::Unknown => '?',
    }
}

/// One look every five minutes; `null` is a look without the fact, a boolean a look that does not hold.
fn looks(checks: &[Operation], values: &Value) -> String {
    let mut memory = Memory::default();
    let mut shown = String::new();
    for (place, value) in values.as_array().unwrap().iter().enumerate() {
        let verdict = if value.is_boolean() { Verdict::Absent } else { Verdict::Holds };
        let mut answer = Answer::new(verdict, "");
        if !value.is_null() && !value.is_boolean() {
            answer.facts.insert("n".to_owned(), value.clone());
        }
        // What is remembered is stored with events, and read back by the next process.
        memory = serde_json::from_str(&serde_json::to_string(&memory).unwrap()).unwrap();
        let mut answers = vec![answer];
        memory.judge(checks, &mut answers, &at(5 * place as u64));
        shown.push(sign(answers[0].verdict));
    }
    shown
}

#[test]
fn a_fact_is_compared_with_the_look_before() {
    let rows = [
        // The first look has nothing to compare with; 3 is a restart, and 300 rises from there.
        (json!("rises"), json!([100, 400, 3, 300, 300]), "?+-+-"),
        (json!("falls"), json!([9, 8, 8, 1]), "?+-+"),
        (json!("same"), json!(["a", "a", "b", "b"]), "?+-+"),
        (json!("changes"), json!(["a", "a", "b", "b"]), "?-+-"),
        // Numbers in texts are numbers; what is none cannot be compared; what is missing neither.
        (json!("rises"), json!(["1", "2.5", "x", null, "3"]), "?+??+"),
        // A look that does not hold teaches nothing: 5 is compared with 4.
        (json!("rises"), json!([4, false, 5]), "?-+"),
        (json!("same"), json!([1, 1.5, null, 1.5]), "?-?+"),
    ];
    for (word, values, expected) in rows {
        let checks = check(json!({ "n": { "must": word } }), None);
        assert_eq!(looks(&checks, &values), expected, "{word}: {values}");
    }
}

#[test]
fn a_counter_grows_and_begins_again_at_nothing() {
    let rows = [
        // Since the look before: 2 more is too much, and a reset to 1 is one more.
        (json!({ "must": { "at_most_more": 1 } }), json!([7, 8, 10, 1, 1]), "?+-++"),
        // Since the first look: 1, then 2 in all, then a reset that makes it 5.
        (json!({ "must": { "at_most_more": 2 }, "against": "first" }), json!([7, 8, 9, 3, 3]), "?++--"),
        (json!({ "must": { "at_least_more": 2 } }), json!([0, 2, 3, 9]), "?+-+"),
        (json!({ "must": { "at_least_more": 2 }, "against": "first" }), json!([0, 1, 2, 2]), "?-++"),
        (json!({ "must": "rises", "against": "first" }), json!([5, 6, 5, 6]), "?+-+"),
    ];
    for (rule, values, expected) in rows {
        let checks = check(json!({ "n": rule }), None);
        assert_eq!(looks(&checks, &values), expected, "{rule}: {values}");
    }
}

#[test]
fn a_window_slides_over_the_looks() {
    let rows = [
        // One more within 15 minutes is borne. At minute 10 there are two of them; they leave together at 25.
        (
            json!({ "must": { "at_most_more": 1 }, "against": { "within": 900_000 } }),
            json!([0, 1, 2, 2, 2, 2, 2]),
            "?+--+++",
        ),
        // One is needed in 10 minutes: not said before minute 10, then it is missing at minute 20.
        (
            json!({ "must": { "at_least_more": 1 }, "against": { "within": 600_000 } }),
            json!([0, 0, 1, 1, 1, 2]),
            "??++-+",
        ),
        (
            json!({ "must": { "at_least_more": 1 }, "against": { "within": 600_000 } }),
            json!([0, 0, 0]),
            "??-",
        ),
    ];
    for (rule, values, expected) in rows {
        let checks = check(json!({ "n": rule }), None);
        assert_eq!(looks(&checks, &values), expected, "{rule}: {values}");
    }
}

#[test]
fn what_grew_while_nobody_looked_is_not_put_into_a_window() {
    let rule = json!({ "must": { "at_most_more": 2 }, "against": { "within": 900_000 } });
    let checks = check(json!({ "n": rule }), None);
    let mut memory = Memory::default();
    let mut look = |at: Stamp, value: u64| {
        let mut answers = vec![Answer::new(Verdict::Holds, "")];
        answers[0].facts.insert("n".to_owned(), json!(value));
        memory.judge(&checks, &mut answers, &at);
        sign(answers[0].verdict)
    };
    assert_eq!(look(at(0), 0), '?');
    assert_eq!(look(at(5), 0), '+');
    // Seven more in five hours: nobody knows how many of them in the last quarter of an hour.
    assert_eq!(look(at(305), 7), '?');
    assert_eq!(look(at(315), 7), '?');
    assert_eq!(look(at(320), 7), '+');
    // Two more in five hours are two more in the last quarter of an hour at most.
    assert_eq!(look(at(610), 9), '+');
    // Another boot, and a wall clock that was set back: the window begins anew.
    let boot = |minute| Stamp { wall_ms: -9_000_000, boot: 2, up_ms: minute * MINUTE };
    assert_eq!(look(boot(0), 20), '+');
    assert_eq!(look(boot(5), 22), '+');
    assert_eq!(look(boot(10), 23), '-');
}

#[test]
fn so_many_of_the_last_looks_must_hold() {
    let rows = [
        // Three of five: three are needed to hold, three that do not are too many.
        ((3, 5), json!([1, 1, 1, false, false, false, 1, 1, 1]), "??+++---+"),
        ((3, 5), json!([false, false, false, 1]), "??--"),
        ((1, 1), json!([1, false]), "+-"),
        ((2, 2), json!([1, false, 1, 1]), "?--+"),
    ];
    for ((of_them, looks_), values, expected) in rows {
        let mut checks = check(json!({}), Some((of_them, looks_)));
        checks[0].fields.remove(WATCH);
        assert_eq!(looks(&checks, &values), expected, "{of_them} of {looks_}: {values}");
    }
    // A restart now and then: each is one look that does not hold, and two of three do.
    let checks = check(json!({ "n": { "must": "rises" } }), Some((2, 3)));
    assert_eq!(looks(&checks, &json!([1, 2, 3, 0, 1, 2, 0, 0])), "??+++++-");
}

#[test]
fn what_is_remembered_of_a_window_is_bounded() {
    let rule = json!({ "must": { "at_most_more": 1000 }, "against": { "within": 86_400_000 } });
    let values: Vec<u64> = (0..2_000).collect();
    let checks = check(json!({ "n": rule }), None);
    let mut memory = Memory::default();
    for (place, value) in values.iter().enumerate() {
        let mut answers = vec![Answer::new(Verdict::Holds, "")];
        answers[0].facts.insert("n".to_owned(), json!(value));
        memory.judge(&checks, &mut answers, &at(5 * place as u64));
        // A day at one look every five minutes: 288 of them.
        assert!(memory.0[&0].facts["n"].marks.len() <= 27);
    }
    assert!(serde_json::to_string(&memory).unwrap().len() < 3_000);
    let mut answers = vec![Answer::new(Verdict::Holds, "")];
    answers[0].facts.insert("n".to_owned(), json!("x".repeat(2_000)));
    memory.judge(&checks, &mut answers, &at(10_005));
    assert_eq!(answers[0].verdict, Verdict::Unknown);
}
