//! Kubernetes: what actions do to objects of a cluster.
//!
//! `apply` is the model: its probe and pre-image look at the same objects (`wanted`, `current`) that it changes, and
//! its way back gives fields back to whom they belonged (`ownership`). What keeps a rollout from coming is looked up in
//! `rollout` and `cause`.

mod apply;
mod cause;
mod claims;
mod current;
mod delete;
mod diff;
mod exec;
mod needs;
mod object;
mod order;
mod ownership;
mod persist;
mod restart;
mod rollout;
mod scale;
mod settled;
mod undo;
mod wanted;

pub(super) use apply::Apply;
pub(super) use delete::Delete;
pub(super) use exec::Exec;
pub(super) use restart::Restart;
pub(super) use scale::Scale;

pub(crate) use cause::pinned;
pub(crate) use diff::veiled;
pub(crate) use exec::pod_of;
pub(crate) use needs::{Asker, needs_of, of_named, to_exec};
pub(crate) use object::{
    Named, WORKLOADS, condition, is_going, is_true, left_behind, pods, reach, restarts, unready, why_not,
};

/// The field manager: who owns what we apply.
pub(crate) const MANAGER: &str = "runner";

/// The annotation that names the run that changed an object last.
pub(crate) const RUN: &str = "runner/run";

/// The annotation that names its step.
pub(crate) const STEP: &str = "runner/step";
