//! The last fence before the eye: nothing that is printed can move a cursor, hide text or turn it around.
//!
//! What comes from remote output is harmless already when it is recorded; this is cheap and makes it sure (P7).

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Whether a character could change how the text around it is seen: bidi controls, invisible and format
/// characters (Unicode 16, general category Cf, and the line and paragraph separators), noncharacters' tags.
pub(super) fn deceives(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// One line without anything that acts on a terminal: line ends and tabs become spaces, control characters
/// their pictures (`␛`), what deceives its code (`<U+202E>`).
pub(super) fn line(text: &str) -> String {
    let text = text.trim_end();
    if text.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return text.to_owned();
    }
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => safe.push(' '),
            // A carriage return before a line end is half of one.
            '\r' => {}
            '\0'..='\u{1f}' => safe.push(char::from_u32(0x2400 + u32::from(c)).unwrap_or('?')),
            '\u{7f}' => safe.push('\u{2421}'),
            _ if c.is_control() || deceives(c) => safe.push_str(&format!("<U+{:04X}>", u32::from(c))),
            _ => safe.push(c),
        }
    }
    safe
}

/// One line of a message, safe to print: what acts on a terminal is shown and not done.
///
/// For texts that carry what a user or a file system has named.
pub fn text_line(text: &str) -> String {
    line(text)
}

/// The last `most` lines of a text, each one safe to print.
pub(super) fn last_lines(text: &str, most: usize) -> Vec<String> {
    let all: Vec<&str> = text.trim_end().lines().collect();
    all[all.len().saturating_sub(most)..].iter().map(|each| line(&each.replace('\t', "    "))).collect()
}

/// How many columns a text takes.
pub(super) fn width(text: &str) -> usize {
    text.width()
}

/// The text with spaces behind it up to `columns`.
pub(super) fn pad(text: &str, columns: usize) -> String {
    format!("{text}{}", " ".repeat(columns.saturating_sub(width(text))))
}

/// The text cut to `columns`, with `…` where something is missing.
pub(super) fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut left = columns.saturating_sub(1);
    let mut kept = String::new();
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if wide > left {
            break;
        }
        left -= wide;
        kept.push(c);
    }
    if columns > 0 {
        kept.push('…');
    }
    kept
}

/// The text in lines of at most `columns`, broken between words where that is possible; every line but the
/// first begins with `indent` spaces.
pub(super) fn wrap(text: &str, columns: usize, indent: usize) -> Vec<String> {
    let columns = columns.max(indent + 20);
    let mut lines = Vec::new();
    let mut present = String::new();
    let mut fresh = true;
    for word in text.split_inclusive(' ') {
        let mut word = word;
        while width(present.as_str()) + width(word.trim_end()) > columns {
            if !fresh {
                lines.push(present.trim_end().to_owned());
            } else {
                // One word that is longer than a line: broken where the line ends.
                let room = columns - width(&present);
                let mut taken = 0;
                let mut end = 0;
                for (at, c) in word.char_indices() {
                    taken += c.width().unwrap_or(0);
                    if taken > room {
                        break;
                    }
                    end = at + c.len_utf8();
                }
                present.push_str(&word[..end]);
                word = &word[end..];
                lines.push(present);
            }
            present = " ".repeat(indent);
            fresh = true;
        }
        present.push_str(word);
        fresh = false;
    }
    lines.push(present.trim_end().to_owned());
    lines
}

/// A word for a POSIX shell, quoted where it has to be.
pub fn shell_word(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./:@%+=,".contains(&b);
    if !text.is_empty() && text.bytes().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_acts_on_a_terminal() {
        assert_eq!(line("a\u{1b}[31mred\u{7}\r\n"), "a␛[31mred␇");
        assert_eq!(line("x\u{202e}y\u{9b}z\u{200b}"), "x<U+202E>y<U+009B>z<U+200B>");
        assert_eq!(line("größe 猫"), "größe 猫");
        assert_eq!(last_lines("1\n2\n\t3\n\n", 2), ["2", "    3"]);
    }

    #[test]
    fn columns_count_not_characters() {
        assert_eq!(cut("猫猫猫", 5), "猫猫…");
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "ab…");
        assert_eq!(pad("猫", 4), "猫  ");
        assert_eq!(wrap("aaa bbb ccc ddd eee fff ggg", 20, 2), ["aaa bbb ccc ddd eee", "  fff ggg"]);
        assert_eq!(wrap(&"x".repeat(30), 22, 2), ["x".repeat(22), format!("  {}", "x".repeat(8))]);
    }

    #[test]
    fn a_command_can_be_pasted() {
        assert_eq!(shell_word("plans/frigate.toml"), "plans/frigate.toml");
        assert_eq!(shell_word("my plan's.toml"), r"'my plan'\''s.toml'");
    }
}
