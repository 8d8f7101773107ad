//! What the kernel says of other processes: `/proc`, as proc(5) describes it.

use std::fs;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::slot::Process;

/// The parts of `/proc/PID/stat` that identify a process and its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    /// Field 3: `Z` and `X` are first threads that have ended.
    state: u8,
    /// Field 4.
    pub(crate) parent: u32,
    /// Field 5.
    pub(crate) group: u32,
    /// Field 20: threads that have not ended.
    threads: u32,
    /// Field 22: clock ticks after boot. With the pid and the boot id it names a process for ever.
    pub(crate) start: u64,
}

impl Stat {
    /// Whether the process has ended and is only waited for.
    pub(crate) fn ended(self) -> bool {
        // The first thread may have ended before the others.
        matches!(self.state, b'Z' | b'X') && self.threads <= 1
    }
}

/// The longest `/proc/PID/stat`: 52 numbers of at most 20 digits, and a name of at most 64 bytes.
const STAT_MAX: usize = 2048;

/// Reads `/proc/PID/stat`; `None` when no such process can be seen.
///
/// # Errors
/// It cannot be read, for want of descriptors say: nothing is known of the process then.
pub(crate) fn stat(pid: u32) -> io::Result<Option<Stat>> {
    // One read: the kernel makes the line anew for each.
    let mut line = [0; STAT_MAX];
    let read = fs::File::open(format!("/proc/{pid}/stat")).and_then(|mut file| file.read(&mut line));
    Ok(seen(read)?.and_then(|length| parse_stat(&String::from_utf8_lossy(&line[..length]))))
}

/// What was read in `/proc`; `None` where the process is over, or is another user's.
fn seen<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        // ESRCH where it ends between opening and reading; it has no kind of its own.
        Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => Ok(None),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The name in parentheses may hold anything, parentheses included; what follows its last one is plain.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    Some(Stat {
        state: *fields.next()?.as_bytes().first()?,
        parent: fields.next()?.parse().ok()?,
        group: fields.next()?.parse().ok()?,
        threads: fields.nth(14)?.parse().ok()?,
        start: fields.nth(1)?.parse().ok()?,
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
///
/// # Errors
/// It cannot be told whether it is over: there are no descriptors left, or it is one of another user that `/proc` hides
/// (`hidepid`, proc(5)).
pub(crate) fn handle(process: Process) -> io::Result<Option<OwnedFd>> {
    let Some(pid) = as_pid(process.pid) else { return Ok(None) };
    let handle = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
        Ok(handle) => handle,
        // Nobody has the pid, or a thread of another process does (Linux 6.18, `kernel/fork.c`, `pidfd_prepare`; EINVAL
        // before 6.15).
        Err(Errno::SRCH | Errno::NOENT | Errno::INVAL) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // Looked at after the handle was taken, so that a reused pid is noticed.
    let same = match process.inode {
        // One that cannot be asked is not proved to be another.
        Some(known) => inode(&handle).is_none_or(|now| now == known),
        None => match stat(process.pid)? {
            Some(stat) => stat.start == process.start,
            None if is_over(&handle)? => false,
            None => {
                let hidden = format!("process {pid} cannot be seen, look at it with `sudo ps -fp {pid}`");
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, hidden));
            }
        },
    };
    Ok((same && !is_over(&handle)?).then_some(handle))
}

