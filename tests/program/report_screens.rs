//! Whole screens: what people and programs see of a run. Read a changed snapshot aloud: it must say what
//! happened, what state everything is in, and how to go on.

use crate::report_support;

use report_support::stories::*;
use report_support::*;
use runner::plan::recorded::Compensate;
use runner::report::{Asked, Context, Look, RunRow, ending, runs_json, runs_text, status_json, status_text};
use runner::saga::{Verdict, What};

fn look(verbose: u8, quiet: bool) -> Look {
    Look { verbose, quiet, ..Look::default() }
}

#[test]
fn plain_lines() {
    insta::assert_snapshot!("plain_hello", hello().plain(look(0, false)));
    insta::assert_snapshot!("plain_hello_v", hello().plain(look(1, false)));
    insta::assert_snapshot!("plain_failed", failed().plain(look(0, false)));
    insta::assert_snapshot!("plain_failed_q", failed().plain(look(0, true)));
    insta::assert_snapshot!("plain_rolled_back", rolled_back().plain(look(0, false)));
    insta::assert_snapshot!("plain_attention_back", attention_back().plain(look(0, false)));
    insta::assert_snapshot!("plain_attention_forward", attention_forward().plain(look(0, false)));
    insta::assert_snapshot!("plain_settled_v", settled().plain(look(1, false)));
    insta::assert_snapshot!("plain_waiting", waiting(Verdict::Holds).plain(look(0, false)));
    insta::assert_snapshot!("plain_soaked", soaked().plain(look(0, false)));
    insta::assert_snapshot!("plain_soaked_v", soaked().plain(look(1, false)));
    insta::assert_snapshot!("plain_parallel", parallel().plain(look(0, false)));
    insta::assert_snapshot!("plain_meddled", meddled().plain(look(0, false)));
    insta::assert_snapshot!("plain_soaking", soaking().plain(look(0, false)));
    insta::assert_snapshot!("plain_window_and_retry", window_and_retry().plain(look(0, false)));
    insta::assert_snapshot!("plain_cancelled", cancelled().plain(look(0, false)));
    insta::assert_snapshot!("plain_resting", resting().plain(look(0, false)));
    insta::assert_snapshot!("plain_meddled_vv", meddled().plain(look(2, false)));
}

#[test]
fn json_lines() {
    insta::assert_snapshot!("json_hello", hello().json());
    insta::assert_snapshot!("json_parallel", parallel().json());
    insta::assert_snapshot!("json_failed", failed().json());
    insta::assert_snapshot!("json_rolled_back", rolled_back().json());
    insta::assert_snapshot!("json_attention_back", attention_back().json());
    insta::assert_snapshot!("json_waiting", waiting(Verdict::Holds).json());
    insta::assert_snapshot!("json_soaked", soaked().json());
    insta::assert_snapshot!("json_window_and_retry", window_and_retry().json());
    insta::assert_snapshot!("json_cancelled", cancelled().json());
}

#[test]
fn status_at_two_widths() {
    let show =
        |story: &Story, width| status_text(story.state(), &story.now(), &Look { width, ..Look::default() });
    for (name, story) in [
        ("failed", failed()),
        ("soaking", soaking()),
        ("waiting", waiting(Verdict::Holds)),
        ("attention_forward", attention_forward()),
        ("rolled_back", rolled_back()),
        ("complete", hello()),
        ("cancelled", cancelled()),
        ("resting", resting()),
        ("going_back", going_back()),
        ("attention_back", attention_back()),
        ("window_and_retry", window_and_retry()),
    ] {
        insta::assert_snapshot!(format!("status_{name}_80"), show(&story, 80));
        insta::assert_snapshot!(format!("status_{name}_200"), show(&story, 200));
        assert!(show(&story, 80).lines().all(|line| line.chars().count() <= 80));
    }
    insta::assert_json_snapshot!("status_json", status_json(failed().state(), &failed().now()));
}

