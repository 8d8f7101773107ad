//! Goal: every row of the facts about Proxmox (facts/migration.md, 2.0, 2.1, 2.2 and 3) and every recorded transcript has a
//! test that fails when the behaviour is handled otherwise. Method: this table; each row names tests, and each of them must
//! exist. Of the lab's tools a row is told by one that compares text, stream and exit status; of the product by one that
//! hears it.

#![allow(clippy::unwrap_used, reason = "a test")]

use crate::support::names;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A row, and the tests that hold it.
type Row = (&'static str, &'static [&'static str]);

const TOOLS: &str = "systems/lab_proxmox_tools.rs";

/// 2.0: rules for every call.
const RULES: &[Row] = &[
    (
        "wrong node looks like not existing",
        &["systems/world_proxmox.rs::what_keeps_a_container_from_its_state_is_named"],
    ),
    (
        "worker output on stdout, the last words on stderr, 255",
        &[
            "systems/lab_proxmox_tools.rs::what_starts_and_stops",
            "systems/world_proxmox.rs::what_keeps_a_container_from_its_state_is_named",
        ],
    ),
    (
        "warnings: 0, counted on stderr",
        &[
            "systems/lab_proxmox_tools.rs::what_ends_with_warnings",
            "systems/world_proxmox.rs::a_task_that_ends_with_warnings_has_ended_well_and_they_are_shown",
        ],
    ),
    (
        "numbers before a task mean nothing",
        &["systems/world_proxmox.rs::what_keeps_a_container_from_its_state_is_named"],
    ),
    (
        "255 is ambiguous",
        &[
            "systems/world_proxmox.rs::a_shutdown_whose_connection_is_cut_is_settled_by_its_end",
            "systems/world_ssh.rs::exit_statuses_are_the_command_s_own",
        ],
    ),
    ("400 Parameter verification failed", &["systems/lab_proxmox_tools.rs::what_is_set_and_locked"]),
    (
        "the config flock: trying to acquire lock, got timeout",
        &["systems/lab_proxmox_tools.rs::what_is_set_and_locked"],
    ),
    (
        "CT is locked (reason)",
        &[
            "systems/lab_proxmox_tools.rs::what_is_set_and_locked",
            "systems/world_proxmox.rs::a_backup_s_lock_is_waited_for_and_never_taken_away",
        ],
    ),
];

/// 2.1: the table of commands.
const COMMANDS: &[Row] = &[
    (
        "pct status",
        &[
            "systems/lab_proxmox_tools.rs::what_is_read",
            "systems/world_proxmox.rs::the_check_sees_all_that_a_way_back_needs",
            "systems/world_proxmox.rs::a_stop_tells_the_digest_that_nobody_may_change",
        ],
    ),
    (
        "pct status --verbose",
        &[
            "systems/lab_proxmox_tools.rs::what_is_read",
            "systems/world_proxmox.rs::nothing_is_destroyed_that_should_not_be",
        ],
    ),
    ("pct list", &["systems/lab_proxmox_tools.rs::what_is_read"]),
    (
        "pct config",
        &[
            "systems/lab_proxmox_tools.rs::what_is_read",
            "systems/baseline.rs::the_container_before_the_first_change",
        ],
    ),
    (
        "pct start",
        &[
            "systems/lab_proxmox_tools.rs::what_starts_and_stops",
            "systems/world_proxmox.rs::what_comes_to_its_state_meanwhile_is_no_failure",
        ],
    ),
    (
        "pct stop",
        &[
            "systems/lab_proxmox_tools.rs::what_starts_and_stops",
            "systems/owners_defects.rs::defect_09_the_container_was_killed_and_not_shut_down",
        ],
    ),
    (
        "pct shutdown",
        &[
            "systems/lab_proxmox_tools.rs::what_starts_and_stops",
            "systems/world_proxmox.rs::a_shutdown_whose_connection_is_cut_is_settled_by_its_end",
            "systems/world_proxmox.rs::what_comes_to_its_state_meanwhile_is_no_failure",
        ],
    ),
    ("pct reboot", &["systems/lab_proxmox_tools.rs::what_starts_and_stops"]),
    (
        "pct set --onboot",
        &[
            "systems/lab_proxmox_tools.rs::what_is_set_and_locked",
            "contract/node.rs::containers_that_start_and_stop",
        ],
    ),
    (
        "pct set --delete onboot",
        &[
            "systems/lab_proxmox_tools.rs::what_is_set_and_locked",
            "contract/node.rs::containers_that_start_and_stop",
        ],
    ),
    (
        "pct snapshot",
        &[
            "systems/lab_proxmox_tools.rs::what_snapshots_do",
            "systems/world_proxmox.rs::a_snapshot_comes_and_goes_and_a_bind_mount_is_named",
        ],
    ),
    (
        "pct snapshot with a bind mount",
        &[
            "systems/lab_proxmox_tools.rs::what_snapshots_do",
            "systems/world_proxmox.rs::a_snapshot_comes_and_goes_and_a_bind_mount_is_named",
        ],
    ),
    (
        "pct listsnapshot",
        &[
            "systems/lab_proxmox_tools.rs::what_snapshots_do",
            "systems/world_proxmox.rs::a_snapshot_comes_and_goes_and_a_bind_mount_is_named",
        ],
    ),
    (
        "pct delsnapshot",
        &[
            "systems/lab_proxmox_tools.rs::what_snapshots_do",
            "systems/world_proxmox.rs::a_snapshot_comes_and_goes_and_a_bind_mount_is_named",
        ],
    ),
    ("pct rollback", &["systems/lab_proxmox_tools.rs::what_snapshots_do"]),
    ("pct rollback past a newer snapshot", &["systems/lab_proxmox_tools.rs::what_snapshots_do"]),
    (
        "pct destroy",
        &[
            "systems/lab_proxmox_tools.rs::what_is_destroyed",
            "systems/world_proxmox.rs::a_destroyed_container_comes_back_from_its_archive",
        ],
    ),
    (
        "pct destroy of a running one",
        &[
            "systems/lab_proxmox_tools.rs::what_is_destroyed",
            "systems/world_proxmox.rs::nothing_is_destroyed_that_should_not_be",
        ],
    ),
    (
        "pct destroy with protection",
        &[
            "systems/lab_proxmox_tools.rs::what_is_destroyed",
            "systems/world_proxmox.rs::nothing_is_destroyed_that_should_not_be",
        ],
    ),
    (
        "pct destroy of an HA resource",
        &[
            "systems/lab_proxmox_tools.rs::what_is_destroyed",
            "systems/world_proxmox.rs::a_managed_container_is_purged_only_when_the_plan_says_so",
        ],
    ),
    (
        "pct unlock",
        &[
            "systems/lab_proxmox_tools.rs::what_is_set_and_locked",
            "systems/world_proxmox.rs::a_backup_s_lock_is_waited_for_and_never_taken_away",
        ],
    ),
    ("pct exec", &["systems/lab_proxmox_tools.rs::what_starts_and_stops"]),
    (
        "pct restore",
        &[
            "systems/lab_proxmox_tools.rs::what_is_backed_up_and_restored",
            "systems/world_proxmox.rs::a_destroyed_container_comes_back_from_its_archive",
        ],
    ),
    (
        "vzdump",
        &[
            "systems/lab_proxmox_tools.rs::what_is_backed_up_and_restored",
            "systems/world_proxmox.rs::a_backup_is_proved_and_says_what_it_lacks",
        ],
    ),
    (
        "qm status",
        &[
            "systems/world_proxmox_guest.rs::qm_speaks_as_the_real_one",
            "systems/world_proxmox_guest.rs::the_check_sees_state_and_agent",
        ],
    ),
];

/// 2.2: behaviours that matter for real steps.
const BEHAVIOURS: &[Row] = &[
    (
        "stop and start are not idempotent, and race",
        &["systems/world_proxmox.rs::what_comes_to_its_state_meanwhile_is_no_failure"],
    ),
    ("no quorum", &["systems/world_proxmox.rs::what_keeps_a_container_from_its_state_is_named"]),
    (
        "a clean stop has its time, and a kill is allowed or not",
        &["systems/world_proxmox.rs::a_shutdown_whose_connection_is_cut_is_settled_by_its_end"],
    ),
    (
        "HA takes a request and answers at once",
        &[
            "systems/world_proxmox.rs::what_keeps_a_container_from_its_state_is_named",
            "systems/world_proxmox.rs::what_the_ha_stack_has_not_done_is_not_done",
        ],
    ),
    ("a device that is gone", &["systems/world_proxmox.rs::what_keeps_a_container_from_its_state_is_named"]),
    (
        "a bind source that is gone",
        &["systems/world_proxmox.rs::what_keeps_a_container_from_its_state_is_named"],
    ),
    (
        "a hook script that fails",
        &["systems/world_proxmox.rs::what_keeps_a_container_from_its_state_is_named"],
    ),
    (
        "a hook script that is gone",
        &["systems/world_proxmox.rs::a_hook_script_that_is_gone_is_seen_before_a_start"],
    ),
    (
        "destroy frees what is owned, and leaves bind mounts and others' volumes",
        &["systems/lab_proxmox_tools.rs::what_is_destroyed"],
    ),
    (
        "vzdump leaves out bind mounts and volumes without backup=1",
        &[
            "systems/lab_proxmox_tools.rs::what_is_backed_up_and_restored",
            "systems/proxmox_run.rs::the_plan_says_what_an_archive_lacks_before_anything_is_done",
            "systems/proxmox_run.rs::what_could_not_come_back_is_not_destroyed_unless_the_plan_says_so",
        ],
    ),
    (
        "a backup's lock is waited for, and that of a configuration that is written",
        &[
            "systems/world_proxmox.rs::a_backup_s_lock_is_waited_for_and_never_taken_away",
            "systems/world_proxmox.rs::a_configuration_that_is_written_by_somebody_else_is_waited_for",
        ],
    ),
    (
        "400 Parameter verification failed",
        &[
            "systems/lab_proxmox_tools.rs::what_is_set_and_locked",
            "systems/world_proxmox.rs::a_refused_parameter_is_named",
        ],
    ),
    (
        "half destroyed shows as locked",
        &["systems/world_proxmox.rs::a_destroyed_container_comes_back_from_its_archive"],
    ),
    (
        "names of snapshots",
        &[
            "systems/lab_proxmox_tools.rs::what_snapshots_do",
            "systems/world_proxmox.rs::a_snapshot_comes_and_goes_and_a_bind_mount_is_named",
        ],
    ),
    (
        "the digest of a configuration",
        &[
            "systems/lab_proxmox_tools.rs::what_is_read",
            "systems/world_proxmox.rs::the_check_sees_all_that_a_way_back_needs",
            "systems/world_proxmox.rs::a_stop_tells_the_digest_that_nobody_may_change",
        ],
    ),
];

/// 3: the guest agent.
const AGENT: &[Row] = &[
    (
        "synchronous for 30 s; the pid at once; no timeout without waiting",
        &["systems/world_proxmox_guest.rs::qm_speaks_as_the_real_one"],
    ),
    (
        "pretty, sorted JSON; signal instead of exitcode",
        &[
            "systems/world_proxmox_guest.rs::qm_speaks_as_the_real_one",
            "systems/world_proxmox_guest.rs::the_guest_s_exit_status_counts_and_both_outputs_are_seen",
        ],
    ),
    (
        "the status of qm is 0 whatever the guest's was",
        &[
            "systems/world_proxmox_guest.rs::the_guest_s_exit_status_counts_and_both_outputs_are_seen",
            "systems/owners_defects.rs::defect_01_nobody_looked_at_the_exit_status_in_the_guest",
        ],
    ),
    (
        "a timeout gives the pid, and the command goes on",
        &[
            "systems/world_proxmox_guest.rs::qm_speaks_as_the_real_one",
            "systems/world_proxmox_guest.rs::what_still_runs_is_cut_off_and_settled_by_its_end",
        ],
    ),
    (
        "exec-status, and that reading an end forgets it",
        &[
            "systems/world_proxmox_guest.rs::qm_speaks_as_the_real_one",
            "systems/world_proxmox_guest.rs::an_end_that_somebody_else_has_read_is_known_to_nobody",
        ],
    ),
    (
        "out-truncated: what is cut off gives no output",
        &["systems/world_proxmox_guest.rs::what_the_agent_cut_off_gives_no_output"],
    ),
    (
        "no shell",
        &[
            "systems/world_proxmox_guest.rs::qm_speaks_as_the_real_one",
            "systems/world_proxmox_guest.rs::the_guest_s_exit_status_counts_and_both_outputs_are_seen",
        ],
    ),
    (
        "stdin up to 1 MiB",
        &["systems/world_proxmox_guest.rs::stdin_of_a_mebibyte_arrives_and_more_is_refused"],
    ),
    (
        "errors before the start",
        &[
            "systems/world_proxmox_guest.rs::qm_speaks_as_the_real_one",
            "systems/world_proxmox_guest.rs::each_refusal_of_the_agent_is_named",
        ],
    ),
    (
        "a program that the guest has not",
        &["systems/world_proxmox_guest.rs::each_refusal_of_the_agent_is_named"],
    ),
    (
        "a busy guest may have started it",
        &["systems/world_proxmox_guest.rs::each_refusal_of_the_agent_is_named"],
    ),
    (
        "ping",
        &[
            "systems/world_proxmox_guest.rs::qm_speaks_as_the_real_one",
            "systems/world_proxmox_guest.rs::the_check_sees_state_and_agent",
        ],
    ),
    (
        "what is not ASCII is encoded twice",
        &[
            "systems/world_proxmox_guest.rs::qm_speaks_as_the_real_one",
            "systems/world_proxmox_guest.rs::the_guest_s_exit_status_counts_and_both_outputs_are_seen",
        ],
    ),
    (
        "nothing read so is written back",
        &["systems/homeassistant_file.rs::stop_edit_start_and_all_the_way_back"],
    ),
    ("exited is a number", &["systems/world_proxmox_guest.rs::qm_speaks_as_the_real_one"]),
    (
        "a backup's lock keeps no command away",
        &["systems/world_proxmox_guest.rs::each_refusal_of_the_agent_is_named"],
    ),
];

/// The transcripts: every exchange is played to the lab, and what the product makes of it is compared.
const TRANSCRIPTS: &[Row] = &[
    (
        "ha-status.json",
        &[
            "systems/homeassistant_transcripts.rs::the_simulated_one_says_how_it_stands",
            "systems/homeassistant_transcripts.rs::the_check_understands_each_recorded_answer",
        ],
    ),
    (
        "ha-reconfigure.json",
        &[
            "systems/homeassistant_transcripts.rs::the_simulated_one_reconfigures",
            "systems/homeassistant_transcripts.rs::the_action_understands_each_recorded_answer",
        ],
    ),
    (
        "ha-restart.json",
        &[
            "systems/homeassistant_transcripts.rs::the_simulated_one_restarts",
            "systems/homeassistant_flow.rs::connections_that_drop_for_seconds_are_no_restart_and_no_failure",
        ],
    ),
    (
        "ha-storage-file.json",
        &[
            "systems/homeassistant_transcripts.rs::the_simulated_one_starts_without_entries_when_its_file_is_damaged",
            "systems/homeassistant_flow.rs::a_restart_is_one_that_was_seen",
        ],
    ),
    (
        "ha-2024.3.3.json",
        &[
            "systems/homeassistant_transcripts.rs::the_simulated_older_one_adds_a_second_entry",
            "systems/homeassistant_flow.rs::an_older_release_is_never_given_a_second_entry",
        ],
    ),
    (
        "ha-config-entries-files.json",
        &[
            "systems/homeassistant_transcripts.rs::the_simulated_one_writes_its_file_as_the_real_one",
            "systems/homeassistant_transcripts.rs::the_file_goes_through_all_that_was_recorded",
        ],
    ),
    (
        "frigate-api.json",
        &[
            "systems/frigate.rs::what_was_recorded_is_read",
            "systems/frigate.rs::the_lab_answers_as_the_real_one_was_recorded",
        ],
    ),
    (
        "mqtt-trace.jsonl",
        &[
            "systems/mqtt_trace.rs::the_lab_s_broker_behaves_as_mosquitto_was_recorded",
            "systems/mqtt_trace.rs::mosquitto_behaves_as_it_was_recorded",
        ],
    ),
];

/// Those of Kubernetes, whose words were brought into `tests/data/kubernetes` or into tests for both kinds of clusters.
const CLUSTER: &[Row] = &[
    ("k8s-apply.json", &["kubernetes/both.rs::what_was_recorded_of_applies_is_answered"]),
    ("k8s-auth.json", &["kubernetes/both.rs::rights_are_those_of_roles"]),
    (
        "k8s-namespace-terminating.json",
        &["kubernetes/both.rs::a_namespace_on_its_way_out_takes_nothing_more"],
    ),
    (
        "k8s-rollout.json",
        &[
            "kubernetes/both.rs::each_failure_is_seen_where_it_is_seen_in_life",
            "kubernetes/both.rs::a_rollout_that_does_not_get_on_says_so",
        ],
    ),
    ("k8s-watch-rollout.json", &["kubernetes/both.rs::a_watch_tells_what_changes"]),
];

/// 7: `nvidia-smi`. No machine with such a card was at hand: these are the forms of its documentation.
const SMI: &[Row] = &[
    (
        "one line per device, several devices",
        &["src/check/gpu.rs::lines_are_read_as_documented", "kubernetes/actions.rs::what_nvidia_smi_may_say"],
    ),
    (
        "[N/A] and [Not Supported]",
        &["src/check/gpu.rs::lines_are_read_as_documented", "kubernetes/actions.rs::what_nvidia_smi_may_say"],
    ),
    ("MIG slices", &["src/check/gpu.rs::slices_count_too", "kubernetes/actions.rs::what_nvidia_smi_may_say"]),
    (
        "a driver that does not fit, or does not answer",
        &["src/check/gpu.rs::each_failure_has_its_words", "kubernetes/actions.rs::what_nvidia_smi_may_say"],
    ),
    (
        "the encoder is never demanded",
        &[
            "src/check/gpu.rs::a_load_of_the_encoder_is_explained_and_never_demanded",
            "kubernetes/actions.rs::a_gpu_is_seen_where_it_is",
        ],
    ),
];

#[test]
fn every_row_names_tests_that_exist() {
    let mut wrong = Vec::new();
    for (table, least) in
        [(RULES, 8), (COMMANDS, 25), (BEHAVIOURS, 13), (AGENT, 15), (TRANSCRIPTS, 8), (CLUSTER, 5), (SMI, 5)]
    {
        assert!(table.len() >= least, "a row was lost");
        for (row, tests) in table {
            assert!(!tests.is_empty(), "`{row}` names no test");
            let missing = tests.iter().filter(|test| !names::is_a_test(test));
            wrong.extend(missing.map(|test| format!("`{row}`: there is no test {test}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(!names::is_a_test(&format!("{TOOLS}::installed")), "what is no test counts as one");
}

#[test]
fn every_transcript_has_a_row() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/transcripts");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let files: BTreeSet<String> = files.filter(|name| name.contains(".json")).collect();
    let rows: BTreeSet<String> = TRANSCRIPTS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(files, rows);
}
