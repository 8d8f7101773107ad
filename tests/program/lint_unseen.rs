//! One house that is not among the facts, and one mistake at a time: exactly that row must be found.
//!
//! Each case says what is replaced in a clean configuration, what is different in its context, and the rows that follow,
//! as `CODE` or `CODE@LINE` where the place matters.

use std::collections::BTreeSet;

use runner::lint::{Context, Options, Report, Source, check};
use serde_json::{Value, json};

const HOUSE: &str = include_str!("../data/lint/house.yml");

fn context() -> Value {
    json!({
        "target": "v0.16.1-abc", "image": "ghcr.io/blakeblackshear/frigate:0.16.1-tensorrt", "arch": "amd64",
        "gpu": "nvidia", "config_mount": "read-only", "env": ["FRIGATE_CAM_USER", "FRIGATE_CAM_PASSWORD", "FRIGATE_MQTT"],
        "media_gib": 900, "shm_mib": 512, "phase": "alone"
    })
}

fn judge(text: &str, context: Value) -> Report {
    let context: Context = serde_json::from_value(context).expect("a context");
    check(&[Source { name: "house.yml", text: text.as_bytes() }], &Options { target: None, context })
}

fn found(report: &Report) -> BTreeSet<String> {
    report.findings.iter().map(|finding| finding.code.to_owned()).collect()
}

/// Replacements, differences in the context, rows.
type Case = (&'static [(&'static str, &'static str)], &'static str, &'static [&'static str]);

