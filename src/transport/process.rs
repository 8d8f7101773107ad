//! What the kernel says of other processes: `/proc`, as proc(5) describes it.

use std::fs;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::process::{Pid, PidfdFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::slot::Process;

/// The parts of `/proc/PID/stat` that identify a process and its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    /// Field 3: `Z` and `X` are processes that have ended.
    pub(crate) state: u8,
    /// Field 4.
    pub(crate) parent: u32,
    /// Field 5.
    pub(crate) group: u32,
    /// Field 22: clock ticks after boot. With the pid and the boot id it names a process for ever.
    pub(crate) start: u64,
}

impl Stat {
    /// Whether the process has ended and is only waited for.
    pub(crate) fn ended(self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }
}

/// The longest `/proc/PID/stat`: 52 numbers of at most 20 digits, and a name of at most 64 bytes.
const STAT_MAX: usize = 2048;

/// Reads `/proc/PID/stat`; `None` when there is no such process.
pub(crate) fn stat(pid: u32) -> Option<Stat> {
    // One read: the kernel makes the line anew for each, and this is paid for every attempt.
    let mut line = [0; STAT_MAX];
    let length = fs::File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut line).ok()?;
    parse_stat(&String::from_utf8_lossy(&line[..length]))
}

/// The name in parentheses may hold anything, parentheses included; what follows its last one is plain.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    Some(Stat {
        state: *fields.next()?.as_bytes().first()?,
        parent: fields.next()?.parse().ok()?,
        group: fields.next()?.parse().ok()?,
        start: fields.nth(16)?.parse().ok()?,
    })
}

/// The process's inode in pidfs, by a handle on it: a number that no other process has until the next boot. `None` where
/// handles have none of their own (before Linux 6.9), or one that is given again (where numbers have 32 bits).
pub(crate) fn inode(handle: &OwnedFd) -> Option<u64> {
    /// `PID_FS_MAGIC` (Linux 6.9, `include/uapi/linux/magic.h`).
    const PIDFS: u64 = 0x5049_4446;
    static KNOWN: OnceLock<bool> = OnceLock::new();
    if cfg!(not(target_pointer_width = "64")) {
        return None;
    }
    let known = match KNOWN.get() {
        Some(known) => *known,
        // What could not be asked is asked again.
        None => {
            let kind = rustix::fs::fstatfs(handle).ok()?.f_type;
            *KNOWN.get_or_init(|| u64::try_from(kind) == Ok(PIDFS))
        }
    };
    known.then(|| rustix::fs::fstat(handle).ok()).flatten().map(|found| found.st_ino)
}

/// A handle on exactly this process; `None` when it is over. Readable when the process ends (pidfd_open(2)).
pub(crate) fn handle(process: Process) -> Option<OwnedFd> {
    let handle = rustix::process::pidfd_open(as_pid(process.pid)?, PidfdFlags::empty()).ok()?;
    // Looked at after the handle was taken, so that a reused pid is noticed.
    let stat = stat(process.pid).filter(|stat| !stat.ended())?;
    let same = match process.inode {
        // One that cannot be asked is not proved to be another.
        Some(known) => inode(&handle).is_none_or(|now| now == known),
        None => stat.start == process.start,
    };
    same.then_some(handle)
}

/// Waits for a process's end through its handle: readable when it is over. Needs a tokio runtime.
#[expect(
    deprecated,
    reason = "an owned descriptor is what the newer, unsafe constructor asks the caller to promise"
)]
pub(crate) fn watch(handle: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(handle, Interest::READABLE)
}

/// Short name of a process; `?` when it is over.
pub(crate) fn name(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm"))
        .map_or_else(|_| "?".to_owned(), |name| name.trim_end().to_owned())
}

/// Every pid there is now.
fn pids() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// The processes of a process group that still run.
pub(crate) fn members(group: u32) -> Vec<u32> {
    pids().filter(|&pid| stat(pid).is_some_and(|stat| stat.group == group && !stat.ended())).collect()
}

/// The processes that hold `path` open, but for this one and what it is starting at this moment. Those of other users cannot
/// be seen.
///
/// A child has every descriptor that we have until the kernel closes those that are not for it. It does so late in execve(2):
/// the child has its new program by then, and vfork(2) has let us go on. So the descriptor is looked at: one that a child of
/// ours will not keep is close-on-exec there too (`flags` in proc_pid_fdinfo(5)). It stops saying so just before it is closed
/// (Linux 6.18, `fs/file.c`, `do_close_on_exec`), and is looked at once more.
pub(crate) fn holders(path: &Path) -> Vec<u32> {
    let own = std::process::id();
    let child = |pid: u32| stat(pid).is_some_and(|stat| stat.parent == own);
    let keeps = |pid: u32| kept(pid, path).next().is_some();
    let holds = |pid: u32| match held(pid, path).next() {
        Some(_) if child(pid) => {
            keeps(pid) && {
                thread::sleep(CLOSING);
                keeps(pid)
            }
        }
        held => held.is_some(),
    };
    pids().filter(|&pid| pid != own && holds(pid)).collect()
}

