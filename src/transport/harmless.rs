//! Makes text from outside safe to show: no terminal ever acts on it.

use std::borrow::Cow;

/// Returns `text` with everything a terminal could act on made visible.
///
/// Newlines and tabs stay. Other control characters (C0, DEL, C1) and the Unicode marks that reorder or hide text
/// become `\u{1b}` and the like; a carriage return before a newline is dropped; invalid UTF-8 becomes U+FFFD.
/// Never fails; text that is already harmless and valid is not copied.
pub fn harmless<T: AsRef<[u8]> + ?Sized>(text: &T) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(text.as_ref());
    if !text.chars().any(is_harmful) {
        return text;
    }
    let mut shown = String::with_capacity(text.len() + 16);
    let mut rest = text.chars().peekable();
    while let Some(character) = rest.next() {
        if character == '\r' && rest.peek() == Some(&'\n') {
            continue;
        }
        if is_harmful(character) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

/// One line of it: what a message, a reason or a list can hold. Line breaks become spaces.
pub(crate) fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    harmless(&words.join(" ")).into_owned()
}

/// Control characters, and the marks of Unicode that can make text read otherwise than it is written
/// (Unicode TR 36, "bidirectional text spoofing").
fn is_harmful(character: char) -> bool {
    matches!(character, '\u{0}'..='\u{8}' | '\u{b}'..='\u{1f}' | '\u{7f}'..='\u{9f}'
        | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_become_visible() {
        assert_eq!(harmless("\u{1b}[31mred\u{7}\tend\n"), "\\u{1b}[31mred\\u{7}\tend\n");
        assert_eq!(harmless("a\r\nb\rc"), "a\nb\\u{d}c");
        assert_eq!(harmless("abc\u{202e}fdp"), "abc\\u{202e}fdp");
    }

    #[test]
    fn invalid_utf8_is_replaced() {
        assert_eq!(harmless(b"ok \xff\xfe"), "ok \u{fffd}\u{fffd}");
    }

    #[test]
    fn plain_text_is_borrowed() {
        assert!(matches!(harmless("plain, häßlich\n"), Cow::Borrowed(_)));
        assert_eq!(one_line(" a\n  b\t c "), "a b c");
    }
}
