//! The table of windows: for each a moment, and whether it is open then and until when, or when it opens next.
//!
//! Windows are read as they stand in a plan. All moments are UTC; changes of clocks: Berlin skips 02:00 to 03:00 on
//! 2026-03-29 (at 01:00Z) and has it twice on 2026-10-25 (the second from 01:00Z on); Los Angeles the same hour on
//! 2026-03-08 (at 10:00Z) and, from 01:00 to 02:00, on 2026-11-01 (the second from 09:00Z on).

#![expect(clippy::unwrap_used, reason = "a helper of tests, outside of any test function")]

use jiff::Timestamp;
use runner::plan::recorded::Window;
use runner::plan::{Request, Required, WindowState, load};

enum Then {
    Open(&'static str),
    Closed(&'static str),
}
use Then::{Closed, Open};

type Row = (&'static str, &'static str, &'static str, Then);

#[rustfmt::skip]
const ROWS: &[Row] = &[
    // Days; 2026-06-01 is a Monday.
    ("before it opens", r#"days = "mon-thu", from = "02:00", to = "05:00", zone = "America/Los_Angeles""#, "2026-06-01T08:59:59Z", Closed("2026-06-01T09:00:00Z")),
    ("the moment it opens", r#"days = "mon-thu", from = "02:00", to = "05:00", zone = "America/Los_Angeles""#, "2026-06-01T09:00:00Z", Open("2026-06-01T12:00:00Z")),
    ("its last second", r#"days = "mon-thu", from = "02:00", to = "05:00", zone = "America/Los_Angeles""#, "2026-06-01T11:59:59Z", Open("2026-06-01T12:00:00Z")),
    ("the moment it closes", r#"days = "mon-thu", from = "02:00", to = "05:00", zone = "America/Los_Angeles""#, "2026-06-01T12:00:00Z", Closed("2026-06-02T09:00:00Z")),
    ("after Thursday comes Monday", r#"days = "mon-thu", from = "02:00", to = "05:00", zone = "America/Los_Angeles""#, "2026-06-04T12:00:00Z", Closed("2026-06-08T09:00:00Z")),
    ("the day is that of the zone", r#"days = "mon", from = "02:00", to = "05:00", zone = "Asia/Tokyo""#, "2026-05-31T18:00:00Z", Open("2026-05-31T20:00:00Z")),
    ("half hours off", r#"days = "mon", from = "02:00", to = "05:00", zone = "Asia/Kolkata""#, "2026-05-31T20:29:00Z", Closed("2026-05-31T20:30:00Z")),
    ("a range that goes round the week: Sunday", r#"days = "fri-mon", from = "02:00", to = "05:00", zone = "UTC""#, "2026-06-07T03:00:00Z", Open("2026-06-07T05:00:00Z")),
    ("a range that goes round the week: Tuesday", r#"days = "fri-mon", from = "02:00", to = "05:00", zone = "UTC""#, "2026-06-02T03:00:00Z", Closed("2026-06-05T02:00:00Z")),
    ("a list of days", r#"days = "mon,wed,sat-sun", from = "02:00", to = "05:00", zone = "UTC""#, "2026-06-01T05:00:00Z", Closed("2026-06-03T02:00:00Z")),
    ("an array of days", r#"days = ["mon", "wed"], from = "02:00", to = "05:00", zone = "UTC""#, "2026-06-03T05:00:00Z", Closed("2026-06-08T02:00:00Z")),
    ("one day, a week later", r#"days = "mon", from = "02:00", to = "05:00", zone = "UTC""#, "2026-06-01T05:00:00Z", Closed("2026-06-08T02:00:00Z")),
    ("over the end of a year", r#"days = "fri", from = "00:30", to = "01:00", zone = "UTC""#, "2026-12-26T00:00:00Z", Closed("2027-01-01T00:30:00Z")),
    // Over midnight: the day is the one it opens on.
    ("over midnight, the next morning", r#"days = "fri", from = "23:00", to = "01:00", zone = "UTC""#, "2026-06-06T00:30:00Z", Open("2026-06-06T01:00:00Z")),
    ("over midnight, the morning before", r#"days = "fri", from = "23:00", to = "01:00", zone = "UTC""#, "2026-06-05T00:30:00Z", Closed("2026-06-05T23:00:00Z")),
    ("from Sunday into Monday", r#"days = "sun", from = "22:00", to = "06:00", zone = "Europe/Berlin""#, "2026-06-08T03:59:00Z", Open("2026-06-08T04:00:00Z")),
    ("until midnight", r#"days = "mon", from = "22:00", to = "00:00", zone = "UTC""#, "2026-06-01T23:59:00Z", Open("2026-06-02T00:00:00Z")),
    // Openings that touch or overlap are one.
    ("equal times are a day, and days that touch are one", r#"days = "sat-sun", from = "00:00", to = "00:00", zone = "UTC""#, "2026-06-06T10:00:00Z", Open("2026-06-08T00:00:00Z")),
    ("from noon to noon", r#"days = "sat-sun", from = "12:00", to = "12:00", zone = "UTC""#, "2026-06-07T11:00:00Z", Open("2026-06-08T12:00:00Z")),
    // Berlin, 29 March: 01:59 is followed by 03:00.
    ("opens in the gap: at the change", r#"days = "mon-sun", from = "02:30", to = "04:00", zone = "Europe/Berlin""#, "2026-03-29T00:00:00Z", Closed("2026-03-29T01:00:00Z")),
    ("opened in the gap, and closes by the new time", r#"days = "mon-sun", from = "02:30", to = "04:00", zone = "Europe/Berlin""#, "2026-03-29T01:00:00Z", Open("2026-03-29T02:00:00Z")),
    ("closes in the gap: at the change", r#"days = "mon-sun", from = "01:00", to = "02:30", zone = "Europe/Berlin""#, "2026-03-29T00:59:00Z", Open("2026-03-29T01:00:00Z")),
    ("a quarter of an hour is left of it", r#"days = "mon-sun", from = "02:30", to = "03:15", zone = "Europe/Berlin""#, "2026-03-29T01:00:00Z", Open("2026-03-29T01:15:00Z")),
    ("wholly in the gap: not on that day", r#"days = "mon-sun", from = "02:10", to = "02:50", zone = "Europe/Berlin""#, "2026-03-29T00:30:00Z", Closed("2026-03-30T00:10:00Z")),
    ("exactly the gap: not on that day", r#"days = "mon-sun", from = "02:00", to = "03:00", zone = "Europe/Berlin""#, "2026-03-29T00:30:00Z", Closed("2026-03-30T00:00:00Z")),
    ("around the gap it is an hour shorter", r#"days = "sun", from = "01:00", to = "05:00", zone = "Europe/Berlin""#, "2026-03-29T00:00:00Z", Open("2026-03-29T03:00:00Z")),
    ("a night over the change", r#"days = "sat", from = "22:00", to = "06:00", zone = "Europe/Berlin""#, "2026-03-28T21:00:00Z", Open("2026-03-29T04:00:00Z")),
    // Berlin, 25 October: 02:00 to 03:00 comes twice.
    ("opens in the fold: the first time", r#"days = "mon-sun", from = "02:30", to = "04:00", zone = "Europe/Berlin""#, "2026-10-25T00:00:00Z", Closed("2026-10-25T00:30:00Z")),
    ("and stays open through the second", r#"days = "mon-sun", from = "02:30", to = "04:00", zone = "Europe/Berlin""#, "2026-10-25T01:10:00Z", Open("2026-10-25T03:00:00Z")),
    ("closes in the fold: the first time", r#"days = "mon-sun", from = "01:00", to = "02:30", zone = "Europe/Berlin""#, "2026-10-25T00:10:00Z", Open("2026-10-25T00:30:00Z")),
    ("wholly in the fold: once", r#"days = "mon-sun", from = "02:10", to = "02:50", zone = "Europe/Berlin""#, "2026-10-25T01:20:00Z", Closed("2026-10-26T01:10:00Z")),
    ("around the fold it is an hour longer", r#"days = "sun", from = "01:00", to = "05:00", zone = "Europe/Berlin""#, "2026-10-24T23:00:00Z", Open("2026-10-25T04:00:00Z")),
    // Los Angeles.
    ("spring in Los Angeles", r#"days = "sun", from = "02:00", to = "05:00", zone = "America/Los_Angeles""#, "2026-03-08T09:59:00Z", Closed("2026-03-08T10:00:00Z")),
    ("autumn in Los Angeles", r#"days = "sun", from = "01:30", to = "05:00", zone = "America/Los_Angeles""#, "2026-11-01T09:10:00Z", Open("2026-11-01T13:00:00Z")),
];

/// A window as it stands in a plan.
fn window(keys: &str) -> Window {
    let text = format!(
        "name = \"w\"\n[[step]]\nid = \"a\"\nwindow = {{ {keys} }}\nforward = {{ action = \"command\", argv = [\"true\"] }}\ncompensate = \"nothing\"\n"
    );
    let request = Request {
        path: "/w.toml",
        text: text.as_bytes(),
        vars: &[],
        var_files: &[],
        given: &std::collections::BTreeMap::new(),
        required: Required::MustBeGiven,
        read: &|_| Err("there are no files".to_owned()),
    };
    let loaded = load(&request).unwrap_or_else(|wrong| panic!("{keys}: {}", wrong.render(false, 100)));
    loaded.definition.steps[0].window.clone().unwrap()
}

#[test]
fn every_window_of_the_table_is_open_when_it_says() {
    let ms = |text: &str| text.parse::<Timestamp>().unwrap().as_millisecond();
    let mut wrong = Vec::new();
    for (says, keys, at, then) in ROWS {
        let expected = match then {
            Open(until) => WindowState::Open { closes_ms: ms(until) },
            Closed(until) => WindowState::Closed { opens_ms: ms(until) },
        };
        let found = window(keys).at(ms(at));
        if found != expected {
            let (WindowState::Open { closes_ms: when } | WindowState::Closed { opens_ms: when }) = found;
            let when =
                Timestamp::from_millisecond(when).map_or_else(|_| "never".to_owned(), |at| at.to_string());
            wrong.push(format!("{says}: {found:?}, {when}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