/// Whether the process is over, all its threads with it.
fn is_over(handle: &OwnedFd) -> io::Result<bool> {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    Ok(rustix::io::retry_on_intr(|| poll(&mut [PollFd::new(handle, PollFlags::IN)], Some(&now)))? > 0)
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
fn pids() -> io::Result<impl Iterator<Item = io::Result<u32>>> {
    let number = |entry: fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    Ok(fs::read_dir("/proc")?.filter_map(move |entry| entry.map(number).transpose()))
}

/// The processes of a process group that still run.
///
/// # Errors
/// `/proc` cannot be read.
pub(crate) fn members(group: u32) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    for pid in pids()? {
        let pid = pid?;
        if stat(pid)?.is_some_and(|stat| stat.group == group && !stat.ended()) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// The processes that hold `path` open, but for this one and what it is starting at this moment. Those of other users cannot
/// be seen.
///
/// A child has every descriptor that we have until the kernel closes those that are not for it. It does so late in execve(2):
/// the child has its new program by then, and vfork(2) has let us go on. So the descriptor is looked at: one that a child of
/// ours will not keep is close-on-exec there too (`flags` in proc_pid_fdinfo(5)). It stops saying so just before it is closed
/// (Linux 6.18, `fs/file.c`, `do_close_on_exec`), and is looked at once more.
///
/// # Errors
/// `/proc` cannot be read: there may be others.
pub(crate) fn holders(path: &Path) -> io::Result<Vec<u32>> {
    let own = std::process::id();
    let mut found = Vec::new();
    for pid in pids()? {
        let pid = pid?;
        if pid == own || held(pid, path)?.is_empty() {
            continue;
        }
        let child = stat(pid)?.is_some_and(|stat| stat.parent == own);
        if !child
            || keeps(pid, path)? && {
                thread::sleep(CLOSING);
                keeps(pid, path)?
            }
        {
            found.push(pid);
        }
    }
    Ok(found)
}

/// How long a descriptor may be half closed.
const CLOSING: Duration = Duration::from_millis(2);

/// The descriptors by which a process holds `path`.
fn held(pid: u32, path: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in seen(fs::read_dir(format!("/proc/{pid}/fd")))?.into_iter().flatten() {
        let Some(entry) = seen(entry)? else { break };
        if seen(fs::read_link(entry.path()))?.is_some_and(|target| target == path) {
            found.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(found)
}

/// Whether it has one of them beyond its next execve(2).
fn keeps(pid: u32, path: &Path) -> io::Result<bool> {
    for descriptor in held(pid, path)? {
        if !closes_on_exec(pid, &descriptor)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a descriptor is close-on-exec; one that is gone was.
fn closes_on_exec(pid: u32, descriptor: &str) -> io::Result<bool> {
    let Some(info) = seen(fs::read_to_string(format!("/proc/{pid}/fdinfo/{descriptor}")))? else {
        return Ok(true);
    };
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    Ok(flags
        .and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok())
        .is_some_and(|flags| flags & OFlags::CLOEXEC.bits() != 0))
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
pub(super) mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::Stdio;

    use rustix::process::Resource;

    use super::*;

    #[test]
    fn a_name_with_parentheses_is_skipped() {
        let line = "42 (a) b (c)) S 1 40 39 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 98765 1 2\n";
        assert_eq!(
            parse_stat(line),
            Some(Stat { state: b'S', parent: 1, group: 40, threads: 3, start: 98765 })
        );
    }

    /// By its inode where the kernel has one for it, and by its start time: as every kernel knew it.
    #[test]
    fn a_process_is_found_as_long_as_it_runs_and_no_other_is_taken_for_it() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let pid = child.id();
        let open = rustix::process::pidfd_open(as_pid(pid).unwrap(), PidfdFlags::empty()).unwrap();
        let named = Process::named(pid, Some(&open)).unwrap();
        let by_start = Process::named(pid, None).unwrap();
        assert_eq!(by_start, Process { pid, start: stat(pid).unwrap().unwrap().start, inode: None });
        assert_ne!(by_start.start, 0);
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        let mut numbers = release.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
        let kernel = (numbers.next().unwrap(), numbers.next().unwrap());
        assert_eq!(named.inode.is_some(), kernel >= (6, 9), "Linux {release}");
        for known in [named, by_start] {
            assert!(handle(known).unwrap().is_some());
            let other =
                Process { start: known.start + 1, inode: known.inode.map(|inode| inode + 1), ..known };
            assert!(handle(other).unwrap().is_none());
        }
        child.kill().unwrap();
        // Ended and not reaped: it is over.
        let over = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
        rustix::process::waitid(rustix::process::WaitId::Pid(as_pid(pid).unwrap()), over).unwrap();
        assert!([named, by_start].into_iter().all(|known| handle(known).unwrap().is_none()));
        child.wait().unwrap();
        assert!([named, by_start].into_iter().all(|known| handle(known).unwrap().is_none()));
        assert!(!boot_id().is_empty());
    }

    /// Ends with the test, however that ends.
    pub(in crate::transport) struct Started(pub(in crate::transport) std::process::Child);

    impl Drop for Started {
        fn drop(&mut self) {
            drop(self.0.kill().and_then(|()| self.0.wait()));
        }
    }

    /// Leads its process group, and its first thread is a zombie while another goes on. `None`, and it is said, where perl
    /// has no threads.
    pub(in crate::transport) fn without_its_first_thread() -> Option<Started> {
        let ends =
            "use threads; require 'syscall.ph'; threads->create(sub { sleep 1000 }); syscall(&SYS_exit, 0)";
        let mut perl = std::process::Command::new("perl");
        let mut child = Started(perl.args(["-e", ends]).process_group(0).spawn().unwrap());
        // Nothing announces it.
        while stat(child.0.id()).unwrap().unwrap().state != b'Z' {
            thread::sleep(Duration::from_millis(5));
        }
        if child.0.try_wait().unwrap().is_some() {
            crate::transport::skip::skip("perl has no threads here: apt-get install perl");
            return None;
        }
        Some(child)
    }

    /// What cannot be looked at is not over. In a process of its own, since it leaves itself no descriptors.
    #[test]
    fn without_descriptors_nothing_is_known_of_a_process() {
        const ALONE: &str = "RUNNER_TEST_ALONE";
        if std::env::var_os(ALONE).is_none() {
            let this = "transport::process::tests::without_descriptors_nothing_is_known_of_a_process";
            let mut again = std::process::Command::new(std::env::current_exe().unwrap());
            let ended = again.args([this, "--exact", "--nocapture"]).env(ALONE, "1").output().unwrap();
            let said = String::from_utf8_lossy(&ended.stdout);
            assert!(ended.status.success() && said.contains("1 passed"), "{ended:?}");
            return;
        }
        let child = Started(std::process::Command::new("sleep").arg("1000").spawn().unwrap());
        let pid = child.0.id();
        let open = rustix::process::pidfd_open(as_pid(pid).unwrap(), PidfdFlags::empty()).unwrap();
        let known = [Process::named(pid, Some(&open)).unwrap(), Process::named(pid, None).unwrap()];
        let few =
            rustix::process::Rlimit { current: Some(3), ..rustix::process::getrlimit(Resource::Nofile) };
        rustix::process::setrlimit(Resource::Nofile, few).unwrap();
        let none_left =
            |error: io::Error| assert_eq!(error.raw_os_error(), Some(Errno::MFILE.raw_os_error()));
        for known in known {
            none_left(handle(known).unwrap_err());
        }
        none_left(Process::named(pid, None).unwrap_err());
        none_left(members(pid).unwrap_err());
        none_left(holders(Path::new("/")).unwrap_err());
        none_left(held(pid, Path::new("/")).unwrap_err());
    }

    #[test]
    fn a_process_whose_first_thread_has_ended_is_not_over() {
        let Some(child) = without_its_first_thread() else { return };
        let pid = child.0.id();
        let open = rustix::process::pidfd_open(as_pid(pid).unwrap(), PidfdFlags::empty()).unwrap();
        assert!(!stat(pid).unwrap().unwrap().ended());
        for known in [Process::named(pid, Some(&open)).unwrap(), Process::named(pid, None).unwrap()] {
            assert!(handle(known).unwrap().is_some(), "{known:?}");
        }
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
        assert_eq!(holders(&path).unwrap(), [0; 0]);
        let shell = "exec 3< \"$0\"; echo $$; exec sleep 1000 > /dev/null";
        let (mut child, pid) = start(&["sh", "-c", shell]);
        assert_eq!(holders(&path).unwrap(), [pid]);
        child.kill().unwrap();
        child.wait().unwrap();
        // What another process starts is a descendant all the same.
        let (mut parent, pid) = start(&["sh", "-c", "perl -e \"$0\" \"$1\" & exec > /dev/null; wait", opens]);
        assert_eq!(holders(&path).unwrap(), [pid]);
        rustix::process::kill_process(as_pid(pid).unwrap(), rustix::process::Signal::KILL).unwrap();
        for child in [&mut starting, &mut parent] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}
