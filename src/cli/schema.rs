//! `runner schema`: what a plan file may hold, and what `--json` writes, for editors and other programs.

use clap::{Args, ValueEnum};

use super::session::Session;
use crate::plan;
use crate::report::exit;

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  \
    runner schema > plan.schema.json\n  \
    runner schema events > events.schema.json\n\n\
    A plan whose first line is `#:schema plan.schema.json` is completed and checked by editors that know TOML \
    (Taplo, Even Better TOML). `runner validate` knows more: names that must exist, orders, templates.")]
pub(super) struct SchemaArgs {
    /// Which one
    #[arg(value_name = "WHICH", value_enum, default_value = "plan")]
    which: Which,
}

/// What a schema describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    /// A plan file
    Plan,
    /// The objects that `--json` writes
    Events,
}

pub(super) fn run(session: &Session, args: &SchemaArgs) -> u8 {
    match args.which {
        Which::Plan => session.document("schema", &plan::schema_text()),
        Which::Events => session.document("schema", crate::report::EVENTS_SCHEMA),
    }
    exit::COMPLETE
}
