//! ACK and NACK.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#ack>

use std::sync::Arc;

use lateen_model::{Version, text::printable};

use crate::{
    Acked, Guilty, Nack, NameId, Names, Outcome, ResourceType,
    channel::{Channel, LastNack},
    flight::{Flight, Sent},
    held::{Entry, FOREIGN, HELD, PENDING},
    suspects::{Rejection, words},
};

use super::Session;

impl Session {
    /// The client answers response `number`; `error`: it rejects it.
    pub(super) fn answer(
        &mut self,
        channel: &mut Channel,
        number: u64,
        error: Option<&str>,
        names: &Names,
        now_ms: u64,
        outcome: &mut Outcome,
    ) {
        let in_flight = channel.flight.contains(number);
        if let Some(error) = error {
            let message = shorten(error, self.options.limits.message_bytes_max);
            if in_flight || number == channel.flight.last {
                channel.nack = Some(LastNack { message: message.clone(), since_ms: now_ms });
                outcome.nack = Some(Nack { kind: channel.kind, message: message.clone(), suspects: 0 });
            }
            if in_flight {
                self.reject(channel, number, &message, names, now_ms, outcome);
            }
        } else if in_flight {
            // A client may leave out answers, Envoy does while it holds back those of a type: what it accepts
            // was built on what came before.
            while let Some(sent) = channel.flight.pop_until(number) {
                outcome.answered_ms = Some(now_ms.saturating_sub(sent.at_ms));
                self.accept(channel, &sent, outcome);
            }
            if channel.nack.is_some() && !channel.suspects.is_unsettled() {
                channel.nack = None;
            }
        }
        self.unblock();
    }

    fn accept(&mut self, channel: &mut Channel, sent: &Sent, outcome: &mut Outcome) {
        let kind = channel.kind;
        for_each_sent(channel, sent, |name, version| outcome.acked.push(Acked { kind, name, version }));
        if channel.keeps {
            channel.kept.acked(sent.seq());
        }
        if kind == ResourceType::Cluster {
            self.fresh.acked(sent.seq());
        }
    }

    fn reject(
        &mut self,
        channel: &mut Channel,
        number: u64,
        message: &Arc<str>,
        names: &Names,
        now_ms: u64,
        outcome: &mut Outcome,
    ) {
        let kind = channel.kind;
        if channel.full {
            // A complete set repeats what earlier ones brought: they are judged together.
            while let Some(front) = channel.flight.queue.front().map(|sent| sent.number) {
                if front >= number {
                    break;
                }
                self.fold(channel, front);
            }
            if channel.flight.last != number {
                self.fold(channel, number);
                return;
            }
        } else {
            while let Some(sent) = channel.flight.pop_until(number.saturating_sub(1)) {
                self.accept(channel, &sent, outcome);
            }
        }
        let Some(sent) = channel.flight.take(number) else { return };
        outcome.answered_ms = Some(now_ms.saturating_sub(sent.at_ms));
        let suspects = restore(channel, &sent, names);
        if let Some(nack) = &mut outcome.nack {
            nack.suspects = suspects.len();
        }
        if sent.count == 1 {
            for suspect in suspects {
                let Suspect { name, version, superseded } = suspect;
                let accepted = channel.kept.get(name).and_then(|keep| keep.accepted.clone());
                outcome.guilty.push(Guilty { kind, name, version, message: message.clone(), accepted });
                // The same version may have been sent again before the answer came.
                let again = || channel.held.get(name).is_some_and(|e| e.is(HELD) && e.version == version);
                if !superseded || again() {
                    let message = message.clone();
                    channel.suspects.convict(Rejection { name, version, message, since_ms: now_ms });
                    // A client that has nothing may get what others have accepted.
                    channel.mark(name, 0);
                }
            }
        } else {
            // What was superseded goes out in newer form already, what is pending will, what is known to be
            // guilty explains enough: none of them needs a trial.
            let trial: Vec<NameId> = suspects
                .into_iter()
                .filter(|suspect| !suspect.superseded)
                .filter(|suspect| !channel.suspects.is_rejected(suspect.name, suspect.version))
                .map(|suspect| suspect.name)
                .filter(|name| {
                    channel.held.get_mut(*name).is_some_and(|entry| {
                        let pending = entry.is(PENDING);
                        entry.set(PENDING);
                        !pending
                    })
                })
                .collect();
            let said = words(message);
            let accused = trial.iter().copied().filter(|name| said.contains(&**names.text(*name))).collect();
            channel.suspects.suspect(trial, &accused, sent.trial);
        }
        if sent.count > 0 {
            // Removals that came with the rejected resources may not have been heeded.
            for &name in &sent.removed {
                channel.held.hold(name, names.text(name), FOREIGN, 0);
                channel.mark(name, 0);
            }
        }
    }

