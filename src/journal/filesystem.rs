//! What the file system below a state folder can be trusted with.

use std::path::{Path, PathBuf};

use super::error::JournalError;

/// Something about the state folder that a person should know. The journal works all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    /// The folder is in memory: everything is gone when the machine stops.
    #[error("the state folder `{}` is on `{name}`, in memory: a reboot loses every run", folder.display())]
    Volatile {
        /// The state folder.
        folder: PathBuf,
        /// The file system's name.
        name: &'static str,
    },
    /// The folder is on another machine: locks and syncs are only as good as its server.
    #[error(
        "the state folder `{}` is on `{name}`, a network or shared file system: locks and syncs may not hold there",
        folder.display()
    )]
    Remote {
        /// The state folder.
        folder: PathBuf,
        /// The file system's name.
        name: &'static str,
    },
}

/// Looks at the file system of a folder.
///
/// Numbers: statfs(2) and Linux `include/uapi/linux/magic.h`; SMB's in `fs/smb`, vboxsf's in `fs/vboxsf`.
pub fn warnings(folder: &Path) -> Result<Vec<Warning>, JournalError> {
    let found = rustix::fs::statfs(folder)
        .map_err(|e| JournalError::io("look at the file system of", folder, e.into()))?;
    Ok(warning(folder, found.f_type as u32).into_iter().collect())
}

fn warning(folder: &Path, magic: u32) -> Option<Warning> {
    let folder = folder.to_owned();
    let remote = |name| Some(Warning::Remote { folder: folder.clone(), name });
    match magic {
        0x0102_1994 => Some(Warning::Volatile { folder, name: "tmpfs" }),
        0x8584_58f6 => Some(Warning::Volatile { folder, name: "ramfs" }),
        0x0000_6969 => remote("nfs"),
        0xff53_4d42 => remote("cifs"),
        0xfe53_4d42 => remote("smb"),
        0x0000_517b => remote("smbfs"),
        0x00c3_6400 => remote("ceph"),
        0x0102_1997 => remote("9p"),
        0x5346_414f | 0x6b41_4653 => remote("afs"),
        0x786f_4256 => remote("vboxsf"),
        0x6573_5546 => remote("fuse"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_networks_are_warned_about() {
        let at = Path::new("/state");
        assert!(matches!(warning(at, 0x0102_1994), Some(Warning::Volatile { name: "tmpfs", .. })));
        let remote: [(u32, &str); 5] = [
            (0x6969, "nfs"),
            (0xff53_4d42, "cifs"),
            (0xfe53_4d42, "smb"),
            (0x0102_1997, "9p"),
            (0x6573_5546, "fuse"),
        ];
        for (magic, expected) in remote {
            // As statfs(2) gives it: a signed word, in which the upper half is all ones for some of them.
            let word = i64::from(magic.cast_signed());
            let found = warning(at, word as u32).unwrap();
            assert!(matches!(found, Warning::Remote { name, .. } if name == expected), "{found:?}");
            assert_eq!(
                found.to_string(),
                format!(
                    "the state folder `/state` is on `{expected}`, a network or shared file system: locks and syncs \
                     may not hold there"
                )
            );
        }
        // ext4, xfs, btrfs, overlay, zfs.
        for magic in [0xef53, 0x5846_5342, 0x9123_683e, 0x794c_7630, 0x2fc1_2fc1] {
            assert_eq!(warning(at, magic), None);
        }
    }

    #[test]
    fn a_folder_in_memory_is_noticed() {
        if let Ok(found) = warnings(Path::new("/dev/shm")) {
            assert!(matches!(found[..], [Warning::Volatile { .. }]), "{found:?}");
        }
    }
}
