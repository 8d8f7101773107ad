//! Skipping, loudly.
#![allow(unreachable_pub, dead_code, reason = "each test binary takes it in where it needs it")]

/// Says on the real standard error that something was not tested here, and why.
///
/// # Panics
/// When nothing may be skipped: `tests/run` installs what is needed and sets `RUNNER_NO_SKIP`.
pub fn skip(why: &str) {
    assert!(std::env::var_os("RUNNER_NO_SKIP").is_none(), "nothing may be skipped here: {why}");
    say(why);
}

/// The same where it was decided before that this is skipped: `tests/run` on a machine without Go.
pub fn say(why: &str) {
    // The macros that print are captured for tests that pass.
    drop(std::io::Write::write_all(&mut std::io::stderr(), format!("SKIPPED: {why}\n").as_bytes()));
}
