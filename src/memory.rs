//! How little memory a process takes that waits for days: settings of glibc's allocator, and code that is over.
//!
//! This is the program's only unsafe code; the library forbids it.

#![expect(unsafe_code, reason = "there is no safe way to say any of it")]

use std::fs;
use std::sync::{Once, OnceLock};
use std::thread;

use rustix::ioctl::{self, Opcode, Updater, opcode};
use rustix::mm::UserfaultfdFlags;

/// Contents from this size on are mapped by themselves and given back as soon as they are dropped, in bytes. The store has
/// 41 of exactly this size (its histograms), of which hardly a page is touched. What is smaller is used again: a page that
/// the kernel has to find and to clear takes 2.5 us, as long as thirty small contents.
#[cfg(target_env = "gnu")]
const MAPPED_MIN: libc::c_int = 512 * 1024;

/// How much memory is asked for at once, and how much is kept that nobody uses at its end, in bytes.
#[cfg(target_env = "gnu")]
const ASKED_FOR: libc::c_int = 1024 * 1024;
#[cfg(target_env = "gnu")]
const KEPT: libc::c_int = 4 * 1024 * 1024;

/// Keeps glibc from raising the first of these with every large content that is dropped (mallopt(3)). It would put the
/// store's histograms among what loading a plan leaves behind, and touch them all: 11 of 30 MB for a plan of 1,000 steps
/// (2026-11). One arena for all threads: the store has seven that only wait, and none of ours is held up by another's
/// allocations. It took 0.7 MB less in the same trial.
pub(crate) fn keep_small() {
    #[cfg(target_env = "gnu")]
    // SAFETY: no other thread runs yet, and the calls change nothing but the allocator's settings.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_MIN);
        libc::mallopt(libc::M_TOP_PAD, ASKED_FOR);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Keeps the kernel from mapping more of the program's code than is used. By itself it maps the sixteen pages around every
/// one that is needed (`fault_around_bytes`, 64 KiB), and what a run needs is scattered: 20 MB instead of 12 (2026-12-01).
///
/// It does not look around in a mapping whose writes somebody wants to hear of (Linux 6.18, `include/linux/userfaultfd_k.h`,
/// `uffd_disable_fault_around`). Nobody writes to code, so nothing is ever heard, and asking takes one call for each mapping.
/// Since Linux 6.7 this may be asked of files (`UFFD_FEATURE_WP_ASYNC`), by everybody (`UFFD_USER_MODE_ONLY`). Where it may
/// not, as in most containers, [`let_go_of_code`] makes [`windows`] instead.
pub(crate) fn keep_sparse() {
    SPARSE.get_or_init(|| sparse(code()).is_ok());
}

/// Whether the kernel keeps to what is used.
static SPARSE: OnceLock<bool> = OnceLock::new();

/// `struct uffdio_api` of `linux/userfaultfd.h`.
#[repr(C)]
struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}

/// `struct uffdio_register`.
#[repr(C)]
struct Register {
    start: u64,
    len: u64,
    mode: u64,
    ioctls: u64,
}

const UFFD_API: u64 = 0xaa;
const UFFD_USER_MODE_ONLY: u32 = 1;
const UFFD_FEATURE_WP_UNPOPULATED: u64 = 1 << 13;
const UFFD_FEATURE_WP_ASYNC: u64 = 1 << 15;
const UFFDIO_REGISTER_MODE_WP: u64 = 1 << 1;
const UFFDIO_API: Opcode = opcode::read_write::<Api>(0xaa, 0x3f);
const UFFDIO_REGISTER: Opcode = opcode::read_write::<Register>(0xaa, 0x00);

/// Asks for the writes to these mappings, for as long as the process lives.
fn sparse(code: &[(usize, usize)]) -> rustix::io::Result<()> {
    let features = UFFD_FEATURE_WP_UNPOPULATED | UFFD_FEATURE_WP_ASYNC;
    let mut api = Api { api: UFFD_API, features, ioctls: 0 };
    // SAFETY: of the codes' own types are the values, which outlive the calls. No page is protected, so no access to one is
    // held up or seen by anybody (ioctl_userfaultfd(2)).
    unsafe {
        let flags = UserfaultfdFlags::CLOEXEC | UserfaultfdFlags::from_bits_retain(UFFD_USER_MODE_ONLY);
        let asked = rustix::mm::userfaultfd(flags)?;
        ioctl::ioctl(&asked, Updater::<UFFDIO_API, Api>::new(&mut api))?;
        for &(start, length) in code {
            let (start, len) = (start as u64, length as u64);
            let mut register = Register { start, len, mode: UFFDIO_REGISTER_MODE_WP, ioctls: 0 };
            ioctl::ioctl(&asked, Updater::<UFFDIO_REGISTER, Register>::new(&mut register))?;
        }
        // Closed, it would be as if nobody had asked.
        std::mem::forget(asked);
    }
    Ok(())
}

/// The program's code as it is mapped at the start. What is loaded later is little, and stays.
fn code() -> &'static [(usize, usize)] {
    static CODE: OnceLock<Vec<(usize, usize)>> = OnceLock::new();
    CODE.get_or_init(|| {
        let map = fs::read_to_string("/proc/self/maps").unwrap_or_default();
        map.lines().filter_map(mapping).collect()
    })
}