/// How long a descriptor may be half closed.
const CLOSING: Duration = Duration::from_millis(2);

/// The descriptors by which a process holds `path`.
fn held(pid: u32, path: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    entries
        .filter(move |entry| fs::read_link(entry.path()).is_ok_and(|target| target == path))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
}

/// Those of them that it has beyond its next execve(2).
fn kept(pid: u32, path: &Path) -> impl Iterator<Item = String> {
    held(pid, path).filter(move |descriptor| !closes_on_exec(pid, descriptor))
}

/// Whether a descriptor is close-on-exec; one that is gone was.
fn closes_on_exec(pid: u32, descriptor: &str) -> bool {
    let Ok(info) = fs::read_to_string(format!("/proc/{pid}/fdinfo/{descriptor}")) else { return true };
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    flags
        .and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok())
        .is_some_and(|flags| flags & OFlags::CLOEXEC.bits() != 0)
}

/// Names this boot of the machine (random(4)); empty when the kernel does not say.
pub(crate) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_or_else(|_| String::new(), |id| id.trim().to_owned())
}

/// A pid as the kernel interface wants it.
pub(crate) fn as_pid(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
}

/// The usual name of a signal (signal(7), the numbers that are equal on every Linux architecture we run on).
pub(crate) fn signal_name(signal: i32) -> &'static str {
    match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        _ => "a signal",
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    #[test]
    fn a_name_with_parentheses_is_skipped() {
        let line = "42 (a) b (c)) S 1 40 39 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1 2\n";
        assert_eq!(parse_stat(line), Some(Stat { state: b'S', parent: 1, group: 40, start: 98765 }));
    }

    /// By its inode where the kernel has one for it, and by its start time: as every kernel knew it.
    #[test]
    fn a_process_is_found_as_long_as_it_runs_and_no_other_is_taken_for_it() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = child.id();
        let open = rustix::process::pidfd_open(as_pid(pid).unwrap(), PidfdFlags::empty()).unwrap();
        let named = Process::named(pid, Some(&open));
        let by_start = Process::named(pid, None);
        assert_eq!(by_start, Process { pid, start: stat(pid).unwrap().start, inode: None });
        assert_ne!(by_start.start, 0);
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let mut numbers = release.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
        let kernel = (numbers.next().unwrap(), numbers.next().unwrap());
        assert_eq!(named.inode.is_some(), kernel >= (6, 9), "Linux {release}");
        for known in [named, by_start] {
            assert!(handle(known).is_some());
            let other =
                Process { start: known.start + 1, inode: known.inode.map(|inode| inode + 1), ..known };
            assert!(handle(other).is_none());
        }
        child.kill().unwrap();
        // Ended and not reaped: it is over.
        let over = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
        rustix::process::waitid(rustix::process::WaitId::Pid(as_pid(pid).unwrap()), over).unwrap();
        assert!(handle(named).is_none() && handle(by_start).is_none());
        child.wait().unwrap();
        assert!(handle(named).is_none() && handle(by_start).is_none());
        assert!(!boot_id().is_empty());
    }

    /// Perl's own descriptors are close-on-exec, as is every one of ours in a child that is being started; a shell's are not.
    #[test]
    fn a_child_that_is_being_started_holds_nothing() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = fs::canonicalize(file.path()).unwrap();
        let opens = "open(my $f, '<', $ARGV[0]) or die; print qq($$\n); close STDOUT; sleep 1000";
        let start = |argv: &[&str]| {
            let mut command = std::process::Command::new(argv[0]);
            let mut child = command.args(&argv[1..]).arg(&path).stdout(Stdio::piped()).spawn().unwrap();
            let mut says = String::new();
            child.stdout.take().unwrap().read_to_string(&mut says).unwrap();
            (child, says.trim().parse::<u32>().unwrap())
        };
        let (mut starting, _) = start(&["perl", "-e", opens]);
        assert_eq!(holders(&path), [0; 0]);
        let shell = "exec 3< \"$0\"; echo $$; exec sleep 1000 > /dev/null";
        let (mut child, pid) = start(&["sh", "-c", shell]);
        assert_eq!(holders(&path), [pid]);
        child.kill().unwrap();
        child.wait().unwrap();
        // What another process starts is a descendant all the same.
        let (mut parent, pid) = start(&["sh", "-c", "perl -e \"$0\" \"$1\" & exec > /dev/null; wait", opens]);
        assert_eq!(holders(&path), [pid]);
        rustix::process::kill_process(as_pid(pid).unwrap(), rustix::process::Signal::KILL).unwrap();
        for child in [&mut starting, &mut parent] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
