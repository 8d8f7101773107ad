//! The journal behind its handle: groups, answers, settling, closing.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of any test function")]

use crate::common;

use common::*;
use runner::journal::{BODY_MAX, Handle, JournalError};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_all_get_their_answer_and_lose_nothing() {
    many().await;
}

#[tokio::test]
async fn one_thread_is_enough() {
    many().await;
}

async fn many() {
    let folder = tempfile::tempdir().unwrap();
    let (handle, thread) = Handle::start(open(folder.path()).unwrap()).unwrap();
    let mut callers = Vec::new();
    for i in 0..8 {
        let handle = handle.clone();
        callers.push(tokio::spawn(async move {
            let run = handle.new_run(plan(&format!("p{i}"))).await.unwrap();
            for seq in (1..100).step_by(2) {
                let bodies = vec![body(&run, seq), body(&run, seq + 1)];
                handle.append(run.clone(), seq, bodies).await.unwrap();
            }
            run
        }));
    }
    let mut runs = Vec::new();
    for caller in callers {
        runs.push(caller.await.unwrap());
    }
    for run in &runs {
        assert_eq!(handle.read_all(run.clone(), 1).await.unwrap().len(), 100);
    }
    handle.checkpoint(runs[0].clone(), 50, b"half".to_vec()).await.unwrap();
    assert_eq!(handle.latest_checkpoint(runs[0].clone()).await.unwrap(), Some((50, b"half".to_vec())));
    handle.close().await.unwrap();
    thread.join().unwrap();
    assert!(matches!(handle.append(runs[0].clone(), 101, vec![vec![]]).await, Err(JournalError::Closed)));
    assert!(matches!(handle.runs().await, Err(JournalError::Closed)));

    let journal = open(folder.path()).unwrap();
    for run in &runs {
        for (seq, event) in (1..).zip(all(&journal, run).unwrap()) {
            assert_eq!(event.body, body(run, seq));
        }
    }
}

/// Whoever sends something that does not fit is refused alone, whatever shares its group.
#[tokio::test]
async fn a_wrong_append_fails_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (handle, thread) = Handle::start(open(folder.path()).unwrap()).unwrap();
    let (a, b) = (handle.new_run(plan("a")).await.unwrap(), handle.new_run(plan("b")).await.unwrap());
    let (first, again, huge, other, next) = tokio::join!(
        handle.append(a.clone(), 1, vec![b"first".to_vec()]),
        handle.append(a.clone(), 1, vec![b"again".to_vec()]),
        handle.append(a.clone(), 2, vec![b"fits".to_vec(), vec![0; BODY_MAX + 1]]),
        handle.append(b.clone(), 1, vec![b"other".to_vec()]),
        handle.append(a.clone(), 2, vec![b"second".to_vec()]),
    );
    first.unwrap();
    other.unwrap();
    next.unwrap();
    assert!(matches!(again, Err(JournalError::OutOfOrder { expected: 2, given: 1, .. })));
    assert!(matches!(huge, Err(JournalError::TooLarge { seq: 3, .. })));
    let bodies: Vec<_> = handle.read_all(a, 1).await.unwrap().into_iter().map(|event| event.body).collect();
    assert_eq!(bodies, [b"first".to_vec(), b"second".to_vec()]);
    drop(handle);
    thread.join().unwrap();
    // The lock went with the thread.
    drop(open(folder.path()).unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_a_waiting_call_does_not_take_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let (handle, thread) = Handle::start(open(folder.path()).unwrap()).unwrap();
    let run = handle.new_run(plan("a")).await.unwrap();
    {
        // Polled once, then dropped.
        let call = handle.append(run.clone(), 1, vec![b"sent".to_vec()]);
        let mut call = Box::pin(call);
        drop(futures_util::poll!(&mut call));
    }
    assert_eq!(handle.read_all(run, 1).await.unwrap().len(), 1);
    handle.close().await.unwrap();
    thread.join().unwrap();
}
