//! What the journal costs, beside what the disk costs in the same run: medians, and their ratio.
//!
//! `cargo bench --bench journal`. The machine may be noisy, so raw syncs and appends take turns and the ratio is what
//! counts. `RUNNER_BENCH_DIR` chooses another folder than the system's temporary one.
#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "a measurement")]

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use runner::journal::{Append, Handle, Holder, Journal, Options};
use runner::plan::PlanName;

const ROUNDS: u64 = 1_000;

fn options() -> Options {
    let holder = Holder { pid: std::process::id(), host: "bench".into(), boot_id: "boot".into(), wall_ms: 0 };
    Options { create: true, holder }
}

fn timed<T>(into: &mut Vec<Duration>, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let value = work();
    into.push(start.elapsed());
    value
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e6
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn main() {
    let base = std::env::var("RUNNER_BENCH_DIR").map_or_else(|_| std::env::temp_dir(), Into::into);
    let folder = tempfile::tempdir_in(base).unwrap();
    let body = vec![b'x'; 250];
    let before_kib = resident_kib();

    let mut create = Vec::new();
    let mut journal = timed(&mut create, || Journal::open(&folder.path().join("state"), &options()).unwrap());
    let run = journal.new_run(&PlanName::new("bench").unwrap()).unwrap();
    let mut raw = OpenOptions::new().append(true).create(true).open(folder.path().join("raw")).unwrap();

    let (mut raws, mut appends, mut settles, mut seq) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for _ in 0..ROUNDS {
        timed(&mut raws, || {
            raw.write_all(&body[..200]).unwrap();
            raw.sync_data().unwrap();
        });
        seq += 1;
        timed(&mut appends, || journal.append(&[Append { run: &run, seq, body: &body }]).unwrap());
        if seq % 20 == 0 {
            timed(&mut settles, || journal.settle_head().unwrap());
        }
    }
    let raw_us = median(&mut raws);
    let line = |name: &str, us: f64| println!("{name:<44} {us:>9.1} us  {:>6.2} x raw", us / raw_us);
    line("raw append of 200 bytes + fdatasync", raw_us);
    line("append of one 250-byte event", median(&mut appends));
    line("settle_head", median(&mut settles));

    let mut groups = Vec::new();
    for _ in 0..200 {
        let batch: Vec<_> = (1..=8).map(|i| Append { run: &run, seq: seq + i, body: &body }).collect();
        timed(&mut groups, || journal.append(&batch).unwrap());
        seq += 8;
    }
    line("append of eight events as one batch", median(&mut groups));
    let mut closes = Vec::new();
    timed(&mut closes, || drop(journal));
    line("close", median(&mut closes));
    line("create", median(&mut create));
    println!("resident memory after {seq} events: {} KiB more than before", resident_kib() - before_kib);

    reopen(&folder.path().join("thousand"), &line);
    shared(&folder.path().join("shared"), &body, &line);
    println!("resident memory at the end: {} KiB", resident_kib());
}

/// Opening and reading a run of a thousand events.
fn reopen(folder: &Path, line: &dyn Fn(&str, f64)) {
    let (mut opens, mut reads, mut closes) = (Vec::new(), Vec::new(), Vec::new());
    let mut journal = Journal::open(folder, &options()).unwrap();
    let run = journal.new_run(&PlanName::new("bench").unwrap()).unwrap();
    let body = vec![b'x'; 250];
    for seq in 1..=1_000 {
        journal.append(&[Append { run: &run, seq, body: &body }]).unwrap();
    }
    for _ in 0..20 {
        drop(journal);
        journal = timed(&mut opens, || Journal::open(folder, &options()).unwrap());
        let count = timed(&mut reads, || journal.read(&run, 1).map(Result::unwrap).count());
        assert_eq!(count, 1_000);
    }
    timed(&mut closes, || drop(journal));
    line("open at 1,000 events", median(&mut opens));
    line("read 1,000 events, verified", median(&mut reads));
}

/// What the way through the journal's own thread adds.
fn shared(folder: &Path, body: &[u8], line: &dyn Fn(&str, f64)) {
    let mut journal = Journal::open(folder, &options()).unwrap();
    let run = journal.new_run(&PlanName::new("bench").unwrap()).unwrap();
    let (mut direct, mut handed, mut seq) = (Vec::new(), Vec::new(), 0);
    for _ in 0..ROUNDS / 2 {
        seq += 1;
        timed(&mut direct, || journal.append(&[Append { run: &run, seq, body }]).unwrap());
    }
    line("append, called directly", median(&mut direct));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (handle, thread) = Handle::start(journal).unwrap();
        for _ in 0..ROUNDS / 2 {
            seq += 1;
            let start = Instant::now();
            handle.append(run.clone(), seq, vec![body.to_vec()]).await.unwrap();
            handed.push(start.elapsed());
        }
        line("append, through the handle", median(&mut handed));
        let mut empty = Vec::new();
        for _ in 0..ROUNDS {
            let start = Instant::now();
            handle.append(run.clone(), seq + 1, Vec::new()).await.unwrap();
            empty.push(start.elapsed());
        }
        line("hand-over alone (an empty append)", median(&mut empty));
        handle.close().await.unwrap();
        thread.join().unwrap();
    });
}
