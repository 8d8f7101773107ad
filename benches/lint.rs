//! How many configurations of 500 lines the lint judges a second on one core.
//!
//! `cargo bench --bench lint`; the goal is 1,000. What counts is the time on the processor, so that neighbours do not.
//! The configuration is made here: ten cameras and everything around them.

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Duration;

use runner::lint::{Context, Options, Source, check};

const LINES: usize = 500;
const SECONDS: f64 = 3.0;

fn main() {
    let text = configuration();
    let options = Options { target: None, context: context() };
    let sources = [Source { name: "config.yml", text: text.as_bytes() }];
    let report = check(&sources, &options);
    assert!(report.findings.is_empty(), "the measured file has no mistake: {:#?}", report.findings);
    let start = on_processor();
    let mut rounds = 0_u32;
    while (on_processor() - start).as_secs_f64() < SECONDS {
        black_box(check(black_box(&sources), &options));
        rounds += 1;
    }
    let rate = f64::from(rounds) / (on_processor() - start).as_secs_f64();
    print(&format!("{rate:.0} configurations of {LINES} lines ({} bytes) a second of one core", text.len()));
    for (name, bytes) in hostile() {
        let start = on_processor();
        let report = check(&[Source { name, text: &bytes }], &Options::default());
        let took = (on_processor() - start).as_secs_f64() * 1e3;
        assert!(report.has_errors(), "{name} is refused");
        print(&format!("{name}: {took:.0} ms: {}", report.findings[0].message));
    }
}

/// The processor time of this process.
fn on_processor() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

#[expect(clippy::print_stdout, reason = "a benchmark's answer")]
fn print(line: &str) {
    println!("{line}");
}

/// What must end in a clear error in under a second.
fn hostile() -> Vec<(&'static str, Vec<u8>)> {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..30 {
        let list = vec![format!("*a{}", level - 1); 9].join(", ");
        let _ = writeln!(bomb, "a{level}: &a{level} [{list}]");
    }
    vec![
        ("10 MB of YAML", "a: b\n".repeat(2_000_000).into_bytes()),
        (
            "1 MB of keys",
            (0..60_000).map(|key| format!("key{key}: value\n")).collect::<String>().into_bytes(),
        ),
        ("a YAML bomb", bomb.into_bytes()),
        ("binary data", (0..=255).cycle().take(900_000).collect()),
        ("1 MB of brackets", vec![b'['; 1_000_000]),
    ]
}

fn context() -> Context {
    Context::parse(
        r#"{"target": "0.16.2", "image": "ghcr.io/blakeblackshear/frigate:0.16.2-tensorrt", "arch": "amd64",
        "gpu": "nvidia", "config_mount": "read-only", "env": ["FRIGATE_USER", "FRIGATE_PASSWORD"], "media_gib": 4000,
        "shm_mib": 4096, "phase": "parallel", "old_client_id": "frigate", "old_topic_prefix": "frigate"}"#,
    )
    .expect("the context is right")
}

fn configuration() -> String {
    let mut text = String::from(
        "version: \"0.16-0\"\nmqtt:\n  host: broker.lan\n  user: \"{FRIGATE_USER}\"\n  password: \"{FRIGATE_PASSWORD}\"\n  \
         client_id: frigate-k8s\n  topic_prefix: frigate-k8s\ndetect: &det\n  enabled: true\n  fps: 5\nrecord:\n  enabled: true\n  \
         retain:\n    days: 3\n    mode: motion\ngo2rtc:\n  streams:\n",
    );
    for camera in 0..10 {
        let _ = write!(
            text,
            "    camera_{camera}:\n      - rtsp://{{FRIGATE_USER}}:{{FRIGATE_PASSWORD}}@10.0.0.{camera}:554/main\n"
        );
    }
    text.push_str("cameras:\n");
    for camera in 0..10 {
        let _ = write!(
            text,
            "  camera_{camera}:\n    ffmpeg:\n      hwaccel_args: preset-nvidia\n      inputs:\n        \
             - path: rtsp://127.0.0.1:8554/camera_{camera}\n          input_args: preset-rtsp-restream\n          roles:\n            \
             - detect\n            - record\n    detect:\n      <<: *det\n      width: 1280\n      height: 720\n    objects:\n      \
             track:\n        - person\n        - car\n      filters:\n        person:\n          min_area: 5000\n          \
             threshold: 0.7 # measured in winter\n    motion:\n      threshold: 30\n      mask:\n        \
             - 0.1,0.1,0.2,0.1,0.2,0.2\n    zones:\n      drive:\n        coordinates: 0.1,0.1,0.9,0.1,0.9,0.9,0.1,0.9\n        \
             objects:\n          - car\n    review:\n      alerts:\n        required_zones:\n          - drive\n    snapshots:\n      \
             enabled: true\n      required_zones:\n        - drive\n    live:\n      streams:\n        Main: camera_{camera}\n"
        );
    }
    while text.lines().count() < LINES {
        text.push_str("# a line about nothing in particular\n");
    }
    text
}
