//! `runner graph`: a plan's steps and what each one needs, as text that other tools draw.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::fail::Fail;
use super::session::Session;
use super::source::{self, PlanFile};
use crate::plan::Required;
use crate::report::{self, GraphFormat, exit};

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  \
    runner graph plans/hello.toml                                     (Mermaid, for Markdown)\n  \
    runner graph plans/hello.toml --format dot | dot -Tsvg > hello.svg\n\n\
    Arrows lead from what is needed to what needs it. A dashed arrow is not in the file: it keeps the owners of an \
    exclusive resource apart. A diamond is an approval, a thick red box a step that cannot be undone. Nothing but \
    the plan is read.")]
pub(super) struct GraphArgs {
    /// The plan file
    #[arg(value_name = "PLAN")]
    plan: PathBuf,
    /// The language to write
    ///
    /// Example: runner graph plans/hello.toml --format dot
    #[arg(long, value_name = "FORMAT", default_value = "mermaid")]
    format: Format,
    /// Set a variable; may be repeated
    ///
    /// Example: runner graph plans/hello.toml --var folder=/tmp/elsewhere
    #[arg(long, value_name = "NAME=VALUE", value_hint = clap::ValueHint::Other, value_parser = source::variable)]
    var: Vec<(String, String)>,
    /// Read variables from a TOML file; may be repeated
    ///
    /// Example: runner graph plans/remote.toml --var-file hosts.toml
    #[arg(long, value_name = "FILE")]
    var_file: Vec<PathBuf>,
}

/// The language to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Mermaid's flowchart, drawn where Markdown is
    Mermaid,
    /// Graphviz's DOT
    Dot,
}

pub(super) fn run(session: &Session, args: &GraphArgs) -> Result<u8, Fail> {
    let file = PlanFile::read(&args.plan, &args.var, &args.var_file)?;
    let loaded = file.load(session, &BTreeMap::new(), Required::TakenAsPresent)?;
    let format = match args.format {
        Format::Mermaid => GraphFormat::Mermaid,
        Format::Dot => GraphFormat::Dot,
    };
    if session.json {
        let object = report::graph_json(&loaded.definition, &loaded.added, format);
        session.say(&format!("{}\n", report::json_line(&object)));
    } else {
        session.say(&report::graph_text(&loaded.definition, &loaded.added, format));
    }
    Ok(exit::COMPLETE)
}
