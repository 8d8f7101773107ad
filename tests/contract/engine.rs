//! The suite that every line goes through.

use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use runner::action::{Call, PreImage};
use runner::plan::catalog::{Kind, find};
use runner::saga::{Direction, Outcome, Settlement, Verdict};
use serde_json::Value;

use super::support::lab::full;
use super::support::world::World;

/// How long what was cut stays away at most.
const AWAY: Duration = Duration::from_millis(700);

/// One action in one situation.
pub struct Line<B> {
    pub action: &'static str,
    pub what: &'static str,
    /// Its fields; words with `@` are filled in by the place.
    pub fields: Value,
    /// How its world is before.
    pub before: B,
    /// The check that says whether the goal holds, of an action that cannot say it itself.
    pub probe: Option<Value>,
    /// The action that takes it back, of one that cannot do so itself.
    pub back: Option<Value>,
    /// Done again without a look it does the same once more, and why that is right.
    pub adds: Option<&'static str>,
}

impl<B> Line<B> {
    pub fn new(action: &'static str, what: &'static str, fields: Value, before: B) -> Self {
        Self { action, what, fields, before, probe: None, back: None, adds: None }
    }

    pub fn explicit(self, probe: Value, back: Value) -> Self {
        Self { probe: Some(probe), back: Some(back), ..self }
    }
}

/// On which side of what is sent a cut falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// It does not arrive.
    Before,
    /// It arrives, and its answer does not.
    After,
}

/// What is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// The connection is lost.
    Connection,
    /// Our own process is killed.
    Killed,
    /// The host that works for us goes down, with all that runs on it.
    Host,
    /// Nothing is lost: what is halted there ends with an error, and all that comes after it works.
    Fails,
}

/// Counts what an action sends to its world, and halts it at one of them.
pub trait Cutter {
    /// Counts from 0 again, and halts at this one.
    fn arm(&self, point: usize, side: Side);
    /// It is halted there.
    fn reached(&self) -> bool;
    /// Cuts what is halted.
    fn cut(&self, how: How);
    /// Lets everything pass again.
    fn heal(&self);
    /// The ways to cut it: all of them in a full run, the first one else.
    fn ways(&self) -> &'static [How];
}

/// A world in which lines are tried.
pub trait Place {
    type Before;
    type Cutter: Cutter;

    fn world(&mut self) -> &mut World;
    fn cutter(&self) -> &Self::Cutter;
    /// Fills in an operation.
    fn fill(&self, operation: &Value) -> Value;
    /// What belongs to a call besides its operation.
    fn dress(&self, _call: &mut Call) {}
    /// Brings the world into the state before; `false`: the line's own way back does.
    fn reset(&self, before: &Self::Before) -> impl Future<Output = bool>;
    /// Whether a person who is told this can look, and has seen that nothing runs any more.
    fn a_person_looks(&self, _reason: &str) -> bool {
        false
    }
    /// All that the action could change, as somebody else sees it, once the world has come to rest.
    fn state(&self) -> impl Future<Output = Value>;
}

/// Tries every line.
pub async fn keep<P: Place>(place: &mut P, lines: &[Line<P::Before>]) {
    // A host knows every attempt and the newest fencing token: neither comes twice in a place.
    let (mut attempt, mut token) = (0, 1);
    for line in lines {
        let began = Instant::now();
        let mut suite = Suite { place: &mut *place, line, attempt, token, pre_image: None };
        let cuts = suite.run().await;
        (attempt, token) = (suite.attempt, suite.token);
        println!("{} ({}): {cuts} cuts, {:.1} s", line.action, line.what, began.elapsed().as_secs_f32());
    }
}

struct Suite<'a, P: Place> {
    place: &'a mut P,
    line: &'a Line<P::Before>,
    /// No attempt has the number of another one, whatever it was for.
    attempt: u32,
    token: u64,
    pre_image: Option<PreImage>,
}

/// How a piece of work ended that was to be cut.
enum Ended {
    /// It sent less than that.
    NeverReached,
    /// By itself.
    With(Outcome),
    /// Nobody heard of its end.
    Unheard,
}

