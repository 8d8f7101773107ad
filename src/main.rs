//! Starts the command line, nothing else.

mod memory;

use std::process::ExitCode;

fn main() -> ExitCode {
    memory::keep_small();
    memory::keep_sparse();
    runner::cli::main(std::env::args_os(), memory::let_go_of_code)
}
