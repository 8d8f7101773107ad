//! Starts the command line, nothing else.

use std::process::ExitCode;

/// Contents from this size on are mapped by themselves and given back as soon as they are dropped, in bytes: glibc's
/// own beginning (mallopt(3)).
#[cfg(target_env = "gnu")]
const MAPPED_MIN: libc::c_int = 128 * 1024;

fn main() -> ExitCode {
    keep_memory_small();
    runner::cli::main(std::env::args_os())
}

/// Keeps glibc from raising that size with every large content that is dropped. It would put the store's buffers
/// (40 times 512 KiB, of which hardly a page is touched) among what loading a plan leaves behind, and touch them all:
/// 11 of 30 MB for a plan of 1,000 steps (2026-11). One arena for all threads: the store has seven that only wait, and
/// none of ours is held up by another's allocations. It took 0.7 MB less in the same trial.
fn keep_memory_small() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "there is no safe way to say it")]
    // SAFETY: no other thread runs yet, and the call changes nothing but the allocator's settings.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_MIN);
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}