const CASES: &[Case] = &[
    (&[], "{}", &[]),
    // The label.
    (&[("version: 0.16-0", "version: 0.16")], "{}", &["L4@2"]),
    (&[("version: 0.16-0", "version: 16")], r#"{"config_mount": "writable"}"#, &["L4"]),
    (&[("version: 0.16-0", "version: 0.15")], "{}", &["L4"]),
    (&[("version: 0.16-0\n", "")], "{}", &["L5@1"]),
    (&[("version: 0.16-0", "version: ~")], "{}", &["L5@2"]),
    (&[("version: 0.16-0", "version: 0.15-1")], "{}", &[]),
    (
        &[
            ("version: 0.16-0", "version: \"0.16\""),
            ("  alerts:\n    retain:\n      days: 20\n", "  events:\n    retain:\n      default: 20\n"),
        ],
        "{}",
        &["L6@2", "L3@32"],
    ),
    (
        &[("  alerts:\n    retain:\n      days: 20\n", "  events:\n    retain:\n      default: 20\n")],
        "{}",
        &["L3@32"],
    ),
    (
        &[
            ("version: 0.16-0", "version: \"0.14\""),
            ("  alerts:\n    retain:\n      days: 20\n", "  events:\n    retain:\n      default: 20\n"),
        ],
        r#"{"config_mount": "writable"}"#,
        &[],
    ),
    (
        &[
            ("version: 0.16-0", "version: \"0.14\""),
            ("  alerts:\n    retain:\n      days: 20\n", "  events:\n    retain:\n      default: 20\n"),
        ],
        "{}",
        &["L3"],
    ),
    (&[], r#"{"target": "0.17.0"}"#, &["L30@29"]),
    (&[], r#"{"target": "0.17.0", "config_mount": "writable"}"#, &[]),
    // Detection.
    (&[("detect:\n  enabled: true # since 0.16\n", "")], "{}", &["L7@46"]),
    (
        &[("detect:\n  enabled: true # since 0.16\n", ""), ("version: 0.16-0", "version: 0.15-1")],
        r#"{"config_mount": "writable"}"#,
        &[],
    ),
    (
        &[
            ("detect:\n  enabled: true # since 0.16\n", ""),
            ("    detect: {<<: *small, fps: 4}", "    detect: {<<: *small, enabled: true}"),
        ],
        "{}",
        &["L7"],
    ),
    (&[("  enabled: true # since 0.16", "  enabled: no")], "{}", &[]),
    (&[("fps: 4}", "fps: 30}")], "{}", &["L29"]),
    (&[("  threshold: 25\n", "  enabled: false\n")], "{}", &["X13"]),
    // ffmpeg.
    (
        &[("preset-record-generic-audio-copy", "-f segment -segment_time 10 -vcodec libx264 -an")],
        "{}",
        &["L1@25"],
    ),
    (
        &[("preset-record-generic-audio-copy", "[-f, segment, -segment_time, \"10\", \"-c:v\", hevc_qsv]")],
        "{}",
        &["L1"],
    ),
    (&[("preset-record-generic-audio-copy", "-f segment -segment_time 61 -c copy")], "{}", &["X12"]),
    (&[("preset-record-generic-audio-copy", "-f segment -c copy")], "{}", &["X12"]),
    (&[("preset-record-generic-audio-copy", "-f segment -segment_time 60 -c copy")], "{}", &[]),
    (&[("preset-record-generic-audio-copy", "preset-record-generic-audio-acc")], "{}", &["X2"]),
    (&[("hwaccel_args: preset-nvidia", "hwaccel_args: preset-intel-qsv-h264")], "{}", &["L14@23"]),
    (
        &[(
            "hwaccel_args: preset-nvidia",
            "hwaccel_args: -hwaccel vaapi -hwaccel_device /dev/dri/renderD128",
        )],
        "{}",
        &["L14"],
    ),
    (&[], r#"{"gpu": "intel"}"#, &["L14"]),
    (
        &[("hwaccel_args: preset-nvidia", "hwaccel_args: preset-vaapi")],
        r#"{"gpu": "amd", "image": "frigate:0.16.1-rocm"}"#,
        &[],
    ),
    // go2rtc.
    (&[("#video=h264#hardware", "#video=h265")], "{}", &["L15"]),
    (&[("#video=h264#hardware", "#video=copy")], "{}", &[]),
    (&[("#video=h264#hardware", "#video=h264#hardware=cuda")], "{}", &[]),
    (&[("8554/yard_sub", "8554/yard_sup")], "{}", &["L16"]),
    (&[("8554/yard_sub", "8554/yard_sub?video&audio")], "{}", &[]),
    (&[("127.0.0.1:8554/shed", "localhost:8554/shad")], "{}", &["L16"]),
    (&[("        Big: yard\n", "        Big: yrd\n")], "{}", &["L17"]),
    // MQTT.
    (&[], r#"{"phase": "parallel", "old_client_id": "nvr-new", "old_topic_prefix": "frigate"}"#, &["L8@7"]),
    (&[], r#"{"phase": "parallel", "old_client_id": "frigate", "old_topic_prefix": "nvr/new"}"#, &["L9@8"]),
    (
        &[("  topic_prefix: nvr/new\n", "")],
        r#"{"phase": "parallel", "old_client_id": "frigate", "old_topic_prefix": "frigate"}"#,
        &["L9@3"],
    ),
    (&[], r#"{"phase": "parallel", "old_client_id": "frigate", "old_topic_prefix": "frigate"}"#, &[]),
    (&[], r#"{"phase": "cutover", "old_client_id": "nvr-new", "old_topic_prefix": "nvr"}"#, &["L10@8"]),
    (&[], r#"{"phase": "cutover", "old_client_id": "nvr", "old_topic_prefix": "nvr/new"}"#, &["L25@7"]),
    (
        &[("  client_id: nvr-new\n", "")],
        r#"{"phase": "cutover", "old_client_id": "nvr", "old_topic_prefix": "nvr/new"}"#,
        &["L25"],
    ),
    (
        &[("  host: broker.lan", "  enabled: false")],
        r#"{"phase": "parallel", "old_client_id": "nvr-new", "old_topic_prefix": "nvr/new"}"#,
        &[],
    ),
    (&[("  user: nvr\n", "")], "{}", &["X8@5"]),
    (&[("  password: \"{FRIGATE_MQTT}\"\n", "")], "{}", &["X8@5"]),
    (&[("  password: \"{FRIGATE_MQTT}\"", "  passwrd: \"{FRIGATE_MQTT}\"")], "{}", &["X1@6"]),
    (&[("  host: broker.lan\n", "")], "{}", &["X9"]),
    // Recognition and detectors.
    (&[], r#"{"image": "ghcr.io/blakeblackshear/frigate:0.16.1"}"#, &["L11"]),
    (
        &[("model_size: large", "model_size: small")],
        r#"{"image": "ghcr.io/blakeblackshear/frigate:0.16.1"}"#,
        &[],
    ),
    (&[("face_recognition:\n  enabled: true\n", "face_recognition:\n  enabled: false\n")], "{}", &["L12"]),
    (&[("lpr: {enabled: true, model_size: small}\n", "")], "{}", &["L12"]),
    (&[("model_size: large", "model_size: lagre")], "{}", &["L13"]),
    (&[("model_size: small}", "model_size: Small}")], "{}", &["L13"]),
    (&[("type: onnx", "type: tensorrt")], "{}", &["L2"]),
    (&[("type: onnx", "type: tensorrt")], r#"{"arch": "arm64"}"#, &[]),
    (&[("  path: /config/model_cache/yolo.onnx\n", "")], "{}", &["X16"]),
    (&[("type: onnx", "type: onxx")], "{}", &["X2"]),
    (&[("type: onnx", "type: openvino")], "{}", &[]),
    // Roles.
    (&[("- roles: [record, audio]", "- roles: [audio]")], "{}", &["L18"]),
    (&[("- roles: [record, audio]", "- roles: [record]")], "{}", &["X10"]),
    (&[("- roles: [record, audio]", "- roles: [recrod, audio]")], "{}", &["X3"]),
    (&[("- roles: [record, audio]", "- roles: [record, audio, detect]")], "{}", &["X3"]),
    (&[("- roles: [detect]", "- roles: []")], "{}", &["X3"]),
    (&[("- roles: [detect]", "- role: [detect]")], "{}", &["X1"]),
    (&[("- roles: [record, audio]", "- roles: record")], "{}", &["X2"]),
    (&[("roles: [detect, record]", "roles: [detect, recording]")], "{}", &["X3"]),
    (&[("roles: [detect, record]", "roles: [detect]")], "{}", &["L18"]),
    // Names.
    (&[("objects: [car]", "objects: [car, horse]")], "{}", &["L21"]),
    (&[("objects: [car]", "objects: cat")], "{}", &["L21"]),
    (&[("      drive:\n", "      shed:\n"), ("[drive]", "[shed]")], "{}", &["L21"]),
    (&[("required_zones: [drive]", "required_zones: [driveway]")], "{}", &["L21"]),
    (&[("required_zones: [drive] # review", "required_zones: drive,gate # review")], "{}", &["L21"]),
    (&[("        required_zones: [drive] # ptz\n", "")], "{}", &["X11"]),
    (&[("track: [person, car, dog]", "track: [person, car, dog, robot]")], "{}", &["L28@41"]),
    (&[("track: [person, car, dog]", "trak: [person, car, dog]")], "{}", &["X1"]),
    (&[("  shed:\n    ffmpeg", "  shéd:\n    ffmpeg")], "{}", &["X14"]),
    (&[("  shed:\n    ffmpeg", "  garden.shed:\n    ffmpeg")], "{}", &["X14"]),
    (&[("  shed:\n    ffmpeg", "  1:\n    ffmpeg")], "{}", &["X2"]),
    // Coordinates.
    (&[("0.2,0.3,0.9,0.3,0.9,0.95", "0.2,0.3,0.9,0.3,0.9")], "{}", &["X4"]),
    (&[("0.2,0.3,0.9,0.3,0.9,0.95", "0.2,0.3,1.9,0.3,0.9,0.95")], "{}", &["X4"]),
    (&[("0.2,0.3,0.9,0.3,0.9,0.95", "0.2,0.3,0.9,O.3,0.9,0.95")], "{}", &["X4"]),
    (&[("0.2,0.3,0.9,0.3,0.9,0.95", "100,100,2000,100,300,300")], "{}", &["X4"]),
    (&[("0,0,0.3,0,0.3,0.1,0,0.1", "0,0,0.3,0,0.3,0.1,0")], "{}", &["X4"]),
    // Space.
    (&[("    days: 6\n", "    days: 600\n")], "{}", &["L19@30"]),
    (&[], r#"{"media_gib": 10}"#, &["L19"]),
    (&[], r#"{"shm_mib": 64}"#, &["L20"]),
    // Secrets.
    (&[("{FRIGATE_CAM_USER}:{FRIGATE_CAM_PASSWORD}@10.1.0.2", "admin:s3cret@10.1.0.2")], "{}", &["L26"]),
    (&[("password: \"{FRIGATE_MQTT}\"", "password: s3cret")], "{}", &["L26@6"]),
    (&[("http://10.1.0.3/mjpg", "http://10.1.0.3/mjpg?user=a&pwd=b")], "{}", &["L26"]),
    (&[("password: \"{FRIGATE_CAM_PASSWORD}\" # ptz", "password: s3cret # ptz")], "{}", &["L26"]),
    (&[("\"{FRIGATE_MQTT}\"", "\"{FRIGATE_MQTT_PASSWORD}\"")], "{}", &["L22@6"]),
    (
        &[(
            "{FRIGATE_CAM_USER}:{FRIGATE_CAM_PASSWORD}@10.1.0.2",
            "{FRIGATE_CAM_USER}:{FRIGATE_CAM_PASS}@10.1.0.2",
        )],
        "{}",
        &["L22"],
    ),
    (&[("\"{FRIGATE_MQTT}\"", "\"{MQTT}\"")], "{}", &["L22"]),
    (&[("user: nvr", "user: \"n{vr\"")], "{}", &["L22@5"]),
    // Keys, types, structure.
    (&[("  client_id:", "  clientId:")], "{}", &["X1@7"]),
    (&[("retain:\n    days: 6", "retian:\n    days: 6")], "{}", &["X1"]),
    (
        &[("      drive:\n        coordinates:", "      drive:\n        inertai: 3\n        coordinates:")],
        "{}",
        &["X1"],
    ),
    (&[("telemetry: {version_check: true}", "telemetry: {version_check: false}")], "{}", &["L27"]),
    (&[("telemetry: {version_check: true}", "telemetry: {versioncheck: true}")], "{}", &["X1"]),
    (&[("telemetry: {version_check: true}", "telemetry:")], "{}", &["X2"]),
    (&[("telemetry: {version_check: true}", "telemetry: {version_check: maybe}")], "{}", &["X2"]),
    (&[("  quality: 80", "  quality: 800")], "{}", &["X2"]),
    (&[("  quality: 80", "  quality: high")], "{}", &["X2"]),
    (&[("mode: motion # record", "mode: moton # record")], "{}", &["X2"]),
    (&[("  port: 1883", "  port: [1883]")], "{}", &["X2"]),
    (&[("  port: 1883", "  port: \"1883\"")], "{}", &[]),
    (&[("threshold: 25", "threshold: 12:30")], "{}", &["X2"]),
    (&[("  client_id: nvr-new", "  client_id: 2025-01-01")], "{}", &["X2"]),
    (&[("  client_id: nvr-new", "  client_id: no")], "{}", &[]),
    (
        &[(
            "        - path: rtsp://127.0.0.1:8554/shed\n          roles: [detect, record]\n",
            "        - roles: [detect, record]\n",
        )],
        "{}",
        &["X9"],
    ),
    (&[("snapshots:\n", "snapshots:\n\tenabled: true\n")], "{}", &["X5"]),
    (&[("snapshots:\n", "snapshots: [\n")], "{}", &["X5"]),
    (
        &[("telemetry: {version_check: true}", "telemetry: {version_check: true}\ntelemetry: {}")],
        "{}",
        &["X6"],
    ),
    (&[("<<: *small", "<<: *smal")], "{}", &["X7"]),
    (&[("# the yard", "# the yard\n---")], "{}", &["X5"]),
];

#[test]
fn one_mistake_at_a_time_is_exactly_one_row() {
    let mut wrong = Vec::new();
    for (replacements, differs, rows) in CASES {
        let mut text = HOUSE.to_owned();
        for (from, to) in *replacements {
            assert!(text.contains(from), "{from:?} stands in the house");
            text = text.replacen(from, to, 1);
        }
        let mut context = context();
        let differs: Value = serde_json::from_str(differs).expect("a difference");
        for (key, value) in differs.as_object().expect("an object") {
            context[key] = value.clone();
        }
        let report = judge(&text, context);
        let expected: BTreeSet<String> =
            rows.iter().map(|row| row.split('@').next().unwrap_or(row).to_owned()).collect();
        let misplaced = rows.iter().filter_map(|row| row.split_once('@')).any(|(code, line)| {
            !report.findings.iter().any(|finding| finding.code == code && finding.line.to_string() == line)
        });
        if found(&report) != expected || misplaced {
            let shown: Vec<String> = report
                .findings
                .iter()
                .map(|f| format!("{} {}:{} {}", f.code, f.line, f.column, f.message))
                .collect();
            wrong.push(format!("{replacements:?} {differs}: want {rows:?}\n  {}", shown.join("\n  ")));
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases\n{}", wrong.len(), CASES.len(), wrong.join("\n"));
}

#[test]
fn places_point_through_anchors_and_merge_keys() {
    let text = HOUSE.replace("width: 704", "width: wide");
    let report = judge(&text, context());
    let lines: Vec<(u32, u32)> = report.findings.iter().map(|f| (f.line, f.column)).collect();
    // The value stands once, behind the anchor, and is used twice through merges.
    let line = text.lines().position(|line| line.contains("wide")).expect("the line") as u32 + 1;
    assert_eq!(lines, [(line, 28)], "{:#?}", report.findings);
}

#[test]
fn frigate_014_reads_yaml_1_1() {
    let options = Options { target: Some("0.14.1".parse().expect("a version")), context: Context::default() };
    let base = "version: 0.14\nmqtt: {host: b, client_id: CLIENT}\ncameras:\n  c:\n    ffmpeg:\n      inputs: [{path: rtsp://h/x, roles: [detect]}]\n";
    for (client, errors) in [("no", true), ("\"no\"", false), ("12:30", true), ("x", false), ("y", false)] {
        let text = base.replace("CLIENT", client);
        let report = check(&[Source { name: "a", text: text.as_bytes() }], &options);
        assert_eq!(report.has_errors(), errors, "{client}: {:#?}", report.findings);
    }
    let merged = base
        .replace("cameras:", "x-y: &y {a: 1}\ncameras:")
        .replace("    ffmpeg:", "    <<: *y\n    ffmpeg:");
    let report = check(&[Source { name: "a", text: merged.as_bytes() }], &options);
    assert_eq!(found(&report), BTreeSet::from(["X5".to_owned()]));
}

#[test]
fn line_ends_and_a_byte_order_mark_change_nothing() {
    for text in [HOUSE.replace('\n', "\r\n"), format!("\u{feff}{HOUSE}"), HOUSE.trim_end().to_owned()] {
        let report = judge(&text, context());
        assert!(report.findings.is_empty(), "{:#?}", report.findings);
    }
    let bad = HOUSE.replace("client_id", "clientid").replace('\n', "\r\n");
    let report = judge(&bad, context());
    assert_eq!(report.findings.iter().map(|f| (f.line, f.column)).collect::<Vec<_>>(), [(7, 3)]);
}

#[test]
fn tabs_are_refused_where_frigates_readers_refuse_them() {
    for (from, to) in [
        ("  host: broker.lan", "  host: broker.lan\t"),
        ("detectors: {gpu: {type: onnx}}", "detectors: {gpu: {type: onnx}}\t"),
        ("  host: broker.lan", "  host:\tbroker.lan"),
        ("  user: nvr", "  user: \"nvr\"\t# x"),
    ] {
        let report = judge(&HOUSE.replace(from, to), context());
        assert_eq!(found(&report), BTreeSet::from(["X5".to_owned()]), "{to:?}");
    }
    let inside = HOUSE.replace("detectors: {gpu: {type: onnx}}", "detectors: {gpu:\t{type: onnx}} # a\ttab");
    assert!(judge(&inside, context()).findings.is_empty());
    let glued = HOUSE.replace("\"{FRIGATE_MQTT}\"", "\"{FRIGATE_MQTT}\"# glued");
    assert!(judge(&glued, context()).findings.is_empty(), "{:#?}", judge(&glued, context()).findings);
}
