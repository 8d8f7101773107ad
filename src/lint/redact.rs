//! Takes secrets out of text before anybody sees it: credentials in URLs and values of keys such as `password`.
//!
//! What goes is replaced by as many stars as it had characters, so that columns stay right under a source line.

use super::words::is_secret_key;

/// The text without its secrets. Placeholders such as `{FRIGATE_RTSP_PASSWORD}` are none and stay.
pub fn redact(text: &str) -> String {
    hidden(text, &[user_info, query, keyed])
}

/// The text without credentials in URLs: for what was written here around a name out of the file.
pub(crate) fn redact_urls(text: &str) -> String {
    hidden(text, &[user_info, query])
}

/// Finds what has to go in one line, as ranges of bytes.
type Search = fn(&str, &mut Vec<(usize, usize)>);

fn hidden(text: &str, searches: &[Search]) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let mut secrets = Vec::new();
        for search in searches {
            search(line, &mut secrets);
        }
        if secrets.is_empty() {
            out.push_str(line);
            continue;
        }
        for (at, c) in line.char_indices() {
            let hidden = secrets.iter().any(|(start, end)| *start <= at && at < *end);
            out.push(if hidden && c != '\n' && c != '\r' { '*' } else { c });
        }
    }
    out
}

/// The user information of URLs in a text: from behind `://` to the `@`.
pub(crate) fn user_infos(text: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = text[from..].find("://") {
        let start = from + at + 3;
        let end = text[start..]
            .find(|c: char| c.is_whitespace() || matches!(c, '/' | '"' | '\'' | '#' | ',' | ']'))
            .map_or(text.len(), |end| start + end);
        // A password may hold a slash that nobody encoded: look on to an `@` before the next blank.
        let wide = text[start..]
            .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\''))
            .map_or(text.len(), |end| start + end);
        let at_sign = text[start..end]
            .rfind('@')
            .or_else(|| text[start..wide].find('@').filter(|at| text[start..start + at].contains(':')));
        if let Some(at_sign) = at_sign {
            found.push((start, start + at_sign));
        }
        from = start;
    }
    found
}

/// Whether a piece of text is nothing but placeholders.
pub(crate) fn is_placeholder(text: &str) -> bool {
    let mut rest = text;
    while let Some(inner) = rest.strip_prefix('{') {
        match inner.split_once('}') {
            Some((_, behind)) => rest = behind,
            None => return false,
        }
    }
    rest.is_empty() && !text.is_empty()
}

fn user_info(line: &str, secrets: &mut Vec<(usize, usize)>) {
    for (start, end) in user_infos(line) {
        let info = &line[start..end];
        match info.split_once(':') {
            Some((user, password)) => {
                if !is_placeholder(user) {
                    secrets.push((start, start + user.len()));
                }
                if !is_placeholder(password) {
                    secrets.push((start + user.len() + 1, end));
                }
            }
            None if is_placeholder(info) => {}
            None => secrets.push((start, end)),
        }
    }
}

/// The values of query parameters that carry credentials.
pub(crate) fn query_secrets(text: &str) -> Vec<(usize, usize)> {
    const NAMES: [&str; 7] = ["password", "passwd", "pwd", "pass", "token", "loginpas", "psw"];
    let mut found = Vec::new();
    let lower = text.to_ascii_lowercase();
    for (at, _) in text.match_indices(['?', '&']) {
        let Some(equals) = lower[at + 1..].find('=') else { continue };
        if NAMES.contains(&&lower[at + 1..at + 1 + equals]) {
            let start = at + 2 + equals;
            let end = text[start..]
                .find(|c: char| c.is_whitespace() || matches!(c, '&' | '#' | '"' | '\'' | ',' | ']'))
                .map_or(text.len(), |end| start + end);
            if end > start && !is_placeholder(&text[start..end]) {
                found.push((start, end));
            }
        }
    }
    found
}

fn query(line: &str, secrets: &mut Vec<(usize, usize)>) {
    secrets.extend(query_secrets(line));
}

/// `password: hunter2`, also in flow style.
fn keyed(line: &str, secrets: &mut Vec<(usize, usize)>) {
    for (at, _) in line.match_indices(':') {
        let before = line[..at].trim_end_matches(['"', '\'']);
        let start = before
            .rfind(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-'))
            .map_or(0, |index| index + before[index..].chars().next().map_or(1, char::len_utf8));
        if !is_secret_key(&before[start..]) {
            continue;
        }
        let value = &line[at + 1..];
        let Some(offset) = value.find(|c: char| !c.is_whitespace()) else { continue };
        let from = at + 1 + offset;
        let rest = &line[from..];
        let length = match rest.chars().next() {
            Some(quote @ ('"' | '\'')) => rest[1..].find(quote).map_or(rest.len(), |end| end + 2),
            _ => rest
                .find([',', '}', '\n', '\r'])
                .into_iter()
                .chain(rest.find(" #"))
                .min()
                .unwrap_or(rest.len()),
        };
        let content = rest[..length].trim().trim_matches(['"', '\'']);
        let inner = if rest.starts_with('{') { rest.trim() } else { content };
        if !content.is_empty() && !is_placeholder(inner) && !content.starts_with('#') {
            secrets.push((from, from + rest[..length].trim_end().len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_become_stars_and_placeholders_stay() {
        for (text, clean) in [
            ("rtsp://admin:pw@10.0.0.1/x", "rtsp://*****:**@10.0.0.1/x"),
            ("rtsp://{FRIGATE_U}:{FRIGATE_P}@10.0.0.1/x", "rtsp://{FRIGATE_U}:{FRIGATE_P}@10.0.0.1/x"),
            ("rtsp://{FRIGATE_U}:pw@h/x", "rtsp://{FRIGATE_U}:**@h/x"),
            ("rtsp://a:p@ss@h/x", "rtsp://*:****@h/x"),
            ("rtsp://a:p/w@h/x", "rtsp://*:***@h/x"),
            ("http://h/snap?user=admin&password=abc&x=1", "http://h/snap?user=admin&password=***&x=1"),
            ("  password: hunter2 # note\n", "  password: ******* # note\n"),
            ("{user: a, password: hunter2}", "{user: a, password: *******}"),
            ("password: \"{FRIGATE_P}\"", "password: \"{FRIGATE_P}\""),
            ("password: \"a b\"", "password: *****"),
            ("host: 10.0.0.1", "host: 10.0.0.1"),
            ("http://h/x", "http://h/x"),
        ] {
            assert_eq!(redact(text), clean, "{text}");
        }
    }
}
