//! `runner graph`: the graph of a plan, to be drawn.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::fail::Fail;
use super::session::Session;
use super::source::{self, PlanFile};
use crate::plan::Required;
use crate::report::{self, SHOWN_VERSION, exit};

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  \
    runner graph plans/hello.toml                              (for a README or an issue)\n  \
    runner graph plans/hello.toml --format dot | dot -Tsvg > hello.svg\n\n\
    Touches no system. Edges that exclusive resources add are among the others.")]
pub(super) struct GraphArgs {
    /// The plan file
    #[arg(value_name = "PLAN")]
    plan: PathBuf,
    /// What to write
    ///
    /// Example: runner graph plans/hello.toml --format dot
    #[arg(long, value_name = "FORMAT", default_value = "mermaid")]
    format: Format,
    /// Set a variable; may be repeated
    ///
    /// Example: runner graph plans/hello.toml --var folder=/tmp/elsewhere
    #[arg(long, value_name = "NAME=VALUE", value_parser = source::variable)]
    var: Vec<(String, String)>,
    /// Read variables from a TOML file; may be repeated
    ///
    /// Example: runner graph plans/remote.toml --var-file hosts.toml
    #[arg(long, value_name = "FILE")]
    var_file: Vec<PathBuf>,
}

/// What to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A Mermaid flowchart
    Mermaid,
    /// A Graphviz digraph
    Dot,
}

pub(super) fn run(session: &Session, args: &GraphArgs) -> Result<u8, Fail> {
    let file = PlanFile::read(&args.plan, &args.var, &args.var_file)?;
    let loaded = file.load(session, &BTreeMap::new(), Required::TakenAsPresent)?;
    for note in &loaded.notes {
        session.note(note.render(session.color_err, session.look().width).trim_end());
    }
    let (format, text) = match args.format {
        Format::Mermaid => ("mermaid", report::mermaid(&loaded.definition)),
        Format::Dot => ("dot", report::dot(&loaded.definition)),
    };
    if session.json {
        let object = serde_json::json!({
            "v": SHOWN_VERSION, "type": "graph", "plan": loaded.definition.name, "format": format, "text": text,
        });
        session.say(&format!("{}\n", report::json_line(&object)));
    } else {
        session.say(&text);
    }
    Ok(exit::COMPLETE)
}
