//! Weekly windows of time: whether one is open now, and when that changes.
//!
//! The time zone data is compiled in, so that a plan means the same on every machine.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, ToSpan};

use super::recorded::Window;

/// Whether a window is open at one instant, and until when. Times are milliseconds since 1970 (UTC).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowState {
    /// It is open.
    Open {
        /// When it closes.
        closes_ms: i64,
    },
    /// It is closed.
    Closed {
        /// When it opens next.
        opens_ms: i64,
    },
}

/// The zone with this IANA name, from the compiled-in data.
pub(super) fn zone(name: &str) -> Option<TimeZone> {
    // The database takes names in any case; a plan has one spelling.
    let zone = TimeZoneDatabase::bundled().get(name).ok()?;
    (zone.iana_name() == Some(name)).then_some(zone)
}

/// All zone names there are, for "did you mean".
pub(super) fn zone_names() -> Vec<String> {
    TimeZoneDatabase::bundled().available().map(|name| name.as_str().to_owned()).collect()
}

impl Window {
    /// Whether the window is open at `wall_ms`, milliseconds since 1970 (UTC).
    ///
    /// A time that a change of clocks skips counts as the instant of the change, one that it repeats as the first of
    /// the two: nothing starts at a time of day outside the window, and what lies in the gap as a whole does not open
    /// on that day. Openings that touch or overlap count as one. A zone this binary does not know, days that are
    /// none, and instants outside the calendar leave the window closed for ever (`i64::MAX`): nothing starts
    /// by mistake.
    pub fn at(&self, wall_ms: i64) -> WindowState {
        self.state(wall_ms).unwrap_or(WindowState::Closed { opens_ms: i64::MAX })
    }

    fn state(&self, wall_ms: i64) -> Option<WindowState> {
        let zone = zone(&self.zone)?;
        let today = zone.to_datetime(Timestamp::from_millisecond(wall_ms).ok()?).date();
        // From yesterday, whose opening may run past midnight, to two weeks ahead: one opening more than a week
        // has, so that a full week of touching openings is seen as such.
        let mut openings = (-8..=15_i64)
            .filter_map(|days| today.checked_add(days.days()).ok())
            .filter(|date| self.days.contains(&date.weekday().to_monday_zero_offset().unsigned_abs()))
            .filter_map(|date| self.opening(date, &zone))
            .filter(|(from, to)| from < to);
        let mut current = openings.next()?;
        for next in openings {
            if next.0 <= current.1 {
                current.1 = current.1.max(next.1);
            } else if wall_ms < current.1 {
                break;
            } else {
                current = next;
            }
        }
        let (from, to) = current;
        if wall_ms < from {
            Some(WindowState::Closed { opens_ms: from })
        } else if wall_ms < to {
            Some(WindowState::Open { closes_ms: to })
        } else {
            None
        }
    }

    /// The opening that begins on `date`, as instants.
    fn opening(&self, date: Date, zone: &TimeZone) -> Option<(i64, i64)> {
        let last = if self.to_minute <= self.from_minute { date.tomorrow().ok()? } else { date };
        Some((instant(date, self.from_minute, zone)?, instant(last, self.to_minute, zone)?))
    }
}

