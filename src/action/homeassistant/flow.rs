//! The way by the reconfigure flow: Home Assistant reaches the server itself before it changes anything, saves, and sets
//! up this one entry again, without a restart.
//!
//! Source: facts/components.md 5, transcripts `ha-reconfigure.json` and `ha-2024.3.3.json`. A release that does not know
//! reconfiguring takes the request all the same and would add a second entry: the flow is taken only where the entry says
//! that it supports it *and* the form shows the entry's own data, and what it ends with is looked at once more.

use serde_json::Value;
use tokio::time::Instant;

use super::Trouble;
use super::pick::{Data, title_of};
use crate::transport::{ConfigEntry, FlowAnswer, Form, Home, HomeError, one_line};

/// What the integration's form for a *new* entry proposes (`config_flow.py`, `DEFAULT_HOST`).
const PROPOSED: &str = "http://ccab4aaf-frigate:5000";

/// The end of a flow that reconfigured.
const DONE: &str = "reconfigure_successful";

/// An open flow, and what Home Assistant runs with as it shows it.
pub(super) struct Open {
    form: Form,
    pub(super) data: Data,
}

/// Opens a reconfigure flow and reads what the entry has. Nothing is changed by it; [`close`] it.
pub(super) async fn open(home: &Home, entry: &ConfigEntry, deadline: Instant) -> Result<Open, Trouble> {
    let form = match home.open_flow(entry, deadline).await {
        Ok(FlowAnswer::Form(form)) => form,
        Ok(FlowAnswer::Ended(reason)) => {
            return Err(Trouble::permanent(format!(
                "the Frigate entry `{}` cannot be reconfigured: `{}`",
                entry.title,
                one_line(&reason)
            )));
        }
        Ok(FlowAnswer::Created(id)) => return Err(second_entry(home, &id, deadline).await),
        // The only effect of it is a flow that nobody answers.
        Err(HomeError::Cut { message, .. }) => return Err(Trouble::transient(message)),
        Err(error) => return Err(error.into()),
    };
    match proved(&form, entry) {
        Ok(data) => Ok(Open { form, data }),
        Err(message) => {
            let _closed = home.drop_flow(&form.flow_id, deadline).await;
            Err(Trouble::permanent(message))
        }
    }
}

/// Forgets the flow. That it could not be is no failure: an open one does nothing and is gone at the next restart.
pub(super) async fn close(home: &Home, open: Open, deadline: Instant) {
    let _closed = home.drop_flow(&open.form.flow_id, deadline).await;
}

/// Whether the form is that of a flow that reconfigures this entry.
fn proved(form: &Form, entry: &ConfigEntry) -> Result<Data, String> {
    let refused = |why: &str| {
        format!(
            "Home Assistant opened a flow that would not change the Frigate entry `{}` but add another ({why}); nothing was \
             sent to it",
            entry.title
        )
    };
    if let Some(source) = &form.source
        && source != "reconfigure"
    {
        return Err(refused(&format!("its source is `{}`", one_line(source))));
    }
    let data = Data::shown(form)?;
    // A title that its owner chose says nothing; then the proposal for a new entry gives it away.
    if title_of(&data.url) != entry.title && data.url == PROPOSED {
        return Err(refused("it shows the proposal for a new entry"));
    }
    Ok(data)
}

