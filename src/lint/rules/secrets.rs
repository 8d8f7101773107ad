//! L22, L26: placeholders that cannot be filled, and credentials that should be placeholders.

use super::super::config::Config;
use super::super::redact::{is_placeholder, query_secrets, user_infos};
use super::super::sink::{Sink, Surroundings};
use super::super::target::Minor;
use super::super::words::{is_secret_key, meant};
use super::super::yaml::NodeId;

/// Judges every value in which Frigate or its go2rtc expands placeholders, and every value that is a secret.
pub(crate) fn judge(config: &Config<'_>, around: &Surroundings<'_>, sink: &mut Sink) {
    for (node, twice) in std::mem::take(&mut sink.env_nodes) {
        if twice {
            second_pass(config, sink, node);
        }
        value(config, around, sink, node, false);
    }
    for entry in config.entries(&["go2rtc", "streams"]) {
        for (node, _) in config.texts(entry.value) {
            value(config, around, sink, node, true);
        }
    }
    for path in [["go2rtc", "rtsp", "username"], ["go2rtc", "rtsp", "password"]] {
        if let Some(node) = config.get(&path) {
            value(config, around, sink, node, true);
        }
    }
    keyed(config, sink, config.root);
}

/// A brace that was doubled for the first expansion is single in the second.
fn second_pass(config: &Config<'_>, sink: &mut Sink, node: NodeId) {
    let Some(text) = config.tree.text(node).filter(|text| text.contains("{{") || text.contains("}}")) else {
        return;
    };
    if format_fields(text).is_err() {
        return;
    }
    let once = text.replace("{{", "\u{1}").replace("}}", "\u{2}").replace(['{', '}'], "");
    let once = once.replace('\u{1}', "{").replace('\u{2}', "}");
    if format_fields(&once) != Ok(Vec::new()) {
        sink.error(
            "L22",
            config.at(node),
            "Frigate expands this value twice, and a doubled brace is single the second time",
        )
        .fix("write a literal brace four times, or percent-encode it in a URL (%7B, %7D)");
    }
}

fn value(config: &Config<'_>, around: &Surroundings<'_>, sink: &mut Sink, node: NodeId, go2rtc: bool) {
    let Some(text) = config.tree.text(node) else { return };
    placeholders(config, around, sink, node, text, go2rtc);
    let in_url = user_infos(text).into_iter().any(|(start, end)| {
        text[start..end]
            .split_once(':')
            .is_some_and(|(_, password)| !password.is_empty() && !has_placeholder(password))
    });
    if in_url || !query_secrets(text).is_empty() {
        sink.warn("L26", config.at(node), "this URL carries a password in clear")
            .fix("put it into a Secret as FRIGATE_..., and write {FRIGATE_...} here");
    }
}

fn has_placeholder(text: &str) -> bool {
    is_placeholder(text) || text.contains("{FRIGATE_")
}

/// Keys such as `password` whose value is a literal.
fn keyed(config: &Config<'_>, sink: &mut Sink, node: NodeId) {
    let tree = config.tree;
    for entry in tree.entries(node) {
        let Some(key) = tree.text(entry.key) else { continue };
        // Streams are judged as URLs, and a camera or zone may be called anything.
        match tree.text(entry.value) {
            Some(text) => {
                let secret = is_secret_key(key) && !text.is_empty() && !has_placeholder(text);
                if secret {
                    sink.warn("L26", config.at(entry.value), format!("`{key}` stands here in clear"))
                        .fix(format!("put it into a Secret, and write `{key}: \"{{FRIGATE_...}}\"`"));
                }
            }
            None if key == "streams" => {}
            None => {
                keyed(config, sink, entry.value);
                for item in tree.items(entry.value) {
                    keyed(config, sink, *item);
                }
            }
        }
    }
}

fn placeholders(
    config: &Config<'_>,
    around: &Surroundings<'_>,
    sink: &mut Sink,
    node: NodeId,
    text: &str,
    go2rtc: bool,
) {
    if !text.contains(['{', '}']) {
        return;
    }
    let names = match format_fields(text) {
        Ok(names) => names,
        Err(()) => {
            sink.error(
                "L22",
                config.at(node),
                "a single brace stands here, where Frigate expands placeholders",
            )
            .fix("double a brace that is meant literally: `{{` and `}}`");
            return;
        }
    };
    for name in names {
        let own = config.target.at_least(Minor::V17)
            && !go2rtc
            && config.get(&["environment_vars", name]).is_some();
        if own {
            continue;
        }
        if !name.starts_with("FRIGATE_") {
            let message =
                format!("`{{{}}}` cannot be filled: only variables that begin with FRIGATE_ are", tame(name));
            sink.error("L22", config.at(node), message)
                .fix("rename the variable to FRIGATE_..., or double the braces if they are meant literally");
            continue;
        }
        let Some(env) = &around.context.env else {
            sink.needs("L22", "env");
            continue;
        };
        if env.contains(name) {
            continue;
        }
        let message = format!("the container has no variable `{}`", tame(name));
        let finding = sink.error("L22", config.at(node), message);
        match meant(name, env.iter().map(String::as_str)) {
            Some(guess) => finding.fix(format!("did you mean `{{{guess}}}`? Otherwise add it to the Secret")),
            None => finding.fix("add it to the Secret that the container takes its environment from"),
        };
    }
}

/// A name as it may be shown: what stands between braces may be part of a password.
fn tame(name: &str) -> &str {
    let is_name =
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    if is_name { name } else { "..." }
}

/// The names that Python's `str.format` would look up, or that it would not get that far.
fn format_fields(text: &str) -> Result<Vec<&str>, ()> {
    let mut names = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let brace = rest.as_bytes()[at];
        let behind = &rest[at + 1..];
        if behind.as_bytes().first() == Some(&brace) {
            rest = &behind[1..];
            continue;
        }
        if brace == b'}' {
            return Err(());
        }
        let end = behind.find(['}', '{']).filter(|end| behind.as_bytes()[*end] == b'}').ok_or(())?;
        let field = &behind[..end];
        let name = field.split(['!', ':', '.', '[']).next().unwrap_or_default();
        if name.is_empty() || name.bytes().all(|b| b.is_ascii_digit()) {
            return Err(());
        }
        names.push(name);
        rest = &behind[end + 1..];
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::format_fields;

    #[test]
    fn braces_are_read_as_python_reads_them() {
        assert_eq!(format_fields("a {FRIGATE_A}:{FRIGATE_B}@"), Ok(vec!["FRIGATE_A", "FRIGATE_B"]));
        assert_eq!(format_fields("{{output}} x"), Ok(vec![]));
        assert_eq!(format_fields("{FRIGATE_A!r:>10}"), Ok(vec!["FRIGATE_A"]));
        for bad in ["pa{ss", "pa}ss", "{}", "{0}", "{a{b}", "x{"] {
            assert_eq!(format_fields(bad), Err(()), "{bad}");
        }
    }
}
