//! The rules as a reader meets them: what each is about, why it matters, and its story. The texts are in `rules.toml`.

use std::fmt::Write as _;
use std::sync::OnceLock;

use serde::Deserialize;

use super::redact::redact_urls;
use super::{Context, Finding};

const TEXTS: &str = include_str!("rules.toml");

/// One rule.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Its code, such as `L7`.
    pub code: String,
    /// What the mistake is, in a few words.
    pub title: String,
    /// How bad it usually is.
    pub severity: String,
    /// What happens because of it.
    pub why: String,
    /// What to do about it, in general.
    pub fix: String,
    /// The story behind it, for `--explain`.
    pub story: String,
    /// The parts of the context without which it is not judged.
    #[serde(default)]
    pub needs: Vec<String>,
    /// The version that the examples are for; 0.16 when absent.
    #[serde(default)]
    pub target: Option<String>,
    /// The context of the examples.
    #[serde(default)]
    pub context: Option<Context>,
    /// A configuration with this mistake.
    pub bad: String,
    /// The same without it.
    pub good: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Texts {
    rule: Vec<Rule>,
}

/// All rules, in the order of their codes.
pub fn rules() -> &'static [Rule] {
    static RULES: OnceLock<Vec<Rule>> = OnceLock::new();
    RULES.get_or_init(|| {
        toml::from_str::<Texts>(TEXTS).expect("the rules' own texts are TOML of their shape").rule
    })
}

/// The rule of that code, in any case.
pub fn explain(code: &str) -> Option<&'static Rule> {
    rules().iter().find(|rule| rule.code.eq_ignore_ascii_case(code))
}

/// Adds what every finding of a rule has in common.
pub(crate) fn complete(finding: &mut Finding) {
    let Some(rule) = explain(finding.code) else { return };
    finding.message = redact_urls(&finding.message);
    finding.why.clone_from(&rule.why);
    if finding.fix.is_empty() {
        finding.fix.clone_from(&rule.fix);
    } else {
        finding.fix = redact_urls(&finding.fix);
    }
}

impl Rule {
    /// The whole story as text for a terminal.
    pub fn told(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(out, "{} ({}): {}\n", self.code, self.severity, self.title);
        let _ = writeln!(out, "What happens: {}.\n", self.why);
        let _ = writeln!(out, "{}\n", self.story.trim());
        let _ = writeln!(out, "What to do: {}.", self.fix);
        if !self.needs.is_empty() {
            let _ = writeln!(out, "Judged only when the context says: {}.", self.needs.join(", "));
        }
        let _ = write!(out, "\nBad:\n\n{}\nGood:\n\n{}", indented(&self.bad), indented(&self.good));
        out
    }
}

fn indented(text: &str) -> String {
    text.lines().fold(String::new(), |mut out, line| {
        let _ = if line.is_empty() { writeln!(out) } else { writeln!(out, "    {line}") };
        out
    })
}

/// The manual page `docs/lint.md`, made from the rules.
pub fn manual() -> String {
    let mut out = String::from(MANUAL_HEAD);
    out.push_str("\n| code | severity | mistake | needs |\n|---|---|---|---|\n");
    for rule in rules() {
        let anchor = rule.code.to_lowercase();
        let needs = rule.needs.join(", ");
        let _ =
            writeln!(out, "| [{}](#{anchor}) | {} | {} | {needs} |", rule.code, rule.severity, rule.title);
    }
    for rule in rules() {
        let _ = write!(
            out,
            "\n## {}\n\n**{}** ({}). What happens: {}.\n\n",
            rule.code, rule.title, rule.severity, rule.why
        );
        let _ = write!(out, "{}\n\nWhat to do: {}.\n", rule.story.trim(), rule.fix);
        if !rule.needs.is_empty() {
            let _ = writeln!(out, "\nJudged only when the context says: `{}`.", rule.needs.join("`, `"));
        }
        let target = rule.target.as_deref().unwrap_or("0.16");
        let _ = write!(
            out,
            "\nBad (Frigate {target}):\n\n```yaml\n{}```\n\nGood:\n\n```yaml\n{}```\n",
            rule.bad, rule.good
        );
    }
    out
}

const MANUAL_HEAD: &str = include_str!("manual.md");
