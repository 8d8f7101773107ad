//! How little memory a process takes that waits for days: settings of glibc's allocator, and code that is over.
//!
//! This is the program's only unsafe code; the library forbids it.

#![expect(unsafe_code, reason = "there is no safe way to say either of them")]

use std::fs;
use std::sync::OnceLock;
use std::thread;

/// Contents from this size on are mapped by themselves and given back as soon as they are dropped, in bytes: glibc's
/// own beginning (mallopt(3)).
#[cfg(target_env = "gnu")]
const MAPPED_MIN: libc::c_int = 128 * 1024;

/// Keeps glibc from raising that size with every large content that is dropped. It would put the store's buffers
/// (40 times 512 KiB, of which hardly a page is touched) among what loading a plan leaves behind, and touch them all:
/// 11 of 30 MB for a plan of 1,000 steps (2026-11). One arena for all threads: the store has seven that only wait, and
/// none of ours is held up by another's allocations. It took 0.7 MB less in the same trial.
pub(crate) fn keep_small() {
    #[cfg(target_env = "gnu")]
    // SAFETY: no other thread runs yet, and the call changes nothing but the allocator's settings.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_MIN);
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// How much of its code a process that lets go of it has mapped at once from then on, in bytes.
const WINDOW: usize = 16 * 1024;

/// Takes the program's code out of this process's memory; what is used again comes back from the page cache, at one
/// short fault for every [`WINDOW`]. Reading the command line and loading a plan leave most of the program resident, of
/// which a run needs a tenth.
///
/// For the moments in which one thing is over and a long one begins. Does nothing where the map cannot be read.
pub(crate) fn let_go_of_code() {
    // What is loaded later is little, and stays.
    static CODE: OnceLock<Vec<(usize, usize)>> = OnceLock::new();
    let code = CODE.get_or_init(|| {
        let map = fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let code: Vec<_> = map.lines().filter_map(code).collect();
        // It takes 3 ms, which nobody has to wait for.
        let all = code.clone();
        drop(thread::Builder::new().name("code".to_owned()).spawn(move || narrow(&all)));
        code
    });
    code.iter().for_each(|&mapping| advise(mapping, libc::MADV_DONTNEED));
}

/// Makes windows of the code that the kernel does not look beyond.
///
/// By itself it maps the sixteen pages around every one that is needed (`fault_around_bytes`, 64 KiB), and what a run
/// needs is scattered. It stays within a mapping, though (Linux 6.18, `mm/memory.c`, `do_fault_around`), and two that
/// differ are not merged: so every other window is left out of core dumps, which have no code of files anyway (core(5)).
/// Where it allows no more mappings (`vm.max_map_count`), the rest stays as it was.
fn narrow(code: &[(usize, usize)]) {
    code.iter().flat_map(|&(start, length)| every_other(start, length)).for_each(|window| {
        advise(window, libc::MADV_DONTDUMP);
    });
}

/// Tells the kernel something about a mapping of [`code`]; nothing depends on whether it listens.
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
fn code(line: &str) -> Option<(usize, usize)> {
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
        let of = |line: &str| code(line);
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

    /// Everything goes on as if nothing had happened: code, constants, and what relocations were written into.
    #[test]
    fn the_program_goes_on_without_its_code() {
        let shown = || format!("{:?} {:?}", std::env::current_exe(), "x".repeat(3).parse::<u8>());
        let before = shown();
        for _ in 0..20 {
            let_go_of_code();
            assert_eq!(shown(), before);
        }
    }
}
