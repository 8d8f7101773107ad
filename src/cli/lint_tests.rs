//! The command over real files in a folder of its own.

use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    args: LintArgs,
}

struct Ran {
    code: u8,
    out: String,
    err: String,
}

fn lint(show: Show, stdin: &[u8], args: &[&str]) -> Ran {
    let line = Line::try_parse_from(std::iter::once(&"lint").chain(args)).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = run(&line.args, show, &mut &*stdin, &mut out, &mut err);
    Ran { code, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}

fn json() -> Show {
    Show { json: true, ..Show::default() }
}

const GOOD: &str = "version: \"0.16-0\"
mqtt:
  enabled: false
detect:
  enabled: true
cameras:
  front:
    ffmpeg:
      inputs:
        - path: rtsp://10.0.0.11/main
          roles: [detect, record]
";

#[test]
fn a_clean_file_says_so_and_exits_0() {
    let ran = lint(Show::default(), GOOD.as_bytes(), &["-"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, ""));
    assert_eq!(ran.err, "nothing found in 1 configuration\n");
}

#[test]
fn an_error_is_shown_with_its_line_and_exits_2() {
    let bad = GOOD.replace("front:", "front door:");
    let ran = lint(Show::default(), bad.as_bytes(), &["-"]);
    assert_eq!(ran.code, 2);
    insta::assert_snapshot!(ran.out, @r"
    error[X14]: a camera cannot be called `front door`: only a-z, A-Z, 0-9, `_` and `-`
     --> <stdin>:7:3
      |
    7 |   front door:
      |   ^^^^^
      |
      = note: Frigate refuses the file: names become topics, paths and URLs
      = help: call it `front_door`
    ");
    assert_eq!(ran.err, "1 error in 1 configuration\n");
}

#[test]
fn json_is_one_versioned_object_a_finding_and_nothing_else() {
    let bad = GOOD.replace("front:", "front door:");
    let ran = lint(json(), bad.as_bytes(), &["-"]);
    assert_eq!(ran.code, 2);
    let lines: Vec<serde_json::Value> =
        ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 1);
    let keys: Vec<&str> = lines[0].as_object().unwrap().keys().map(String::as_str).collect();
    let expected = ["v", "code", "severity", "file", "line", "column", "message", "why", "fix"];
    assert_eq!(BTreeSet::from_iter(keys), BTreeSet::from(expected));
    assert_eq!((lines[0]["v"].clone(), lines[0]["code"].clone()), (1.into(), "X14".into()));
    assert_eq!((lines[0]["line"].clone(), lines[0]["column"].clone()), (7.into(), 3.into()));
}

#[test]
fn no_output_shows_a_password() {
    let bad = GOOD.replace("rtsp://10.0.0.11/main", "rtsp://admin:hunter2@10.0.0.11/main");
    for show in [Show::default(), json(), Show { verbose: true, ..Show::default() }] {
        let ran = lint(show, bad.as_bytes(), &["-"]);
        assert_eq!(ran.code, 0, "a warning: {}", ran.out);
        assert!(ran.out.contains("L26"));
        assert!(!ran.out.contains("hunter2") && !ran.err.contains("hunter2"), "{}", ran.out);
    }
}

#[test]
fn fix_shows_a_diff_writes_the_file_and_keeps_comments() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yml");
    let bad = GOOD
        .replace("version: \"0.16-0\"", "# my house\nversion: 0.16   # a number")
        .replace("rtsp://10.0.0.11/main", "rtsp://admin:hunter2@10.0.0.11/main");
    fs::write(&path, &bad).unwrap();
    let ran = lint(Show::default(), b"", &["--fix", path.to_str().unwrap()]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    let diff = "-version: 0.16   # a number\n+version: \"0.16-0\"   # a number\n";
    assert!(ran.err.contains(diff), "{}", ran.err);
    assert!(ran.err.contains("fixed 1 finding (L4)"), "{}", ran.err);
    assert!(!ran.err.contains("hunter2"));
    assert_eq!(fs::read_to_string(&path).unwrap(), bad.replace("0.16   #", "\"0.16-0\"   #"));
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["config.yml"]);
}

#[test]
fn a_fix_of_a_quoted_value_leaves_what_stands_behind_it() {
    let bad = format!(
        "{GOOD}lpr: {{enabled: true, model_size: \"smal\" }} # 'why'\nui:\n  time_format: '24hours'   # ours\n"
    );
    let ran = lint(Show::default(), bad.as_bytes(), &["--fix", "-"]);
    assert_eq!(ran.out, bad.replace("\"smal\"", "small").replace("'24hours'", "24hour"), "{}", ran.err);
}