    /// Judges response `number` together with the one that followed it.
    fn fold(&mut self, channel: &mut Channel, number: u64) {
        let Some(older) = channel.flight.take(number) else { return };
        let Some(newer) = channel.flight.queue.iter_mut().find(|sent| sent.number > number) else { return };
        let (from, to) = (older.seq(), newer.seq());
        newer.count += older.count;
        newer.first = newer.first.or(older.first);
        for before in older.replaced.iter() {
            let again = newer.replaced.find(before.name).is_some_and(|entry| entry.seq() == from);
            if again {
                newer.replaced.correct(before.name, Some(*before));
            } else {
                newer.replaced.push(*before);
            }
        }
        // What the older one brought first and the newer one again had nothing before it.
        let first_time: Vec<NameId> =
            newer.replaced.iter().filter(|entry| entry.seq() == from).map(|entry| entry.name).collect();
        for name in first_time {
            newer.replaced.correct(name, None);
        }
        newer.removed.extend(older.removed);
        let of_older = |entry: &Entry| entry.is(HELD) && entry.seq() == from;
        channel.held.change(of_older, |entry| entry.set_seq(to));
        channel.kept.renumber(from, to);
        if channel.kind == ResourceType::Cluster {
            self.fresh.renumber(from, to);
        }
    }
}

/// A resource of a rejected response.
#[derive(Clone, Copy, Debug)]
struct Suspect {
    name: NameId,
    version: Version,
    /// Was a newer version sent in the meantime?
    superseded: bool,
}

/// Takes back what the client is thought to hold because of a response that it rejected.
fn restore(channel: &mut Channel, sent: &Sent, names: &Names) -> Vec<Suspect> {
    let seq = sent.seq();
    let mut suspects = Vec::new();
    let before = |name| {
        let before = sent.replaced.find(name).copied();
        if sent.count > 1 { Some(Entry::unsure(name, before)) } else { before }
    };
    let Channel { held, flight, .. } = channel;
    for later in &mut flight.queue {
        let wrong: Vec<Entry> = later.replaced.iter().filter(|entry| entry.seq() == seq).copied().collect();
        for entry in wrong {
            later.replaced.correct(entry.name, before(entry.name));
            suspects.push(Suspect { name: entry.name, version: entry.version, superseded: true });
        }
    }
    if sent.count > 0 {
        let of_this = held.iter().filter(|entry| entry.is(HELD) && entry.seq() == seq);
        suspects.extend(of_this.map(|e| Suspect { name: e.name, version: e.version, superseded: false }));
    }
    for suspect in suspects.iter().filter(|suspect| !suspect.superseded) {
        let text = names.text(suspect.name);
        match before(suspect.name) {
            Some(before) => held.restore(&before, text),
            None => held.release(suspect.name, text),
        }
        channel.kept.nacked(suspect.name, seq, sent.count == 1);
    }
    suspects
}

/// Visits what a response brought, as far as it is still known.
fn for_each_sent(channel: &Channel, sent: &Sent, mut visit: impl FnMut(NameId, Version)) {
    let seq = sent.seq();
    let current = |entry: &&Entry| entry.is(HELD) && entry.seq() == seq && entry.version != FOREIGN;
    match (sent.count, sent.first) {
        (0, _) => {}
        (1, Some(name)) => {
            if let Some(entry) = channel.held.get(name).filter(current) {
                visit(name, entry.version);
            } else {
                superseded(&channel.flight, seq, &mut visit);
            }
        }
        _ => {
            channel.held.iter().filter(current).for_each(|entry| visit(entry.name, entry.version));
            superseded(&channel.flight, seq, &mut visit);
        }
    }
}

fn superseded(later: &Flight, seq: u32, visit: &mut impl FnMut(NameId, Version)) {
    for later in &later.queue {
        let of_this = later.replaced.iter().filter(|entry| entry.seq() == seq && entry.version != FOREIGN);
        of_this.for_each(|entry| visit(entry.name, entry.version));
    }
}

/// At most `bytes` of a message, cut between characters; it is for logs and terminals.
fn shorten(message: &str, bytes: usize) -> Arc<str> {
    let end = (0..=bytes.min(message.len())).rev().find(|end| message.is_char_boundary(*end));
    printable(message.get(..end.unwrap_or(0)).unwrap_or_default(), &[]).into()
}
