//! `homeassistant.repoint` and `homeassistant.restart`.
//!
//! Both work inside our process and over Home Assistant's REST API. What an attempt that was cut off has done is seen
//! from outside: the title of an entry follows its URL, and an open flow shows the data that Home Assistant runs with.
//! Start reading at [`repoint`].

mod cameras;
mod census;
mod file;
mod flow;
mod guest;
mod live;
mod pick;
mod repoint;
mod restart;
mod work;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

pub(crate) use cameras::CameraEntities;
pub(super) use census::census;
pub(super) use repoint::Repoint;
pub(super) use restart::Restart;

use super::Fields;
use super::outcome::shown;
use crate::saga::{CutCause, FailureClass, Outcome, Trace};
use crate::transport::{Home, HomeError, Redactor, Transport};

/// What `within` is unless the plan says otherwise: a big house takes a minute or two to start.
const WITHIN: Duration = Duration::from_secs(180);

/// The Home Assistant that the fields name.
///
/// # Errors
/// In words, a field that cannot be read.
pub(crate) fn home(
    fields: Fields<'_>,
    transport: Transport,
    bodies: &BTreeMap<String, Vec<u8>>,
    redactor: &Redactor,
) -> Result<Home, String> {
    let url = fields.text("url")?.ok_or("`url` of Home Assistant is missing")?;
    let token = fields.text("token")?.ok_or("`token` for Home Assistant is missing")?;
    if token.trim().is_empty() {
        return Err("`token` for Home Assistant is empty".to_owned());
    }
    Ok(Home {
        transport,
        url: url.trim_end_matches('/').to_owned(),
        token: token.trim().to_owned(),
        ca: fields.recorded("ca_file", bodies)?,
        redactor: redactor.clone(),
    })
}

/// Why an attempt did not come to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It is known that it failed.
    Failed { permanent: bool, message: String },
    /// Nobody knows.
    Cut { timeout: bool, message: String },
}

impl Trouble {
    fn permanent(message: impl Into<String>) -> Self {
        Trouble::Failed { permanent: true, message: message.into() }
    }

    fn transient(message: impl Into<String>) -> Self {
        Trouble::Failed { permanent: false, message: message.into() }
    }

    fn message(&self) -> &str {
        match self {
            Trouble::Failed { message, .. } | Trouble::Cut { message, .. } => message,
        }
    }

    fn outcome(self, redactor: &Redactor) -> Outcome {
        let trace = Trace::default();
        match self {
            Trouble::Failed { permanent, message } => Outcome::Failed {
                class: if permanent { FailureClass::Permanent } else { FailureClass::Transient },
                message: shown(&message, redactor),
                trace,
            },
            Trouble::Cut { timeout, message } => Outcome::Cut {
                cause: if timeout { CutCause::Timeout } else { CutCause::Connection },
                message: shown(&message, redactor),
                trace,
            },
        }
    }
}

impl From<HomeError> for Trouble {
    fn from(error: HomeError) -> Self {
        match error {
            HomeError::Cut { timeout, message } => Trouble::Cut { timeout, message },
            other => Trouble::Failed { permanent: !other.may_heal(), message: other.message().to_owned() },
        }
    }
}

/// By when it must be done: `within`, and never later than the attempt's own time.
fn deadline(timeout: Duration, within: Option<Duration>) -> Instant {
    Instant::now() + timeout.min(within.unwrap_or(WITHIN))
}