#[test]
fn fix_of_standard_input_writes_the_fixed_text_to_stdout() {
    let ran = lint(Show::default(), GOOD.replace("\"0.16-0\"", "0.16").as_bytes(), &["--fix", "-"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, GOOD));
}

#[test]
fn a_kustomization_brings_its_files_and_the_deployment_beside_them() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("base")).unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("kustomization.yaml", "resources: [base]\n");
    write(
        "base/kustomization.yaml",
        "resources: [deployment.yaml, gone.yaml]\nconfigMapGenerator:\n  - name: frigate\n    files: [config.yml=frigate.yml]\n",
    );
    write(
        "base/frigate.yml",
        &GOOD.replace("mqtt:\n  enabled: false", "mqtt: {host: b, user: u, password: \"{FRIGATE_P}\"}"),
    );
    write(
        "base/deployment.yaml",
        "apiVersion: apps/v1
kind: Deployment
metadata: {name: frigate}
spec:
  template:
    spec:
      containers:
        - name: frigate
          image: ghcr.io/blakeblackshear/frigate:0.16.2
          volumeMounts:
            - {name: config, mountPath: /config/config.yml, subPath: config.yml}
      volumes:
        - {name: config, configMap: {name: frigate}}
",
    );
    let ran = lint(json(), b"", &[folder.path().to_str().unwrap()]);
    let codes: BTreeSet<String> = ran
        .out
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["code"].as_str().unwrap().to_owned()
        })
        .collect();
    // 64 MiB of shared memory, the subPath, and a variable that the container does not have.
    assert_eq!(codes, BTreeSet::from(["L20".to_owned(), "L22".to_owned(), "L23".to_owned()]), "{}", ran.out);
}

#[test]
fn bad_input_is_said_and_exits_2() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let context = write("context.toml", "phase = \"before\"\n");
    let target = write("target.toml", "target = \"0.99\"\n");
    let service = write("service.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: x}\n");
    for (args, word) in [
        (vec!["/nowhere/config.yml"], "/nowhere/config.yml"),
        (vec!["--context", &context, "-"], "context.toml"),
        (vec!["--context", &target, "-"], "0.99"),
        (vec![&*service], "no Frigate configuration"),
        (vec!["--explain", "Z9"], "Z9"),
    ] {
        let ran = lint(Show::default(), GOOD.as_bytes(), &args);
        assert_eq!(ran.code, 2, "{args:?}");
        assert!(ran.err.starts_with("error: ") && ran.err.contains(word), "{args:?}: {}", ran.err);
    }
    assert!(Line::try_parse_from(["lint"]).is_err());
    assert!(Line::try_parse_from(["lint", "--frigate", "0.13", "x"]).is_err());
}

#[test]
fn verbose_says_what_was_not_judged() {
    let ran = lint(Show { verbose: true, ..Show::default() }, GOOD.as_bytes(), &["-"]);
    assert!(ran.err.contains("L20 not judged: the context does not say `shm_mib`"), "{}", ran.err);
    let quiet = lint(Show::default(), GOOD.as_bytes(), &["-"]);
    assert!(!quiet.err.contains("not judged"));
}

#[test]
fn explain_tells_the_story() {
    let ran = lint(Show::default(), b"", &["--explain", "l1"]);
    assert_eq!(ran.code, 0);
    assert!(ran.out.starts_with("L1 (warning): ") && ran.out.contains("NVDEC"), "{}", ran.out);
    let ran = lint(json(), b"", &["--explain", "L1"]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&ran.out).unwrap()["code"], "L1");
}

#[test]
fn a_huge_a_binary_and_an_explosive_input_end_in_a_clear_error() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for n in 1..12 {
        let list = vec![format!("*a{}", n - 1); 9].join(", ");
        bomb.push_str(&format!("a{n}: &a{n} [{list}]\n"));
    }
    for (bytes, word) in [
        (vec![b'a'; 10 * 1024 * 1024], "more than 1 MiB"),
        (b"\x7fELF\x02\x01\x00\x00".to_vec(), "control character"),
        (bomb.into_bytes(), "YAML bomb"),
    ] {
        let ran = lint(json(), &bytes, &["-"]);
        assert_eq!(ran.code, 2);
        assert!(ran.out.contains(word) && ran.out.contains("X5"), "{}", ran.out);
    }
}
