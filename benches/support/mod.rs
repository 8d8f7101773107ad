//! What benches that drive the binary share.

use std::path::PathBuf;

/// The binary that is measured: the one of this build, or, built elsewhere, that of `RUNNER_BENCH_BIN`.
pub(crate) fn binary() -> PathBuf {
    std::env::vars_os()
        .find(|(key, _)| key == "RUNNER_BENCH_BIN")
        .map_or_else(|| env!("CARGO_BIN_EXE_runner").into(), |(_, path)| path.into())
}
