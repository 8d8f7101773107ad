//! Kubernetes manifests: placeholder.

use super::{Options, Report, Source, Target};

pub(crate) struct Manifests;

/// The files that a kustomization refers to.
pub fn references(_text: &[u8]) -> Vec<String> {
    Vec::new()
}

impl Manifests {
    pub(crate) fn among(_sources: &[Source<'_>]) -> Manifests {
        Manifests
    }

    pub(crate) fn judge(&self, source: &Source<'_>, options: &Options, report: &mut Report) {
        let context = options.context.clone();
        let target = options
            .target
            .or_else(|| context.target.as_deref().and_then(|target| target.parse().ok()))
            .unwrap_or(Target::default());
        super::judge_text(source.text, source.name, target, &context, report);
    }
}
