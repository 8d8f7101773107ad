//! What an attempt waits for, told to whoever watches while it waits: shown, and recorded nowhere.

use std::fmt;
use std::sync::Arc;

use super::outcome::shown;
use crate::transport::Redactor;

/// How much of a reason is shown, in characters: more than a row of a terminal, less than a screen.
const SHOWN_MAX: usize = 400;

type Take = dyn Fn(String) + Send + Sync;

/// Takes what an attempt waits for. Cheap to clone; one that nobody listens to takes it all the same.
#[derive(Clone, Default)]
pub struct Tell(Option<Arc<Take>>);

impl Tell {
    /// Gives `take` each reason: one line, free of secrets and of what a terminal would act on.
    pub fn to(take: impl Fn(String) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(take)))
    }

    /// It waits for this now; may be told the same again.
    pub(super) fn waits(&self, reason: &str, redactor: &Redactor) {
        let Some(take) = &self.0 else { return };
        let reason = shown(reason, redactor);
        match reason.char_indices().nth(SHOWN_MAX) {
            Some((end, _)) => take(format!("{}…", &reason[..end])),
            None => take(reason),
        }
    }
}

impl fmt::Debug for Tell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tell").field(&self.0.is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn a_reason_is_one_harmless_line_without_secrets_and_bounded() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&told);
        let tell = Tell::to(move |reason| sink.lock().unwrap().push(reason));
        let redactor = Redactor::new(["hunter2-secret"]);
        tell.waits("pod x:\n\u{1b}[31mhunter2-secret", &redactor);
        tell.waits(&"ä".repeat(1000), &redactor);
        let told = told.lock().unwrap();
        assert_eq!(told[0], "pod x: \\u{1b}[31m***");
        assert_eq!(told[1].chars().count(), SHOWN_MAX + 1);
        Tell::default().waits("nobody listens", &redactor);
    }
}
