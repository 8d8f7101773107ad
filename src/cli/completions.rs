//! `runner completions`: commands, options and their values, completed by a shell.

use clap::{Args, ValueEnum};
use clap_complete::aot;

use super::session::Session;
use crate::report::exit;

#[derive(Debug, Args)]
#[command(after_long_help = "Examples:\n  \
    runner completions bash > ~/.local/share/bash-completion/completions/runner\n  \
    runner completions zsh > ~/.zfunc/_runner\n  \
    runner completions fish > ~/.config/fish/completions/runner.fish\n\n\
    Make the folder first where there is none (`mkdir -p`). A new shell knows them; zsh once its folder is in \
    `fpath` and `compinit` runs, in ~/.zshrc: `fpath+=(~/.zfunc); autoload -U compinit && compinit`.")]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    shell: Shell,
}

/// A shell that can be taught.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shell {
    /// Bash
    Bash,
    /// Z shell
    Zsh,
    /// Fish
    Fish,
}

pub(super) fn run(session: &Session, args: &CompletionsArgs) -> u8 {
    let shell = match args.shell {
        Shell::Bash => aot::Shell::Bash,
        Shell::Zsh => aot::Shell::Zsh,
        Shell::Fish => aot::Shell::Fish,
    };
    let mut script = Vec::new();
    aot::generate(shell, &mut super::command(), "runner", &mut script);
    session.document("completions", &String::from_utf8_lossy(&script));
    exit::COMPLETE
}
