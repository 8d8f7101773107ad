//! Actions, checks and the lab's systems by themselves: ssh, Proxmox, Home Assistant, Frigate, MQTT, the network. What local
//! commands promise is in `tests/world_local.rs`, what every action promises in `tests/contract/`, Kubernetes in
//! `tests/kubernetes/`.

#[path = "../homeassistant_support/mod.rs"]
mod homeassistant_support;
#[path = "../support/mod.rs"]
mod support;

mod baseline;
mod frigate;
mod homeassistant_file;
mod homeassistant_flow;
mod homeassistant_real;
mod homeassistant_transcripts;
mod lab_proxmox_tools;
mod lab_ssh;
mod mqtt;
mod mqtt_trace;
mod owners_defects;
mod proxmox_run;
mod world_contract;
mod world_network;
mod world_proxmox;
mod world_proxmox_guest;
mod world_ssh;
