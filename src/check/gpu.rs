//! `gpu`: whether a GPU is there for a pod, was granted to it, and is seen and used in it.
//!
//! No NVIDIA machine was at hand when this was written: the forms and texts of `nvidia-smi` are those of NVIDIA's
//! documentation (`nvidia-smi --help-query-gpu`, nvidia-smi.txt of driver 535 and later; the MIG User Guide), where `[N/A]`
//! and `[Not Supported]` stand for what a device does not say. So a load that is not said is `unknown`, never 0.
//!
//! The load of the encoder is a fact and never a demand: Frigate records what the camera sends without encoding it anew,
//! so that 0 is right (facts/migration.md 7); go2rtc's `#hardware` and the birdseye view do encode.

use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::{Map, Value};

use super::answer::unknown;
use super::{Check, Look};
use crate::action::kubernetes::{Named, is_true, needs_of, of_named, pod_of, reach, to_exec};
use crate::action::{Fields, Need};
use crate::saga::{Answer, Verdict};
use crate::transport::{Capture, End, InPod, Kube, Object, Transport, one_line};

/// What is asked of `nvidia-smi`, in this order.
const QUERY: &str = "--query-gpu=index,name,driver_version,utilization.gpu,utilization.decoder,utilization.encoder,memory.used,\
                     memory.total";

/// How often a decoder is looked at that is expected to work: its load is of the last sixth of a second to second only.
const SAMPLES: u32 = 5;

/// Between two of those looks.
const BETWEEN: Duration = Duration::from_secs(1);

pub(super) struct Gpu;

/// What the fields want.
struct Wanted {
    gpus: u64,
    name: Option<String>,
    decoder: bool,
    memory_free_mib: Option<f64>,
    container: Option<String>,
}

/// One line of `nvidia-smi`; what the device does not say is `None`.
#[derive(Debug, Clone, PartialEq)]
struct Device {
    name: String,
    driver: String,
    utilization: Option<f64>,
    decoder: Option<f64>,
    encoder: Option<f64>,
    memory_used: Option<f64>,
    memory_total: Option<f64>,
}

type Judged = Result<String, (Verdict, String)>;

impl Check for Gpu {
    fn look(&self, transport: Transport, look: Look) -> BoxFuture<'static, Answer> {
        Box::pin(async move {
            let fields = Fields::new(&look.operation);
            let wanted = match wanted(fields) {
                Ok(wanted) => wanted,
                Err(message) => return unknown(&message, &look.redactor),
            };
            let kube = match reach(&transport, fields, &look.places, &look.folder, look.timeout).await {
                Ok(kube) => kube,
                Err((_, message)) => return unknown(&message, &look.redactor),
            };
            let mut facts = Map::new();
            let judged = match Named::read(fields, "node", Some("Node")) {
                Ok(Some(node)) => on_node(&kube, &node, &wanted, &mut facts).await,
                Ok(None) => in_pod(&kube, fields, &wanted, &look, &mut facts).await,
                Err(message) => Err((Verdict::Unknown, message)),
            };
            let (verdict, reason) = match judged {
                Ok(reason) => (Verdict::Holds, reason),
                Err(wrong) => wrong,
            };
            let mut answer = Answer::new(verdict, one_line(&look.redactor.text(&reason)));
            answer.facts = facts;
            answer
        })
    }

    fn needs(&self, transport: Transport, look: Look) -> BoxFuture<'static, Vec<Need>> {
        Box::pin(async move {
            let (fields, asker) = (Fields::new(&look.operation), look.asker());
            let found = match Named::read(fields, "node", Some("Node")) {
                Ok(Some(node)) => {
                    of_named(&transport, asker, Ok(node), |node| vec![("get", "", node.plural.clone())]).await
                }
                Ok(None) => of_named(&transport, asker, Named::of_pod(fields), to_exec).await,
                Err(message) => Err(message),
            };
            needs_of(asker, found).await
        })
    }
}

fn wanted(fields: Fields<'_>) -> Result<Wanted, String> {
    let gpus = match fields.get("gpus") {
        None => 1,
        Some(value) => value
            .as_u64()
            .filter(|gpus| *gpus > 0)
            .ok_or_else(|| fields.wrong("gpus", "a number from 1 on"))?,
    };
    Ok(Wanted {
        gpus,
        name: fields.text("name")?,
        decoder: fields.flag("decoder")?,
        memory_free_mib: fields.get("memory_free_mib").and_then(Value::as_f64),
        container: fields.text("container")?,
    })
}

