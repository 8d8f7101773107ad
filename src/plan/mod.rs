//! From TOML text to a [`recorded::Definition`], or to everything that is wrong with it.
//!
//! Pure: no files, no network, no clock. Whoever calls it hands in the text and the contents of named files.

pub mod catalog;
mod compare;
mod diagnostic;
mod duration;
pub mod expect;
pub mod graph;
mod id;
pub mod keys;
mod load;
pub mod manifests;
mod manual;
pub mod recorded;
pub mod samples;
mod schema;
pub mod template;
mod window;

pub use compare::{ChangeKind, Comparison, StepChange, compare};
pub use diagnostic::{Diagnostic, Diagnostics, Severity, did_you_mean};
pub use duration::{DURATION_MAX_MS, parse as parse_duration};
pub use graph::Graph;
pub use id::{InvalidName, NAME_MAX, PlanName, RunId, StepId};
pub use load::{AddedNeed, FILE_MAX, Loaded, PLAN_MAX, Request, Required, load};
pub use manual::manual;
pub use schema::{schema, schema_text};
pub use window::WindowState;
