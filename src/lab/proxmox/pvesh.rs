//! `pvesh get` of what the other tools do not tell, and `pvesm extractconfig` and `path`.

use serde_json::{Value, json};

use super::options::Options;
use super::pct::not_found;
use super::{Place, Said};
use crate::lab::StoreError;

pub(super) fn pvesh(place: &Place, words: &[String]) -> Result<Said, StoreError> {
    let options = match Options::read(words, &["output-format", "type", "content", "vmid"]) {
        Ok(options) => options,
        Err(said) => return Ok(said),
    };
    let [get, path] = &options.words[..] else { return Ok(Said::die("400 not enough arguments")) };
    if get != "get" {
        return Ok(Said::die(format!("ERROR: unknown command 'pvesh {get}'")));
    }
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    place.look(|node| match parts[..] {
        ["nodes", name, ..] if name != node.name && name != "localhost" => {
            Said::die(format!("hostname lookup '{name}' failed - failed to get address info for: {name}"))
        }
        ["nodes", _, "lxc", vmid, "config"] => {
            let vmid = vmid.parse().unwrap_or(0);
            let Some(container) = node.containers.get(&vmid) else { return not_found(node, "lxc", vmid) };
            let mut object = json!(container.config);
            object["digest"] = json!(container.digest());
            if !container.raw.is_empty() {
                let pairs = container.raw.iter().filter_map(|line| line.split_once(": "));
                object["lxc"] = pairs.map(|(key, value)| json!([key, value])).collect();
            }
            answer(&object)
        }
        ["nodes", _, "storage", storage, "content"] => {
            let wanted = options.get("vmid").and_then(|vmid| vmid.parse::<u32>().ok());
            let archives = node.archives.iter().filter(|archive| {
                archive.volid.starts_with(&format!("{storage}:"))
                    && wanted.is_none_or(|vmid| vmid == archive.vmid)
            });
            let rows = archives.map(|archive| {
                json!({ "volid": archive.volid, "vmid": archive.vmid, "size": archive.size,
                    "ctime": archive.time, "notes": archive.notes, "content": "backup", "format": "tar.zst",
                    "subtype": "lxc" })
            });
            answer(&rows.collect::<Value>())
        }
        ["cluster", "resources"] => {
            let here =
                node.containers.keys().chain(node.machines.keys()).map(|vmid| (*vmid, node.name.clone()));
            let there = node.elsewhere.iter().map(|(vmid, name)| (*vmid, name.clone()));
            let rows = here.chain(there).map(|(vmid, name)| {
                json!({ "id": format!("lxc/{vmid}"), "vmid": vmid, "node": name, "type": "lxc" })
            });
            answer(&rows.collect::<Value>())
        }
        _ => Said::die(format!("No '{get}' handler defined for '/{}'", parts.join("/"))),
    })
}

fn answer(value: &Value) -> Said {
    Said::ok(format!("{value}\n"))
}

pub(super) fn pvesm(place: &Place, words: &[String]) -> Result<Said, StoreError> {
    let [command, volid] = words else { return Ok(Said::die("400 not enough arguments")) };
    if command == "path" {
        // Whether anything is there is not asked (PVE::Storage, `path`).
        return Ok(match place.path_of(volid) {
            Some(path) => Said::ok(format!("{}\n", path.display())),
            None => {
                Said::die(format!("storage '{}' does not exist", volid.split(':').next().unwrap_or_default()))
            }
        });
    }
    if command != "extractconfig" {
        return Ok(Said::die(format!("ERROR: unknown command 'pvesm {command}'")));
    }
    place.look(|node| match node.archives.iter().find(|archive| archive.volid == *volid) {
        Some(archive) => {
            let mut out = String::new();
            archive.config.iter().for_each(|(key, value)| out.push_str(&format!("{key}: {value}\n")));
            archive.raw.iter().for_each(|line| out.push_str(&format!("{line}\n")));
            Said::ok(out)
        }
        None => Said::die(format!("volume '{volid}' does not exist")),
    })
}
