//! Writes the tools' stand-ins: small executables that call this binary.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{FOLDER, Place};

/// The tools of a node.
const TOOLS: &[&str] = &["hostname", "pct", "pvesh", "pvesm", "qm", "vzdump"];

impl Place {
    /// Writes the node's tools into its folder `bin`, to be put first on a `PATH`; `runner` is the binary that they call.
    ///
    /// # Errors
    /// That of the system, when one cannot be written.
    pub fn install(&self, runner: &Path) -> io::Result<PathBuf> {
        let bin = self.folder().join("bin");
        for tool in TOOLS {
            self.write(&bin, runner, tool)?;
        }
        Ok(bin)
    }

    /// Writes what a guest has beside the usual programs into its folder `bin`: `ha` and `docker`.
    ///
    /// # Errors
    /// That of the system, when it cannot be written.
    pub fn install_guest(&self, vmid: u32, runner: &Path) -> io::Result<PathBuf> {
        let bin = self.guest(vmid).join("bin");
        fs::create_dir_all(self.guest(vmid).join("root"))?;
        self.write(&bin, runner, "ha")?;
        self.write(&bin, runner, "docker")?;
        Ok(bin)
    }

    fn write(&self, bin: &Path, runner: &Path, tool: &str) -> io::Result<()> {
        fs::create_dir_all(bin)?;
        let quote = |path: &Path| format!("'{}'", path.display().to_string().replace('\'', "'\\''"));
        let (folder, runner) = (quote(self.folder()), quote(runner));
        let text = format!("#!/bin/sh\n{FOLDER}={folder} exec {runner} lab-tool {tool} \"$@\"\n");
        let path = bin.join(tool);
        fs::write(&path, text)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))
    }
}