/// How many GPUs a table of resources names, MIG slices included (`nvidia.com/gpu`, `nvidia.com/mig-1g.5gb`).
fn count(resources: &Value) -> u64 {
    let named = resources.as_object().into_iter().flatten();
    let gpus = named.filter(|(key, _)| *key == "nvidia.com/gpu" || key.starts_with("nvidia.com/mig-"));
    gpus.filter_map(|(_, value)| value.as_u64().or_else(|| value.as_str()?.parse().ok())).sum()
}

async fn on_node(kube: &Kube, named: &Named, wanted: &Wanted, facts: &mut Map<String, Value>) -> Judged {
    let blind = |error: crate::transport::KubeError| (Verdict::Unknown, error.message);
    let node = named.find(kube).await.map_err(blind)?;
    let Some(is) = kube.get(&node).await.map_err(blind)? else {
        return Err((Verdict::Absent, format!("{} is not there", node.shown())));
    };
    let (allocatable, capacity) = (count(&is["status"]["allocatable"]), count(&is["status"]["capacity"]));
    facts.insert("allocatable".to_owned(), allocatable.into());
    facts.insert("capacity".to_owned(), capacity.into());
    if !is_true(&is, "Ready") {
        return Err((Verdict::Absent, format!("{} is not ready", node.shown())));
    }
    if allocatable < wanted.gpus {
        let why = match (capacity, allocatable) {
            (0, _) => "its device plugin does not run, or finds no driver".to_owned(),
            (_, 0) => format!("{capacity} are there and not healthy"),
            _ => format!("{capacity} are there"),
        };
        let message =
            format!("{} offers {allocatable} of `nvidia.com/gpu`, not {}: {why}", node.shown(), wanted.gpus);
        return Err((Verdict::Absent, message));
    }
    Ok(format!("{} offers {allocatable} GPUs", node.shown()))
}

async fn in_pod(
    kube: &Kube,
    fields: Fields<'_>,
    wanted: &Wanted,
    look: &Look,
    facts: &mut Map<String, Value>,
) -> Judged {
    let (pod, is) = match pod_of(kube, fields).await {
        Ok(Ok(found)) => found,
        Ok(Err(message)) => return Err((Verdict::Absent, message)),
        Err(error) => return Err((Verdict::Unknown, error.message)),
    };
    let containers: Vec<&Value> = is["spec"]["containers"].as_array().into_iter().flatten().collect();
    let granted: u64 = containers.iter().map(|one| count(&one["resources"]["limits"])).sum();
    facts.insert("granted".to_owned(), granted.into());
    facts.insert("node".to_owned(), is["spec"]["nodeName"].clone());
    if granted < wanted.gpus {
        let message =
            format!("{} was granted {granted} of `nvidia.com/gpu`, not {}", pod.shown(), wanted.gpus);
        return Err((Verdict::Absent, message));
    }
    // The container that has it, unless another one is named.
    let holder = containers.iter().find(|one| count(&one["resources"]["limits"]) > 0);
    let container = wanted.container.clone().or_else(|| Some(holder?["name"].as_str()?.to_owned()));
    let mut samples = 0;
    loop {
        samples += 1;
        let devices = devices(kube, &pod, container.as_deref(), look).await?;
        tell(facts, &devices);
        let judged = judge(&pod, &devices, wanted);
        let idle = matches!(judged, Err((Verdict::Partial, _)));
        if !idle || samples == SAMPLES || kube.left() < BETWEEN * 2 {
            return match judged {
                Err((Verdict::Partial, message)) => {
                    Err((Verdict::Absent, format!("{message}, in {samples} looks")))
                }
                judged => judged,
            };
        }
        tokio::time::sleep(BETWEEN).await;
    }
}

