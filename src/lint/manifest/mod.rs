//! Frigate among Kubernetes manifests: the configuration in a ConfigMap, judged with what the Deployment beside it says.
//!
//! [`read`] collects objects out of the sources, [`workload`] reads what a pod gives its container; here the two meet, and
//! the rules that only manifests can break are judged (L23, L24).

mod quantity;
mod read;
mod workload;

use super::finding::{Finding, Report};
use super::sink::Sink;
use super::yaml::{Place, guard};
use super::{Context, Options, Source, Target, deliver, judge_text};
use read::{Embedded, Objects};
use workload::Workload;

pub use read::references;

/// What the manifests among the sources hold.
#[derive(Debug, Default)]
pub(crate) struct Manifests {
    objects: Objects,
}

impl Manifests {
    /// Reads all sources that are manifests.
    pub(crate) fn among(sources: &[Source<'_>]) -> Manifests {
        let mut objects = Objects::default();
        for source in sources {
            if let Ok(text) = guard::text(source.text) {
                objects.read(source.name, text);
            }
        }
        objects.resolve();
        Manifests { objects }
    }

    /// Judges one source: as a configuration, or as manifests.
    pub(crate) fn judge(&self, source: &Source<'_>, options: &Options, report: &mut Report) {
        if !self.objects.is_manifest(source.name) {
            let workload = self.workload_of_file(source.name);
            let (target, context) = surroundings(options, workload);
            judge_text(source.text, source.name, target, &context, report);
            return;
        }
        let mut sink = Sink::default();
        for workload in self.objects.workloads.iter().filter(|workload| workload.file == source.name) {
            for place in &workload.sub_path_mounts {
                sink.warn(
                    "L23",
                    *place,
                    format!("{} mounts its configuration by `subPath`", workload.title()),
                );
            }
            self.shared_media(workload, &mut sink);
        }
        deliver(sink, source.name, report);
        for embedded in self.objects.embedded.iter().filter(|embedded| embedded.file == source.name) {
            let workload = self.workload_of_map(&embedded.config_map);
            let (target, context) = surroundings(options, workload);
            let mut inner = Report::default();
            judge_text(embedded.text.as_bytes(), source.name, target, &context, &mut inner);
            report.configurations += inner.configurations;
            report.cut |= inner.cut;
            report.not_judged.extend(inner.not_judged);
            report.findings.extend(inner.findings.into_iter().map(|finding| embedded.outside(finding)));
        }
    }

    /// The workload that mounts that ConfigMap; without one, the only Frigate there is.
    fn workload_of_map(&self, name: &str) -> Option<&Workload> {
        let workloads = &self.objects.workloads;
        workloads.iter().find(|workload| workload.config_maps.iter().any(|map| map == name)).or(
            match workloads.as_slice() {
                [only] => Some(only),
                _ => None,
            },
        )
    }

    /// The workload that a plain file is meant for: through a kustomization that makes a ConfigMap of it, or the only one.
    fn workload_of_file(&self, file: &str) -> Option<&Workload> {
        let generated = self.objects.generated.iter().find(|generated| generated.is_made_from(file));
        match generated {
            Some(generated) => self.workload_of_map(&generated.config_map),
            None => match self.objects.workloads.as_slice() {
                [only] => Some(only),
                _ => None,
            },
        }
    }

    /// L24: another workload, or another replica, over the same recordings.
    fn shared_media(&self, workload: &Workload, sink: &mut Sink) {
        let Some((volume, place)) = &workload.media else { return };
        if let Some((replicas, place)) = workload.replicas.filter(|(replicas, _)| *replicas > 1) {
            let message = format!("{} runs {replicas} times over the same recordings", workload.title());
            sink.error("L24", place, message).fix("write `replicas: 1`");
        }
        let twin = self
            .objects
            .workloads
            .iter()
            .take_while(|other| !std::ptr::eq(*other, workload))
            .find(|other| other.media.as_ref().is_some_and(|(theirs, _)| theirs == volume));
        if let Some(twin) = twin {
            let message = format!("{} and {} record to the same volume", workload.title(), twin.title());
            sink.error("L24", *place, message);
        }
    }
}

/// The target and the context: what the caller said, then what the workload says.
fn surroundings(options: &Options, workload: Option<&Workload>) -> (Target, Context) {
    let named = |text: &Option<String>| text.as_deref().and_then(|text| text.parse().ok());
    let read = workload.map(|workload| workload.context.clone()).unwrap_or_default();
    let target = options
        .target
        .or_else(|| named(&options.context.target))
        .or_else(|| named(&read.target))
        .unwrap_or_default();
    (target, options.context.clone().or(read))
}

impl Embedded {
    /// A finding inside the embedded text, as one of the file around it.
    fn outside(&self, mut finding: Finding) -> Finding {
        match self.origin {
            Some(origin) => {
                let shift = |place: Place| Place {
                    line: place.line + origin.lines,
                    column: place.column + origin.columns,
                };
                let place = shift(Place { line: finding.line, column: finding.column });
                (finding.line, finding.column) = (place.line, place.column);
                if let Some(edit) = &mut finding.edit {
                    edit.at = shift(edit.at);
                }
            }
            None => {
                finding.message = format!("line {}: {}", finding.line, finding.message);
                (finding.line, finding.column) = (self.at.line, self.at.column);
                finding.edit = None;
            }
        }
        finding
    }
}
