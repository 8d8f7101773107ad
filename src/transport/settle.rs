//! Proves a local attempt over, from its slot (P3). Nothing here guesses: what cannot be proved is said to be so.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

use super::launch::GRACE;
use super::local::signal_group;
use super::process;
use super::slot::{self, Process, Record, Slots};

/// Time between two looks when a slot is held and no process is written into it: longer than a process takes from
/// its start to its own process group.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What a slot says of an attempt.
#[derive(Debug)]
pub(crate) enum Proof {
    /// It is over, or never started.
    Over,
    /// It may still run.
    Unproved(String),
}

/// Proves the attempt over; waits for up to `timeout` for a process that still runs, then ends its group.
pub(crate) async fn settle(slots: &Slots, attempt: &str, timeout: Duration) -> Proof {
    match look(slots, attempt, timeout).await {
        Ok(proof) => proof,
        Err(error) => Proof::Unproved(format!("cannot tell whether it is over: {error}")),
    }
}

async fn look(slots: &Slots, attempt: &str, timeout: Duration) -> io::Result<Proof> {
    let Some((path, record)) = slots.find(attempt)? else {
        // The record is written before the process starts: without one it never did, or its slot was free again.
        return Ok(Proof::Over);
    };
    if record.boot != slots.boot() {
        return Ok(Proof::Over);
    }
    let process = match record.process {
        Some(process) => process,
        None => match unwritten(&path).await? {
            Some(process) => process,
            None => return Ok(Proof::Over),
        },
    };
    // A program may close the descriptors it inherits (sudo does): the pid, and which process has it, count as well.
    let Some(handle) = process::handle(process)? else {
        if let Err(error) = name_descendants(&path, &record) {
            tracing::warn!(%error, attempt, "cannot look for what an attempt left running");
        }
        return Ok(Proof::Over);
    };
    if ends_within(handle, timeout).await? {
        return Ok(Proof::Over);
    }
    tracing::warn!(pid = process.pid, attempt, "the attempt outlived its timeout and is ended");
    end(process).await
}

/// The attempt's process when `runner` was killed before it wrote the pid down: the leader of a process group among
/// those that hold the slot. `None` when it is over.
async fn unwritten(path: &Path) -> io::Result<Option<Process>> {
    for again in [true, false] {
        if slot::is_free(path)? {
            return Ok(None);
        }
        for pid in process::holders(path)? {
            if let Some(stat) = process::stat(pid)?.filter(|stat| stat.group == pid && !stat.ended()) {
                return Ok(Some(Process { pid, start: stat.start, inode: None }));
            }
        }
        if again {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
    if process::holders(path)?.is_empty() && !slot::is_free(path)? {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(
                "`{}` is held by a process that cannot be seen, find it with `sudo fuser -v`",
                path.display()
            ),
        ));
    }
    Ok(None)
}

/// Says who still holds the slot of an attempt whose own process is over.
fn name_descendants(path: &Path, record: &Record) -> io::Result<()> {
    if !slot::is_free(path)? {
        for pid in process::holders(path)? {
            tracing::warn!(attempt = %record.attempt, pid, name = %process::name(pid), "a descendant was left running");
        }
    }
    Ok(())
}

/// Whether the process ends in time.
async fn ends_within(handle: OwnedFd, limit: Duration) -> io::Result<bool> {
    let handle = process::watch(handle)?;
    match tokio::time::timeout(limit, handle.readable()).await {
        Ok(readable) => readable.map(|_| true),
        Err(_) => Ok(false),
    }
}

/// Ends the group of a process that is not our child: SIGTERM, [`GRACE`], SIGKILL.
async fn end(process: Process) -> io::Result<Proof> {
    for signal in [Signal::TERM, Signal::KILL] {
        let Some(handle) = process::handle(process)? else { return Ok(Proof::Over) };
        signal_group(process.pid, signal);
        let limit = Instant::now() + GRACE;
        if ends_within(handle, limit - Instant::now()).await? {
            return Ok(Proof::Over);
        }
    }
    let pid = process.pid;
    Ok(Proof::Unproved(format!(
        "process {pid} still runs and cannot be ended, look at it with `ps -fp {pid}`"
    )))
}
