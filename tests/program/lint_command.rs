//! `runner lint` through the binary: streams, exit codes, standard input, fixes.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

const NVENC: &str = "mqtt:\n  enabled: false\nffmpeg:\n  output_args:\n    record: -f segment -segment_time 10 -segment_format mp4 -reset_timestamps 1 -strftime 1 -c:v h264_nvenc -c:a aac # mine\ncameras:\n  door:\n    ffmpeg:\n      inputs:\n        - path: rtsp://admin:hunter2@192.168.1.20/stream\n          roles: [detect, record]\n    detect:\n      enabled: true\nversion: \"0.16-0\"\n";

struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

fn lint(words: &[&str], stdin: &[u8], folder: &Path) -> Said {
    let mut child = Command::new(env!("CARGO_BIN_EXE_runner"))
        .args(words)
        .current_dir(folder)
        .env("NO_COLOR", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdin.take().unwrap().write_all(stdin));
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

#[test]
fn a_finding_says_what_where_why_and_what_to_do_and_never_the_password() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.yml"), NVENC).unwrap();
    let said = lint(&["lint", "config.yml"], b"", folder.path());
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    for words in ["[L1]", "config.yml:5:13", "h264_nvenc", "help: "] {
        assert!(said.out.contains(words), "no `{words}`:\n{}", said.out);
    }
    assert!(!said.out.contains("hunter2") && !said.err.contains("hunter2"));
}

#[test]
fn programs_get_one_object_a_finding_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let broken = NVENC.replace("mqtt:\n  enabled: false\n", "mqtt:\n  clientid: x\n");
    let said = lint(&["--json", "lint", "-"], broken.as_bytes(), folder.path());
    assert_eq!(said.code, Some(2), "{}{}", said.out, said.err);
    assert!(!said.out.is_empty());
    for line in said.out.lines() {
        let finding: serde_json::Value = serde_json::from_str(line).unwrap();
        for key in ["v", "code", "severity", "file", "line", "column", "message", "why", "fix"] {
            assert!(finding.get(key).is_some(), "no `{key}` in {line}");
        }
    }
}

#[test]
fn a_fix_is_shown_then_made_and_keeps_comments() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yml");
    fs::write(&file, NVENC.replace("version: \"0.16-0\"", "version: 0.16 # mine too")).unwrap();
    let said = lint(&["lint", "--fix", "config.yml"], b"", folder.path());
    let fixed = fs::read_to_string(&file).unwrap();
    assert_eq!(fixed, NVENC.replace("\"0.16-0\"", "\"0.16-0\" # mine too"), "only that one place changes");
    assert!(said.err.contains("-version: 0.16 # mine too"), "{}{}", said.out, said.err);
    assert!(!said.out.contains("hunter2") && !said.err.contains("hunter2"));
    assert_eq!(said.code, Some(0), "what is left are warnings: {}{}", said.out, said.err);
}

#[test]
fn what_cannot_be_read_is_named_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("empty")).unwrap();
    for (words, expected) in [
        (&["lint", "none.yml"][..], "there is no file `none.yml`"),
        (&["lint", "empty"], "is a folder"),
        (&["lint", "--context", "none.toml", "none.yml"], "there is no context `none.toml`"),
        (&["lint", "--frigate", "9", "none.yml"], "0.14, 0.15, 0.16 and 0.17"),
        (&["lint", "--explain", "Z1"], "no rule `Z1`"),
        (&["lint"], "FILE"),
    ] {
        let said = lint(words, b"", folder.path());
        assert_eq!(said.code, Some(2), "{words:?}: {}{}", said.out, said.err);
        assert!(said.err.contains(expected), "{words:?}: {}", said.err);
        assert!(!said.err.contains("os error"), "{words:?}: {}", said.err);
    }
}

#[test]
fn the_story_behind_the_owners_mistake_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let said = lint(&["lint", "--explain", "L1"], b"", folder.path());
    assert_eq!(said.code, Some(0));
    for words in ["NVDEC", "NVENC", "copied"] {
        assert!(said.out.contains(words), "no `{words}`:\n{}", said.out);
    }
}

#[test]
fn a_closed_pipe_is_a_quiet_end() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.yml"), NVENC).unwrap();
    let line = format!("{} lint config.yml | head -c 1", env!("CARGO_BIN_EXE_runner"));
    let output = Command::new("sh").args(["-c", &line]).current_dir(folder.path()).output().unwrap();
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"));
}
