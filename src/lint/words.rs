//! Small things about texts: what was meant by a misspelt word, and what may be shown of a value.

/// The candidate that a misspelt word most likely meant.
pub(crate) fn meant<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let plain = |text: &str| -> String {
        text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
    };
    let bare = plain(word);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        if candidate == word {
            continue;
        }
        let distance =
            if plain(candidate) == bare { 0 } else { strsim::damerau_levenshtein(&bare, &plain(candidate)) };
        let length = bare.chars().count().max(candidate.chars().count());
        let prefix = bare.len() >= 4
            && (candidate.starts_with(&bare) || bare.starts_with(candidate))
            && candidate.len() >= 4;
        let near = distance <= (length / 3).clamp(1, 3)
            && distance < length.min(bare.chars().count().max(1) + 1)
            || prefix;
        if near && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Whether a misspelling is so close that only one word can be meant.
pub(crate) fn is_certain(word: &str, meant: &str) -> bool {
    let plain = |text: &str| text.replace(['_', '-', ' '], "").to_lowercase();
    plain(word) == plain(meant) || (word.len() >= 4 && strsim::damerau_levenshtein(word, meant) == 1)
}

/// Keys whose values are never shown: these, and whatever has one of them in its name.
const SECRET_WORDS: [&str; 5] = ["password", "passwd", "secret", "token", "api_key"];

/// Whether values under that key are secrets.
pub(crate) fn is_secret_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    key == "pass" || SECRET_WORDS.iter().any(|word| key.contains(word))
}

/// How much of a value a message shows.
const SHOWN_MAX_CHARS: usize = 40;

/// A value as a message may show it: short, on one line, without credentials.
pub(crate) fn shown(value: &str) -> String {
    let clean = super::redact::redact(value);
    let line = clean.lines().next().unwrap_or_default();
    match line.char_indices().nth(SHOWN_MAX_CHARS) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    }
}

/// Some words as a list for a message: `a`, `b` or `c`.
pub(crate) fn one_of<'w>(words: impl IntoIterator<Item = &'w str>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    match words.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}

/// A text split into arguments as Python's `shlex.split` does it; `None` when a quote is not closed.
pub(crate) fn arguments(text: &str) -> Option<Vec<String>> {
    let mut out = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => out.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '\'' => break,
                        c => word.push(c),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '"' => break,
                        '\\' => match chars.next()? {
                            c @ ('"' | '\\') => word.push(c),
                            c => word.extend(['\\', c]),
                        },
                        c => word.push(c),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(chars.next()?),
            c => word.get_or_insert_default().push(c),
        }
    }
    out.extend(word);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn did_you_mean() {
        let keys = ["client_id", "topic_prefix", "host", "port", "enabled", "detect", "cameras"];
        for (word, meant_word) in [
            ("clientid", Some("client_id")),
            ("clientId", Some("client_id")),
            ("topic-prefix", Some("topic_prefix")),
            ("enable", Some("enabled")),
            ("hots", Some("host")),
            ("detection", Some("detect")),
            ("camaras", Some("cameras")),
            ("zzz", None),
            ("x", None),
            ("snapshot_quality", None),
        ] {
            assert_eq!(meant(word, keys), meant_word, "{word}");
        }
        assert!(is_certain("clientid", "client_id"));
        assert!(is_certain("heigth", "height"));
        assert!(!is_certain("detection", "detect"));
    }

    #[test]
    fn arguments_are_split_as_a_shell_does() {
        let split = |text: &str| arguments(text).map(|words| words.join("|"));
        assert_eq!(split("-f segment  -c copy"), Some("-f|segment|-c|copy".to_owned()));
        assert_eq!(split(r#"-vf "scale=1:2, x" 'a b' c\ d "#), Some("-vf|scale=1:2, x|a b|c d".to_owned()));
        assert_eq!(split("-vf \"x"), None);
        assert_eq!(split("it's"), None);
        assert_eq!(split(""), Some(String::new()));
    }
}
