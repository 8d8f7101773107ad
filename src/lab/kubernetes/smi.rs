//! `nvidia-smi` in a pod that was granted a GPU.
//!
//! No NVIDIA machine was at hand: the forms and texts are those of NVIDIA's documentation (nvidia-smi.txt of driver 535
//! and later: `--query-gpu`, `--format=csv,noheader,nounits`, `[N/A]`, `[Not Supported]`; the MIG User Guide for the
//! lines of `-L`; the FAQ for what a driver that does not answer or does not fit makes it say).

use serde::{Deserialize, Serialize};

/// What the GPUs of the cluster say of themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gpu {
    /// `NVIDIA GeForce RTX 3070`.
    pub name: String,
    /// The version of the driver.
    pub driver: String,
    /// In percent.
    pub utilization: u32,
    /// Load of the video decoder in percent; `None`: the device does not say (`[N/A]`).
    pub decoder: Option<u32>,
    /// Load of the video encoder in percent; `None`: as above.
    pub encoder: Option<u32>,
    /// MiB in use.
    pub memory_used: u32,
    /// MiB in all.
    pub memory_total: u32,
    /// A MIG slice of it: its loads are not told.
    pub mig: Option<String>,
    /// `nvidia-smi` fails with this text instead.
    pub broken: Option<String>,
}

impl Default for Gpu {
    fn default() -> Self {
        Self {
            name: "NVIDIA GeForce RTX 3070".to_owned(),
            driver: "580.95.05".to_owned(),
            utilization: 12,
            decoder: Some(23),
            encoder: Some(0),
            memory_used: 1214,
            memory_total: 8192,
            mig: None,
            broken: None,
        }
    }
}

/// What it says when the driver's library and its kernel module are of different versions.
pub const DRIVER_MISMATCH: &str =
    "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.95\n";

/// What it says when no driver answers.
pub const NO_DRIVER: &str = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure \
                             that the latest NVIDIA driver is installed and running.\n\n";

const NOT_TOLD: &str = "[N/A]";

/// Standard output and exit status, for a pod that has so many of them.
pub(super) fn run(gpu: &Gpu, words: &[String], count: u64) -> (String, u32) {
    if let Some(text) = &gpu.broken {
        return (text.clone(), if text.contains("NVML") { 18 } else { 9 });
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if words == ["-L"] {
        let mut text = String::new();
        for index in 0..count {
            let uuid = uuid("GPU", index);
            text.push_str(&format!("GPU {index}: {} (UUID: {uuid})\n", gpu.name));
            if let Some(slice) = &gpu.mig {
                let uuid = self::uuid("MIG", index);
                text.push_str(&format!("  MIG {slice}     Device  0: (UUID: {uuid})\n"));
            }
        }
        return (text, 0);
    }
    let Some(query) = words.iter().find_map(|word| word.strip_prefix("--query-gpu=")) else {
        return (table(gpu, count), 0);
    };
    let format = words.iter().find_map(|word| word.strip_prefix("--format=")).unwrap_or("csv");
    let (units, header) = (!format.contains("nounits"), !format.contains("noheader"));
    let names: Vec<&str> = query.split(',').map(str::trim).collect();
    let mut lines = Vec::new();
    if header {
        lines.push(names.join(", "));
    }
    for index in 0..count {
        let mut row = Vec::new();
        for name in &names {
            let Some((value, unit)) = field(gpu, name, index, count) else {
                return (format!("Field \"{name}\" is not a valid field to query.\n\n"), 2);
            };
            row.push(if units && value != NOT_TOLD { format!("{value}{unit}") } else { value });
        }
        lines.push(row.join(", "));
    }
    (lines.join("\n") + "\n", 0)
}

fn field(gpu: &Gpu, name: &str, index: u64, count: u64) -> Option<(String, &'static str)> {
    let load = |load: Option<u32>| match (load, &gpu.mig) {
        (Some(load), None) => load.to_string(),
        _ => NOT_TOLD.to_owned(),
    };
    Some(match name {
        "index" => (index.to_string(), ""),
        "count" => (count.to_string(), ""),
        "name" | "gpu_name" => (gpu.name.clone(), ""),
        "uuid" | "gpu_uuid" => (uuid("GPU", index), ""),
        "driver_version" => (gpu.driver.clone(), ""),
        "mig.mode.current" => (if gpu.mig.is_some() { "Enabled" } else { NOT_TOLD }.to_owned(), ""),
        "utilization.gpu" => (load(Some(gpu.utilization)), " %"),
        "utilization.decoder" => (load(gpu.decoder), " %"),
        "utilization.encoder" => (load(gpu.encoder), " %"),
        "memory.used" => (gpu.memory_used.to_string(), " MiB"),
        "memory.free" => (gpu.memory_total.saturating_sub(gpu.memory_used).to_string(), " MiB"),
        "memory.total" => (gpu.memory_total.to_string(), " MiB"),
        "temperature.gpu" => ("51".to_owned(), ""),
        _ => return None,
    })
}

fn uuid(what: &str, index: u64) -> String {
    format!("{what}-2f4b6d1c-0a7e-4c55-9d0b-6f1a3c2e8b{:02}", 90 + index % 10)
}

fn table(gpu: &Gpu, count: u64) -> String {
    let line =
        "+-----------------------------------------------------------------------------------------+\n";
    let mut text = format!(
        "{line}| NVIDIA-SMI {0:<22} Driver Version: {0:<14} CUDA Version: 13.0     |\n{line}",
        gpu.driver
    );
    for index in 0..count {
        text.push_str(&format!(
            "| {index:>3}  {:<32} | {:>6}MiB / {:>6}MiB | {:>3}%      Default |\n",
            gpu.name, gpu.memory_used, gpu.memory_total, gpu.utilization
        ));
    }
    text + line
}
