//! What a plain scalar means: the one place where YAML 1.1 and 1.2 differ for a Frigate configuration.
//!
//! Frigate 0.14 reads with PyYAML (YAML 1.1: `no`, `on` are truth values, `12:30` is 750), 0.15 and later with ruamel.yaml
//! (YAML 1.2: they are text). Source: `yaml/resolver.py` of PyYAML 6 and `resolver.py` of ruamel.yaml 0.18.

/// Which reader reads the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// PyYAML, up to Frigate 0.14. Refuses merge keys in Frigate's loader.
    Yaml11,
    /// ruamel.yaml, from Frigate 0.15 on.
    Yaml12,
}

/// What a scalar is once it is read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    Int(i64),
    /// Whole, and beyond 64 bits.
    BigInt,
    Float(f64),
    /// A date, with or without time.
    Time,
    Text,
    /// It carries a tag that Frigate's reader does not know, such as Home Assistant's `!secret`.
    Tagged,
}

impl Kind {
    /// The kind in words for a message.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Kind::Null => "empty",
            Kind::Bool(_) => "a truth value",
            Kind::Int(_) | Kind::BigInt => "a whole number",
            Kind::Float(_) => "a number",
            Kind::Time => "a date",
            Kind::Text => "text",
            Kind::Tagged => "a tagged value",
        }
    }
}

/// What a plain, untagged scalar means.
pub(crate) fn resolve(text: &str, dialect: Dialect) -> Kind {
    let Some(&first) = text.as_bytes().first() else { return Kind::Null };
    match first {
        b'~' if text.len() == 1 => Kind::Null,
        b'n' | b'N' if matches!(text, "null" | "Null" | "NULL") => Kind::Null,
        b't' | b'T' if matches!(text, "true" | "True" | "TRUE") => Kind::Bool(true),
        b'f' | b'F' if matches!(text, "false" | "False" | "FALSE") => Kind::Bool(false),
        b'y' | b'Y' | b'n' | b'N' | b'o' | b'O' if dialect == Dialect::Yaml11 => match text {
            "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Kind::Bool(true),
            "no" | "No" | "NO" | "off" | "Off" | "OFF" => Kind::Bool(false),
            _ => Kind::Text,
        },
        b'0'..=b'9' | b'-' | b'+' | b'.' => number(text, dialect),
        _ => Kind::Text,
    }
}

/// The words that a truth field takes beside YAML's own, in any case.
pub(crate) fn truth_word(text: &str) -> Option<bool> {
    const TRUE: [&str; 6] = ["true", "yes", "on", "t", "y", "1"];
    const FALSE: [&str; 6] = ["false", "no", "off", "f", "n", "0"];
    if TRUE.iter().any(|word| word.eq_ignore_ascii_case(text)) {
        return Some(true);
    }
    FALSE.iter().any(|word| word.eq_ignore_ascii_case(text)).then_some(false)
}

fn number(text: &str, dialect: Dialect) -> Kind {
    let (negative, body) = match text.as_bytes()[0] {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if body.is_empty() {
        return Kind::Text;
    }
    if let Some(kind) = whole(body, negative, dialect) {
        return kind;
    }
    match body {
        ".inf" | ".Inf" | ".INF" => {
            return Kind::Float(if negative { f64::NEG_INFINITY } else { f64::INFINITY });
        }
        ".nan" | ".NaN" | ".NAN" if body.len() == text.len() => return Kind::Float(f64::NAN),
        _ => {}
    }
    if let Some(value) = decimal(body, dialect) {
        return Kind::Float(if negative { -value } else { value });
    }
    if is_date(text) {
        return Kind::Time;
    }
    Kind::Text
}

fn whole(body: &str, negative: bool, dialect: Dialect) -> Option<Kind> {
    let digits = |text: &str, radix: u32| -> Option<Kind> {
        let valid = |c: char| c == '_' || c.is_digit(radix);
        if text.is_empty() || !text.chars().all(valid) || text.chars().all(|c| c == '_') {
            return None;
        }
        let clean: String = text.chars().filter(|c| *c != '_').collect();
        Some(match i64::from_str_radix(&clean, radix) {
            Ok(value) => Kind::Int(if negative { -value } else { value }),
            Err(_) => Kind::BigInt,
        })
    };
    if let Some(rest) = body.strip_prefix("0x") {
        return digits(rest, 16);
    }
    if let Some(rest) = body.strip_prefix("0b") {
        return digits(rest, 2);
    }
    match dialect {
        Dialect::Yaml12 => match body.strip_prefix("0o") {
            Some(rest) => digits(rest, 8),
            None if body.as_bytes()[0].is_ascii_digit() || body.as_bytes()[0] == b'_' => digits(body, 10),
            None => None,
        },
        Dialect::Yaml11 => {
            if body.len() > 1 && body.starts_with('0') {
                return digits(&body[1..], 8);
            }
            if !body.as_bytes()[0].is_ascii_digit() {
                return None;
            }
            digits(body, 10).or_else(|| sexagesimal(body, negative))
        }
    }
}

/// `12:30` counts in sixties, as YAML 1.1 has it.
fn sexagesimal(body: &str, negative: bool) -> Option<Kind> {
    let mut parts = body.split(':');
    let head = parts.next()?;
    if head.starts_with('0') || !head.bytes().all(|b| b.is_ascii_digit() || b == b'_') {
        return None;
    }
    let mut value: i64 = head.replace('_', "").parse().ok()?;
    let mut any = false;
    for part in parts {
        any = true;
        if part.is_empty() || part.len() > 2 || !part.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let unit: i64 = part.parse().ok()?;
        if unit > 59 {
            return None;
        }
        value = value.checked_mul(60)?.checked_add(unit)?;
    }
    any.then_some(Kind::Int(if negative { -value } else { value }))
}

fn decimal(body: &str, dialect: Dialect) -> Option<f64> {
    let (mantissa, exponent) = match body.find(['e', 'E']) {
        Some(at) => (&body[..at], Some(&body[at + 1..])),
        None => (body, None),
    };
    if !mantissa.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b'_') {
        return None;
    }
    let dots = mantissa.bytes().filter(|b| *b == b'.').count();
    if dots > 1 || (dots == 0 && exponent.is_none()) || !mantissa.bytes().any(|b| b.is_ascii_digit()) {
        return None;
    }
    if mantissa.starts_with('_') {
        return None;
    }
    if let Some(exponent) = exponent {
        let signed = exponent.starts_with(['-', '+']);
        // YAML 1.1 wants a dot and a signed exponent, else `1e5` stays text.
        if dialect == Dialect::Yaml11 && (!signed || dots == 0) {
            return None;
        }
        let digits = if signed { &exponent[1..] } else { exponent };
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
    }
    body.replace('_', "").parse().ok()
}

