//! What a template refers to, found without running it.
//!
//! Follows the lexer of minijinja 3.1 (`src/compiler/lexer.rs`): where code begins and ends, raw blocks, comments,
//! strings. Everything a template can reach starts at one of four names ([`ROOTS`]), and each must be followed by
//! a literal path; so what is found here is all that a template can ever read.

use std::ops::Range;

/// The names that templates can start from.
pub(in crate::plan) const ROOTS: [&str; 4] = ["vars", "steps", "secrets", "run"];

/// One use of a root: `steps.deploy.outputs.url` is `["steps", "deploy", "outputs", "url"]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::plan) struct Reference {
    /// The root and the literal names after it; only the root when what follows is not literal.
    pub(in crate::plan) path: Vec<String>,
    /// Where it stands in the text.
    pub(in crate::plan) span: Range<usize>,
    /// It is called as a method, so its last name is none of the data's.
    pub(in crate::plan) called: bool,
}

/// A text, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::plan) struct Lexed {
    /// It holds template syntax at all.
    pub(in crate::plan) is_template: bool,
    /// The text for the engine: step ids with a dash in brackets.
    pub(in crate::plan) code: String,
    /// When the whole text is one expression: that expression's place in `code`.
    pub(in crate::plan) expression: Option<Range<usize>>,
    /// Every reference, in order.
    pub(in crate::plan) references: Vec<Reference>,
    /// Everything that is written out went through `shell_quote` last.
    pub(in crate::plan) quoted: bool,
}

/// Whether a text holds anything the engine would read.
pub(in crate::plan) fn is_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%") || text.contains("{#")
}

/// Takes a text apart. Text that the engine refuses gives some result too: what was seen before the error.
pub(in crate::plan) fn lex(text: &str) -> Lexed {
    let mut lexer = Lexer {
        text,
        at: 0,
        copied: 0,
        out: Lexed {
            is_template: is_template(text),
            code: String::with_capacity(text.len()),
            expression: None,
            references: Vec::new(),
            quoted: true,
        },
    };
    if lexer.out.is_template {
        lexer.root();
    }
    lexer.copy_to(text.len());
    lexer.out
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'t> {
    Ident(&'t str),
    Text(&'t str),
    Number,
    Mark(u8),
}

/// What stands between two delimiters.
struct Code<'t> {
    /// The first name.
    first: Option<&'t str>,
    /// The filter that is applied last.
    filter: Option<&'t str>,
    /// It is one value with its filters, without operators.
    plain: bool,
}

/// Statements that leave what is written between them as it is.
const QUIET: [&str; 6] = ["if", "elif", "else", "endif", "for", "endfor"];

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    /// How much of `text` is in `out.code` already.
    copied: usize,
    out: Lexed,
}

