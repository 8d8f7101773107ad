//! Times and durations as people read them.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::saga::Stamp;

/// A duration: `0.4 s`, `12 s`, `2 m 05 s`, `3 h 20 m`, `3 d 04 h`.
pub(super) fn duration(ms: u64) -> String {
    let s = ms / 1_000;
    let two = |big: u64, unit: &str, small: u64, under: &str| {
        if small == 0 { format!("{big} {unit}") } else { format!("{big} {unit} {small:02} {under}") }
    };
    match s {
        0..10 if ms % 1_000 >= 100 => format!("{}.{} s", s, ms % 1_000 / 100),
        0..60 => format!("{s} s"),
        60..3_600 => two(s / 60, "m", s % 60, "s"),
        3_600..86_400 => two(s / 3_600, "h", s % 3_600 / 60, "m"),
        _ => two(s / 86_400, "d", s % 86_400 / 3_600, "h"),
    }
}

/// A moment in RFC 3339, to the second: `2026-11-23T16:31:02Z`, or with the zone's offset.
pub(super) fn time(at: &Stamp, zone: &TimeZone) -> String {
    wall(at.wall_ms, zone)
}

/// The same for a bare wall clock.
pub(super) fn wall(wall_ms: i64, zone: &TimeZone) -> String {
    let at = Timestamp::from_millisecond(wall_ms).unwrap_or_default();
    if *zone == TimeZone::UTC {
        at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    } else {
        at.to_zoned_datetime(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
    }
}

/// A moment of today for a narrow place: `16:31:02`.
pub(super) fn clock(at: &Stamp, zone: &TimeZone) -> String {
    let at = Timestamp::from_millisecond(at.wall_ms).unwrap_or_default();
    at.to_zoned_datetime(zone.clone()).strftime("%H:%M:%S").to_string()
}

/// A moment for programs: RFC 3339 in UTC, to the millisecond.
pub(super) fn exact(at: &Stamp) -> String {
    let at = Timestamp::from_millisecond(at.wall_ms).unwrap_or_default();
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// The moment so many milliseconds from `now`, for programs: as `exact`.
pub fn in_ms(now: &Stamp, ms: u64) -> String {
    exact(&Stamp { wall_ms: now.wall_ms.saturating_add_unsigned(ms), ..*now })
}

/// `1 step`, `2 steps`.
pub(super) fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_aloud() {
        let all = [0, 90, 400, 9_950, 12_400, 60_000, 125_000, 12_000_000, 86_400_000, 273_600_000];
        let said: Vec<String> = all.into_iter().map(duration).collect();
        assert_eq!(
            said,
            ["0 s", "0 s", "0.4 s", "9.9 s", "12 s", "1 m", "2 m 05 s", "3 h 20 m", "1 d", "3 d 04 h"]
        );
    }

    #[test]
    fn times_carry_their_offset() {
        let at = Stamp { wall_ms: 1_795_451_462_345, boot: 1, up_ms: 0 };
        assert_eq!(time(&at, &TimeZone::UTC), "2026-11-23T16:31:02Z");
        assert_eq!(exact(&at), "2026-11-23T16:31:02.345Z");
        let zone = TimeZone::get("America/Los_Angeles").unwrap();
        assert_eq!(time(&at, &zone), "2026-11-23T08:31:02-08:00");
        assert_eq!(clock(&at, &zone), "08:31:02");
    }
}
