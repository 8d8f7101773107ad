//! The sections above the steps: secrets, hosts, clusters, brokers and resources.

use std::collections::BTreeMap;

use toml::de::DeValue;

use super::Loader;
use super::table::{Entry, Table, Text, check_identifier, items, table, text_item};
use super::texts::Use;
use crate::plan::diagnostic::{Span, help_for};
use crate::plan::keys;
use crate::plan::recorded::{Broker, Cluster, Host, Resource, SecretRef};

impl<'d> Loader<'d, '_> {
    /// The entries of a section, which is a table of tables.
    fn section(&mut self, plan: &Table<'d>, name: &str) -> Vec<Entry<'d>> {
        let entries = plan.get(name).and_then(|entry| table(entry, &mut self.problems));
        let entries: Vec<Entry<'d>> =
            entries.into_iter().flatten().map(|(key, value)| Entry { key, value }).collect();
        for entry in &entries {
            if entry.name().is_empty() || entry.name().chars().any(char::is_control) {
                let message = format!("`{name}` has an entry without a readable name");
                self.problems.add_help(
                    &entry.key.span(),
                    "bad-name",
                    message,
                    "give it a name of visible characters",
                );
            }
        }
        entries
    }

    pub(super) fn read_secrets(&mut self, plan: &Table<'d>) -> BTreeMap<String, SecretRef> {
        let mut secrets = BTreeMap::new();
        for entry in self.section(plan, "secrets") {
            check_identifier(entry, "secret", &mut self.problems);
            self.secrets.insert(entry.name().to_owned());
            self.hide_texts(entry.value, &["env", "file"]);
            if entry.value.get_ref().is_str() {
                let message = format!("secret `{}` must not stand in the plan", entry.name());
                let help = "say where it comes from: `{ env = \"NAME\" }` or `{ file = \"~/path\" }`";
                self.problems.add_help(&entry.key.span(), "secret-in-plan", message, help);
                continue;
            }
            let what = format!("secret `{}`", entry.name());
            let Some(table) = Table::of(entry, what, &keys::SECRET, &mut self.problems) else { continue };
            let env = table.text("env", &mut self.problems);
            let file = table.text("file", &mut self.problems);
            match (env, file) {
                (Some(env), None) if env.text.is_empty() || env.text.contains(['=', '\0']) => {
                    let message = format!("`{}` cannot name an environment variable", env.text);
                    self.problems.add_help(
                        &env.span,
                        "bad-name",
                        message,
                        "write a name such as \"MQTT_PASSWORD\"",
                    );
                }
                (Some(env), None) => {
                    secrets.insert(entry.name().to_owned(), SecretRef::Env(env.text));
                }
                (None, Some(file)) if file.text.is_empty() => {
                    self.problems.add_help(
                        &file.span,
                        "bad-path",
                        format!("secret `{}` names no file", entry.name()),
                        format!("write {}", table.example("file")),
                    );
                }
                (None, Some(file)) => {
                    secrets.insert(entry.name().to_owned(), SecretRef::File(file.text));
                }
                (Some(_), Some(_)) => {
                    let message = "`env` and `file` exclude each other";
                    self.problems.add_help(&entry.key.span(), "exclusive-keys", message, "keep one of them");
                }
                (None, None) if table.get("env").is_none() && table.get("file").is_none() => {
                    let message = format!("secret `{}` does not say where it comes from", entry.name());
                    let help = "write `{ env = \"NAME\" }` or `{ file = \"~/path\" }`";
                    self.problems.add_help(&entry.key.span(), "missing-key", message, help);
                }
                (None, None) => {}
            }
        }
        secrets
    }

    /// Keeps what may be a secret out of the excerpts: every value under another key than these.
    fn hide_texts(&mut self, value: &toml::Spanned<DeValue<'d>>, but: &[&str]) {
        match value.get_ref() {
            DeValue::Table(table) => {
                for (_, value) in table.iter().filter(|(key, _)| !but.contains(&&**key.get_ref())) {
                    self.hide_texts(value, &[]);
                }
            }
            DeValue::Array(items) => items.iter().for_each(|item| self.hide_texts(item, &[])),
            _ => self.problems.hide(value.span()),
        }
    }

    pub(super) fn read_hosts(&mut self, plan: &Table<'d>) -> BTreeMap<String, Host> {
        let mut hosts = BTreeMap::new();
        for entry in self.section(plan, "hosts") {
            self.hosts.insert(entry.name().to_owned());
            let what = format!("host `{}`", entry.name());
            let Some(table) = Table::of(entry, what, &keys::HOST, &mut self.problems) else { continue };
            let address = self.required(&table, "address");
            let port = table.get("port").and_then(|port| self.port(port));
            let host = Host {
                address: address.unwrap_or_default(),
                port,
                identity_file: self.optional(&table, "identity_file"),
                known_hosts: self.optional(&table, "known_hosts"),
                jump: self.optional(&table, "jump"),
                sudo: table.bool("sudo", &mut self.problems),
            };
            hosts.insert(entry.name().to_owned(), host);
        }
        hosts
    }

    fn port(&mut self, entry: Entry<'d>) -> Option<serde_json::Value> {
        match entry.value.get_ref() {
            DeValue::String(text) if crate::plan::template::lex::lex(text).expression.is_some() => {
                let text = Text { text: text.to_string(), span: entry.span() };
                Some(serde_json::Value::String(self.keep(text, Use::outside("port"))))
            }
            DeValue::Integer(number) => match u16::from_str_radix(number.as_str(), number.radix()) {
                Ok(port @ 1..) => Some(serde_json::Value::from(port)),
                _ => {
                    let message = format!("`{}` is no port", number.as_str());
                    self.problems.add_help(
                        &entry.span(),
                        "out-of-range",
                        message,
                        "write a number from 1 to 65535",
                    );
                    None
                }
            },
            _ => {
                super::table::wrong_type(entry, "integer", &mut self.problems);
                None
            }
        }
    }

    pub(super) fn read_clusters(&mut self, plan: &Table<'d>) -> BTreeMap<String, Cluster> {
        let mut clusters = BTreeMap::new();
        for entry in self.section(plan, "clusters") {
            self.clusters.insert(entry.name().to_owned());
            let what = format!("cluster `{}`", entry.name());
            let Some(table) = Table::of(entry, what, &keys::CLUSTER, &mut self.problems) else {
                continue;
            };
            let cluster = Cluster {
                context: self.optional(&table, "context"),
                kubeconfig: self.optional(&table, "kubeconfig"),
            };
            clusters.insert(entry.name().to_owned(), cluster);
        }
        clusters
    }

    pub(super) fn read_brokers(&mut self, plan: &Table<'d>) -> BTreeMap<String, Broker> {
        let mut brokers = BTreeMap::new();
        for entry in self.section(plan, "brokers") {
            self.brokers.insert(entry.name().to_owned());
            let what = format!("broker `{}`", entry.name());
            let Some(table) = Table::of(entry, what, &keys::BROKER, &mut self.problems) else { continue };
            let url = self.required(&table, "url").unwrap_or_default();
            let scheme = ["mqtt://", "mqtts://", "{{"].iter().any(|start| url.starts_with(start));
            if let Some(entry) = table.get("url").filter(|_| !url.is_empty() && !scheme) {
                let help = "write `mqtt://host:port`, or `mqtts://host:port` for TLS";
                self.problems.add_help(&entry.span(), "bad-url", format!("`{url}` is no broker's URL"), help);
            }
            let password = table.text("password", &mut self.problems).map(|text| {
                let lexed = crate::plan::template::lex::lex(&text.text);
                if lexed.expression.is_none() {
                    self.problems.hide(text.span.clone());
                }
                if !text.text.is_empty() && lexed.references.is_empty() {
                    let help = "declare it under `[secrets]` and write \"{{ secrets.… }}\"";
                    self.problems.add_help(
                        &text.span,
                        "secret-in-plan",
                        "a password must not stand in the plan",
                        help,
                    );
                }
                self.keep(text, Use { secrets: true, ..Use::outside("password") })
            });
            let ca = table.text("ca", &mut self.problems);
            let ca = ca.and_then(|text| self.file(text, Use::outside("ca")));
            let broker = Broker { url, username: self.optional(&table, "username"), password, ca };
            brokers.insert(entry.name().to_owned(), broker);
        }
        brokers
    }

    pub(super) fn read_resources(&mut self, plan: &Table<'d>) -> BTreeMap<String, Resource> {
        let mut resources = BTreeMap::new();
        for entry in self.section(plan, "resources") {
            let what = format!("resource `{}`", entry.name());
            let Some(table) = Table::of(entry, what, &keys::RESOURCE, &mut self.problems) else { continue };
            let owners = self.owners(&table);
            let held_at_start = table.text("held_at_start", &mut self.problems);
            if let Some(held) = &held_at_start {
                self.check_owner(entry.name(), &held.text, &held.span, &owners);
            }
            let mut gone = BTreeMap::new();
            for checks in table
                .get("gone")
                .and_then(|gone| super::table::table(gone, &mut self.problems))
                .into_iter()
                .flatten()
            {
                let checks = Entry { key: checks.0, value: checks.1 };
                self.check_owner(entry.name(), checks.name(), &checks.key.span(), &owners);
                gone.insert(checks.name().to_owned(), self.checks(checks, Use::outside("gone")));
            }
            let resource = Resource { owners, held_at_start: held_at_start.map(|held| held.text), gone };
            resources.insert(entry.name().to_owned(), resource);
        }
        resources
    }

    fn owners(&mut self, table: &Table<'d>) -> Vec<String> {
        let Some(entry) = table.require("owners", &mut self.problems) else {
            return Vec::new();
        };
        let Some(list) = items(entry, "array of strings", &mut self.problems) else { return Vec::new() };
        if list.is_empty() {
            self.problems.add_help(
                &entry.span(),
                "empty",
                "`owners` is empty",
                "name everybody who can hold it",
            );
        }
        let mut owners: Vec<String> = Vec::new();
        for item in list {
            let Some(owner) = text_item(item, &mut self.problems) else { continue };
            if owners.contains(&owner.text) {
                self.problems.add_help(
                    &owner.span,
                    "duplicate-owner",
                    format!("owner `{}` is named twice", owner.text),
                    "name each of them once",
                );
            } else {
                owners.push(owner.text);
            }
        }
        owners
    }

    /// Reports an owner that a resource does not have.
    pub(super) fn check_owner(&mut self, resource: &str, owner: &str, span: &Span, owners: &[String]) {
        if !owners.iter().any(|known| known == owner) {
            let help = help_for("owners", owner, owners.iter().map(String::as_str));
            let message = format!("resource `{resource}` has no owner `{owner}`");
            self.problems.add_help(span, "unknown-owner", message, help);
        }
    }

    /// A text that may use variables.
    fn optional(&mut self, table: &Table<'d>, name: &'static str) -> Option<String> {
        table.text(name, &mut self.problems).map(|text| self.keep(text, Use::outside(name)))
    }

    /// A text that may use variables, must be there and not be empty.
    fn required(&mut self, table: &Table<'d>, name: &'static str) -> Option<String> {
        table.require(name, &mut self.problems)?;
        let text = table.text(name, &mut self.problems)?;
        if text.text.is_empty() {
            let help = format!("write {}", table.example(name));
            self.problems.add_help(&text.span, "empty", format!("`{name}` is empty"), help);
        }
        Some(self.keep(text, Use::outside(name)))
    }
}
