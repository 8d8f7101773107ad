//! `runner report`: one file that says everything about a run.

use std::path::{Path, PathBuf};

use clap::Args;

use super::access::{Access, keys};
use super::fail::{self, Fail};
use super::near;
use super::session::Session;
use crate::driver::{self, Clock, SystemClock, history};
use crate::report::{self, Paper, Story, WayBack, exit};

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  \
    runner report hello --out hello.html    (opens in any browser, needs nothing else)\n  \
    runner report hello --out hello.md\n\n\
    What was planned and by whom, what happened when, the evidence of every check and soak, approvals with what they \
    were given for, what was there before (named, not shown), how it could be undone today, and the hash that the \
    run's events end with. It changes nothing, but for that file.")]
pub(super) struct ReportArgs {
    /// The run, or a plan's name for its newest; default: the newest run
    #[arg(value_name = "RUN")]
    run: Option<String>,
    /// The file to write: `.html` or `.md`; one that is there is replaced
    ///
    /// Example: runner report hello --out hello.html
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// The language of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Language {
    Html,
    Markdown,
}

impl Language {
    fn of(path: &Path) -> Result<Self, Fail> {
        match path.extension().and_then(|end| end.to_str()).map(str::to_lowercase).as_deref() {
            Some("html" | "htm") => Ok(Language::Html),
            Some("md" | "markdown") => Ok(Language::Markdown),
            _ => Err(Fail::usage(format!("`{}` says no language", path.display()))
                .help("end its name in `.html` or `.md`")),
        }
    }
}

pub(super) async fn run(session: &Session, args: &ReportArgs) -> Result<u8, Fail> {
    let language = Language::of(&args.out)?;
    let folder = session.state_folder(None);
    let access = Access::open(session, &folder, false).await?;
    let text = written(args, &access, &folder, language).await;
    access.close().await;
    write(&args.out, &text?)?;
    if session.json {
        let out = args.out.display().to_string();
        session.document("report", &out);
    } else {
        session.answer(&format!("Written to `{}`.\n", report::text_line(&args.out.display().to_string())));
    }
    Ok(exit::COMPLETE)
}

async fn written(
    args: &ReportArgs,
    access: &Access,
    folder: &Path,
    language: Language,
) -> Result<String, Fail> {
    let (log, bodies) = (access.history(), access.bodies());
    let run = near::find(log, args.run.as_deref()).await?;
    let events = history::events(log, bodies, &run, 1, u64::MAX).await?;
    let story = Story::of(&events).map_err(|error| Fail::unexpected(error.to_string()))?;
    let story = story.ok_or_else(|| Fail::unexpected(format!("run `{run}` has no events")))?;
    let state = &story.state;
    let refused = driver::refusals_of_rollback(state, None, None, bodies, &keys(folder));
    let way_back = report::way_back_json(&WayBack { state, to: None, refused: &refused });
    let head = log.hash(run.clone(), state.seq).await;
    let head = head.unwrap_or_else(|| "not known to the process that holds the journal".to_owned());
    let paper = Paper { story: &story, way_back: &way_back, head: &head, now: SystemClock::new().now() };
    Ok(match language {
        Language::Html => report::paper_html(&paper),
        Language::Markdown => report::paper_markdown(&paper),
    })
}

/// Writes the file whole or not at all.
fn write(path: &Path, text: &str) -> Result<(), Fail> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = PathBuf::from(name);
    let done = std::fs::write(&part, text).and_then(|()| std::fs::rename(&part, path));
    done.map_err(|error| {
        drop(std::fs::remove_file(&part));
        fail::file("report", path, &error)
    })
}
