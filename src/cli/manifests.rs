//! Kubernetes manifests as they lie on the disk: a file, a folder, or a kustomization, as one text to be recorded.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::source::{bounded, why_not};
use crate::plan::{self, manifests};
use crate::transport::spawn_alone;

/// How long a kustomization may take to be built: it may fetch parts of it from elsewhere.
const BUILD_MAX: Duration = Duration::from_secs(60);

/// What makes a folder a kustomization.
const KUSTOMIZATIONS: &[&str] = &["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// Everything that a path names, as one text.
///
/// # Errors
/// In words: what cannot be read or built.
pub(super) fn gather(path: &Path) -> Result<Vec<u8>, String> {
    let found = std::fs::metadata(path).map_err(|error| why_not(&error))?;
    if !found.is_dir() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let content = bounded(path, plan::FILE_MAX + 1).map_err(|error| why_not(&error))?;
        return Ok(manifests::joined(&[(name, content)]));
    }
    if KUSTOMIZATIONS.iter().any(|name| path.join(name).is_file()) {
        return built(path);
    }
    let mut names: Vec<String> = std::fs::read_dir(path)
        .map_err(|error| why_not(&error))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| {
            !name.starts_with('.') && [".yaml", ".yml", ".json"].iter().any(|end| name.ends_with(end))
        })
        .collect();
    names.sort();
    if names.is_empty() {
        return Err("there is no `.yaml`, `.yml` or `.json` file in it".to_owned());
    }
    let mut left = plan::FILE_MAX;
    let mut files = Vec::with_capacity(names.len());
    for name in names {
        let content =
            bounded(&path.join(&name), left + 1).map_err(|error| format!("`{name}`: {}", why_not(&error)))?;
        left = left
            .checked_sub(content.len())
            .ok_or_else(|| format!("its files have more than {} bytes together", plan::FILE_MAX))?;
        files.push((name, content));
    }
    Ok(manifests::joined(&files))
}

/// What `kubectl kustomize` makes of a folder.
fn built(path: &Path) -> Result<Vec<u8>, String> {
    let mut command = Command::new("kubectl");
    command.arg("kustomize").arg(path).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = spawn_alone(|| command.spawn()).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            "it is a kustomization, and `kubectl`, which builds it, is not in PATH: install it".to_owned()
        }
        _ => format!("it is a kustomization, and `kubectl` cannot be run: {error}"),
    })?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let (sender, receiver) = mpsc::channel();
    let said = sender.clone();
    std::thread::spawn(move || drop(sender.send((true, whole(out)))));
    std::thread::spawn(move || drop(said.send((false, whole(err)))));
    let (mut text, mut words) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        match receiver.recv_timeout(BUILD_MAX) {
            Ok((true, bytes)) => text = bytes,
            Ok((false, bytes)) => words = bytes,
            Err(_) => {
                // Nothing that could be done about a child that cannot be ended.
                drop(child.kill());
                drop(child.wait());
                return Err(format!("`kubectl kustomize` did not end within {} s", BUILD_MAX.as_secs()));
            }
        }
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    if !status.success() {
        let words = String::from_utf8_lossy(&words).split_whitespace().collect::<Vec<_>>().join(" ");
        return Err(format!("`kubectl kustomize` fails: {words}"));
    }
    Ok(manifests::joined(&[("kustomization".to_owned(), text)]))
}

fn whole(pipe: Option<impl Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        // What breaks off is shorter, and the exit status says why.
        drop(pipe.take(plan::FILE_MAX as u64 + 1).read_to_end(&mut bytes));
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_its_files_in_order_and_a_file_itself() {
        let folder = tempfile::tempdir().unwrap();
        assert!(gather(folder.path()).unwrap_err().contains("no `.yaml`"));
        for name in ["b.yaml", "a.yml", "c.json", "README.md", ".hidden.yaml"] {
            std::fs::write(folder.path().join(name), "x: 1").unwrap();
        }
        let text = String::from_utf8(gather(folder.path()).unwrap()).unwrap();
        assert_eq!(
            text,
            "---\n# Source: a.yml\nx: 1\n---\n# Source: b.yaml\nx: 1\n---\n# Source: c.json\nx: 1\n"
        );
        let text = gather(&folder.path().join("b.yaml")).unwrap();
        assert_eq!(text, b"---\n# Source: b.yaml\nx: 1\n");
        assert!(gather(&folder.path().join("none")).unwrap_err().contains("does not exist"));
    }
}