/// Takes the program's code out of this process's memory; what is used again comes back from the page cache, at one
/// short fault each time. Reading the command line and loading a plan leave much of the program resident, of which a run
/// needs a tenth.
///
/// For the moments in which one thing is over and a long one begins. Does nothing where the map cannot be read.
pub(crate) fn let_go_of_code() {
    if !SPARSE.get().copied().unwrap_or(false) {
        static WINDOWS: Once = Once::new();
        // It takes 8 ms, which nobody has to wait for.
        WINDOWS.call_once(|| drop(thread::Builder::new().name("code".to_owned()).spawn(|| windows(code()))));
    }
    code().iter().for_each(|&mapping| advise(mapping, libc::MADV_DONTNEED));
}

/// How much of the code is mapped at once at most where it is in windows, in bytes.
const WINDOW: usize = 16 * 1024;

/// Makes windows of the code that the kernel does not look beyond.
///
/// It stays within a mapping (Linux 6.18, `mm/memory.c`, `do_fault_around`), and two that differ are not merged: so every
/// other window is left out of core dumps, which have no code of files anyway (core(5)). Where it allows no more mappings
/// (`vm.max_map_count`), the rest stays as it was.
fn windows(code: &[(usize, usize)]) {
    code.iter().flat_map(|&(start, length)| every_other(start, length)).for_each(|window| {
        advise(window, libc::MADV_DONTDUMP);
    });
}

/// Tells the kernel something about one of these mappings; nothing depends on whether it listens.
fn advise((start, length): (usize, usize), advice: libc::c_int) {
    // SAFETY: the pages belong to a file that is mapped privately and that nobody can write to through this mapping, so
    // that what is read there after the call is what was there before (madvise(2), MADV_DONTNEED and MADV_DONTDUMP). It
    // may be the very code that runs.
    unsafe {
        libc::madvise(start as *mut libc::c_void, length, advice);
    }
}

/// Every other window of a mapping, as far as it goes.
fn every_other(start: usize, length: usize) -> impl Iterator<Item = (usize, usize)> {
    let end = start + length;
    (start / WINDOW..end.div_ceil(WINDOW)).filter(|window| window % 2 == 1).map(move |window| {
        let from = start.max(window * WINDOW);
        (from, end.min((window + 1) * WINDOW) - from)
    })
}

/// Start and length of a mapping of `/proc/self/maps` (proc(5)) that is code of a file, or the constants before it.
/// Other read-only mappings may have been written to before they became that (relocations), and are left.
fn mapping(line: &str) -> Option<(usize, usize)> {
    let mut fields = line.split_ascii_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let (rights, offset) = (fields.next()?, fields.next()?);
    let constants = rights == "r--p" && offset.bytes().all(|digit| digit == b'0');
    let of_a_file = fields.nth(2)?.starts_with('/');
    if !of_a_file || !(constants || rights == "r-xp") {
        return None;
    }
    let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
    Some((start, end.checked_sub(start)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_and_constants_of_files_are_let_go() {
        let of = |line: &str| mapping(line);
        assert_eq!(of("7f00-8f00 r-xp 002c0000 fe:00 12 /usr/bin/runner"), Some((0x7f00, 0x1000)));
        assert_eq!(of("1000-3000 r--p 00000000 fe:00 12     /usr/bin/a name"), Some((0x1000, 0x2000)));
        for other in [
            "1000-3000 r--p 00a2c000 fe:00 12 /usr/bin/runner",
            "1000-3000 rw-p 00000000 fe:00 12 /usr/bin/runner",
            "1000-3000 r-xp 00000000 00:00 0  [vdso]",
            "1000-3000 r-xp 00000000 00:00 0",
            "",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn every_other_window_is_another_mapping() {
        let whole = |n: usize| (n * WINDOW, WINDOW);
        let of = |start, length| every_other(start, length).collect::<Vec<_>>();
        assert_eq!(of(0, 4 * WINDOW), [whole(1), whole(3)]);
        // From and to the middle of one.
        assert_eq!(of(WINDOW + 4096, 2 * WINDOW), [(WINDOW + 4096, WINDOW - 4096), (3 * WINDOW, 4096)]);
        assert_eq!(of(2 * WINDOW, 4096), []);
    }

    /// Where the kernel lets us ask, it says of the code that somebody does (`uw`, proc(5)); elsewhere there are windows.
    #[test]
    fn the_kernel_keeps_to_what_is_used() {
        keep_sparse();
        let map = fs::read_to_string("/proc/self/smaps").unwrap();
        let code =
            map.split("VmFlags:").zip(map.split("VmFlags:").skip(1)).filter(|(of, _)| of.contains(" r-xp "));
        let asked = code.filter(|(_, flags)| flags.lines().next().is_some_and(|flags| flags.contains(" uw")));
        assert_eq!(asked.count() > 0, SPARSE.get() == Some(&true));
    }

    /// Everything goes on as if nothing had happened: code, constants, and what relocations were written into.
    #[test]
    fn the_program_goes_on_without_its_code() {
        let shown = || format!("{:?} {:?}", std::env::current_exe(), "x".repeat(3).parse::<u8>());
        let before = shown();
        keep_sparse();
        for _ in 0..20 {
            let_go_of_code();
            assert_eq!(shown(), before);
        }
    }
}