/// What `nvidia-smi` in the pod says.
async fn devices(
    kube: &Kube,
    pod: &Object,
    container: Option<&str>,
    look: &Look,
) -> Result<Vec<Device>, (Verdict, String)> {
    let argv = ["nvidia-smi", QUERY, "--format=csv,noheader,nounits"].map(str::to_owned);
    let command = InPod { pod, container, argv: &argv, stdin: None };
    let report = kube.exec(&command, Capture::new(&look.redactor, None), None).await;
    let text = String::from_utf8_lossy(&report.seen.stdout).into_owned();
    let tail =
        report.seen.tail.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    let shown = pod.shown();
    match report.end {
        End::Exit(0) => read(&text).map_err(|message| (Verdict::Unknown, format!("{shown}: {message}"))),
        End::Exit(127) | End::NotStarted { permanent: true, .. } => {
            let message = format!(
                "{shown}: there is no `nvidia-smi` in it: the container does not run with the NVIDIA runtime \
                 (`runtimeClassName: nvidia`), or the GPU was not mounted"
            );
            Err((Verdict::Absent, message))
        }
        End::Exit(status) => Err((Verdict::Absent, format!("{shown}: {}", failure(status, &tail)))),
        End::Signal(_) => Err((Verdict::Unknown, format!("{shown}: `nvidia-smi` was killed"))),
        End::TimedOut(message)
        | End::Stopped(message)
        | End::Lost(message)
        | End::NotStarted { message, .. } => Err((Verdict::Unknown, message)),
    }
}

/// What a failing `nvidia-smi` means (statuses and texts: nvidia-smi.txt, "RETURN VALUE"; NVIDIA's FAQ).
fn failure(status: i32, said: &str) -> String {
    let why = if said.contains("version mismatch") {
        "the driver was updated and the node not restarted: restart the node, then the pod"
    } else if said.contains("couldn't communicate with the NVIDIA driver") || status == 9 {
        "no driver answers on the node: is its kernel module loaded?"
    } else if said.contains("Unknown Error") {
        "the pod has lost its device, as after a reload of systemd or of the runtime: restart the pod"
    } else if said.contains("No devices were found") || status == 6 {
        "the driver is there and finds no device"
    } else if said.contains("lost") || status == 15 {
        "the GPU has fallen off the bus: restart the node"
    } else {
        "see its own words"
    };
    format!("`nvidia-smi` ended with {status}: {why}: {said}")
}

/// Reads the lines, one per device.
fn read(text: &str) -> Result<Vec<Device>, String> {
    let mut all = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        // A name may hold a comma; nothing after it does.
        let words: Vec<&str> = line.split(", ").map(str::trim).collect();
        let strange = || format!("`nvidia-smi` wrote what nobody understands: `{}`", one_line(line));
        let count = words.len();
        if count < 8 || words[0].parse::<u32>().is_err() {
            return Err(strange());
        }
        let number = |word: &str| word.parse::<f64>().ok();
        let rest = &words[count - 6..];
        all.push(Device {
            name: words[1..count - 6].join(", "),
            driver: rest[0].to_owned(),
            utilization: number(rest[1]),
            decoder: number(rest[2]),
            encoder: number(rest[3]),
            memory_used: number(rest[4]),
            memory_total: number(rest[5]),
        });
    }
    if all.is_empty() { Err("`nvidia-smi` names no device".to_owned()) } else { Ok(all) }
}

/// The facts: of the first device by name, of all of them the sum of memory and the highest load.
fn tell(facts: &mut Map<String, Value>, devices: &[Device]) {
    let most = |of: fn(&Device) -> Option<f64>| {
        devices
            .iter()
            .filter_map(of)
            .fold(None, |most: Option<f64>, one| Some(most.map_or(one, |most| most.max(one))))
    };
    let sum = |of: fn(&Device) -> Option<f64>| devices.iter().map(of).sum::<Option<f64>>();
    facts.insert("gpus".to_owned(), devices.len().into());
    if let Some(first) = devices.first() {
        facts.insert("name".to_owned(), first.name.as_str().into());
        facts.insert("driver".to_owned(), first.driver.as_str().into());
    }
    for (name, value) in [
        ("utilization", most(|one| one.utilization)),
        ("decoder", most(|one| one.decoder)),
        ("encoder", most(|one| one.encoder)),
        ("memory_used_mib", sum(|one| one.memory_used)),
        ("memory_total_mib", sum(|one| one.memory_total)),
    ] {
        if let Some(value) = value {
            facts.insert(name.to_owned(), value.into());
        }
    }
}

