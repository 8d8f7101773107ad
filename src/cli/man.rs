//! `runner man`: the manual, one page for all commands.

use clap::{Arg, Args, Command};
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use super::session::Session;
use crate::report::exit;

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  \
    runner man > ~/.local/share/man/man1/runner.1\n  \
    runner man | man -l -")]
pub(super) struct ManArgs {}

pub(super) fn run(session: &Session, _args: &ManArgs) -> u8 {
    session.document("man", &page(super::command()));
    exit::COMPLETE
}

/// The page, in roff with the macros of man(7).
fn page(mut command: Command) -> String {
    command.build();
    let mut page = Roff::new();
    let version = command.get_version().unwrap_or_default().to_owned();
    page.control("TH", ["RUNNER", "1", "", &format!("runner {version}"), "runner"]);
    page.control("SH", ["NAME"]);
    page.text([roman(format!("runner - {}", about(&command)))]);
    page.control("SH", ["SYNOPSIS"]);
    usage(&mut page, &command);
    page.control("SH", ["COMMANDS"]);
    commands(&mut page, &command);
    page.control("SH", ["GLOBAL OPTIONS"]);
    options(&mut page, command.get_arguments());
    page.control("SH", ["EXIT STATUS"]);
    for row in exit::TABLE {
        page.control("TP", None);
        let codes: Vec<String> = row.codes.iter().map(u8::to_string).collect();
        page.text([bold(codes.join(", "))]);
        page.text([roman(row.meaning.replace('`', ""))]);
    }
    page.control("SH", ["ENVIRONMENT"]);
    for (name, meaning) in ENVIRONMENT {
        page.control("TP", None);
        page.text([bold(*name)]);
        page.text([roman(*meaning)]);
    }
    page.render()
}

/// What is read from the environment.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("RUNNER_STATE", "Folder of the journal, as --state."),
    ("NO_COLOR", "Set and not empty: no colours, unless --color asks for them."),
    ("XDG_RUNTIME_DIR", "Where the control socket lies; absent: /tmp/runner-UID."),
];

/// Every command below this one, each with what it takes.
fn commands(page: &mut Roff, above: &Command) {
    for command in above.get_subcommands().filter(|command| !command.is_hide_set()) {
        let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
        page.control("SS", [name]);
        usage(page, command);
        page.control("PP", None);
        paragraphs(page, &command.get_long_about().or(command.get_about()).map(ToString::to_string));
        options(page, command.get_arguments().filter(|argument| !argument.is_global_set()));
        paragraphs(page, &command.get_after_long_help().map(ToString::to_string));
        commands(page, command);
    }
}

fn about(command: &Command) -> String {
    command.get_about().map(ToString::to_string).unwrap_or_default()
}

fn usage(page: &mut Roff, command: &Command) {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage:").trim();
    for line in usage.lines() {
        page.text([bold(line.trim())]);
        page.control("br", None);
    }
}

/// A list of options and arguments: names, then what they are for.
fn options<'a>(page: &mut Roff, arguments: impl Iterator<Item = &'a Arg>) {
    // What clap adds by itself is the same everywhere, and said once in the usage.
    let own = |argument: &&Arg| !["help", "version"].contains(&argument.get_id().as_str());
    for argument in arguments.filter(own).filter(|argument| !argument.is_hide_set()) {
        page.control("TP", None);
        page.text(heading(argument));
        let help = argument.get_long_help().or(argument.get_help()).map(ToString::to_string);
        paragraphs_in(page, help.as_deref().unwrap_or_default(), "IP");
        for value in argument.get_possible_values().iter().filter(|_| argument.get_action().takes_values()) {
            page.control("IP", None);
            let help = value.get_help().map(ToString::to_string).unwrap_or_default();
            page.text([italic(value.get_name()), roman(format!(": {help}"))]);
        }
        let defaults: Vec<_> =
            argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        if !defaults.is_empty() && argument.get_action().takes_values() {
            page.control("IP", None);
            page.text([roman(format!("Default: {}", defaults.join(", ")))]);
        }
    }
}

/// `-y, --yes`, `--state DIR`, `PLAN`.
fn heading(argument: &Arg) -> Vec<Inline> {
    let mut names = Vec::new();
    names.extend(argument.get_short().map(|short| bold(format!("-{short}"))));
    names.extend(argument.get_long().map(|long| bold(format!("--{long}"))));
    let mut heading = Vec::new();
    for name in names {
        if !heading.is_empty() {
            heading.push(roman(", "));
        }
        heading.push(name);
    }
    if argument.get_action().takes_values() {
        if !heading.is_empty() {
            heading.push(roman(" "));
        }
        let values = argument.get_value_names().unwrap_or_default().iter().map(ToString::to_string);
        heading.push(italic(values.collect::<Vec<_>>().join(" ")));
    }
    heading
}

fn paragraphs(page: &mut Roff, text: &Option<String>) {
    if let Some(text) = text {
        page.control("PP", None);
        paragraphs_in(page, text, "PP");
    }
}

/// A text in paragraphs; lines that are indented stay lines of their own.
fn paragraphs_in(page: &mut Roff, text: &str, macro_name: &str) {
    for (at, paragraph) in text.split("\n\n").map(str::trim_end).filter(|text| !text.is_empty()).enumerate() {
        if at > 0 {
            page.control(macro_name, None);
        }
        let keeps_lines = paragraph.contains("\n ");
        for line in paragraph.lines() {
            page.text([roman(line.trim())]);
            if keeps_lines {
                page.control("br", None);
            }
        }
    }
}
