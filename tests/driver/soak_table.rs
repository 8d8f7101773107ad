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

/// The table: good minutes, good, bad and inconclusive samples, how it ends, and how many events that takes.
#[rustfmt::skip]
fn rows() -> Vec<Row> {
    vec![
        // ---- good, bad, inconclusive
        row("undisturbed").so(60, (13, 0, 0), Passed, 17),
        // 0g 5g 10b. Events: 3, one save, the bad one, failed.
        row("one bad sample is one too many").sees("2gb")
            .so(5, (2, 1, 0), Failed("1 bad samples in a row, at most 0"), 6),
        row("partial is bad").sees("p").so(0, (0, 1, 0), Failed("in a row"), 5),
        // 0g 5g 10b 15g … 70g: five minutes before, 55 from 15 on; what lies beside a bad sample is not good time.
        // Events: 3, save, bad, save at 15 at once because it ends a row, 11 saves from 20 to 70, 2.
        row("a bad sample that is borne breaks good time").one_bad_is_borne().sees("2gb")
            .so(60, (14, 1, 0), Passed, 19),
        // 0g 5g 10b 15b. Events: 3, save, two bad ones, failed.
        row("a row longer than borne fails").one_bad_is_borne().sees("2g2b")
            .so(5, (2, 2, 0), Failed("2 bad samples in a row, at most 1"), 7),
        // 0g 5b 10? 15b. Events: 3, save and bad, inconclusive, bad, failed.
        row("an inconclusive sample does not end a row").one_bad_is_borne().sees("gb?b")
            .so(0, (1, 2, 1), Failed("2 bad samples in a row"), 8),
        // 0g 5b 10? 15g … 75g. Events: 3, save and bad, inconclusive, save at 15, 12 saves, 2.
        row("an inconclusive sample does not prolong a row").one_bad_is_borne().sees("gb?")
            .so(60, (14, 1, 1), Passed, 21),
        // 0g 5g 10? 15g: ten minutes between good samples count. Events: 3, save, inconclusive, 10 saves, 2.
        row("one inconclusive sample between good ones costs nothing").sees("2g?").so(60, (12, 0, 1), Passed, 17),
        // 0g 5g 10? 15? 20g: fifteen do not. 5 and 55 from 20 on. Events: 3, save, 2, 11 saves from 25 to 75, 2.
        row("two of them are a gap").sees("2g2?").so(60, (14, 0, 2), Passed, 19),
        // 0? 5? 10g … 70g. Events: 3, 2, 12 saves, 2.
        row("time begins with the first good sample").sees("2?").so(60, (13, 0, 2), Passed, 19),
        // 0 to 60.
        row("inconclusive is never success, and no failure").sees("99?").story(&[Apply(61)])
            .so(0, (0, 0, 13), Soaking, 16),
        // A look takes 2 s, one that cannot see 30 s: 0g 5g, 10? until half past, 15g. Samples are begun every 5 minutes.
        row("a look that takes its time does not make a gap").sees("2g?").slow().so(60, (12, 0, 1), Passed, 17),
        // ---- the error budget and coverage
        // 10% of 12 planned ones: 1 is borne. 0g 5b 10g 15b. Events: 3, save and bad, save, bad, failed.
        row("more bad samples than the budget").terms(|soak| (soak.max_consecutive_failures, soak.error_budget) = (5, Some(0.10))).sees("gbgb")
            .so(0, (2, 2, 0), Failed("2 bad samples of 12 planned ones, the error budget is 10%"), 8),
        // 25%: 3 are borne. 0b 5g 10b 15g 20b 25g … 85g. Events: 3, bad and save thrice, 12 saves, 2.
        row("exactly the budget").terms(|soak| (soak.max_consecutive_failures, soak.error_budget) = (1, Some(0.25))).sees("bgbgb")
            .so(60, (15, 3, 0), Passed, 23),
        row("a budget of nothing").terms(|soak| (soak.max_consecutive_failures, soak.error_budget) = (9, Some(0.0))).sees("gb")
            .so(0, (1, 1, 0), Failed("the error budget is 0%"), 6),
        // 0b 5b 10b 15b is a row of 4: the row fails it before the budget of 6 does. Events: 3, 4, failed.
        row("a row fails before the budget is spent").terms(|soak| (soak.max_consecutive_failures, soak.error_budget) = (3, Some(0.5))).sees("4b")
            .so(0, (0, 4, 0), Failed("4 bad samples in a row, at most 3"), 8),
        // 12 of 12 are needed: at 60 there are 12.
        row("exactly the coverage").terms(|soak| soak.coverage = Some(1.0)).sees("2g?")
            .so(60, (12, 0, 1), Passed, 17),
        // 0 5 ?10 15 20 ?25 30 … 60 are 11 good ones of 12: one more at 65. Events: 3, save, ?, 2 saves, ?, 8 saves, 2.
        row("missing coverage is made up by going on").terms(|soak| soak.coverage = Some(1.0)).sees("2g?2g?")
            .so(65, (12, 0, 2), Passed, 18),
        // 57 minutes at 57 count, but four samples are not six: 62 and 67. Events: 3, 2, taken on, 3, 2.
        row("counted gaps are no coverage").terms(|soak| (soak.on_gap, soak.coverage) = (OnGap::Count, Some(0.5))).story(&[Apply(12), Away(45), Rest])
            .so(67, (6, 0, 0), Passed, 11),
        // ---- gaps
        // 0 5 10, 57 adds nothing, 62 … 107. Events: 3, 2, taken on, 10 saves, 2.
        row("nobody watched for 45 minutes: extend").story(&[Apply(12), Away(45), Rest])
            .so(60, (14, 0, 0), Passed, 18),
        // 57 counts, 62 passes. Events: 3, 2, taken on, 2 saves, 2.
        row("nobody watched for 45 minutes: count").gaps_count().story(&[Apply(12), Away(45), Rest])
            .so(62, (5, 0, 0), Passed, 10),
        // The good sample at 57 ends the gap. Events: 3, 2, taken on, the sample, failed.
        row("nobody watched for 45 minutes: fail").gaps_fail().story(&[Apply(12), Away(45), Rest])
            .so(10, (4, 0, 0), Failed("nobody watched for 282"), 8),
        // 10 to 17 is no gap. 17, 22 … 62. Events: 3, 2, taken on, 10 saves, 2.
        row("seven minutes are no gap").gaps_fail().story(&[Apply(12), Away(5), Rest]).so(62, (13, 0, 0), Passed, 18),
        // 0 5 10, 57? cannot see, but says that nobody saw for 47 minutes. Events: 3, 2, taken on, ?, failed.
        row("a gap that ends in an inconclusive sample: fail").gaps_fail().sees("3g?").story(&[Apply(12), Away(45), Rest])
            .so(10, (3, 0, 1), Failed("nobody watched"), 8),
        // 0 5 10, ?15 ?20 ?25: 15 minutes at the last. Events: 3, 2, three of them, failed. The gap is 15 at the third.
        row("inconclusive samples are nobody's watch").gaps_fail().sees("3g9?")
            .so(10, (3, 0, 3), Failed("nobody watched for 90"), 9),
        // 0 5 10, bad at 57, 62 … 112 and 10 before. A gap beside a bad sample never counts.
        // Events: 3, 2, taken on, bad, save at 62, 10 saves from 67 to 112, 2.
        row("a gap that ends in a bad sample: not counted").terms(|soak| (soak.on_gap, soak.max_consecutive_failures) = (OnGap::Count, 1)).sees("3gb").story(&[Apply(12), Away(45), Rest])
            .so(60, (14, 1, 0), Passed, 20),
        // The pause begins at 12, the sample of 15 is on its way; 42, 47 … 87. Events: 3, 3, paused, unpaused, 9, 2.
        row("paused for half an hour: a gap like others").story(&[Pause(12, 30)]).so(60, (14, 0, 0), Passed, 19),
        // ---- killed and stopped
        row("killed, and taken on at once").story(&[Apply(12), Rest]).so(60, (13, 0, 0), Passed, 18),
        row("killed three times").story(&[Apply(12), Apply(11), Apply(13), Rest]).so(60, (13, 0, 0), Passed, 20),
        // 0, then 7 12 … 62: the sample at 0 was no event yet and is not lost. Events: 3, taken on, 12 saves, 2.
        row("killed before the first save").story(&[Apply(3), Away(4), Rest]).so(62, (13, 0, 0), Passed, 18),
        // 0 5 10, 16 21 … 61. Events: 3, 2, taken on, 10, 2.
        row("stopped in good order").story(&[Stop(12), Away(4), Rest]).so(61, (13, 0, 0), Passed, 18),
        // 0g 5b 10g (killed at 12) 15b 20g … 80g. Events: 3, save and bad, save, taken on, bad, save, 12 saves, 2.
        row("the good sample that ended a row is not lost").one_bad_is_borne().sees("gbgb").story(&[Apply(12), Rest])
            .so(60, (15, 2, 0), Passed, 23),
        // 0g 5b (killed at 7) 10b.
        row("a row goes on over a kill").one_bad_is_borne().sees("g2b").story(&[Apply(7), Rest])
            .so(0, (1, 2, 0), Failed("2 bad samples in a row"), 8),
        // ---- clocks
        row("the wall clock is set a year ahead").story(&[WallAfter(12, 365 * DAY)]).so(60, (13, 0, 0), Passed, 17),
        row("the wall clock is set back a day").story(&[WallAfter(12, -DAY)]).so(60, (13, 0, 0), Passed, 17),
        row("set ahead between two processes, where gaps count").gaps_count().story(&[Apply(12), Wall(DAY), Rest])
            .so(60, (13, 0, 0), Passed, 18),
        row("set back between two processes").gaps_fail().story(&[Apply(12), Wall(-DAY), Rest])
            .so(60, (13, 0, 0), Passed, 18),
        // 0 5 10, asleep from 12 to 72, then 72 77 … 122. Events: 3, 2, 10 saves, 2.
        row("the machine sleeps for an hour").story(&[Sleep(12, 60)]).so(60, (14, 0, 0), Passed, 17),
        // The sample of 15 is taken at 15.
        row("the machine sleeps for three minutes").story(&[Sleep(11, 3)]).so(60, (13, 0, 0), Passed, 17),
        // A sample at once: 14 19 … 64. Events: 3, 2, taken on, 11 saves (the first adds 4 minutes, saved with the
        // next: 10), 2.
        row("booted in two minutes").story(&[Apply(12), Boot(2), Rest]).so(64, (14, 0, 0), Passed, 18),
        // 72 adds nothing, 77 … 122. Events: 3, 2, taken on, 10, 2.
        row("off for an hour").story(&[Apply(12), Boot(60), Rest]).so(60, (14, 0, 0), Passed, 18),
        // Nobody knows how long it was: the sample after the boot adds nothing, ten follow.
        row("booted with the clock a day back").story(&[Apply(12), Wall(-DAY), Boot(2), Rest])
            .so(60, (14, 0, 0), Passed, 18),
        // The wall clock's word is taken for ten minutes: 20, and eight samples more. Events: 3, 2, taken on, 9, 2.
        row("booted a year ahead, where gaps count").gaps_count().story(&[Apply(12), Wall(365 * DAY), Boot(2), Rest])
            .so(60, (12, 0, 0), Passed, 17),
        // ---- a timer instead of a daemon
        // Thirteen calls. That the run was taken on is recorded by the first and by the one that ends it: 17 and 1.
        row("two processes take turns, every five minutes").story(&[Ticks(13, &[300])])
            .so(60, (13, 0, 0), Passed, 18),
        // 290 and 310 seconds in turn: 0, 4:50, 10:00 … 60:00. 4:50 is not saved, 10:00 is. Events: 3, 6 saves, taken
        // on, 2.
        row("a timer that is never exact").story(&[Ticks(13, &[290, 310])]).so(60, (13, 0, 0), Passed, 12),
        // Calls at 0, 12 … 60: each a good sample, and a gap before it. No events but the first three.
        row("a timer that comes too seldom").story(&[Ticks(6, &[720])]).so(0, (6, 0, 0), Soaking, 3),
        // Calls at 0, 1, 2, 3, 4: one sample is due.
        row("a timer that comes too often changes nothing").story(&[Ticks(5, &[60])]).so(0, (1, 0, 0), Soaking, 3),
        // 0 5 10, killed at 12; calls at 15 and 20; then 25 … 60. Events: 17, and taken on by the last.
        row("a daemon, a timer, a daemon").story(&[Apply(12), Away(3), Ticks(2, &[300]), Rest])
            .so(60, (13, 0, 0), Passed, 18),
        // Calls at 0 and 5, then a boot: the sample of the next call is due at once and adds nothing, the eleven after
        // it add 55 minutes. Events: 3, save, 11 saves, taken on, 2.
        row("a timer, and a boot with the clock a day back").story(&[Ticks(2, &[300]), Wall(-DAY), Boot(0), Ticks(12, &[300])])
            .so(60, (14, 0, 0), Passed, 18),
        // 0g 5b 10g 15g … 70g by calls. Events: 3, save and bad, save, 12 saves, taken on, 2.
        row("a timer sees a bad sample").one_bad_is_borne().sees("gb").story(&[Ticks(15, &[300])])
            .so(60, (14, 1, 0), Passed, 21),
        // ---- the way back
        // Lost at 10, looked at once and at 11, where it works again; 15 adds nothing, 20 … 70. Events: 3, save, lost,
        // regained, 11 saves, 2.
        row("the way back is lost for a minute").ready("2g2b").so(60, (14, 0, 0), Passed, 19),
        // Looked at 10, 10, 11 … 39; regained at 40 and sampled at once: 40 … 95. Events as before.
        row("lost for half an hour: time stands still, and is no gap").gaps_fail().ready("2g31b")
            .so(60, (14, 0, 0), Passed, 19),
        // A person goes on at 20, a sample at once: 20 … 75; what the way back is like is not asked any more.
        row("a person goes on without the way back").ready("2g999b").story(&[Approve(20)])
            .so(60, (14, 0, 0), Passed, 19),
        // 0 5, at 10 the way back cannot be seen, 15 … 60.
        row("the way back cannot be seen once: inconclusive").ready("2g?").so(60, (12, 0, 1), Passed, 17),
        // Events: 3, save, bad, lost, failed.
        row("bad, and no way back").sees("2gb").ready("2gb").so(5, (2, 1, 0), Failed("1 bad samples in a row"), 7),
        // While it is lost nothing is sampled: the bad ones that would come at 15 … 35 are not seen.
        // 0 5 lost at 10, regained at 40; the third sample letter is that of 10.
        row("nothing is sampled while the way back is lost").sees("3g").ready("2g31b").story(&[Apply(39)])
            .so(5, (2, 0, 0), Soaking, 5),
        // Calls at 0, 5, 10: lost, and looked at once more; at 15 it works and is sampled; 20 … 70 in 15 calls.
        // Events: 3, save, lost, regained, 11 saves, taken on, 2.
        row("a timer finds the way back lost and regained").ready("2g2b").story(&[Ticks(15, &[300])])
            .so(60, (14, 0, 0), Passed, 20),
        // ---- samples that compare
        // The first has nothing to compare with. 5 … 65. Events: 3, ?, 12 saves, 2.
        row("uptime rises").watch(r#"{"n":{"must":"rises"}}"#).facts(&[100]).so(60, (13, 0, 1), Passed, 18),
        // 0? 5 10, 15 is a restart, 20 … 75. Events: 3, ?, save at 10, bad, save at 20, 11 saves, 2.
        row("a restart is one bad sample").one_bad_is_borne().watch(r#"{"n":{"must":"rises"}}"#).facts(&[100, 400, 700, 3])
            .so(60, (14, 1, 1), Passed, 20),
        // The same, killed at 12: 3 at 15 is compared with what the one before saw. One more: taken on.
        row("a restart while nobody was there").one_bad_is_borne().watch(r#"{"n":{"must":"rises"}}"#).facts(&[100, 400, 700, 3]).story(&[Apply(12), Rest])
            .so(60, (14, 1, 1), Passed, 21),
        // The same by calls: 0 … 75 are 16 of them. 20 and 1.
        row("a restart seen by a timer").one_bad_is_borne().watch(r#"{"n":{"must":"rises"}}"#).facts(&[100, 400, 700, 3]).story(&[Ticks(16, &[300])])
            .so(60, (14, 1, 1), Passed, 21),
        // Killed at 7 with what 5 saw kept and no event: 3 at 10 is compared with 400.
        // 0? 5 10b. Events: 3, ?, taken on, save, bad, failed.
        row("what was kept is compared with").watch(r#"{"n":{"must":"rises"}}"#).facts(&[100, 400, 3]).story(&[Apply(7), Rest])
            .so(0, (1, 1, 1), Failed("1 bad"), 8),
        // 0? 5: one more, 10: two more, 15: three. Events: 3, ?, save, bad, failed.
        row("two restarts since the beginning are borne, not three").watch(r#"{"n":{"must":{"at_most_more":2},"against":"first"}}"#).facts(&[0, 1, 2, 3])
            .so(5, (2, 1, 1), Failed("1 bad"), 7),
        // Two more at 5 and 10 within 15 minutes; at 25 the first has left, so that one at 30 is borne.
        // 0? 5 … 65.
        row("two restarts in a quarter of an hour are borne").watch(r#"{"n":{"must":{"at_most_more":2},"against":{"within":900000}}}"#).facts(&[0, 1, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3])
            .so(60, (13, 0, 1), Passed, 18),
        // A fact that is missing at 10: 0? 5 10? 15 … 65. Events: 3, ?, 5 is the tail, save and ? at 10, 11 saves, 2.
        row("a fact that is missing is inconclusive").watch(r#"{"n":{"must":"rises"}}"#).facts(&[100, 400, -1, 1000])
            .so(60, (12, 0, 2), Passed, 19),
        // 0?: one of two. 10b is borne: two of the last three held. 5 … 65.
        row("two of three hold").sees("2gb").holds(2, 3).so(60, (13, 0, 1), Passed, 18),
        // 15b is borne, at 25 only one of three held. Events: 3, ?, saves at 10 15 20, bad, failed.
        row("one of three holds").sees("3gbgb").holds(2, 3).so(15, (4, 1, 1), Failed("1 bad"), 9),
        // Killed after every look: the last three are remembered.
        row("one of three holds, by a timer").sees("3gbgb").story(&[Ticks(6, &[300])]).holds(2, 3)
            .so(15, (4, 1, 1), Failed("1 bad"), 10),
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
