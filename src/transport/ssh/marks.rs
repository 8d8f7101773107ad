//! Reads a stream from a host: what the command wrote, and what the wrapper says in between.
//!
//! The wrapper's own words begin with a control character and a nonce that only this call knows, so that no output
//! can be taken for them. What comes before `begin` is noise of login files; what comes after `end` is a descendant
//! that was left behind.

use memchr::memmem;

/// The longest word of the wrapper, and how much noise before `begin` is kept for messages, in bytes.
const WORDS_MAX: usize = 8 * 1024;

/// What the wrapper says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mark {
    /// The command is about to start; its output follows.
    Begin,
    /// It ended with this status as a shell counts it; what else was said: the descendants it left.
    End(i32, String),
    /// Nothing was started.
    Refuse(String),
    /// An attempt is over without a known end.
    Over(String),
    /// It could not be ended.
    Stuck(String),
}

/// Reads one of the two streams.
#[derive(Debug)]
pub(super) struct Marks {
    prefix: Vec<u8>,
    held: Vec<u8>,
    noise: Vec<u8>,
    begun: bool,
    ended: bool,
}

impl Marks {
    pub(super) fn new(nonce: &str) -> Self {
        Self { prefix: prefix(nonce), held: Vec::new(), noise: Vec::new(), begun: false, ended: false }
    }

    /// Whether the wrapper's last word on this stream was read.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// What came before the wrapper's first word.
    pub(super) fn noise(&self) -> &[u8] {
        &self.noise
    }

    /// Takes the next piece: output goes to `emit`, the wrapper's words come back.
    pub(super) fn feed(&mut self, piece: &[u8], mut emit: impl FnMut(&[u8])) -> Vec<Mark> {
        let mut marks = Vec::new();
        let joined;
        let mut rest = if self.held.is_empty() {
            piece
        } else {
            self.held.extend_from_slice(piece);
            joined = std::mem::take(&mut self.held);
            &joined[..]
        };
        while !self.ended {
            let Some(at) = memmem::find(rest, &self.prefix) else {
                let certain = rest.len() - open_suffix(rest, &self.prefix);
                self.pass(&rest[..certain], &mut emit);
                self.held = rest[certain..].to_vec();
                break;
            };
            self.pass(&rest[..at], &mut emit);
            let words = &rest[at + self.prefix.len()..];
            let Some(end) = memchr::memchr(b'\n', words) else {
                if words.len() < WORDS_MAX {
                    self.held = rest[at..].to_vec();
                }
                break;
            };
            self.hear(&String::from_utf8_lossy(&words[..end]), &mut marks);
            rest = &words[end + 1..];
        }
        marks
    }

    /// Ends the stream: what was held back was no mark.
    pub(super) fn finish(&mut self, mut emit: impl FnMut(&[u8])) {
        let held = std::mem::take(&mut self.held);
        if !self.ended {
            self.pass(&held, &mut emit);
        }
    }

    fn pass(&mut self, bytes: &[u8], emit: &mut impl FnMut(&[u8])) {
        if self.begun {
            emit(bytes);
        } else {
            let room = WORDS_MAX - self.noise.len();
            self.noise.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    fn hear(&mut self, words: &str, marks: &mut Vec<Mark>) {
        let (word, rest) = words.split_once(' ').unwrap_or((words, ""));
        match word {
            "begin" => {
                self.begun = true;
                marks.push(Mark::Begin);
            }
            "was" => self.prefix = prefix(rest),
            "end" => {
                let (status, left) = rest.split_once(' ').unwrap_or((rest, ""));
                if let Ok(status) = status.parse() {
                    self.ended = true;
                    marks.push(Mark::End(status, left.to_owned()));
                }
            }
            "refuse" => marks.push(Mark::Refuse(rest.to_owned())),
            "over" => marks.push(Mark::Over(rest.to_owned())),
            "stuck" => marks.push(Mark::Stuck(rest.to_owned())),
            _ => {}
        }
    }
}

fn prefix(nonce: &str) -> Vec<u8> {
    format!("\u{1e}runner {nonce} ").into_bytes()
}

/// Length of the longest end of `bytes` that `prefix` begins with.
fn open_suffix(bytes: &[u8], prefix: &[u8]) -> usize {
    let longest = bytes.len().min(prefix.len() - 1);
    (1..=longest).rev().find(|&length| prefix.starts_with(&bytes[bytes.len() - length..])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_told_from_words_at_every_cut() {
        let text =
            b"motd\n\x1erunner abc begin\nout \x1erunner abd end 0\nput\x1erunner abc end 7 12 sleep,\nlate";
        for cut in 0..text.len() {
            let mut marks = Marks::new("abc");
            let (mut out, mut said) = (Vec::new(), Vec::new());
            for piece in [&text[..cut], &text[cut..]] {
                said.extend(marks.feed(piece, |bytes| out.extend_from_slice(bytes)));
            }
            marks.finish(|bytes| out.extend_from_slice(bytes));
            assert_eq!(said, [Mark::Begin, Mark::End(7, "12 sleep,".to_owned())], "cut at {cut}");
            assert_eq!(out, b"out \x1erunner abd end 0\nput");
            assert_eq!(marks.noise(), b"motd\n");
        }
    }

    #[test]
    fn an_attempt_speaks_with_its_own_nonce() {
        let mut marks = Marks::new("new");
        let mut out = Vec::new();
        let text =
            b"\x1erunner new was old\n\x1erunner old begin\nx\x1erunner old end 0\n\x1erunner old end 0\n";
        let said = marks.feed(text, |bytes| out.extend_from_slice(bytes));
        assert_eq!(said, [Mark::Begin, Mark::End(0, String::new())]);
        assert_eq!(out, b"x");
    }
}
