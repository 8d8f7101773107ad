//! The program as people, scripts and browsers meet it: commands, plans, bad worlds, promises, pages. Nearly everything here
//! starts `runner` itself and looks at what it says and leaves.
//!
//! One program for all of it, so that what waits for other programs waits at the same time. What needs a process to itself has
//! one: `tests/performance.rs`, `tests/world_local.rs`.

#[path = "../support/mod.rs"]
mod support;

mod docs_support;
mod report_support;
mod serve_support;
mod worlds_support;

mod commands_explain;
mod commands_look;
mod commands_runs;
mod demo;
mod docs;
mod facts_covered;
mod help;
mod journey;
mod json_objects;
mod lint_command;
mod lint_facts;
mod lint_manifests;
mod lint_robust;
mod lint_rules;
mod lint_unseen;
mod plan_diagnostics;
mod plan_load;
mod plan_schema;
mod promises_approvals;
mod promises_edit;
mod promises_exit;
mod promises_holder;
mod promises_kill;
mod promises_order;
mod promises_pre_image;
mod promises_secrets;
mod promises_soak;
mod promises_stop;
mod readme;
mod report_kinds;
mod report_screens;
mod report_terminal;
mod scenarios;
mod second_terminal;
mod serve;
mod serve_frigate;
mod serve_home;
mod serve_page;
mod serve_tls;
mod serve_worlds;
mod terminal_real;
mod tidy;
mod window_table;
mod worlds_commands;
mod worlds_examples;
mod worlds_hosts;
mod worlds_near;
mod worlds_plans;
mod worlds_state;
