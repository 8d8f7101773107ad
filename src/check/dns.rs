//! `dns`: what a name resolves to, as a name server says it.

use core::net::{IpAddr, SocketAddr};

use futures_util::future::BoxFuture;
use serde_json::Value;

use super::answer::unknown;
use super::{Check, Look};
use crate::action::Fields;
use crate::saga::{Answer, Verdict};
use crate::transport::{Resolved, Transport, one_line};

/// The port of name servers.
const PORT: u16 = 53;

pub(super) struct Dns;

struct Wanted {
    name: String,
    kind: String,
    server: Option<SocketAddr>,
    records: Records,
}

enum Records {
    Some,
    None,
    All(Vec<String>),
    Any(Vec<String>),
}

fn wanted(fields: Fields<'_>) -> Result<Wanted, String> {
    let name = fields.text("name")?.ok_or("`dns` needs a `name`")?;
    let kind = fields.text("type")?.unwrap_or_else(|| "A".to_owned());
    let server = match fields.text("server")? {
        None => None,
        Some(text) => Some(match (text.parse::<IpAddr>(), text.parse::<SocketAddr>()) {
            (Ok(ip), _) => SocketAddr::new(ip, PORT),
            (_, Ok(address)) => address,
            _ => return Err(fields.wrong("server", "an IP address, with or without `:port`")),
        }),
    };
    let list = |key: &str| -> Result<Option<Vec<String>>, String> {
        let Some(value) = fields.get(key) else { return Ok(None) };
        let texts = value.as_array().and_then(|items| {
            items.iter().map(|item| item.as_str().map(|text| plain(text, &kind))).collect()
        });
        texts.map(Some).ok_or_else(|| fields.wrong(key, "an array of texts"))
    };
    let records = match (list("all")?, list("any")?, fields.flag("absent")?) {
        (None, None, false) => Records::Some,
        (None, None, true) => Records::None,
        (Some(all), None, false) => Records::All(all),
        (None, Some(any), false) => Records::Any(any),
        _ => return Err("`dns` takes one of `all`, `any`, `absent`".to_owned()),
    };
    Ok(Wanted { name, kind, server, records })
}

/// A record as it is compared: addresses in their usual form, names without a dot at their end and in lower case.
fn plain(text: &str, kind: &str) -> String {
    match kind {
        "TXT" => text.to_owned(),
        "CNAME" => text.trim_end_matches('.').to_ascii_lowercase(),
        _ => text.parse::<IpAddr>().map_or_else(|_| text.to_owned(), |ip| ip.to_string()),
    }
}

impl Check for Dns {
    fn look(&self, transport: Transport, look: Look) -> BoxFuture<'static, Answer> {
        Box::pin(async move {
            let wanted = match wanted(Fields::new(&look.operation)) {
                Ok(wanted) => wanted,
                Err(message) => return unknown(&message, &look.redactor),
            };
            let Wanted { name, kind, server, records } = wanted;
            let found = match transport.resolve(&name, &kind, server, look.timeout).await {
                Resolved::Records(found) => found,
                Resolved::Unknown(why) => return unknown(&why, &look.redactor),
            };
            let found: Vec<String> = found.iter().map(|record| plain(record, &kind)).collect();
            let has = |record: &String| found.contains(record);
            let holds = match &records {
                Records::Some => !found.is_empty(),
                Records::None => found.is_empty(),
                Records::All(all) => all.iter().all(has),
                Records::Any(any) => any.iter().any(has),
            };
            let shown = if found.is_empty() { "nothing".to_owned() } else { found.join(", ") };
            let reason = format!("`{name}` {kind} is {shown}");
            let verdict = if holds { Verdict::Holds } else { Verdict::Absent };
            let mut answer = Answer::new(verdict, one_line(&look.redactor.text(&reason)));
            answer.facts.insert("records".to_owned(), look.redactor.json(Value::from(found)));
            answer
        })
    }
}
