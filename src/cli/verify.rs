//! `runner runs verify`: every run, read back link by link.

use serde_json::json;

use super::access::Access;
use super::fail::{Fail, chain};
use super::session::Session;
use crate::driver::history;
use crate::plan::RunId;
use crate::report::{self, SHOWN_VERSION, exit};
use crate::saga::{self, State, What};

pub(super) async fn run(session: &Session) -> Result<u8, Fail> {
    let folder = session.state_folder(None);
    // Opening it compares the journal with its head file.
    let access = Access::open(session, &folder, false).await?;
    let heads = access.history().runs().await;
    let mut damaged = 0;
    let mut runs = 0;
    let heads = match heads {
        Ok(heads) => heads,
        Err(error) => {
            access.close().await;
            return Err(error.into());
        }
    };
    for head in heads.into_iter().filter(|head| head.last_seq > 0) {
        runs += 1;
        let problems = verify(&access, &head.run, head.last_seq).await;
        damaged += usize::from(!problems.is_empty());
        show(session, &head.run, head.last_seq, &problems);
    }
    access.close().await;
    if !session.json {
        session.say(&match damaged {
            0 => "All is whole, and the journal is where its head says.\n".to_owned(),
            damaged => format!("Damaged: {damaged} of {runs}. Nothing was changed.\n"),
        });
    }
    Ok(if damaged == 0 { exit::COMPLETE } else { exit::UNEXPECTED })
}

fn show(session: &Session, run: &RunId, events: u64, problems: &[String]) {
    if session.json {
        let object = json!({
            "v": SHOWN_VERSION, "type": "verified", "run": run, "events": events, "problems": problems,
        });
        return session.say(&format!("{}\n", report::json_line(&object)));
    }
    match problems {
        [] => session.say(&format!("ok       {run}: {events} events\n")),
        problems => problems
            .iter()
            .for_each(|problem| session.say(&format!("damaged  {run}: {}\n", report::text_line(problem)))),
    }
}

/// What is wrong with a run.
async fn verify(access: &Access, run: &RunId, last: u64) -> Vec<String> {
    // Reading checks the hash of every event against the one before, and the bodies of large ones.
    let events = match history::events(access.history(), access.bodies(), run, 1, last).await {
        Ok(events) => events,
        Err(error) => return vec![chain(&error)],
    };
    let mut problems = Vec::new();
    if events.len() as u64 != last {
        problems.push(format!("it has {} of {last} events", events.len()));
    }
    let mut state: Option<State> = None;
    for event in &events {
        let folded = match state.take() {
            None => saga::open(event),
            Some(mut state) => saga::fold(&mut state, event).map(|()| state),
        };
        match folded {
            Ok(folded) => state = Some(folded),
            Err(error) => {
                problems.push(format!("event {} contradicts those before it: {error}", event.seq));
                return problems;
            }
        }
        if let What::RunOpened { definition, .. } | What::PlanAmended { definition, .. } = &event.what {
            for (path, file) in &definition.files {
                if let Err(error) = access.bodies().get(file) {
                    problems.push(format!("event {} names `{path}`: {}", event.seq, chain(&error)));
                }
            }
        }
    }
    problems
}