impl<P: Place> Suite<'_, P> {
    fn own_inverse(&self) -> bool {
        find(Kind::Action, self.line.action).unwrap().own_inverse
    }

    fn can_go_back(&self) -> bool {
        self.own_inverse() || self.line.back.is_some()
    }

    fn said(&self, what: &str) -> String {
        format!("{} ({}): {what}", self.line.action, self.line.what)
    }

    fn operation(&self) -> Value {
        let mut operation = self.place.fill(&self.line.fields);
        operation["name"] = self.line.action.into();
        operation
    }

    fn call(&mut self, operation: Value, direction: Direction) -> Call {
        self.attempt += 1;
        let attempt = self.attempt;
        let mut call = self.place.world().call("s", attempt, operation);
        call.key.direction = direction;
        self.place.dress(&mut call);
        call
    }

    async fn probe(&mut self) -> (Verdict, String) {
        // What was cut may still be coming up: nobody knows yet is asked again, as a run does.
        let limit = Instant::now() + Duration::from_secs(30);
        loop {
            let answer = match &self.line.probe {
                Some(check) => {
                    let operation = self.place.fill(check);
                    let world = self.place.world();
                    world.checks.look(world.look(operation)).await
                }
                None => {
                    let operation = self.operation();
                    let mut call = self.place.world().call("s", 0, operation);
                    self.place.dress(&mut call);
                    self.place.world().actions.probe(call).await
                }
            };
            if answer.verdict != Verdict::Unknown || Instant::now() > limit {
                return (answer.verdict, answer.reason);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn same(&self, wanted: &Value, what: &str) {
        let found = self.place.state().await;
        assert_eq!(found, *wanted, "{}", self.said(what));
    }

    fn forward(&mut self) -> (Call, BoxFuture<'static, Outcome>) {
        let operation = self.operation();
        let call = self.call(operation, Direction::Forward);
        let acting = self.place.world().actions.act(call.clone());
        (call, acting)
    }

    async fn act(&mut self, what: &str) {
        let outcome = tokio::spawn(self.forward().1).await.unwrap();
        assert!(matches!(outcome, Outcome::Acted { .. }), "{}: {outcome:?}", self.said(what));
    }

    fn backward(&mut self) -> (Call, BoxFuture<'static, Outcome>) {
        if let Some(back) = &self.line.back {
            let operation = self.place.fill(back);
            let call = self.call(operation, Direction::Compensation);
            let acting = self.place.world().actions.act(call.clone());
            return (call, acting);
        }
        let operation = self.operation();
        let call = self.call(operation, Direction::Compensation);
        let pre_image = self.pre_image.clone().unwrap();
        let undoing = self.place.world().actions.undo(call.clone(), pre_image);
        (call, undoing)
    }

    async fn undo(&mut self, what: &str) {
        let outcome = tokio::spawn(self.backward().1).await.unwrap();
        assert!(matches!(outcome, Outcome::Acted { .. }), "{}: {outcome:?}", self.said(what));
    }

    async fn reset(&mut self) {
        let line = self.line;
        if !self.place.reset(&line.before).await && (self.pre_image.is_some() || line.back.is_some()) {
            self.undo("to begin anew").await;
        }
    }

    async fn run(&mut self) -> usize {
        self.reset().await;
        let before = self.place.state().await;
        let (verdict, reason) = self.probe().await;
        assert!(matches!(verdict, Verdict::Absent | Verdict::Partial), "{}", self.said(&reason));
        self.same(&before, "the probe changes something").await;
        if self.own_inverse() {
            let operation = self.operation();
            let mut call = self.place.world().call("s", 0, operation);
            self.place.dress(&mut call);
            self.pre_image = Some(self.place.world().actions.pre_image(call).await.unwrap());
            self.same(&before, "taking the pre-image changes something").await;
        }
        if self.can_go_back() {
            self.undo("with nothing done").await;
            self.same(&before, "compensating with nothing done changes something").await;
        }
        self.act("once").await;
        let after = self.place.state().await;
        assert_ne!(after, before, "{}", self.said("it does nothing"));
        let (verdict, reason) = self.probe().await;
        assert_eq!(verdict, Verdict::Holds, "{}", self.said(&reason));
        self.same(&after, "the probe changes something").await;
        if self.line.adds.is_none() {
            self.act("twice").await;
            self.same(&after, "twice is not once").await;
        }
        if self.can_go_back() {
            for _ in 0..2 {
                self.undo("all of it").await;
                self.same(&before, "the pre-image is not back").await;
            }
        }
        let mut cuts = 0;
        for point in 0.. {
            let mut reached = false;
            for side in [Side::Before, Side::After] {
                for (how, resumes) in self.ways(side) {
                    let cut = self.cut_forward(point, side, how, resumes, &before, &after).await;
                    reached |= cut;
                    cuts += usize::from(cut);
                }
            }
            if !reached {
                assert!(point > 0, "{}", self.said("nothing that it sends was counted"));
                break;
            }
        }
        let goes_back = self.can_go_back();
        for point in (0..).take_while(|_| goes_back) {
            let mut reached = false;
            for side in [Side::Before, Side::After] {
                let ways = match (full(), side) {
                    (true, _) => self.place.cutter().ways(),
                    // The harder one: it has happened, and nobody was told.
                    (false, Side::After) => &self.place.cutter().ways()[..1],
                    (false, Side::Before) => &[],
                };
                for &how in ways {
                    let cut = self.cut_backward(point, side, how, &before).await;
                    reached |= cut;
                    cuts += usize::from(cut);
                }
            }
            if !reached {
                assert!(point > 0, "{}", self.said("nothing that its way back sends was counted"));
                break;
            }
        }
        self.reset().await;
        cuts
    }

    /// How an attempt is cut on that side, and whether it is resumed then or compensated.
    fn ways(&self, side: Side) -> Vec<(How, bool)> {
        let ways = self.place.cutter().ways();
        if full() {
            let back = ways.iter().filter(|_| self.can_go_back());
            return ways.iter().map(|how| (*how, true)).chain(back.map(|how| (*how, false))).collect();
        }
        match side {
            Side::Before if self.can_go_back() => vec![(How::Connection, false), (How::Fails, false)],
            Side::Before => vec![(ways[0], true)],
            Side::After => vec![(ways[0], true), (How::Fails, !self.can_go_back())],
        }
    }

    /// Cuts an attempt there; `false`: it sends less than that.
    async fn cut_forward(
        &mut self,
        point: usize,
        side: Side,
        how: How,
        resumes: bool,
        before: &Value,
        after: &Value,
    ) -> bool {
        self.reset().await;
        let what = format!(
            "cut {side:?} {point} ({how:?}), then {}",
            if resumes { "resumed" } else { "compensated" }
        );
        self.same(before, &format!("{what}: it does not begin as before")).await;
        let (call, acting) = self.forward();
        let ended = self.halt(acting, point, side, how, &what).await;
        if matches!(ended, Ended::NeverReached) {
            return false;
        }
        let done = self.settle(call, ended, &what).await;
        if !resumes {
            self.undo(&what).await;
            self.same(before, &format!("{what}: the pre-image is not back")).await;
            return true;
        }
        if !done {
            let (verdict, reason) = self.probe().await;
            match verdict {
                Verdict::Holds => {}
                Verdict::Absent | Verdict::Partial => self.act(&what).await,
                Verdict::Unknown => panic!("{}: nobody knows: {reason}", self.said(&what)),
            }
        }
        let (verdict, reason) = self.probe().await;
        assert_eq!(verdict, Verdict::Holds, "{}: {reason}", self.said(&what));
        self.same(after, &format!("{what}: the goal does not hold as undisturbed")).await;
        true
    }

    /// Cuts a compensation there, and runs it again.
    async fn cut_backward(&mut self, point: usize, side: Side, how: How, before: &Value) -> bool {
        let what = format!("its way back cut {side:?} {point} ({how:?})");
        self.reset().await;
        self.act(&what).await;
        let (call, undoing) = self.backward();
        let ended = self.halt(undoing, point, side, how, &what).await;
        if matches!(ended, Ended::NeverReached) {
            return false;
        }
        self.settle(call, ended, &what).await;
        self.undo(&what).await;
        self.same(before, &format!("{what}, and run again: the pre-image is not back")).await;
        true
    }

    async fn halt(
        &mut self,
        work: BoxFuture<'static, Outcome>,
        point: usize,
        side: Side,
        how: How,
        what: &str,
    ) -> Ended {
        self.place.cutter().arm(point, side);
        let working = tokio::spawn(work);
        let limit = Instant::now() + Duration::from_secs(60);
        while !self.place.cutter().reached() {
            if working.is_finished() {
                self.place.cutter().heal();
                let outcome = working.await.unwrap();
                assert!(matches!(outcome, Outcome::Acted { .. }), "{}: {outcome:?}", self.said(what));
                return Ended::NeverReached;
            }
            assert!(Instant::now() < limit, "{}: it neither ends nor comes there", self.said(what));
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let ended = match how {
            How::Killed => {
                working.abort();
                drop(working.await);
                self.place.cutter().cut(how);
                self.reopen();
                Ended::Unheard
            }
            How::Fails => {
                self.place.cutter().cut(how);
                Ended::With(working.await.unwrap())
            }
            How::Connection | How::Host => {
                self.place.cutter().cut(how);
                // It comes back while somebody may still hope for it.
                let limit = Instant::now() + AWAY;
                while !working.is_finished() && Instant::now() < limit {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                self.place.cutter().heal();
                Ended::With(working.await.unwrap())
            }
        };
        self.place.cutter().heal();
        ended
    }

    /// The next process opens the same state.
    fn reopen(&mut self) {
        self.token += 1;
        let World { folder, places, secrets, .. } = std::mem::replace(self.place.world(), World::new());
        let mut next = World::open(folder, self.token);
        (next.places, next.secrets) = (places, secrets);
        *self.place.world() = next;
    }

    /// What a run makes of the end of an attempt: whether it is known to have done its work.
    async fn settle(&mut self, call: Call, ended: Ended, what: &str) -> bool {
        match ended {
            Ended::With(Outcome::Acted { .. }) => return true,
            Ended::With(Outcome::Failed { .. }) => return false,
            Ended::With(Outcome::Cut { .. }) | Ended::Unheard | Ended::NeverReached => {}
        }
        match self.place.world().actions.settle(call).await {
            Settlement::Ended(outcome) => matches!(outcome, Outcome::Acted { .. }),
            Settlement::Over => false,
            Settlement::Unproved { reason } if self.place.a_person_looks(&reason) => false,
            other => panic!("{}: not settled: {other:?}", self.said(what)),
        }
    }
}
