//! The driver executes what the saga core decides: with tokio and the journal, on this machine.
//!
//! It waits, appends, executes and translates; it decides nothing. Start reading at [`RunTask`].

mod amend;
mod clock;
mod codec;
pub mod history;
mod holder;
mod holdings;
mod log;
mod pre_image;
mod preview;
mod record;
mod render;
mod run;
mod seal;
mod secrets;
mod survey;
mod undo;
mod world;

pub use amend::{Amendment, Refused, RefusedStep, Takes, amendment, amendment_with};
pub use clock::{Clock, Leaps, SystemClock, short_hash};
pub use codec::{CodecError, Known, decode, encode};
pub use history::{History, HistoryError};
pub use holder::{Ended, Holder, Looked, Submission, SubmitError, Submitted, Target, Unresumed};
pub use holdings::{Holdings, held_elsewhere};
pub use log::Log;
pub use pre_image::{PreImageError, readable as pre_images_readable};
pub use preview::{Glimpse, preview, unopened};
pub use record::{RecordError, record};
pub use run::{DriveError, Observer, Parts, Patience, Rest, RunHandle, RunTask, Tails, WishError};
pub use seal::{KeyId, Keys, SealError};
pub use secrets::{SecretError, Secrets};
pub use survey::{LOOK_MAX, Survey};
pub use undo::{refusals_of_rollback, rollback_folders, secrets_of_rollback};
pub use world::{House, World};