fn instant(date: Date, minute: u16, zone: &TimeZone) -> Option<i64> {
    let time = Time::new(i8::try_from(minute / 60).ok()?, i8::try_from(minute % 60).ok()?, 0, 0).ok()?;
    let civil = DateTime::from_parts(date, time);
    let ambiguous = zone.to_ambiguous_timestamp(civil);
    let skipped = matches!(ambiguous.offset(), AmbiguousOffset::Gap { .. });
    // Of a time that comes twice the first; of one that is skipped an instant in the hour after the change.
    let timestamp = ambiguous.compatible().ok()?;
    if !skipped {
        return Some(timestamp.as_millisecond());
    }
    let change = zone.preceding(timestamp.checked_add(1.second()).ok()?).next()?;
    Some(change.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(days: &[u8], from: u16, to: u16, zone: &str) -> Window {
        Window { days: days.to_vec(), from_minute: from, to_minute: to, zone: zone.to_owned() }
    }

    fn ms(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    #[test]
    fn open_between_its_times_on_its_days() {
        let nights = window(&[0, 1, 2, 3], 120, 300, "America/Los_Angeles");
        // Monday 2026-06-01, 02:00 to 05:00 at UTC-7.
        let opens = ms("2026-06-01T09:00:00Z");
        assert_eq!(nights.at(opens - 1), WindowState::Closed { opens_ms: opens });
        assert_eq!(nights.at(opens), WindowState::Open { closes_ms: ms("2026-06-01T12:00:00Z") });
        assert_eq!(
            nights.at(ms("2026-06-01T12:00:00Z")),
            WindowState::Closed { opens_ms: ms("2026-06-02T09:00:00Z") }
        );
        // After Thursday comes Monday.
        assert_eq!(
            nights.at(ms("2026-06-04T12:00:00Z")),
            WindowState::Closed { opens_ms: ms("2026-06-08T09:00:00Z") }
        );
    }

    #[test]
    fn across_midnight_the_day_is_the_one_it_opens_on() {
        let late = window(&[4], 23 * 60, 60, "UTC");
        assert_eq!(
            late.at(ms("2026-06-06T00:30:00Z")),
            WindowState::Open { closes_ms: ms("2026-06-06T01:00:00Z") }
        );
        assert_eq!(
            late.at(ms("2026-06-05T00:30:00Z")),
            WindowState::Closed { opens_ms: ms("2026-06-05T23:00:00Z") }
        );
    }

    #[test]
    fn a_change_of_clocks_moves_the_instant_not_the_time_of_day() {
        let nights = window(&[0, 1, 2, 3, 4, 5, 6], 150, 240, "Europe/Berlin");
        // On 2026-03-29 the time from 02:00 to 03:00 is skipped: what was to open at 02:30 opens at 03:00.
        assert_eq!(
            nights.at(ms("2026-03-29T00:00:00Z")),
            WindowState::Closed { opens_ms: ms("2026-03-29T01:00:00Z") }
        );
        assert_eq!(
            nights.at(ms("2026-03-29T01:45:00Z")),
            WindowState::Open { closes_ms: ms("2026-03-29T02:00:00Z") }
        );
        // On 2026-10-25 02:30 comes twice: the first counts.
        assert_eq!(
            nights.at(ms("2026-10-25T00:00:00Z")),
            WindowState::Closed { opens_ms: ms("2026-10-25T00:30:00Z") }
        );
    }

    #[test]
    fn equal_times_are_a_whole_day_and_touching_days_are_one() {
        let weekend = window(&[5, 6], 0, 0, "UTC");
        assert_eq!(
            weekend.at(ms("2026-06-06T10:00:00Z")),
            WindowState::Open { closes_ms: ms("2026-06-08T00:00:00Z") }
        );
    }

    #[test]
    fn zones_have_one_spelling() {
        for name in ["UTC", "Etc/UTC", "Europe/Berlin", "US/Pacific", "Asia/Calcutta", "America/Los_Angeles"]
        {
            assert!(zone(name).is_some(), "{name}");
        }
        for name in ["europe/berlin", "utc", "PST8", "+02:00", ""] {
            assert!(zone(name).is_none(), "{name}");
        }
    }

    #[test]
    fn what_is_not_understood_stays_closed() {
        for odd in
            [window(&[0], 0, 60, "Mars/Olympus"), window(&[], 0, 60, "UTC"), window(&[0], 5000, 60, "UTC")]
        {
            assert_eq!(odd.at(0), WindowState::Closed { opens_ms: i64::MAX });
        }
        assert_eq!(window(&[0], 0, 60, "UTC").at(i64::MAX), WindowState::Closed { opens_ms: i64::MAX });
    }
}
