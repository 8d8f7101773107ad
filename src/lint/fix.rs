//! Changes that are certain to be right, made in the text itself: comments, order and quoting stay.

use super::{Finding, Options, Source, check};

/// How often the changed text is judged again: one fix can make room for another.
const ROUNDS_MAX: usize = 5;

/// A source after its fixes.
#[derive(Debug, Clone, PartialEq)]
pub struct Fixed {
    /// The new text; the old one when nothing could be fixed.
    pub text: String,
    /// What was fixed, in the order of the old text's places.
    pub applied: Vec<Finding>,
}

/// Makes the safe changes in one of several sources, by its name.
///
/// A change that would lead to a finding which was not there before is not made. A text that is not UTF-8 stays as it is,
/// with every byte that is not text replaced.
pub fn fix(sources: &[Source<'_>], name: &str, options: &Options) -> Fixed {
    let own = sources.iter().find(|source| source.name == name).map_or(&[][..], |source| source.text);
    let mut text = String::from_utf8_lossy(own).into_owned();
    let mut applied = Vec::new();
    if std::str::from_utf8(own).is_err() {
        return Fixed { text, applied };
    }
    for _ in 0..ROUNDS_MAX {
        let findings = findings(sources, name, &text, options);
        let Some((next, fixed)) = round(sources, name, &text, options, &findings) else { break };
        text = next;
        applied.extend(fixed);
    }
    applied.sort_by_key(|finding| (finding.line, finding.column));
    Fixed { text, applied }
}

fn findings(sources: &[Source<'_>], name: &str, text: &str, options: &Options) -> Vec<Finding> {
    let changed: Vec<Source<'_>> =
        sources
            .iter()
            .map(|source| {
                if source.name == name {
                    Source { name: source.name, text: text.as_bytes() }
                } else {
                    *source
                }
            })
            .collect();
    check(&changed, options).findings
}

/// Tries every change of this round alone, and makes those that only help.
fn round(
    sources: &[Source<'_>],
    name: &str,
    text: &str,
    options: &Options,
    before: &[Finding],
) -> Option<(String, Vec<Finding>)> {
    let mut changed = text.to_owned();
    let mut known = before.to_vec();
    let mut fixed = Vec::new();
    // From the end, so that the places before a change stay right.
    for finding in before.iter().rev().filter(|finding| finding.file == name) {
        let Some(next) = apply(&changed, finding) else { continue };
        let after = findings(sources, name, &next, options);
        if after.len() < known.len() && after.iter().all(|new| known.iter().any(|old| old.code == new.code)) {
            changed = next;
            known = after;
            fixed.push(finding.clone());
        }
    }
    (!fixed.is_empty()).then_some((changed, fixed))
}

fn apply(text: &str, finding: &Finding) -> Option<String> {
    let edit = finding.edit.as_ref()?;
    let line_start = text.split_inclusive('\n').take(edit.at.line as usize - 1).map(str::len).sum::<usize>();
    let line = text[line_start..].split('\n').next()?;
    let offset = |column: u32| -> Option<usize> {
        let column = column as usize - 1;
        line.char_indices().map(|(at, _)| at).chain([line.len()]).nth(column)
    };
    let start = line_start + offset(edit.at.column)?;
    let end = line_start + offset(edit.at.column + edit.remove)?;
    Some(format!("{}{}{}", &text[..start], edit.insert, &text[end..]))
}
