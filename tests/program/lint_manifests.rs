//! Configurations inside ConfigMaps: their places in the file, and the context from the Deployment beside them.

use std::collections::BTreeSet;

use runner::lint::{Context, Options, Report, Source, check, fix, references};

const MANIFEST: &str = r#"# everything in one file
apiVersion: v1
kind: ConfigMap
metadata:
  name: frigate-config
data:
  note.txt: hello
  config.yml: |
    version: 0.16
    mqtt:
      host: broker
      user: frigate
      password: "{FRIGATE_MQTT_PASSWORD}"
    detect: {enabled: true, width: 1280, height: 720}
    detectors:
      trt: {type: tensorrt}
    ffmpeg: {hwaccel_args: preset-vaapi}
    record:
      enabled: true
      retain: {days: 400}
    face_recognition: {enabled: true, model_size: large}
    cameras:
      front:
        ffmpeg:
          inputs:
            - path: rtsp://{FRIGATE_CAM}@10.0.0.1/x
              roles: [detect, record]
---
apiVersion: v1
kind: Secret
metadata: {name: frigate}
stringData: {FRIGATE_MQTT_PASSWORD: x}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: media}
spec: {resources: {requests: {storage: 200Gi}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: frigate}
spec:
  replicas: 1
  template:
    spec:
      runtimeClassName: nvidia
      nodeSelector: {kubernetes.io/arch: amd64}
      containers:
        - name: frigate
          image: ghcr.io/blakeblackshear/frigate:0.16.2
          envFrom:
            - secretRef: {name: frigate}
          resources: {limits: {nvidia.com/gpu: "1"}}
          volumeMounts:
            - {name: config, mountPath: /config/config.yml, subPath: config.yml}
            - {name: media, mountPath: /media/frigate}
      volumes:
        - {name: config, configMap: {name: frigate-config}}
        - {name: media, persistentVolumeClaim: {claimName: media}}
"#;

fn judge(text: &str) -> Report {
    check(&[Source { name: "all.yaml", text: text.as_bytes() }], &Options::default())
}

fn rows(report: &Report) -> BTreeSet<String> {
    report.findings.iter().map(|f| format!("{}@{}:{}", f.code, f.line, f.column)).collect()
}

fn codes(report: &Report) -> BTreeSet<&str> {
    report.findings.iter().map(|f| f.code).collect()
}

#[test]
fn the_deployment_is_the_context_and_places_are_those_of_the_manifest() {
    let report = judge(MANIFEST);
    let expected =
        ["L11@21:33", "L14@17:28", "L19@20:22", "L2@16:19", "L20@14:36", "L22@26:21", "L23@55:15", "L4@9:14"];
    assert_eq!(rows(&report), expected.map(str::to_owned).into(), "{:#?}", report.findings);
    assert_eq!(report.configurations, 1);
}

#[test]
fn what_is_mended_in_the_deployment_is_no_longer_found() {
    let mended = MANIFEST
        .replace("0.16.2\n", "0.16.2-tensorrt\n")
        .replace(
            "            - {name: media, m",
            "            - {name: shm, mountPath: /dev/shm}\n            - {name: media, m",
        )
        .replace(
            "      volumes:\n",
            "      volumes:\n        - {name: shm, emptyDir: {medium: Memory, sizeLimit: 512Mi}}\n",
        )
        .replace("200Gi", "8Ti")
        .replace("{FRIGATE_MQTT_PASSWORD: x}", "{FRIGATE_MQTT_PASSWORD: x, FRIGATE_CAM: y}");
    assert_eq!(codes(&judge(&mended)), BTreeSet::from(["L14", "L2", "L23", "L4"]));
    let older = mended.replace("0.16.2-tensorrt", "0.15.2-tensorrt");
    assert!(codes(&judge(&older)).contains("X1"), "0.15 does not know face_recognition");
    // A ConfigMap that an init container copies: the file is writable, and the migrator repairs the label.
    let copied = mended
        .replace(
            "{name: config, mountPath: /config/config.yml, subPath: config.yml}",
            "{name: own, mountPath: /config}",
        )
        .replace(
            "        - {name: media, p",
            "        - {name: own, persistentVolumeClaim: {claimName: own}}\n        - {name: media, p",
        );
    let report = judge(&copied);
    assert!(!codes(&report).contains("L23"));
    assert!(
        !report.has_errors()
            || report.findings.iter().all(|f| f.code != "L4" || f.severity.word() == "warning")
    );
}

#[test]
fn an_unknown_secret_leaves_variables_unjudged_and_says_so() {
    let report = judge(&MANIFEST.replace("kind: Secret", "kind: Secrets"));
    assert!(!codes(&report).contains("L22"));
    assert!(report.not_judged.iter().any(|n| n.code == "L22" && n.needs == "env"));
}

#[test]
fn what_the_caller_says_wins_over_the_deployment() {
    let context = Context::parse("gpu = \"intel\"\nshm_mib = 1024\nmedia_gib = 9000\n").expect("a context");
    let options = Options { target: Some("0.15".parse().expect("a version")), context };
    let report = check(&[Source { name: "all.yaml", text: MANIFEST.as_bytes() }], &options);
    let codes = codes(&report);
    assert!(!codes.contains("L14") && !codes.contains("L20") && !codes.contains("L19"), "{codes:?}");
    assert!(codes.contains("X1"), "0.15 does not know face_recognition");
}

#[test]
fn two_instances_over_the_same_recordings() {
    let second = MANIFEST
        .split("---\n")
        .last()
        .expect("the deployment")
        .replace("metadata: {name: frigate}", "metadata: {name: frigate-new}");
    assert!(codes(&judge(&format!("{MANIFEST}---\n{second}"))).contains("L24"));
    assert!(
        !codes(&judge(&format!("{MANIFEST}---\n{}", second.replace("claimName: media", "claimName: other"))))
            .contains("L24")
    );
    assert!(codes(&judge(&MANIFEST.replace("replicas: 1", "replicas: 2"))).contains("L24"));
}

#[test]
fn a_fix_inside_a_config_map_keeps_the_rest_of_the_file() {
    let sources = [Source { name: "all.yaml", text: MANIFEST.as_bytes() }];
    let fixed = fix(&sources, "all.yaml", &Options::default());
    assert_eq!(fixed.applied.iter().map(|f| f.code).collect::<Vec<_>>(), ["L4"]);
    assert_eq!(fixed.text, MANIFEST.replace("    version: 0.16\n", "    version: \"0.16-0\"\n"));
}

#[test]
fn a_quoted_configuration_points_at_the_value_that_holds_it() {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: f}\ndata:\n  config.yml: \"mqtt: {enabled: false}\\ncameras: {}\\nbogus: 1\\n\"\n";
    let report = judge(text);
    let bogus = report.findings.iter().find(|f| f.code == "X1").expect("a finding");
    assert_eq!((bogus.line, bogus.column), (5, 15));
    assert!(bogus.message.starts_with("line 3: "), "{}", bogus.message);
}

#[test]
fn a_list_and_other_objects_are_read_or_left_alone() {
    let list = "apiVersion: v1\nkind: List\nitems:\n  - apiVersion: v1\n    kind: ConfigMap\n    metadata: {name: f}\n    data:\n      frigate.yaml: |\n        mqtt: {enabled: false}\n";
    assert!(codes(&judge(list)).contains("X9"), "cameras are missing");
    let other = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: f}\ndata:\n  nginx.yml: |\n    a: 1\n";
    let report = judge(other);
    assert_eq!((report.findings.len(), report.configurations), (0, 0));
}

#[test]
fn a_kustomization_names_its_files() {
    let text = "resources:\n  - deployment.yaml\n  - https://example.com/x\nconfigMapGenerator:\n  - name: frigate\n    files: [config.yml=conf/frigate.yml, other.txt]\n";
    let named = references(&Source { name: "k8s/kustomization.yaml", text: text.as_bytes() });
    assert_eq!(named, ["deployment.yaml", "conf/frigate.yml", "other.txt"]);
    assert!(references(&Source { name: "k8s/frigate.yml", text: text.as_bytes() }).is_empty());
}