impl<'t> Lexer<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn copy_to(&mut self, end: usize) {
        self.out.code.push_str(&self.text[self.copied..end]);
        self.copied = end;
    }

    fn root(&mut self) {
        let mut regions = 0;
        while let Some(found) = self.rest().find('{') {
            let start = self.at + found;
            self.at = start + 1;
            match self.text.as_bytes().get(self.at) {
                Some(b'{') => {
                    self.at += 1 + sign(&self.text[self.at + 1..]);
                    let inner = self.at;
                    let code = self.code("}}");
                    regions += 1;
                    self.out.quoted &= code.plain && code.filter == Some("shell_quote");
                    if start == 0 && regions == 1 && self.at == self.text.len() {
                        self.whole(inner);
                    }
                }
                Some(b'%') => {
                    self.at += 1;
                    match basic_tag(self.rest(), "raw", false) {
                        Some(length) => {
                            self.at += length;
                            self.skip_raw();
                        }
                        None => {
                            self.at += sign(self.rest());
                            let code = self.code("%}");
                            self.out.quoted &= code.first.is_some_and(|word| QUIET.contains(&word));
                        }
                    }
                }
                Some(b'#') => match self.rest().find("#}") {
                    Some(end) => self.at += end + 2,
                    None => self.at = self.text.len(),
                },
                _ => {}
            }
        }
    }

    /// The whole text is one expression that began at `inner`.
    fn whole(&mut self, inner: usize) {
        self.copy_to(self.text.len());
        let code = &self.out.code;
        let Some(body) = code.strip_suffix("}}") else { return };
        let end = body.strip_suffix(['-', '+']).unwrap_or(body).len();
        if inner <= end {
            self.out.expression = Some(inner..end);
        }
    }

    fn skip_raw(&mut self) {
        while let Some(found) = self.rest().find("{%") {
            self.at += found + 2;
            if let Some(length) = basic_tag(self.rest(), "endraw", true) {
                self.at += length;
                return;
            }
        }
        self.at = self.text.len();
    }

    /// Reads code up to `end`; the answer says whether it is one value, or one statement that writes nothing
    /// by itself, whose last filter is `shell_quote`.
    fn code(&mut self, end: &str) -> Code<'t> {
        let mut depth = 0_i64;
        let mut before: Option<Token<'t>> = None;
        let mut code = Code { first: None, filter: None, plain: true };
        while self.at < self.text.len() {
            self.skip_space();
            if depth == 0 {
                let signed = sign(self.rest());
                if self.rest()[signed..].starts_with(end) {
                    self.at += signed + end.len();
                    return code;
                }
            }
            let start = self.at;
            let Some(token) = self.token() else { break };
            if depth == 0 {
                let after_mark = matches!(before, None | Some(Token::Mark(b'.' | b'|')));
                match token {
                    Token::Ident(name) => {
                        code.first = code.first.or(Some(name));
                        code.plain &= after_mark;
                        code.filter = (before == Some(Token::Mark(b'|'))).then_some(name);
                    }
                    Token::Text(_) | Token::Number => code.plain &= after_mark,
                    Token::Mark(b'(' | b'.' | b'|') => {}
                    // An index is one more step of a path, and no longer what the filter gave.
                    Token::Mark(b'[') if before.is_some() => code.filter = None,
                    Token::Mark(_) => code.plain = false,
                }
                if token == Token::Mark(b'.') {
                    code.filter = None;
                }
            }
            match token {
                Token::Mark(b'(' | b'[' | b'{') => depth += 1,
                Token::Mark(b')' | b']' | b'}') => depth -= 1,
                Token::Ident(name) if ROOTS.contains(&name) && before != Some(Token::Mark(b'.')) => {
                    self.reference(start, name);
                }
                Token::Ident(_) | Token::Text(_) | Token::Number | Token::Mark(_) => {}
            }
            before = Some(token);
        }
        Code { first: None, filter: None, plain: false }
    }

    fn token(&mut self) -> Option<Token<'t>> {
        let rest = self.rest();
        let first = *rest.as_bytes().first()?;
        let (token, length) = match first {
            b'\'' | b'"' => {
                let mut escaped = false;
                let length = rest.bytes().skip(1).position(|byte| {
                    let closes = byte == first && !escaped;
                    escaped = byte == b'\\' && !escaped;
                    closes
                });
                match length {
                    Some(length) => (Token::Text(&rest[1..=length]), length + 2),
                    None => (Token::Text(""), rest.len()),
                }
            }
            b'0'..=b'9' => {
                let word =
                    rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
                (Token::Number, word)
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {
                let word =
                    rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
                (Token::Ident(&rest[..word]), word)
            }
            _ => (Token::Mark(first), rest.chars().next().map_or(1, char::len_utf8)),
        };
        self.at += length;
        Some(token)
    }

    /// Reads the path after a root; `self.at` stands behind the root's name.
    fn reference(&mut self, start: usize, root: &'t str) {
        let mut path = vec![root.to_owned()];
        if root == "steps" {
            self.step_id(&mut path);
        }
        loop {
            let back = self.at;
            self.skip_space();
            let name = match self.token() {
                Some(Token::Mark(b'.')) => {
                    self.skip_space();
                    match self.token() {
                        Some(Token::Ident(name)) => Some(name),
                        Some(Token::Text(_) | Token::Number | Token::Mark(_)) | None => None,
                    }
                }
                Some(Token::Mark(b'[')) => {
                    self.skip_space();
                    let key = self.token();
                    self.skip_space();
                    match (key, self.token()) {
                        (Some(Token::Text(name)), Some(Token::Mark(b']'))) if !name.contains('\\') => {
                            Some(name)
                        }
                        _ => None,
                    }
                }
                _ => None,
            };
            match name {
                Some(name) => path.push(name.to_owned()),
                None => {
                    self.at = back;
                    break;
                }
            }
        }
        let called = self.rest().trim_ascii_start().starts_with('(');
        self.out.references.push(Reference { path, span: start..self.at, called });
    }

    /// `steps.stop-old.outputs` means the step `stop-old`, not a difference.
    fn step_id(&mut self, path: &mut Vec<String>) {
        let Some(rest) = self.rest().strip_prefix('.') else { return };
        let length = rest
            .bytes()
            .take_while(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-')
            .count();
        let (id, after) = rest.split_at(length);
        if id.is_empty() || !(after.starts_with(".outputs") || after.starts_with("[")) {
            return;
        }
        path.push(id.to_owned());
        self.copy_to(self.at);
        self.out.code.push_str(&format!("[\"{id}\"]"));
        self.at += 1 + length;
        self.copied = self.at;
    }

    fn skip_space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_ascii_start().len();
    }
}