/// Sends what the entry shall have, to a flow that is open.
///
/// # Errors
/// What Home Assistant says against it, the entry untouched; or, without an answer, that nobody knows.
pub(super) async fn send(home: &Home, open: Open, wanted: &Data, deadline: Instant) -> Result<(), Trouble> {
    let Open { form, data: _ } = open;
    let answer = match wanted.answer(&form) {
        Ok(answer) => answer,
        Err(message) => {
            let _closed = home.drop_flow(&form.flow_id, deadline).await;
            return Err(Trouble::permanent(message));
        }
    };
    match home.send_flow(&form.flow_id, &answer, deadline).await {
        Ok(FlowAnswer::Ended(reason)) if reason == DONE => Ok(()),
        Ok(FlowAnswer::Ended(reason)) => {
            Err(Trouble::permanent(format!("Home Assistant ended the flow with `{}`", one_line(&reason))))
        }
        Ok(FlowAnswer::Created(id)) => Err(second_entry(home, &id, deadline).await),
        Ok(FlowAnswer::Form(again)) => {
            let _closed = home.drop_flow(&again.flow_id, deadline).await;
            Err(refusal(&again, wanted))
        }
        // It was finished or forgotten in between: by a restart, or by somebody else.
        Err(HomeError::Answered { status: 404, message }) => Err(Trouble::transient(message)),
        Err(error) => Err(error.into()),
    }
}

/// What Home Assistant has against the data; it changed nothing.
fn refusal(form: &Form, wanted: &Data) -> Trouble {
    let words: Vec<String> = form
        .errors
        .iter()
        .map(|(field, word)| {
            let word = word.as_str().map_or_else(|| word.to_string(), str::to_owned);
            if field == "base" { word } else { format!("{field}: {word}") }
        })
        .collect();
    let url = &wanted.url;
    match form.errors.get("base").and_then(Value::as_str) {
        Some("cannot_connect") => Trouble::transient(format!(
            "Home Assistant itself cannot reach a Frigate server at `{url}` (`cannot_connect`), whatever this machine can; \
             the entry is as it was. A name must resolve inside Home Assistant: an address always does"
        )),
        Some("invalid_url") => Trouble::permanent(format!(
            "Home Assistant takes `{url}` for no address (`invalid_url`); the entry is as it was"
        )),
        _ if words.is_empty() => Trouble::permanent(format!(
            "Home Assistant asks again instead of taking `{url}`; the entry is as it was"
        )),
        _ => Trouble::permanent(format!(
            "Home Assistant does not take `{url}`: `{}`; the entry is as it was",
            one_line(&words.join(", "))
        )),
    }
}

/// A second entry came of it all the same: it goes again, and the first one is as it was.
async fn second_entry(home: &Home, id: &str, deadline: Instant) -> Trouble {
    match home.remove_entry(id, deadline).await {
        Ok(()) => Trouble::permanent(format!(
            "Home Assistant added a second Frigate entry `{id}` instead of changing the first; it was removed again. This \
             release cannot reconfigure: name `host` and `vmid`, or update Frigate's integration"
        )),
        Err(error) => Trouble::permanent(format!(
            "Home Assistant added a second Frigate entry `{id}` instead of changing the first, and it cannot be removed: \
             remove it by hand; {}",
            error.message()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn form(url: &str, source: Option<&str>) -> Form {
        Form {
            flow_id: "f".to_owned(),
            source: source.map(str::to_owned),
            fields: vec![("url".to_owned(), Some(json!(url)))],
            errors: serde_json::Map::new(),
        }
    }

    #[test]
    fn only_a_form_with_the_entrys_own_data_is_taken() {
        let entry = |title: &str| -> ConfigEntry {
            serde_json::from_value(
                json!({ "entry_id": "a", "domain": "frigate", "title": title, "state": "loaded" }),
            )
            .unwrap()
        };
        assert!(proved(&form("http://a:5000", None), &entry("a:5000")).is_ok());
        assert!(proved(&form("http://a:5000", Some("reconfigure")), &entry("a:5000")).is_ok());
        assert!(proved(&form("http://a:5000", None), &entry("My cameras")).is_ok());
        // The add-on's own address is what is proposed, and may be what it has.
        assert!(proved(&form(PROPOSED, None), &entry("ccab4aaf-frigate:5000")).is_ok());
        assert!(proved(&form(PROPOSED, None), &entry("a:5000")).is_err());
        assert!(proved(&form(PROPOSED, None), &entry("My cameras")).is_err());
        assert!(proved(&form("http://a:5000", Some("user")), &entry("a:5000")).is_err());
    }
}
