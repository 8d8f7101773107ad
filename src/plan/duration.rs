//! Durations and times of day as people write them.

/// Longest duration a plan may name: ten years. Longer ones are typing errors, and sums stay far from overflow.
pub const DURATION_MAX_MS: u64 = 10 * 365 * 24 * 3_600_000;

/// Units from the longest to the shortest, in milliseconds.
const UNITS: [(&str, u64); 6] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads `5m`, `3d`, `1h30m`, `250ms`: whole numbers with units, the longest first, each once. Gives milliseconds.
///
/// # Errors
/// A sentence that says why not; zero and more than [`DURATION_MAX_MS`] are refused.
pub fn parse(text: &str) -> Result<u64, String> {
    let mut rest = text;
    let mut total: u64 = 0;
    let mut units = UNITS.iter();
    if rest.is_empty() {
        return Err("it is empty".to_owned());
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let letters = rest[digits..].bytes().take_while(u8::is_ascii_alphabetic).count();
        let (number, unit) = (&rest[..digits], &rest[digits..digits + letters]);
        if number.is_empty() {
            return Err("it must be whole numbers with units".to_owned());
        }
        if unit.is_empty() {
            return Err(format!("`{number}` has no unit"));
        }
        let Some((_, unit_ms)) = units.find(|(name, _)| *name == unit) else {
            return Err(match UNITS.iter().any(|(name, _)| *name == unit) {
                true => format!("`{unit}` stands after a unit that is not longer"),
                false => format!("`{unit}` is not a unit"),
            });
        };
        let part = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*unit_ms));
        total = match part.and_then(|part| total.checked_add(part)) {
            Some(sum) if sum <= DURATION_MAX_MS => sum,
            _ => return Err("it is longer than ten years".to_owned()),
        };
        rest = &rest[digits + letters..];
    }
    if total == 0 { Err("it must be more than zero".to_owned()) } else { Ok(total) }
}

/// What a duration looks like, for help texts.
pub(super) const LOOKS_LIKE: &str =
    "a duration is whole numbers with the units w, d, h, m, s, ms, like \"5m\" or \"1h30m\"";

/// Reads `02:00` as minutes after midnight.
pub(super) fn time_of_day(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let two_digits = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
    if !two_digits(hours) || !two_digits(minutes) {
        return None;
    }
    let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
}

/// Reads `1%` as 0.01.
pub(super) fn percent(text: &str) -> Option<f64> {
    let number = text.strip_suffix('%')?.trim_end();
    let plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let value: f64 = number.parse().ok().filter(|_| plain)?;
    (0.0..=100.0).contains(&value).then_some(value / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_people_write_them() {
        for (text, ms) in [
            ("5m", 300_000),
            ("3d", 259_200_000),
            ("2s", 2_000),
            ("1h30m", 5_400_000),
            ("250ms", 250),
            ("1m5ms", 60_005),
        ] {
            assert_eq!(parse(text), Ok(ms), "{text}");
        }
        for bad in [
            "",
            "5",
            "m",
            "-5m",
            "5 m",
            "1.5h",
            "5y",
            "30m1h",
            "5m5m",
            "0s",
            "999999999999999999999d",
            "4000d",
            "5µs",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_of_day_and_percents() {
        assert_eq!(time_of_day("02:30"), Some(150));
        for bad in ["2:30", "24:00", "12:60", "12", "12:3x", "+1:00"] {
            assert_eq!(time_of_day(bad), None, "{bad}");
        }
        assert_eq!(percent("1%"), Some(0.01));
        assert_eq!(percent("99.5%"), Some(0.995));
        for bad in ["1", "101%", "-1%", "%", "1e1%", "nan%", "inf%"] {
            assert_eq!(percent(bad), None, "{bad}");
        }
    }
}
