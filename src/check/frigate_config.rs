//! `frigate.config`: whether Frigate would load a configuration and do with it what is meant: the lint, in a plan.
//!
//! What the files do not say is taken from where it is known: the manifests beside a ConfigMap say image, mounts and
//! memory, the baseline says what the old instance is called, and the plan may say the rest.

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::answer::unknown;
use super::{Check, Look};
use crate::action::kubernetes::{Named, needs_of, of_named};
use crate::action::{Fields, Need};
use crate::lint::{self, Context, Options, Phase, Severity, Source, Target};
use crate::plan::manifests;
use crate::saga::{Answer, Verdict};
use crate::transport::{KubeError, MASK, Object, Select, Transport, one_line};

/// Findings that are told; the others are counted.
const TOLD_MAX: usize = 3;

pub(super) struct FrigateConfig;

impl Check for FrigateConfig {
    fn look(&self, transport: Transport, look: Look) -> BoxFuture<'static, Answer> {
        Box::pin(async move {
            let fields = Fields::new(&look.operation);
            let read = || Ok::<_, String>((options(fields)?, Judged::read(fields)?));
            let (options, judged) = match read() {
                Ok(read) => read,
                Err(message) => return unknown(&message, &look.redactor),
            };
            let sources = match sources(&transport, &look, fields).await {
                Ok(sources) => sources,
                Err(message) => return unknown(&message, &look.redactor),
            };
            let sources: Vec<Source<'_>> = sources.iter().map(|(name, text)| Source { name, text }).collect();
            judged.answer(&look, &lint::check(&sources, &options))
        })
    }

    fn needs(&self, transport: Transport, look: Look) -> BoxFuture<'static, Vec<Need>> {
        Box::pin(async move {
            let (fields, asker) = (Fields::new(&look.operation), look.asker());
            let Ok(Some(map)) = Named::read(fields, "configmap", Some("ConfigMap")) else {
                return Vec::new();
            };
            let found = of_named(&transport, asker, Ok(map), |resource| {
                vec![("get", "", resource.plural.clone()), ("list", "apps", "deployments".to_owned())]
            });
            needs_of(asker, found.await).await
        })
    }
}

/// The texts to judge, by name.
async fn sources(
    transport: &Transport,
    look: &Look,
    fields: Fields<'_>,
) -> Result<Vec<(String, Vec<u8>)>, String> {
    for key in ["file", "manifests"] {
        if let (Some(path), Some(content)) = (fields.text(key)?, fields.recorded(key, &look.bodies)?) {
            let name = path.rsplit('/').next().unwrap_or_default();
            return Ok(if key == "manifests" {
                files(name, content)
            } else {
                vec![(name.to_owned(), content)]
            });
        }
    }
    let name =
        fields.text("configmap")?.ok_or("`frigate.config` needs `file`, `manifests` or `configmap`")?;
    let Some((namespace, name)) = name.split_once('/') else {
        return Err(fields.wrong("configmap", "`NAMESPACE/NAME`"));
    };
    let place = fields.cluster(&look.places.clusters, &look.folder)?;
    let seen = async {
        let cluster = transport.cluster(&place, look.timeout).await?;
        let resource = cluster.resource("v1", "ConfigMap").await?;
        let object = Object { resource, namespace: Some(namespace.to_owned()), name: name.to_owned() };
        let found = cluster.get(&object).await?;
        let deployments = cluster.resource("apps/v1", "Deployment").await?;
        let select = Select { namespace: Some(namespace.to_owned()), ..Select::default() };
        Ok::<_, KubeError>((found, cluster.list(&deployments, &select).await?))
    };
    let (found, deployments) = seen.await.map_err(|error| error.message)?;
    let found = found.ok_or_else(|| format!("there is no ConfigMap `{namespace}/{name}` in the cluster"))?;
    // JSON is YAML.
    let mut all = vec![(format!("ConfigMap {namespace}/{name}"), found.to_string().into_bytes())];
    for deployment in deployments {
        let name = deployment.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
        all.push((format!("Deployment {namespace}/{name}"), deployment.to_string().into_bytes()));
    }
    Ok(all)
}

