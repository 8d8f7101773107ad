//! Where a program lies that is named without a path.
//!
//! libc looks for it in the child, by trying to execute it in one folder of `PATH` after the other, while we wait. Looked
//! up here, a child of ours executes once; and one with a `PATH` of its own need not be forked, which std does to look in
//! that one.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD};

/// The file that execvp(3) tries first and that can be executed as far as its mode says. Nothing when there is none, and
/// when it has to be looked for from where the child is: then libc does it. It may be gone when it is started, or need an
/// interpreter that is missing, in which case libc would go on looking; whoever gets an error leaves it to libc, too.
pub(super) fn found(program: &str, path: &OsStr) -> Option<PathBuf> {
    if program.is_empty() || program.contains('/') || program.contains('\0') {
        return None;
    }
    for folder in path.as_bytes().split(|&byte| byte == b':') {
        let folder = Path::new(OsStr::from_bytes(folder));
        if !folder.is_absolute() {
            return None;
        }
        let file = folder.join(program);
        if rustix::fs::accessat(CWD, &file, Access::EXEC_OK, AtFlags::EACCESS).is_ok() && file.is_file() {
            return Some(file);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_first_that_can_be_executed_is_found() {
        let root = tempfile::tempdir().unwrap();
        let file = |name: &str, mode: u32| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        file("plain/tool", 0o644);
        fs::create_dir_all(root.path().join("folder/tool")).unwrap();
        let first = file("first/tool", 0o755);
        file("second/tool", 0o755);
        let path = |names: &[&str]| {
            names
                .iter()
                .map(|name| root.path().join(name).display().to_string())
                .collect::<Vec<_>>()
                .join(":")
        };
        let all = path(&["none", "plain", "folder", "first", "second"]);
        assert_eq!(found("tool", OsStr::new(&all)), Some(first));
        assert_eq!(found("other", OsStr::new(&all)), None);
        // What is looked for from the child's folder is left to libc, and so is what comes after it.
        for path in [format!("bin:{all}"), format!(":{all}"), String::new()] {
            assert_eq!(found("tool", OsStr::new(&path)), None, "{path}");
        }
        for program in ["", "./tool", "/bin/tool", "to\0ol"] {
            assert_eq!(found(program, OsStr::new(&all)), None, "{program}");
        }
    }
}
