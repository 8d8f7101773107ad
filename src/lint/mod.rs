//! What we know of Frigate configurations: everything that goes wrong in one, said before it does.
//!
//! Pure: text in, findings out; no files, no network, no clock. [`check`] judges sources, [`fix()`] makes the changes that
//! are certain, [`explain`] tells the story behind a rule, [`rules()`] lists them all (`docs/lint.md` is made from it).
//!
//! How it goes: `yaml` builds the tree that Frigate's own reader would build, with places; `config` lays the global
//! sections under the cameras; the families in `rules` judge it, against the `schema` of the target
//! version and the [`Context`]; `manifest` finds configurations among Kubernetes manifests and reads the context from
//! the Deployment beside them.
//!
//! When Frigate could not even load a file (X5, X6, X7), only that is said: what the file would mean is then a guess.

mod catalogue;
mod config;
mod context;
mod finding;
mod fix;
mod manifest;
mod redact;
mod rules;
mod schema;
mod sink;
mod target;
mod words;
mod yaml;

pub use catalogue::{Rule, explain, manual, rules};
pub use context::{BadContext, Context, Phase};
pub use finding::{FINDING_VERSION, Finding, NotJudged, Report, Severity};
pub use fix::{Fixed, fix};
pub use manifest::references;
pub use redact::redact;
pub use target::{Minor, Target, UnknownVersion};

use config::Config;
use sink::{FINDINGS_MAX, Sink, Surroundings};
use yaml::{Place, Tree, Trouble};

/// A text to judge, under the name that findings call it by.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// Such as the path, or `<stdin>`.
    pub name: &'a str,
    /// What it holds; need not be text.
    pub text: &'a [u8],
}

/// How to judge.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    /// The version the files are meant for. Absent: the context's, else the Deployment's image tag, else 0.16.
    pub target: Option<Target>,
    /// What the files alone do not say.
    pub context: Context,
}

/// Judges sources: Frigate configurations, or Kubernetes manifests that hold some.
pub fn check(sources: &[Source<'_>], options: &Options) -> Report {
    let mut report = Report::default();
    let manifests = manifest::Manifests::among(sources);
    for source in sources {
        manifests.judge(source, options, &mut report);
    }
    report.findings.sort_by(|a, b| {
        (&a.file, a.line, a.column, a.code, &a.message).cmp(&(&b.file, b.line, b.column, b.code, &b.message))
    });
    // What an anchor holds is used in many places and wrong in one. Two placeholders of one value are two mistakes.
    report.findings.dedup_by(|a, b| {
        (&a.file, a.line, a.column, a.code) == (&b.file, b.line, b.column, b.code)
            && (a.code != "L22" || a.message == b.message)
    });
    report.not_judged.sort();
    report.not_judged.dedup();
    for finding in &mut report.findings {
        catalogue::complete(finding);
    }
    report
}

/// Judges the text of one configuration into a report, under that file name.
fn judge_text(bytes: &[u8], file: &str, target: Target, context: &Context, report: &mut Report) {
    report.configurations += 1;
    let mut sink = Sink::default();
    match yaml::guard::text(bytes) {
        Err(trouble) => sink_trouble(&mut sink, trouble),
        Ok(text) => {
            let text = yaml::load::without_glued_comments(text, target.dialect());
            let (documents, troubles) = yaml::load(&text, target.dialect());
            judge_documents(&documents, troubles, target, context, &mut sink);
        }
    }
    deliver(sink, file, report);
}

fn judge_documents(
    documents: &[Tree<'_>],
    troubles: Vec<Trouble>,
    target: Target,
    context: &Context,
    sink: &mut Sink,
) {
    if !troubles.is_empty() {
        for trouble in troubles {
            sink_trouble(sink, trouble);
        }
        return;
    }
    if let Some(second) = documents.get(1) {
        let at = second.root.map_or(Place { line: 1, column: 1 }, |root| second.at(root));
        sink.error("X5", at, "a second document begins here, and Frigate reads exactly one")
            .fix("remove the line `---`, or the document behind it");
        return;
    }
    let content = documents.first().and_then(|tree| Some((tree, tree.root?)));
    let Some((tree, root)) = content.filter(|(tree, root)| !tree.is_null(*root)) else {
        let start = Place { line: 1, column: 1 };
        sink.error(
            "X9",
            start,
            "the configuration is empty: required sections `mqtt` and `cameras` are missing",
        );
        return;
    };
    let config = Config::new(tree, root, target);
    let around = Surroundings { context, writable: context.writable() };
    rules::judge(&config, &around, sink);
}

fn sink_trouble(sink: &mut Sink, trouble: Trouble) {
    let finding = sink.error(trouble.code, trouble.at, trouble.message);
    if let Some(fix) = trouble.fix {
        finding.fix(fix);
    }
}

fn deliver(mut sink: Sink, file: &str, report: &mut Report) {
    report.cut |= sink.cut || sink.findings.len() > FINDINGS_MAX;
    sink.findings.truncate(FINDINGS_MAX);
    report.findings.extend(sink.findings.into_iter().map(|mut finding| {
        finding.file = file.to_owned();
        finding
    }));
    report.not_judged.extend(sink.not_judged.into_iter().map(|(code, needs)| NotJudged {
        code,
        file: file.to_owned(),
        needs,
    }));
}
