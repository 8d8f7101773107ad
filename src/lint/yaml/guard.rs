//! What is refused before it is parsed, and the characters that only Frigate's reader refuses.
//!
//! Nothing here allocates in proportion to what it refuses: a file that is too large, binary, or not UTF-8 costs one pass
//! at most.

use super::{Place, Trouble};

/// The largest text that is looked at: what Kubernetes takes as a ConfigMap, thirty times a large configuration.
pub(crate) const TEXT_MAX_BYTES: usize = 1024 * 1024;

/// The bytes as text that YAML allows, or why not.
pub(crate) fn text(bytes: &[u8]) -> Result<&str, Trouble> {
    if bytes.len() > TEXT_MAX_BYTES {
        let message = "too large for a configuration: it holds more than 1 MiB".to_owned();
        return refuse(Place { line: 1, column: 1 }, message);
    }
    if let Some(encoding) = wide_encoding(bytes) {
        return refuse(Place { line: 1, column: 1 }, format!("the file is {encoding}, Frigate reads UTF-8"));
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let valid = &bytes[..error.valid_up_to()];
            let place = place_of(std::str::from_utf8(valid).unwrap_or_default());
            return refuse(place, "not text: this byte is not UTF-8".to_owned());
        }
    };
    match text.char_indices().find(|(at, c)| forbidden(*c) && !(*at == 0 && *c == '\u{feff}')) {
        Some((at, c)) => {
            let what = if c == '\0' {
                "a zero byte, so this is not a text file".to_owned()
            } else {
                format!("control character U+{:04X}", c as u32)
            };
            refuse(place_of(&text[..at]), format!("{what}: YAML does not allow it"))
        }
        None => Ok(text),
    }
}

fn refuse<T>(at: Place, message: String) -> Result<T, Trouble> {
    Err(Trouble { code: "X5", at, message, fix: None })
}

fn wide_encoding(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some("UTF-16"),
        _ => None,
    }
}

/// YAML's printable characters, as ruamel.yaml and PyYAML check them.
fn forbidden(c: char) -> bool {
    match c {
        '\t' | '\n' | '\r' | '\u{85}' => false,
        '\u{0}'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => true,
        _ => false,
    }
}

/// The place just behind a text.
pub(crate) fn place_of(before: &str) -> Place {
    let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Place { line: line as u32, column: column as u32 }
}

/// The first tab that Frigate's reader would trip over: outside of scalars, comments and brackets (in which
/// ruamel.yaml, not PyYAML, skips it). Spans are counted in characters.
pub(crate) fn stray_tab(
    text: &str,
    scalars: &[(usize, usize)],
    brackets: &[(usize, usize)],
) -> Option<Place> {
    let inside =
        |spans: &[(usize, usize)], at: usize| spans.iter().any(|(start, end)| *start <= at && at < *end);
    let mut comment = false;
    let mut before = '\n';
    let mut place = Place { line: 1, column: 1 };
    for (at, c) in text.chars().enumerate() {
        match c {
            '\n' => {
                comment = false;
                place = Place { line: place.line + 1, column: 0 };
            }
            '#' if !comment && before.is_whitespace() && !inside(scalars, at) => comment = true,
            '\t' if !comment && !inside(scalars, at) && !inside(brackets, at) => return Some(place),
            _ => {}
        }
        before = c;
        place.column += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_text_is_refused_with_its_place() {
        let cases: [(&[u8], &str, (u32, u32)); 5] = [
            (b"a: 1\nb: \xff\xfe", "UTF-8", (2, 4)),
            (b"a: 1\nb: \0", "zero byte", (2, 4)),
            (b"\xff\xfea\0", "UTF-16", (1, 1)),
            (b"a: \x1b[31m", "U+001B", (1, 4)),
            (&[b'#'; TEXT_MAX_BYTES + 1], "too large", (1, 1)),
        ];
        for (bytes, word, (line, column)) in cases {
            let trouble = text(bytes).unwrap_err();
            assert!(trouble.message.contains(word), "{}", trouble.message);
            assert_eq!(trouble.at, Place { line, column }, "{word}");
            assert_eq!(trouble.code, "X5");
        }
        assert_eq!(text("\u{feff}a: ä\n".as_bytes()).unwrap(), "\u{feff}a: ä\n");
    }

    #[test]
    fn tabs_are_fine_only_where_the_reader_skips_them() {
        assert_eq!(stray_tab("a: b # x\ty\n", &[(0, 1), (3, 4)], &[]), None);
        assert_eq!(stray_tab("a: \"x\ty\"\n", &[(0, 1), (3, 8)], &[]), None);
        assert_eq!(stray_tab("a: [\t1]\n", &[(0, 1)], &[(3, 7)]), None);
        assert_eq!(stray_tab("a:\n\tb: 1\n", &[(0, 1), (4, 5)], &[]), Some(Place { line: 2, column: 1 }));
    }
}
