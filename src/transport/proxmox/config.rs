//! The configuration of a container, and what an archive holds of it.

use std::collections::BTreeMap;

use serde_json::Value;

/// The lines of a configuration; raw `lxc.*` ones are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Config(BTreeMap<String, String>);

/// What a container has mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Volume {
    /// `rootfs`, `mp0`, `unused1`.
    pub(crate) key: String,
    /// A volume's id, `local-zfs:subvol-110-disk-0`, or a path of the host.
    pub(crate) source: String,
    /// Marked `backup=1`.
    pub(crate) backup: bool,
}

impl Volume {
    /// A folder or device of the host: no volume of a storage.
    pub(crate) fn is_bind(&self) -> bool {
        self.source.starts_with('/')
    }

    /// Whether destroying the container frees it: the volumes that carry its id, and not those of another one.
    pub(crate) fn is_owned_by(&self, vmid: u32) -> bool {
        let named = self.source.rsplit(['/', ':']).next().unwrap_or_default();
        let owner = named.split(['-', '.']).find_map(|part| part.parse::<u32>().ok());
        // A name that tells no owner is taken as its own: rather one volume too many is asked for.
        !self.is_bind() && owner.is_none_or(|owner| owner == vmid)
    }

    /// Whether `vzdump` takes it (pve-container `Config.pm`, `mountpoint_backup_enabled`).
    pub(crate) fn is_in_backups(&self) -> bool {
        self.key == "rootfs" || (self.key.starts_with("mp") && !self.is_bind() && self.backup)
    }
}

impl Config {
    /// Reads the lines of `pct config`.
    pub(crate) fn read(lines: &[&str]) -> Self {
        let pairs = lines.iter().filter_map(|line| line.split_once(": "));
        Self(pairs.filter(|(key, _)| !key.starts_with("lxc.")).map(own).collect())
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Whether it is started with the host; `None` when no line says so, which is off.
    pub(crate) fn onboot(&self) -> Option<bool> {
        self.get("onboot").map(|value| value == "1")
    }

    /// Everything mounted, and what is kept unused.
    pub(crate) fn volumes(&self) -> Vec<Volume> {
        let is = |key: &str| {
            let numbered =
                |prefix: &str| key.strip_prefix(prefix).is_some_and(|rest| rest.parse::<u32>().is_ok());
            key == "rootfs" || numbered("mp") || numbered("unused")
        };
        let read = |(key, value): (&String, &String)| Volume {
            key: key.clone(),
            source: value.split(',').next().unwrap_or_default().trim_start_matches("volume=").to_owned(),
            backup: value.split(',').any(|part| matches!(part, "backup=1" | "backup=yes" | "backup=on")),
        };
        self.0.iter().filter(|(key, _)| is(key)).map(read).collect()
    }

    /// What an archive made now would lack, in words.
    pub(crate) fn lacks(&self) -> Vec<String> {
        let missing = self.volumes().into_iter().filter(|volume| !volume.is_in_backups());
        missing
            .map(|volume| {
                let (kind, why) = match (volume.is_bind(), volume.key.starts_with("mp")) {
                    (true, _) => ("bind mount", ""),
                    (false, true) => ("volume", " without `backup=1`"),
                    (false, false) => ("unused volume", ""),
                };
                format!("{} ({kind} `{}`{why})", volume.key, volume.source)
            })
            .collect()
    }
}

fn own((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

/// An archive of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Archive {
    pub(crate) volid: String,
    /// In bytes.
    pub(crate) size: u64,
    /// When it was made, in seconds since 1970.
    pub(crate) made: u64,
    pub(crate) notes: String,
}

/// Reads what `pvesh` lists of a storage; newest last.
pub(crate) fn archives(rows: &Value) -> Vec<Archive> {
    let read = |row: &Value| {
        Some(Archive {
            volid: row["volid"].as_str()?.to_owned(),
            size: row["size"].as_u64()?,
            made: row["ctime"].as_u64().unwrap_or(0),
            notes: row["notes"].as_str().unwrap_or_default().trim().to_owned(),
        })
    };
    let mut all: Vec<Archive> = rows.as_array().into_iter().flatten().filter_map(read).collect();
    all.sort_by_key(|archive| archive.made);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_owned_and_what_an_archive_holds() {
        let config = Config::read(&[
            "hostname: frigate-sf",
            "rootfs: local-zfs:subvol-110-disk-0,size=20G",
            "mp0: /tank/subvol-113-disk-0/frigate,mp=/media/frigate",
            "mp1: local-zfs:subvol-110-disk-1,mp=/config,backup=1,size=8G",
            "mp2: local-zfs:subvol-113-disk-4,mp=/other,size=8G",
            "mp3: local:110/vm-110-disk-3.raw,mp=/data,size=8G",
            "unused0: local-zfs:subvol-110-disk-9",
            "lxc.mount.entry: /dev/dri dev/dri none bind",
        ]);
        let volumes = config.volumes();
        let of = |test: fn(&Volume) -> bool| -> Vec<&str> {
            volumes.iter().filter(|volume| test(volume)).map(|volume| volume.key.as_str()).collect()
        };
        assert_eq!(of(|volume| volume.is_owned_by(110)), ["mp1", "mp3", "rootfs", "unused0"]);
        assert_eq!(of(Volume::is_in_backups), ["mp1", "rootfs"]);
        assert_eq!(of(Volume::is_bind), ["mp0"]);
        assert_eq!(config.lacks().len(), 4);
        assert_eq!((config.onboot(), Config::read(&["onboot: 0"]).onboot()), (None, Some(false)));
    }
}