/// `2025-01-31`, with or without a time behind it.
fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    let digits = |range: std::ops::Range<usize>| {
        bytes.get(range).is_some_and(|part| part.iter().all(u8::is_ascii_digit))
    };
    if !(digits(0..4) && bytes.get(4) == Some(&b'-')) {
        return false;
    }
    if bytes.len() == 10 {
        return digits(5..7) && bytes[7] == b'-' && digits(8..10);
    }
    // The long form needs a time of day: `2025-1-1 2:30:00`.
    let mut rest = text[5..].splitn(2, ['T', 't', ' ', '\t']);
    let (Some(day), Some(time)) = (rest.next(), rest.next()) else { return false };
    let short = |part: &str| (1..=2).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    let mut day = day.split('-');
    let day_fits = day.next().is_some_and(short) && day.next().is_some_and(short) && day.next().is_none();
    let clock: Vec<&str> = time.trim_start().splitn(3, ':').collect();
    day_fits
        && clock.len() == 3
        && short(clock[0])
        && short(clock[1])
        && clock[2].len() >= 2
        && clock[2].as_bytes()[..2].iter().all(u8::is_ascii_digit)
        && clock[2].bytes().all(|b| b.is_ascii_digit() || b".:+-Z \t".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn norway_is_text_from_015_on() {
        for word in ["no", "NO", "on", "off", "yes", "y", "n"] {
            assert_eq!(resolve(word, Dialect::Yaml12), Kind::Text, "{word}");
        }
        assert_eq!(resolve("no", Dialect::Yaml11), Kind::Bool(false));
        assert_eq!(resolve("On", Dialect::Yaml11), Kind::Bool(true));
        assert_eq!(resolve("y", Dialect::Yaml11), Kind::Text);
    }

    #[test]
    fn sixties_count_only_in_014() {
        assert_eq!(resolve("12:30", Dialect::Yaml11), Kind::Int(750));
        assert_eq!(resolve("12:30", Dialect::Yaml12), Kind::Text);
        assert_eq!(resolve("12:99", Dialect::Yaml11), Kind::Text);
        assert_eq!(resolve("192.168.1.1:554", Dialect::Yaml11), Kind::Text);
    }

    #[test]
    fn numbers_dates_and_what_only_looks_like_them() {
        let cases = [
            ("0.16", Kind::Float(0.16)),
            ("0.16-0", Kind::Text),
            ("16", Kind::Int(16)),
            ("-3", Kind::Int(-3)),
            ("010", Kind::Int(10)),
            ("0o10", Kind::Int(8)),
            ("0x1F", Kind::Int(31)),
            ("1_000", Kind::Int(1000)),
            ("1e3", Kind::Float(1000.0)),
            ("1.2.3", Kind::Text),
            ("99999999999999999999", Kind::BigInt),
            (".5", Kind::Float(0.5)),
            ("-", Kind::Text),
            ("...", Kind::Text),
            ("2025-01-31", Kind::Time),
            ("2025-01-31T10:00:00Z", Kind::Time),
            ("24hour", Kind::Text),
            ("", Kind::Null),
            ("~", Kind::Null),
            ("Null", Kind::Null),
            ("nUll", Kind::Text),
        ];
        for (text, kind) in cases {
            assert_eq!(resolve(text, Dialect::Yaml12), kind, "{text}");
        }
        assert_eq!(resolve("010", Dialect::Yaml11), Kind::Int(8));
        assert_eq!(resolve("1e3", Dialect::Yaml11), Kind::Text);
    }
}