/// The files that were gathered into one text, each by the name that people know it by, so that a finding is in a line of
/// that file.
fn files(gathered: &str, content: Vec<u8>) -> Vec<(String, Vec<u8>)> {
    let Ok(text) = std::str::from_utf8(&content) else { return vec![(gathered.to_owned(), content)] };
    let all = manifests::files(text).into_iter().filter(|(_, text)| !matches!(text.trim(), "" | "---"));
    let all = all.map(|(source, text)| {
        let name = match source {
            manifests::UNNAMED => gathered.to_owned(),
            source if source == gathered => source.to_owned(),
            source => format!("{gathered}/{source}"),
        };
        (name, text.as_bytes().to_vec())
    });
    all.collect()
}

fn options(fields: Fields<'_>) -> Result<Options, String> {
    let target =
        fields.text("version")?.map(|text| text.parse::<Target>().map_err(|error| error.to_string()));
    let baseline = fields.get("baseline");
    let old = |key: &str| {
        let found = baseline.and_then(|baseline| baseline.get(key)?.as_str());
        match found.is_some_and(|value| value.contains(MASK)) {
            // Two of one name would be taken for two names.
            true => Err(format!(
                "the `{key}` of the old instance is masked in `baseline`, because a secret of the plan stands in it (a user \
                 name?): whether the new one has the same cannot be known; make that a variable"
            )),
            false => Ok(found.map(str::to_owned)),
        }
    };
    let phase = match fields.text("phase")?.as_deref() {
        Some("alone") => Some(Phase::Alone),
        Some("parallel") => Some(Phase::Parallel),
        Some("cutover") => Some(Phase::Cutover),
        Some(_) => return Err(fields.wrong("phase", "`alone`, `parallel` or `cutover`")),
        // There is an old instance, and it runs until somebody stops it.
        None => baseline.map(|_| Phase::Parallel),
    };
    let context = Context {
        gpu: fields.text("gpu")?,
        arch: fields.text("arch")?,
        image: fields.text("image")?,
        phase,
        old_client_id: old("client_id")?,
        old_topic_prefix: old("topic_prefix")?,
        ..Context::default()
    };
    Ok(Options { target: target.transpose()?, context })
}

/// What counts.
struct Judged {
    allowed: Vec<String>,
    strict: bool,
}

impl Judged {
    fn read(fields: Fields<'_>) -> Result<Self, String> {
        Ok(Self { allowed: fields.texts("allow")?, strict: fields.flag("strict")? })
    }

    fn answer(&self, look: &Look, report: &lint::Report) -> Answer {
        let all: Vec<&lint::Finding> = report
            .findings
            .iter()
            .filter(|found| !self.allowed.iter().any(|code| code == found.code))
            .collect();
        let count = |severity| all.iter().filter(|found| found.severity == severity).count();
        let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
        if report.configurations == 0 && errors == 0 {
            return unknown("there is no Frigate configuration in it", &look.redactor);
        }
        let counts = |found: &&&lint::Finding| {
            found.severity == Severity::Error || self.strict && found.severity == Severity::Warning
        };
        let told: Vec<String> = all
            .iter()
            .filter(counts)
            .map(|found| format!("{} in {}:{}: {}", found.code, found.file, found.line, found.message))
            .collect();
        let (verdict, mut reason) = match told.is_empty() {
            true => (Verdict::Holds, format!("no errors, {warnings} warnings")),
            false => (Verdict::Absent, told.iter().take(TOLD_MAX).cloned().collect::<Vec<_>>().join("; ")),
        };
        if told.len() > TOLD_MAX {
            reason.push_str(&format!("; and {} more: see `runner lint`", told.len() - TOLD_MAX));
        }
        let mut answer = Answer::new(verdict, one_line(&look.redactor.text(&reason)));
        let codes: Vec<&str> = all.iter().map(|found| found.code).collect();
        answer.facts.insert("errors".to_owned(), json!(errors));
        answer.facts.insert("warnings".to_owned(), json!(warnings));
        answer.facts.insert("codes".to_owned(), json!(codes));
        answer
    }
}