#[test]
fn endings() {
    let mut paused = Story::new(frigate());
    paused.done("baseline", 1, 3.2).run(What::Paused { by: "bob@maple".to_owned() });
    let mut asked_back = Story::new(frigate());
    asked_back.done("baseline", 1, 3.2).done("stop-old", 1, 20.0).rollback(None, None);
    let mut going_back = Story::new(frigate());
    going_back.told = asked_back.told.clone();
    asked_back.undone("stop-old", 1, 9.0);
    asked_back.step("baseline", runner::saga::StepEvent::Compensated { answers: Vec::new() });
    asked_back.run(What::RolledBack);
    let mut bound = frigate();
    bound.steps[1].compensate = Compensate::Irreversible("the mail is out".to_owned());
    let mut crossed = Story::new(bound);
    crossed.done("baseline", 1, 3.2).done("stop-old", 1, 20.0).done("start-new", 1, 30.0);
    crossed.run(What::Completed);

    let mut closed_on_the_way_back = Story::new(frigate());
    closed_on_the_way_back.told = attention_back().told;
    closed_on_the_way_back.run(What::CancelRequested { by: "bob@maple".to_owned() }).run(What::Cancelled);
    let mut half_back = Story::new(frigate());
    half_back.done("baseline", 1, 3.2).done("stop-old", 1, 20.0).done("start-new", 1, 5.0);
    half_back.rollback(None, None).undone("start-new", 1, 9.0);
    half_back.run(What::CancelRequested { by: "bob@maple".to_owned() }).run(What::Cancelled);
    let mut cut_going_back = Story::new(frigate());
    cut_going_back.told = attention_forward().told;
    cut_going_back.rollback(None, None);
    let mut wants_back = frigate();
    wants_back.steps[1].compensate = Compensate::Irreversible("the mail is out".to_owned());
    wants_back.steps[2].on_failure = runner::plan::recorded::OnFailure::Rollback;
    let mut cannot_go_back = Story::new(wants_back);
    failing(&mut cannot_go_back);

    insta::assert_snapshot!("ending_closed_on_the_way_back", closed_on_the_way_back.ending(Asked::Cancel));
    insta::assert_snapshot!("ending_cancelled_half_back", half_back.ending(Asked::Cancel));
    insta::assert_snapshot!("ending_attention_going_back", cut_going_back.ending(Asked::Rollback));
    insta::assert_snapshot!("ending_cannot_go_back", cannot_go_back.ending(Asked::Apply));
    insta::assert_snapshot!("ending_complete", hello().ending(Asked::Apply));
    insta::assert_snapshot!("ending_complete_irreversible", crossed.ending(Asked::Apply));
    insta::assert_snapshot!("ending_halted", failed().ending(Asked::Apply));
    insta::assert_snapshot!("ending_halted_parallel", parallel().ending(Asked::Apply));
    insta::assert_snapshot!("ending_rolled_back", rolled_back().ending(Asked::Apply));
    insta::assert_snapshot!("ending_rolled_back_asked", asked_back.ending(Asked::Rollback));
    insta::assert_snapshot!("ending_going_back", going_back.ending(Asked::Rollback));
    insta::assert_snapshot!("ending_attention_back", attention_back().ending(Asked::Rollback));
    insta::assert_snapshot!("ending_attention_forward", attention_forward().ending(Asked::Apply));
    insta::assert_snapshot!("ending_cancelled", cancelled().ending(Asked::Cancel));
    insta::assert_snapshot!("ending_resting", resting().ending(Asked::Rollback));
    insta::assert_snapshot!("ending_waiting", waiting(Verdict::Holds).ending(Asked::Apply));
    insta::assert_snapshot!("ending_waiting_unsure", waiting(Verdict::Unknown).ending(Asked::Apply));
    insta::assert_snapshot!("ending_soaking", soaking().ending(Asked::Apply));
    insta::assert_snapshot!("ending_paused", paused.ending(Asked::Apply));
    insta::assert_snapshot!("ending_status", failed().ending(Asked::Status));
}

#[test]
fn commands_can_be_pasted() {
    let mut definition = frigate();
    definition.path = "/srv/my plans/frigate.toml".to_owned();
    let mut story = Story::new(definition);
    story.done("baseline", 1, 3.2);
    let traces = story.traces();
    let context = Context {
        folder: std::path::Path::new("/srv/state"),
        traces: &traces,
        plan: None,
        options: "--state /srv/state",
        now: story.now(),
        wake_ms: None,
        systems: &[],
    };
    let text = ending(story.state(), Asked::Apply, &Look { color: true, ..Look::default() }, &context);
    assert!(
        text.contains("\n      runner apply '/srv/my plans/frigate.toml' --state /srv/state\n"),
        "{text}"
    );
    assert!(text.contains("\n      runner rollback frigate-1 --state /srv/state\n"), "{text}");
    let bare = story.ending(Asked::Apply);
    let said = text.replace("\u{1b}[36m", "").replace("\u{1b}[32m", "").replace("\u{1b}[0m", "");
    assert_eq!(said.lines().next(), bare.lines().next(), "colour says nothing that words do not say");
}

#[test]
fn the_list_of_runs() {
    let rows = [hello(), failed(), attention_back(), soaking()].map(|story| RunRow::of(story.state()));
    insta::assert_snapshot!("runs", runs_text(&rows, &Look::default()));
    insta::assert_snapshot!("runs_80", runs_text(&rows, &Look { width: 80, ..Look::default() }));
    insta::assert_snapshot!("runs_200", runs_text(&rows, &Look { width: 200, ..Look::default() }));
    insta::assert_snapshot!("runs_none", runs_text(&[], &Look::default()));
    insta::assert_json_snapshot!("runs_json", runs_json(&rows));
}
