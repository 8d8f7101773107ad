//! Who is connected, and who gets which message.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use rumqttc::{LastWill, Packet, Publish, QoS};
use tokio::sync::mpsc;

use super::state::{Retained, State, matches};
use crate::lab::{Store, StoreError};

/// Packets that may wait for a client that does not read: then it is thrown out.
const WAITING_MAX: usize = 4096;

/// One who is connected.
#[derive(Debug)]
struct Member {
    /// Tells sessions of one client id apart.
    number: u64,
    user: String,
    filters: BTreeMap<String, QoS>,
    will: Option<LastWill>,
    /// Dropped, it ends the connection.
    packets: mpsc::Sender<Packet>,
    packet_id: u16,
}

#[derive(Debug, Default)]
struct Members {
    by_id: BTreeMap<String, Member>,
    number: u64,
}

#[derive(Debug)]
pub(super) struct Hub {
    pub(super) store: Store<State>,
    members: Mutex<Members>,
}

impl Hub {
    pub(super) fn new(store: Store<State>) -> Self {
        Self { store, members: Mutex::default() }
    }

    pub(super) fn connected(&self) -> Vec<String> {
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.by_id.keys().cloned().collect()
    }

    /// Takes a client in; throws out who had its id, and sends that one's will first.
    pub(super) fn join(
        &self,
        id: &str,
        user: &str,
        will: Option<LastWill>,
    ) -> Result<(u64, mpsc::Receiver<Packet>), StoreError> {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loser) = members.by_id.remove(id)
            && let Some(will) = loser.will
        {
            self.say(&mut members, (id, &loser.user), &of_will(will))?;
        }
        members.number += 1;
        let number = members.number;
        let (packets, receiver) = mpsc::channel(WAITING_MAX);
        let (user, filters) = (user.to_owned(), BTreeMap::new());
        let member = Member { number, user, filters, will, packets, packet_id: 0 };
        members.by_id.insert(id.to_owned(), member);
        Ok((number, receiver))
    }

    /// Lets a client go, unless another one has its id by now; `in_order`: it has said good-bye, so that its will is not
    /// sent.
    pub(super) fn leave(&self, id: &str, number: u64, in_order: bool) {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        if members.by_id.get(id).is_none_or(|member| member.number != number) {
            return;
        }
        let gone = members.by_id.remove(id);
        if let Some(Member { will: Some(will), user, .. }) = gone.filter(|_| !in_order) {
            // A will that cannot be kept on file has nobody left to hear of it.
            let _kept = self.say(&mut members, (id, &user), &of_will(will));
        }
    }

    /// Subscribes, and gives what is retained there.
    pub(super) fn subscribe(&self, id: &str, number: u64, filter: &str, qos: QoS) {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(member) = members.by_id.get_mut(id).filter(|member| member.number == number) else { return };
        member.filters.insert(filter.to_owned(), qos);
        let found: Vec<(String, Retained)> = self.store.look(|state| {
            let seen = |topic: &str| matches(topic, filter) && state.may(&member.user, false, topic);
            let all = state.retained.iter().filter(|(topic, _)| seen(topic));
            all.map(|(topic, message)| (topic.clone(), message.clone())).collect()
        });
        for (topic, Retained { payload, qos: kept }) in found {
            let mut message = Publish::new(topic, at_most(level(kept), qos), payload);
            message.retain = true;
            deliver(member, message);
        }
    }

    pub(super) fn unsubscribe(&self, id: &str, number: u64, filter: &str) {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(member) = members.by_id.get_mut(id).filter(|member| member.number == number) {
            member.filters.remove(filter);
        }
    }

    /// Takes a message from a client. What the access list forbids goes nowhere, and nobody is told.
    pub(super) fn publish(&self, id: &str, user: &str, message: &Publish) -> Result<(), StoreError> {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        self.say(&mut members, (id, user), message)
    }

    fn say(
        &self,
        members: &mut Members,
        (id, user): (&str, &str),
        message: &Publish,
    ) -> Result<(), StoreError> {
        let Publish { topic, payload, retain, qos, .. } = message;
        let wild = topic.is_empty() || topic.contains(['+', '#']);
        if wild || !self.store.look(|state| state.may(user, true, topic)) {
            return Ok(());
        }
        self.store.change(|state| {
            *state.written.entry(id.to_owned()).or_default() += 1;
            match (*retain, payload.is_empty()) {
                (true, true) => {
                    state.retained.remove(topic);
                }
                (true, false) => {
                    let kept =
                        Retained { payload: payload.to_vec(), qos: at_most(*qos, QoS::AtLeastOnce) as u8 };
                    state.retained.insert(topic.clone(), kept);
                }
                (false, _) => {}
            }
        })?;
        for member in members.by_id.values_mut() {
            let wanted =
                member.filters.iter().filter(|(filter, _)| matches(topic, filter)).map(|(_, qos)| *qos);
            let Some(wanted) = wanted.reduce(|a, b| if a > b { a } else { b }) else { continue };
            if self.store.look(|state| state.may(&member.user, false, topic)) {
                deliver(member, Publish::from_bytes(topic, at_most(*qos, wanted), payload.clone()));
            }
        }
        Ok(())
    }
}

fn deliver(member: &mut Member, mut message: Publish) {
    if message.qos != QoS::AtMostOnce {
        member.packet_id = member.packet_id.checked_add(1).unwrap_or(1);
        message.pkid = member.packet_id;
    }
    if member.packets.try_send(Packet::Publish(message)).is_err() {
        // It does not read. Without its sender the connection ends.
        member.packets = mpsc::channel(1).0;
    }
}

/// The lesser of what is offered, what is asked for, and QoS 1, which is the most that is handed out.
fn at_most(offered: QoS, asked: QoS) -> QoS {
    match (offered, asked) {
        (QoS::AtMostOnce, _) | (_, QoS::AtMostOnce) => QoS::AtMostOnce,
        _ => QoS::AtLeastOnce,
    }
}

fn level(qos: u8) -> QoS {
    if qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce }
}

fn of_will(will: LastWill) -> Publish {
    let mut message = Publish::from_bytes(will.topic, will.qos, will.message);
    message.retain = will.retain;
    message
}
