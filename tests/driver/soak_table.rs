//! The table of soaks: what happens, and what comes of it, computed by hand.
//!
//! Every row is lived through by the real driver in virtual time. Unless a row says otherwise the soak is `for = "60m"`,
//! `every = "5m"`, so that 12 samples are planned, `max_gap` is 10 minutes, no bad sample is borne, and every good
//! sample that adds five minutes is saved as an event of its own. `sees` says what the samples see, one letter each:
//! `g` good, `b` absent, `p` partial, `?` unknown; `3b` is `bbb`, and what follows is good. `ready` says the same of
//! every look at `rollback_ready`. Times of samples are in minutes from the beginning.
//!
//! Undisturbed: samples at 0, 5, … 60, 13 of them. Events: opened, taken on, began (3); each sample but the first adds
//! five minutes and is saved (12; the first is saved with the second); passed, complete (2). 17 in all.

use runner::plan::recorded::OnGap;

use crate::soak_rows::{Do::*, End::*, Row};

const DAY: i64 = 24 * 60;

fn row(says: &'static str) -> Row {
    Row { says, ..Row::default() }
}

/// The table.
fn rows() -> Vec<Row> {
    let one_bad = |row: Row| Row { terms: |soak| soak.max_consecutive_failures = 1, ..row };
    let counts = |row: Row| Row { terms: |soak| soak.on_gap = OnGap::Count, ..row };
    let fails = |row: Row| Row { terms: |soak| soak.on_gap = OnGap::Fail, ..row };
    vec![
        // ---- good, bad, inconclusive
        Row { good_min: 60, counts: (13, 0, 0), end: Passed, events: 17, ..row("undisturbed") },
        // 0g 5g 10b. Events: 3, one save, the bad one, failed.
        Row {
            sees: "2gb",
            good_min: 5,
            counts: (2, 1, 0),
            end: Failed("1 bad samples in a row, at most 0"),
            events: 6,
            ..row("one bad sample is one too many")
        },
        Row {
            sees: "p",
            good_min: 0,
            counts: (0, 1, 0),
            end: Failed("in a row"),
            events: 5,
            ..row("partial is bad")
        },
        // 0g 5g 10b 15g … 70g: five minutes before, 55 from 15 on; what lies beside a bad sample is not good time.
        // Events: 3, save, bad, save at 15 at once because it ends a row, 11 saves from 20 to 70, 2.
        Row {
            sees: "2gb",
            good_min: 60,
            counts: (14, 1, 0),
            end: Passed,
            events: 19,
            ..one_bad(row("a bad sample that is borne breaks good time"))
        },
        // 0g 5g 10b 15b. Events: 3, save, two bad ones, failed.
        Row {
            sees: "2g2b",
            good_min: 5,
            counts: (2, 2, 0),
            end: Failed("2 bad samples in a row, at most 1"),
            events: 7,
            ..one_bad(row("a row longer than borne fails"))
        },
        // 0g 5b 10? 15b. Events: 3, save and bad, inconclusive, bad, failed.
        Row {
            sees: "gb?b",
            good_min: 0,
            counts: (1, 2, 1),
            end: Failed("2 bad samples in a row"),
            events: 8,
            ..one_bad(row("an inconclusive sample does not end a row"))
        },
        // 0g 5b 10? 15g … 75g. Events: 3, save and bad, inconclusive, save at 15, 12 saves, 2.
        Row {
            sees: "gb?",
            good_min: 60,
            counts: (14, 1, 1),
            end: Passed,
            events: 21,
            ..one_bad(row("an inconclusive sample does not prolong a row"))
        },
        // 0g 5g 10? 15g: ten minutes between good samples count. Events: 3, save, inconclusive, 10 saves, 2.
        Row {
            sees: "2g?",
            good_min: 60,
            counts: (12, 0, 1),
            end: Passed,
            events: 17,
            ..row("one inconclusive sample between good ones costs nothing")
        },
        // 0g 5g 10? 15? 20g: fifteen do not. 5 and 55 from 20 on. Events: 3, save, 2, 11 saves from 25 to 75, 2.
        Row {
            sees: "2g2?",
            good_min: 60,
            counts: (14, 0, 2),
            end: Passed,
            events: 19,
            ..row("two of them are a gap")
        },
        // 0? 5? 10g … 70g. Events: 3, 2, 12 saves, 2.
        Row {
            sees: "2?",
            good_min: 60,
            counts: (13, 0, 2),
            end: Passed,
            events: 19,
            ..row("time begins with the first good sample")
        },
        // 0 to 60.
        Row {
            sees: "99?",
            story: &[Apply(61)],
            good_min: 0,
            counts: (0, 0, 13),
            end: Soaking,
            events: 16,
            ..row("inconclusive is never success, and no failure")
        },
        // Ten minutes a sample in which the checks time out after 30 s: 0g 5g, 10? until 10½, 15g.
        Row {
            sees: "2g?",
            slow: true,
            good_min: 60,
            counts: (12, 0, 1),
            end: Passed,
            events: 17,
            ..row("a look that takes its time does not make a gap")
        },
        // ---- the error budget and coverage
        // 10% of 12 planned ones: 1 is borne. 0g 5b 10g 15b. Events: 3, save and bad, save, bad, failed.
        Row {
            sees: "gbgb",
            terms: |soak| (soak.max_consecutive_failures, soak.error_budget) = (5, Some(0.10)),
            good_min: 0,
            counts: (2, 2, 0),
            end: Failed("2 bad samples of 12 planned ones, the error budget is 10%"),
            events: 8,
            ..row("more bad samples than the budget")
        },
        // 25%: 3 are borne. 0b 5g 10b 15g 20b 25g … 85g. Events: 3, bad and save thrice, 12 saves, 2.
        Row {
            sees: "bgbgb",
            terms: |soak| (soak.max_consecutive_failures, soak.error_budget) = (1, Some(0.25)),
            good_min: 60,
            counts: (15, 3, 0),
            end: Passed,
            events: 23,
            ..row("exactly the budget")
        },
        Row {
            sees: "gb",
            terms: |soak| (soak.max_consecutive_failures, soak.error_budget) = (9, Some(0.0)),
            good_min: 0,
            counts: (1, 1, 0),
            end: Failed("the error budget is 0%"),
            events: 6,
            ..row("a budget of nothing")
        },
        // 0b 5b 10b 15b is a row of 4: the row fails it before the budget of 6 does. Events: 3, 4, failed.
        Row {
            sees: "4b",
            terms: |soak| (soak.max_consecutive_failures, soak.error_budget) = (3, Some(0.5)),
            good_min: 0,
            counts: (0, 4, 0),
            end: Failed("4 bad samples in a row, at most 3"),
            events: 8,
            ..row("a row fails before the budget is spent")
        },
        // 12 of 12 are needed: at 60 there are 12.
        Row {
            sees: "2g?",
            terms: |soak| soak.coverage = Some(1.0),
            good_min: 60,
            counts: (12, 0, 1),
            end: Passed,
            events: 17,
            ..row("exactly the coverage")
        },
        // 0 5 ?10 15 20 ?25 30 … 60 are 11 good ones of 12: one more at 65. Events: 3, save, ?, 2 saves, ?, 8 saves, 2.
        Row {
            sees: "2g?2g?",
            terms: |soak| soak.coverage = Some(1.0),
            good_min: 65,
            counts: (12, 0, 2),
            end: Passed,
            events: 18,
            ..row("missing coverage is made up by going on")
        },
        // 57 minutes at 57 count, but four samples are not six: 62 and 67. Events: 3, 2, taken on, 3, 2.
        Row {
            terms: |soak| (soak.on_gap, soak.coverage) = (OnGap::Count, Some(0.5)),
            story: &[Apply(12), Away(45), Rest],
            good_min: 67,
            counts: (6, 0, 0),
            end: Passed,
            events: 11,
            ..row("counted gaps are no coverage")
        },
        // ---- gaps
        // 0 5 10, 57 adds nothing, 62 … 107. Events: 3, 2, taken on, 10 saves, 2.
        Row {
            story: &[Apply(12), Away(45), Rest],
            good_min: 60,
            counts: (14, 0, 0),
            end: Passed,
            events: 18,
            ..row("nobody watched for 45 minutes: extend")
        },
        // 57 counts, 62 passes. Events: 3, 2, taken on, 2 saves, 2.
        Row {
            story: &[Apply(12), Away(45), Rest],
            good_min: 62,
            counts: (5, 0, 0),
            end: Passed,
            events: 10,
            ..counts(row("nobody watched for 45 minutes: count"))
        },
        // The good sample at 57 ends the gap. Events: 3, 2, taken on, the sample, failed.
        Row {
            story: &[Apply(12), Away(45), Rest],
            good_min: 10,
            counts: (4, 0, 0),
            end: Failed("nobody watched for 282"),
            events: 8,
            ..fails(row("nobody watched for 45 minutes: fail"))
        },
        // 10 to 17 is no gap. 17, 22 … 62. Events: 3, 2, taken on, 10 saves, 2.
        Row {
            story: &[Apply(12), Away(5), Rest],
            good_min: 62,
            counts: (13, 0, 0),
            end: Passed,
            events: 18,
            ..fails(row("seven minutes are no gap"))
        },
        // 0 5 10, 57? cannot see, but says that nobody saw for 47 minutes. Events: 3, 2, taken on, ?, failed.
        Row {
            sees: "3g?",
            story: &[Apply(12), Away(45), Rest],
            good_min: 10,
            counts: (3, 0, 1),
            end: Failed("nobody watched"),
            events: 8,
            ..fails(row("a gap that ends in an inconclusive sample: fail"))
        },
        // 0 5 10, ?15 ?20 ?25: 15 minutes at the last. Events: 3, 2, three of them, failed. The gap is 15 at the third.
        Row {
            sees: "3g9?",
            good_min: 10,
            counts: (3, 0, 3),
            end: Failed("nobody watched for 90"),
            events: 9,
            ..fails(row("inconclusive samples are nobody's watch"))
        },
        // 0 5 10, bad at 57, 62 … 112 and 10 before. A gap beside a bad sample never counts.
        // Events: 3, 2, taken on, bad, save at 62, 10 saves from 67 to 112, 2.
        Row {
            terms: |soak| (soak.on_gap, soak.max_consecutive_failures) = (OnGap::Count, 1),
            sees: "3gb",
            story: &[Apply(12), Away(45), Rest],
            good_min: 60,
            counts: (14, 1, 0),
            end: Passed,
            events: 20,
            ..row("a gap that ends in a bad sample: not counted")
        },
        // The pause begins at 12, the sample of 15 is on its way; 42, 47 … 87. Events: 3, 3, paused, unpaused, 9, 2.
        Row {
            story: &[Pause(12, 30)],
            good_min: 60,
            counts: (14, 0, 0),
            end: Passed,
            events: 19,
            ..row("paused for half an hour: a gap like others")
        },
        // ---- killed and stopped
        Row {
            story: &[Apply(12), Rest],
            good_min: 60,
            counts: (13, 0, 0),
            end: Passed,
            events: 18,
            ..row("killed, and taken on at once")
        },
        Row {
            story: &[Apply(12), Apply(11), Apply(13), Rest],
            good_min: 60,
            counts: (13, 0, 0),
            end: Passed,
            events: 20,
            ..row("killed three times")
        },
        // 0, then 7 12 … 62: the sample at 0 was no event yet and is not lost. Events: 3, taken on, 12 saves, 2.
        Row {
            story: &[Apply(3), Away(4), Rest],
            good_min: 62,
            counts: (13, 0, 0),
            end: Passed,
            events: 18,
            ..row("killed before the first save")
        },
        // 0 5 10, 16 21 … 61. Events: 3, 2, taken on, 10, 2.
        Row {
            story: &[Stop(12), Away(4), Rest],
            good_min: 61,
            counts: (13, 0, 0),
            end: Passed,
            events: 18,
            ..row("stopped in good order")
        },
        // 0g 5b 10g (killed at 12) 15b 20g … 80g. Events: 3, save and bad, save, taken on, bad, save, 12 saves, 2.
        Row {
            sees: "gbgb",
            story: &[Apply(12), Rest],
            good_min: 60,
            counts: (15, 2, 0),
            end: Passed,
            events: 23,
            ..one_bad(row("the good sample that ended a row is not lost"))
        },
        // 0g 5b (killed at 7) 10b.
        Row {
            sees: "g2b",
            story: &[Apply(7), Rest],
            good_min: 0,
            counts: (1, 2, 0),
            end: Failed("2 bad samples in a row"),
            events: 8,
            ..one_bad(row("a row goes on over a kill"))
        },
        // ---- clocks
        Row {
            story: &[WallAfter(12, 365 * DAY)],
            good_min: 60,
            counts: (13, 0, 0),
            end: Passed,
            events: 17,
            ..row("the wall clock is set a year ahead")
        },
        Row {
            story: &[WallAfter(12, -DAY)],
            good_min: 60,
            counts: (13, 0, 0),
            end: Passed,
            events: 17,
            ..row("the wall clock is set back a day")
        },
        Row {
            story: &[Apply(12), Wall(DAY), Rest],
            good_min: 60,
            counts: (13, 0, 0),
            end: Passed,
            events: 18,
            ..counts(row("set ahead between two processes, where gaps count"))
        },
        Row {
            story: &[Apply(12), Wall(-DAY), Rest],
            good_min: 60,
            counts: (13, 0, 0),
            end: Passed,
            events: 18,
            ..fails(row("set back between two processes"))
        },
        // 0 5 10, asleep from 12 to 72, then 72 77 … 122. Events: 3, 2, 10 saves, 2.
        Row {
            story: &[Sleep(12, 60)],
            good_min: 60,
            counts: (14, 0, 0),
            end: Passed,
            events: 17,
            ..row("the machine sleeps for an hour")
        },
        // The sample of 15 is taken at 15.
        Row {
            story: &[Sleep(11, 3)],
            good_min: 60,
            counts: (13, 0, 0),
            end: Passed,
            events: 17,
            ..row("the machine sleeps for three minutes")
        },
        // A sample at once: 14 19 … 64. Events: 3, 2, taken on, 11 saves (the first adds 4 minutes, saved with the
        // next: 10), 2.
        Row {
            story: &[Apply(12), Boot(2), Rest],
            good_min: 64,
            counts: (14, 0, 0),
            end: Passed,
            events: 18,
            ..row("booted in two minutes")
        },
        // 72 adds nothing, 77 … 122. Events: 3, 2, taken on, 10, 2.
        Row {
            story: &[Apply(12), Boot(60), Rest],
            good_min: 60,
            counts: (14, 0, 0),
            end: Passed,
            events: 18,
            ..row("off for an hour")
        },
        // Nobody knows how long it was: the sample after the boot adds nothing, ten follow.
        Row {
            story: &[Apply(12), Wall(-DAY), Boot(2), Rest],
            good_min: 60,
            counts: (14, 0, 0),
            end: Passed,
            events: 18,
            ..row("booted with the clock a day back")
        },
        // The wall clock's word is taken for ten minutes: 20, and eight samples more. Events: 3, 2, taken on, 9, 2.
        Row {
            story: &[Apply(12), Wall(365 * DAY), Boot(2), Rest],
            good_min: 60,
            counts: (12, 0, 0),
            end: Passed,
            events: 17,
            ..counts(row("booted a year ahead, where gaps count"))
        },
        // ---- a timer instead of a daemon
        // Thirteen calls. That the run was taken on is recorded by the first and by the one that ends it: 17 and 1.
        Row {
            story: &[Ticks(13, &[300])],
            good_min: 60,
            counts: (13, 0, 0),
            end: Passed,
            events: 18,
            ..row("two processes take turns, every five minutes")
        },
        // 290 and 310 seconds in turn: 0, 4:50, 10:00 … 60:00. 4:50 is not saved, 10:00 is. Events: 3, 6 saves, taken
        // on, 2.
        Row {
            story: &[Ticks(13, &[290, 310])],
            good_min: 60,
            counts: (13, 0, 0),
            end: Passed,
            events: 12,
            ..row("a timer that is never exact")
        },
        // Calls at 0, 12 … 60: each a good sample, and a gap before it. No events but the first three.
        Row {
            story: &[Ticks(6, &[720])],
            good_min: 0,
            counts: (6, 0, 0),
            end: Soaking,
            events: 3,
            ..row("a timer that comes too seldom")
        },
        // Calls at 0, 1, 2, 3, 4: one sample is due.
        Row {
            story: &[Ticks(5, &[60])],
            good_min: 0,
            counts: (1, 0, 0),
            end: Soaking,
            events: 3,
            ..row("a timer that comes too often changes nothing")
        },
        // 0 5 10, killed at 12; calls at 15 and 20; then 25 … 60. Events: 17, and taken on by the last.
        Row {
            story: &[Apply(12), Away(3), Ticks(2, &[300]), Rest],
            good_min: 60,
            counts: (13, 0, 0),
            end: Passed,
            events: 18,
            ..row("a daemon, a timer, a daemon")
        },
        // Calls at 0, 5, then a boot with the clock a day back: 10 is due at once and adds nothing; nine … The call at
        // "10" comes at once, then every five minutes: 5 + 55 need 11 calls after it. Events: 3, save, 11 saves, taken
        // on, 2.
        Row {
            story: &[Ticks(2, &[300]), Wall(-DAY), Boot(0), Ticks(12, &[300])],
            good_min: 60,
            counts: (14, 0, 0),
            end: Passed,
            events: 18,
            ..row("a timer, and a boot with the clock a day back")
        },
        // 0g 5b 10g 15g … 70g by calls. Events: 3, save and bad, save, 12 saves, taken on, 2.
        Row {
            sees: "gb",
            story: &[Ticks(15, &[300])],
            good_min: 60,
            counts: (14, 1, 0),
            end: Passed,
            events: 21,
            ..one_bad(row("a timer sees a bad sample"))
        },
        // ---- the way back
        // Lost at 10, looked at once and at 11, where it works again; 15 adds nothing, 20 … 70. Events: 3, save, lost,
        // regained, 11 saves, 2.
        Row {
            ready: Some("2g2b"),
            good_min: 60,
            counts: (14, 0, 0),
            end: Passed,
            events: 19,
            ..row("the way back is lost for a minute")
        },
        // Looked at 10, 10, 11 … 39; regained at 40 and sampled at once: 40 … 95. Events as before.
        Row {
            ready: Some("2g31b"),
            good_min: 60,
            counts: (14, 0, 0),
            end: Passed,
            events: 19,
            ..fails(row("lost for half an hour: time stands still, and is no gap"))
        },
        // A person goes on at 20, a sample at once: 20 … 75; what the way back is like is not asked any more.
        Row {
            ready: Some("2g999b"),
            story: &[Approve(20)],
            good_min: 60,
            counts: (14, 0, 0),
            end: Passed,
            events: 19,
            ..row("a person goes on without the way back")
        },
        // 0 5, at 10 the way back cannot be seen, 15 … 60.
        Row {
            ready: Some("2g?"),
            good_min: 60,
            counts: (12, 0, 1),
            end: Passed,
            events: 17,
            ..row("the way back cannot be seen once: inconclusive")
        },
        // Events: 3, save, bad, lost, failed.
        Row {
            sees: "2gb",
            ready: Some("2gb"),
            good_min: 5,
            counts: (2, 1, 0),
            end: Failed("1 bad samples in a row"),
            events: 7,
            ..row("bad, and no way back")
        },
        // While it is lost nothing is sampled: the bad ones that would come at 15 … 35 are not seen.
        // 0 5 lost at 10, regained at 40; the third sample letter is that of 10.
        Row {
            sees: "3g",
            ready: Some("2g31b"),
            story: &[Apply(39)],
            good_min: 5,
            counts: (2, 0, 0),
            end: Soaking,
            events: 5,
            ..row("nothing is sampled while the way back is lost")
        },
        // Calls at 0, 5, 10: lost, and looked at once more; at 15 it works and is sampled; 20 … 70 in 15 calls.
        // Events: 3, save, lost, regained, 11 saves, taken on, 2.
        Row {
            ready: Some("2g2b"),
            story: &[Ticks(15, &[300])],
            good_min: 60,
            counts: (14, 0, 0),
            end: Passed,
            events: 20,
            ..row("a timer finds the way back lost and regained")
        },
        // ---- samples that compare
        // The first has nothing to compare with. 5 … 65. Events: 3, ?, 12 saves, 2.
        Row {
            watch: r#"{"n":{"must":"rises"}}"#,
            facts: &[100],
            good_min: 60,
            counts: (13, 0, 1),
            end: Passed,
            events: 18,
            ..row("uptime rises")
        },
        // 0? 5 10, 15 is a restart, 20 … 75. Events: 3, ?, save at 10, bad, save at 20, 11 saves, 2.
        Row {
            watch: r#"{"n":{"must":"rises"}}"#,
            facts: &[100, 400, 700, 3],
            good_min: 60,
            counts: (14, 1, 1),
            end: Passed,
            events: 20,
            ..one_bad(row("a restart is one bad sample"))
        },
        // The same, killed at 12: 3 at 15 is compared with what the one before saw. One more: taken on.
        Row {
            watch: r#"{"n":{"must":"rises"}}"#,
            facts: &[100, 400, 700, 3],
            story: &[Apply(12), Rest],
            good_min: 60,
            counts: (14, 1, 1),
            end: Passed,
            events: 21,
            ..one_bad(row("a restart while nobody was there"))
        },
        // The same by calls: 0 … 75 are 16 of them. 20 and 1.
        Row {
            watch: r#"{"n":{"must":"rises"}}"#,
            facts: &[100, 400, 700, 3],
            story: &[Ticks(16, &[300])],
            good_min: 60,
            counts: (14, 1, 1),
            end: Passed,
            events: 21,
            ..one_bad(row("a restart seen by a timer"))
        },
        // Killed at 7 with what 5 saw kept and no event: 3 at 10 is compared with 400.
        // 0? 5 10b. Events: 3, ?, taken on, save, bad, failed.
        Row {
            watch: r#"{"n":{"must":"rises"}}"#,
            facts: &[100, 400, 3],
            story: &[Apply(7), Rest],
            good_min: 0,
            counts: (1, 1, 1),
            end: Failed("1 bad"),
            events: 8,
            ..row("what was kept is compared with")
        },
        // 0? 5: one more, 10: two more, 15: three. Events: 3, ?, save, bad, failed.
        Row {
            watch: r#"{"n":{"must":{"at_most_more":2},"against":"first"}}"#,
            facts: &[0, 1, 2, 3],
            good_min: 5,
            counts: (2, 1, 1),
            end: Failed("1 bad"),
            events: 7,
            ..row("two restarts since the beginning are borne, not three")
        },
        // Two more at 5 and 10 within 15 minutes; at 25 the first has left, so that one at 30 is borne.
        // 0? 5 … 65.
        Row {
            watch: r#"{"n":{"must":{"at_most_more":2},"against":{"within":900000}}}"#,
            facts: &[0, 1, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3],
            good_min: 60,
            counts: (13, 0, 1),
            end: Passed,
            events: 18,
            ..row("two restarts in a quarter of an hour are borne")
        },
        // A fact that is missing at 10: 0? 5 10? 15 … 65. Events: 3, ?, 5 is the tail, save and ? at 10, 11 saves, 2.
        Row {
            watch: r#"{"n":{"must":"rises"}}"#,
            facts: &[100, 400, -1, 1000],
            good_min: 60,
            counts: (12, 0, 2),
            end: Passed,
            events: 19,
            ..row("a fact that is missing is inconclusive")
        },
        // 0?: one of two. 10b is borne: two of the last three held. 5 … 65.
        Row {
            sees: "2gb",
            holds: Some((2, 3)),
            good_min: 60,
            counts: (13, 0, 1),
            end: Passed,
            events: 18,
            ..row("two of three hold")
        },
        // 15b is borne, at 25 only one of three held. Events: 3, ?, saves at 10 15 20, bad, failed.
        Row {
            sees: "3gbgb",
            holds: Some((2, 3)),
            good_min: 15,
            counts: (4, 1, 1),
            end: Failed("1 bad"),
            events: 9,
            ..row("one of three holds")
        },
        // Killed after every look: the last three are remembered.
        Row {
            sees: "3gbgb",
            holds: Some((2, 3)),
            story: &[Ticks(6, &[300])],
            good_min: 15,
            counts: (4, 1, 1),
            end: Failed("1 bad"),
            events: 10,
            ..row("one of three holds, by a timer")
        },
    ]
}

#[test]
fn every_row_of_the_table_is_so() {
    let rows = rows();
    assert!(rows.len() >= 40, "{} rows", rows.len());
    let wrong: Vec<String> = rows.iter().filter_map(Row::lived).collect();
    println!("{} rows", rows.len());
    assert!(wrong.is_empty(), "{} of {} rows are not so:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

#[test]
fn a_row_that_is_wrong_is_noticed() {
    let undisturbed = Row { good_min: 60, counts: (13, 0, 0), end: Passed, events: 17, ..row("undisturbed") };
    assert_eq!(undisturbed.lived(), None);
    assert!(Row { good_min: 61, ..undisturbed }.lived().is_some());
    assert!(Row { events: 16, ..undisturbed }.lived().is_some());
    assert!(Row { counts: (13, 1, 0), ..undisturbed }.lived().is_some());
    assert!(Row { end: Soaking, ..undisturbed }.lived().is_some());
}