fn sign(text: &str) -> usize {
    usize::from(text.starts_with(['-', '+']))
}

/// The length of ` name %}` at the start of `text`, if it is there.
fn basic_tag(text: &str, name: &str, signed: bool) -> Option<usize> {
    let mut rest = text;
    if signed {
        rest = rest.strip_prefix(['-', '+']).unwrap_or(rest);
    }
    rest = rest.trim_ascii_start().strip_prefix(name)?.trim_ascii_start();
    rest = rest.strip_prefix(['-', '+']).unwrap_or(rest);
    rest = rest.strip_prefix("%}")?;
    Some(text.len() - rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Vec<String> {
        lex(text).references.iter().map(|reference| reference.path.join("/")).collect()
    }

    #[test]
    fn finds_what_a_template_reaches() {
        assert_eq!(
            paths("{{ vars.x }} and {{ steps.deploy.outputs.url|upper }}"),
            ["vars/x", "steps/deploy/outputs/url"]
        );
        assert_eq!(paths("{{ secrets['a'][0:3] }}{% if run.id %}{% endif %}"), ["secrets/a", "run/id"]);
        assert_eq!(
            paths("{{ x.vars.y }} {{ 'vars.z' }} {# vars.c #}{% raw %}{{ vars.r }}{% endraw %}"),
            [""; 0]
        );
        assert_eq!(paths("{{ vars[vars.x] }} {{ steps | list }}"), ["vars", "vars/x", "steps"]);
        assert_eq!(paths("{{ {'a': {'b': vars.q}} }}{{ \"}}\" ~ vars.r }}"), ["vars/q", "vars/r"]);
        assert_eq!(paths("{% set vars = 1 %}"), ["vars"]);
    }

    #[test]
    fn ids_with_dashes_are_ids() {
        let lexed = lex("{{ steps.stop-old.outputs.ip }}");
        assert_eq!(lexed.code, "{{ steps[\"stop-old\"].outputs.ip }}");
        assert_eq!(lexed.references[0].path, ["steps", "stop-old", "outputs", "ip"]);
        assert_eq!(&lexed.code[lexed.expression.unwrap()], " steps[\"stop-old\"].outputs.ip ");
    }

    #[test]
    fn one_expression_is_the_whole_text() {
        assert_eq!(lex("{{ vars.x }}").expression, Some(2..10));
        assert_eq!(lex("{{- 1 -}}").expression, Some(3..6));
        for text in ["{{ a }} ", " {{ a }}", "{{ a }}{{ b }}", "{% if a %}{% endif %}", "a", "{{ a", "{{}}"] {
            assert!(lex(text).expression.is_none_or(|range| range.is_empty()), "{text}");
        }
    }

    #[test]
    fn quoted_when_everything_written_is() {
        assert!(lex("cp {{ vars.a | shell_quote }} {{ (vars.b ~ 'x')|shell_quote() }}").quoted);
        for text in [
            "{{ vars.a }}",
            "{{ vars.a | shell_quote | upper }}",
            "{{ vars.a | shell_quote if true }}",
            "{{ vars.a|shell_quote ~ vars.b }}",
            "{{ (vars.a | shell_quote) }}",
        ] {
            assert!(!lex(text).quoted, "{text}");
        }
    }

    #[test]
    fn broken_text_gives_something() {
        for text in
            ["{{", "{{ '", "{%", "{#", "{{ vars.", "{{ steps.a-", "{% raw %}", "{{ ä }}", "{{-", "{{ vars['"]
        {
            lex(text);
        }
    }
}
