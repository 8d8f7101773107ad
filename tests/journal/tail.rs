//! The tail of a run beside its events: there when it was acknowledged, and passed over wherever it does not belong.

use crate::common;

use std::fs;

use common::*;
use runner::journal::{Journal, JournalError};

#[test]
fn what_was_kept_is_there_for_the_next_process_and_replaced_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(folder.path()).unwrap();
    let run = journal.new_run(&plan("p")).unwrap();
    assert!(matches!(journal.keep(&run, b"early"), Err(JournalError::NoSuchRun { .. })), "it has no events");
    append(&mut journal, &run, 1).unwrap();
    assert_eq!(journal.kept(&run), None);
    journal.keep(&run, b"one").unwrap();
    journal.keep(&run, b"two, and longer").unwrap();
    assert_eq!(journal.kept(&run).unwrap(), b"two, and longer");
    // What has happened since does not make it untrue: whoever reads it judges that.
    append(&mut journal, &run, 2).unwrap();
    drop(journal);
    let mut journal = open(folder.path()).unwrap();
    assert_eq!(journal.kept(&run).unwrap(), b"two, and longer");
    let long = vec![b'x'; 1024 * 1024 + 1];
    assert!(matches!(journal.keep(&run, &long), Err(JournalError::TooLarge { .. })));
    assert_eq!(journal.kept(&run).unwrap(), b"two, and longer");
    // A leftover of a process that died in the middle is no hindrance.
    fs::write(folder.path().join("tails/.new-p-1"), "half").unwrap();
    journal.keep(&run, b"three").unwrap();
    assert_eq!(journal.kept(&run).unwrap(), b"three");
}

#[test]
fn what_does_not_belong_to_the_run_is_passed_over() {
    let kept = |journal: &Journal, run| journal.kept(run).is_some();
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut journals = folders.each_ref().map(|folder| open(folder.path()).unwrap());
    let runs = journals.each_mut().map(|journal| {
        let runs = [journal.new_run(&plan("p")).unwrap(), journal.new_run(&plan("p")).unwrap()];
        for run in &runs {
            append(journal, run, 1).unwrap();
        }
        runs
    });
    let [first, second] = &runs[0];
    journals[0].keep(first, b"mine").unwrap();
    let place = |folder: usize, run: &str| folders[folder].path().join("tails").join(run);
    // Of another run of this journal, and of the run with this name in another journal.
    fs::copy(place(0, "p-1"), place(0, "p-2")).unwrap();
    assert!(!kept(&journals[0], second));
    fs::create_dir(folders[1].path().join("tails")).unwrap();
    fs::copy(place(0, "p-1"), place(1, "p-1")).unwrap();
    assert!(!kept(&journals[1], &runs[1][0]));
    // Torn anywhere, and longer than it was.
    let bytes = fs::read(place(0, "p-1")).unwrap();
    for end in 0..bytes.len() {
        fs::write(place(0, "p-1"), &bytes[..end]).unwrap();
        assert!(!kept(&journals[0], first), "cut at {end}");
    }
    fs::write(place(0, "p-1"), [&bytes[..], b"x"].concat()).unwrap();
    assert!(!kept(&journals[0], first));
    fs::write(place(0, "p-1"), &bytes).unwrap();
    assert!(kept(&journals[0], first));
}

#[test]
fn it_names_the_last_event_so_that_an_older_copy_of_the_journal_does_not_take_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = open(&folder.path().join("a")).unwrap();
    let run = journal.new_run(&plan("p")).unwrap();
    append(&mut journal, &run, 1).unwrap();
    drop(journal);
    let copied = std::process::Command::new("cp").arg("-r").args(["a", "b"]).current_dir(&folder).status();
    assert!(copied.unwrap().success());
    let mut journal = open(&folder.path().join("a")).unwrap();
    append(&mut journal, &run, 2).unwrap();
    journal.keep(&run, b"after two").unwrap();
    let older = open(&folder.path().join("b")).unwrap();
    fs::create_dir(folder.path().join("b/tails")).unwrap();
    fs::copy(folder.path().join("a/tails/p-1"), folder.path().join("b/tails/p-1")).unwrap();
    assert_eq!(older.kept(&run), None);
}
