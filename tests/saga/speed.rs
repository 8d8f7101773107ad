//! Deciding costs what is in motion, not what the plan is long.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use runner::plan::RunId;
use runner::saga::{
    Ask, Command, Event, Moment, Outcome, Reply, Session, Stamp, Standing, Terms, Trace, What, advance,
    command, open, receive, standing,
};

use super::plans::{plan, step};

/// Forward and back through a chain, per step in microseconds.
fn per_step(count: usize) -> f64 {
    let steps = (0..count).map(|p| if p == 0 { step(p, &[]) } else { step(p, &[p - 1]) }).collect();
    let definition = plan(steps, 4);
    let at = Stamp { wall_ms: 0, boot: 1, up_ms: 0 };
    let mut now = Moment { at, entropy: 0 };
    let run = RunId::new(definition.name.clone(), 1);
    let opened = What::RunOpened { run, definition: Arc::new(definition), by: String::new() };
    let mut state = open(&Event { seq: 1, at, what: opened }).unwrap();
    let mut session = Session::default();
    let begun = Instant::now();
    let terms = Terms { forward: true, fresh_budget: true, assume_yes: false };
    for wish in [Command::Resume { token: 1, terms }, Command::Rollback { to: None, parallel: 1 }] {
        let mut events = command(&state, &wish, "").unwrap();
        let mut flight: VecDeque<Ask> = VecDeque::new();
        loop {
            now.at.up_ms += 1;
            let next = advance(&mut state, &mut session, std::mem::take(&mut events), &now).unwrap();
            flight.extend(next.start.into_iter().map(|start| start.ask));
            let Some(ask) = flight.pop_front() else { break };
            let outcome = Outcome::Acted { outputs: serde_json::Map::new(), trace: Trace::default() };
            events = receive(&state, &mut session, &ask, Reply::Ended(outcome), &now);
        }
    }
    assert_eq!(standing(&state), Standing::RolledBack { failed: None });
    begun.elapsed().as_secs_f64() * 1e6 / count as f64
}

#[test]
fn ten_thousand_steps_cost_no_more_each_than_a_thousand() {
    // Taken in turns, and the best of some: other processes only ever add.
    let mut best = f64::MAX;
    for _ in 0..6 {
        let few = (0..10).map(|_| per_step(1_000)).sum::<f64>() / 10.0;
        let many = per_step(10_000);
        println!("1,000 steps: {few:.1} us each; 10,000 steps: {many:.1} us each");
        best = best.min(many / few);
        if best <= 1.5 {
            break;
        }
    }
    assert!(best <= 2.0, "a step of 10,000 costs {best:.1} times one of 1,000");
}