/// Compares; `partial` is a decoder that does nothing at this moment.
fn judge(pod: &Object, devices: &[Device], wanted: &Wanted) -> Judged {
    let shown = pod.shown();
    let there = u64::try_from(devices.len()).unwrap_or(u64::MAX);
    if there < wanted.gpus {
        return Err((Verdict::Absent, format!("{shown} sees {there} GPUs, not {}", wanted.gpus)));
    }
    if let Some(name) = &wanted.name
        && let Some(other) = devices.iter().find(|one| !one.name.contains(name.as_str()))
    {
        return Err((Verdict::Absent, format!("{shown} sees a `{}`, not a `{name}`", other.name)));
    }
    if let Some(least) = wanted.memory_free_mib {
        let free = devices.iter().map(|one| Some(one.memory_total? - one.memory_used?)).sum::<Option<f64>>();
        match free {
            None => {
                return Err((
                    Verdict::Unknown,
                    format!("{shown}: the device does not say how much memory is free"),
                ));
            }
            Some(free) if free < least => {
                return Err((
                    Verdict::Absent,
                    format!("{shown}: {free} MiB of its memory are free, not {least}"),
                ));
            }
            Some(_) => {}
        }
    }
    if wanted.decoder {
        let loads: Vec<f64> = devices.iter().filter_map(|one| one.decoder).collect();
        if loads.is_empty() {
            let message = format!(
                "{shown}: the device does not say what its decoder does (`[N/A]`, as a MIG slice or an old driver)"
            );
            return Err((Verdict::Unknown, message));
        }
        if loads.iter().all(|load| *load <= 0.0) {
            let message = format!(
                "{shown}: the decoder does nothing: streams are decoded by the CPU, or there are none"
            );
            return Err((Verdict::Partial, message));
        }
    }
    let name = devices.first().map(|one| one.name.as_str()).unwrap_or_default();
    Ok(format!("{shown} sees {there} GPUs: {name}{}", encodes(devices)))
}

/// What the encoder works for, where it does: whoever sees a load there asks which recordings cause it, and none do.
fn encodes(devices: &[Device]) -> String {
    match devices.iter().filter_map(|one| one.encoder).reduce(f64::max) {
        Some(load) if load > 0.0 => format!(
            "; its encoder is at {load} %: that is for go2rtc (`#hardware`) or birdseye, recordings are copied"
        ),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_documented() {
        let two = "0, NVIDIA GeForce RTX 3070, 580.95.05, 12, 23, 0, 1214, 8192\n1, Tesla, Model S, 535.1, [N/A], [Not Supported], 0, 1, 2\n";
        let devices = read(two).unwrap();
        assert_eq!((devices[0].decoder, devices[0].memory_total), (Some(23.0), Some(8192.0)));
        assert_eq!(
            (devices[1].name.as_str(), devices[1].utilization, devices[1].decoder),
            ("Tesla, Model S", None, None)
        );
        for wrong in ["", "No devices were found\n", "0, x\n", "Field \"x\" is not a valid field to query.\n"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_load_of_the_encoder_is_explained_and_never_demanded() {
        let encodes =
            |load: &str| super::encodes(&read(&format!("0, RTX, 580, 1, 2, {load}, 3, 4\n")).unwrap());
        assert!(encodes("7").starts_with("; its encoder is at 7 %: that is for go2rtc"), "{}", encodes("7"));
        assert_eq!((encodes("0"), encodes("[N/A]")), (String::new(), String::new()));
    }

    #[test]
    fn each_failure_has_its_words() {
        for (status, said, words) in [
            (18, "Failed to initialize NVML: Driver/library version mismatch", "restart the node"),
            (255, "Failed to initialize NVML: Unknown Error", "restart the pod"),
            (
                9,
                "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.",
                "no driver answers",
            ),
            (6, "No devices were found", "finds no device"),
            (
                15,
                "Unable to determine the device handle for GPU 0000:01:00.0: GPU is lost.",
                "fallen off the bus",
            ),
        ] {
            assert!(failure(status, said).contains(words), "{}", failure(status, said));
        }
    }

    #[test]
    fn slices_count_too() {
        let resources = serde_json::json!({ "cpu": "4", "nvidia.com/gpu": "1", "nvidia.com/mig-1g.5gb": 2 });
        assert_eq!(count(&resources), 3);
    }
}
