//! What a request does to a subscription: the rules of both codecs over one state.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#how-the-client-specifies-what-resources-to-return>

use std::collections::BTreeMap;

use lateen_model::Version;

use crate::{
    Acked, NameId, Names, Outcome,
    channel::Channel,
    faults::{Fault, active},
    held::{FORCE, FOREIGN, HELD, NAMED},
    xdstp::Glob,
};

/// The name that stands for everything.
const STAR: &str = "*";

/// The parts of a delta request that concern the subscription.
#[derive(Clone, Copy)]
pub(crate) struct DeltaChange<'a> {
    pub(crate) subscribe: &'a [String],
    pub(crate) unsubscribe: &'a [String],
    /// Empty but in the first request.
    pub(crate) initial: &'a BTreeMap<String, String>,
    /// Does an empty first request mean everything?
    pub(crate) legacy_wildcard: bool,
}

impl Channel {
    /// The whole list of names, as each state-of-the-world request has it; one that repeats the last changes nothing.
    pub(crate) fn apply_list(&mut self, list: &[String], names: &mut Names, outcome: &mut Outcome) {
        let mut wanted: Vec<NameId> =
            list.iter().filter(|name| is_name(name)).map(|name| names.intern(name)).collect();
        wanted.sort_unstable();
        wanted.dedup();
        self.ever_named |= !list.is_empty();
        // Empty means everything only until a name was given once; after that it means nothing.
        let empty = !self.ever_named || (list.is_empty() && active(Fault::EmptyIsWildcard));
        let legacy = empty && self.kind.info().wildcard && !active(Fault::NoLegacyWildcard);
        let wildcard = legacy || list.iter().any(|name| name == STAR && !active(Fault::StarIsAName));

        let mut left: Vec<NameId> = self
            .held
            .iter()
            .filter(|entry| entry.is(NAMED) && wanted.binary_search(&entry.name).is_err())
            .filter(|_| !active(Fault::KeepUnlisted))
            .map(|entry| entry.name)
            .collect();
        self.held.make_room(&wanted);
        for &name in &wanted {
            if !self.held.get(name).is_some_and(|entry| entry.is(NAMED)) {
                // A name that is added must be answered, even if it was sent before without being asked for.
                self.held.entry(name).set(NAMED);
                self.add_glob(name, names);
                let known =
                    active(Fault::NoAnswerToResubscribe) && self.held.get(name).is_some_and(|e| e.is(HELD));
                self.mark(name, if known { 0 } else { FORCE });
                outcome.subscribed.push((self.kind, name));
            }
        }
        self.named = wanted.len();
        outcome.unsubscribed.extend(left.iter().map(|name| (self.kind, *name)));
        if wildcard {
            self.globs.retain(|(name, _)| !left.contains(name));
            for &name in &left {
                self.held.entry(name).clear(NAMED);
                self.mark(name, 0);
            }
        } else {
            self.drop_globs(&mut left, names);
            self.forget(&left, names);
        }
        self.set_wildcard(wildcard, names, outcome);
        // A complete set is an answer also when it is empty.
        self.answer_due |= !self.requested && self.full;
    }

    /// The difference that a delta request makes. Names in both lists end up unsubscribed.
    pub(crate) fn apply_delta(&mut self, change: &DeltaChange<'_>, names: &mut Names, outcome: &mut Outcome) {
        let DeltaChange { subscribe, unsubscribe, initial, legacy_wildcard } = *change;
        let first = !self.requested;
        let star = subscribe.iter().any(|name| name == STAR) && !self.implicit && !active(Fault::StarIsAName);
        let legacy = first
            && legacy_wildcard
            && subscribe.is_empty()
            && unsubscribe.is_empty()
            && !active(Fault::NoLegacyWildcard);
        if !first && !subscribe.is_empty() && active(Fault::NameEndsWildcard) {
            self.set_wildcard(false, names, outcome);
        }
        let wanted: Vec<(NameId, &String)> =
            subscribe.iter().filter(|text| is_name(text)).map(|text| (names.intern(text), text)).collect();
        self.held.make_room(&wanted.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        for (name, text) in wanted {
            let entry = self.held.entry(name);
            if !entry.is(NAMED) {
                entry.set(NAMED);
                self.add_glob(name, names);
                self.named += 1;
                outcome.subscribed.push((self.kind, name));
            }
            // What the client says to hold on a new stream is compared. Any later subscription is answered,
            // even if we think that the client has the resource: it may have let go of it in between.
            // <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#subscribing-to-resources>
            let known =
                active(Fault::NoAnswerToResubscribe) && self.held.get(name).is_some_and(|e| e.is(HELD));
            let force = if known || (first && initial.contains_key(text)) { 0 } else { FORCE };
            self.mark(name, force);
        }
        if star || legacy {
            self.set_wildcard(true, names, outcome);
        }
        self.unsubscribe(unsubscribe, names, outcome);
        if first {
            self.take_initial(initial, names, outcome);
            self.answer_due |= self.wildcard;
            if active(Fault::NoAnswerWhenCurrent) {
                self.answer_due = false;
            }
            if active(Fault::InitialVersionsSubscribe) {
                for text in initial.keys() {
                    let name = names.intern(text);
                    self.held.entry(name).set(NAMED);
                    self.mark(name, FORCE);
                }
            }
        }
    }

    fn unsubscribe(&mut self, unsubscribe: &[String], names: &mut Names, outcome: &mut Outcome) {
        if unsubscribe.iter().any(|name| name == STAR) {
            self.set_wildcard(false, names, outcome);
            if active(Fault::StarTakesNames) {
                let all: Vec<NameId> = self.held.iter().map(|entry| entry.name).collect();
                self.forget(&all, names);
            }
        }
        let mut left = Vec::new();
        for text in unsubscribe.iter().filter(|text| is_name(text)) {
            // Names that are not subscribed are ignored.
            let Some(name) = names.find(text) else { continue };
            let Some(entry) = self.held.get_mut(name) else { continue };
            if !entry.is(NAMED) {
                continue;
            }
            entry.clear(NAMED);
            self.named -= 1;
            outcome.unsubscribed.push((self.kind, name));
            if self.wildcard && active(Fault::SilentUnsubscribe) {
                continue;
            }
            if self.wildcard {
                self.globs.retain(|(glob, _)| *glob != name);
                // The client can't know whether the wildcard still covers the name: it is told.
                // <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#unsubscribing-from-resources>
                self.mark(name, FORCE);
            } else {
                left.push(name);
            }
        }
        self.drop_globs(&mut left, names);
        self.forget(&left, names);
        if self.named == 0 && !left.is_empty() && active(Fault::LastNameIsWildcard) {
            self.set_wildcard(true, names, outcome);
        }
    }

    /// `name` is asked for: perhaps it stands for a collection.
    fn add_glob(&mut self, name: NameId, names: &Names) {
        if let Some(glob) = Glob::parse(names.text(name)) {
            self.globs.push((name, glob));
            self.rescan = true;
        }
    }

    /// `left` is not asked for any more: neither are the members of collections among it.
    fn drop_globs(&mut self, left: &mut Vec<NameId>, names: &Names) {
        let before = self.globs.len();
        self.globs.retain(|(name, _)| !left.contains(name));
        if self.globs.len() < before && !self.wildcard {
            let unnamed = self.held.iter().filter(|entry| !entry.is(NAMED)).map(|entry| entry.name);
            let lost: Vec<NameId> = unnamed.filter(|name| !self.in_glob(names.text(*name))).collect();
            left.extend(lost);
        }
    }

    fn set_wildcard(&mut self, on: bool, names: &Names, outcome: &mut Outcome) {
        if on == self.wildcard {
            return;
        }
        self.wildcard = on;
        outcome.wildcard.push((self.kind, on));
        if on {
            self.rescan = true;
            self.answer_due = true;
        } else {
            self.rescan = false;
            let left: Vec<NameId> =
                self.held.iter().filter(|entry| !entry.is(NAMED)).map(|entry| entry.name).collect();
            let left: Vec<NameId> =
                left.into_iter().filter(|name| !self.in_glob(names.text(*name))).collect();
            self.rescan |= !self.globs.is_empty();
            self.forget(&left, names);
        }
    }

    /// What the client says it holds. A name in here that it does not subscribe to is no subscription.
    /// <https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/discovery/v3/discovery.proto#envoy-v3-api-field-service-discovery-v3-deltadiscoveryrequest-initial-resource-versions>
    fn take_initial(&mut self, initial: &BTreeMap<String, String>, names: &mut Names, outcome: &mut Outcome) {
        if initial.is_empty() || self.implicit {
            return;
        }
        let mut claimed = Vec::with_capacity(initial.len());
        for (text, version) in initial.iter().filter(|(text, _)| is_name(text)) {
            let subscribed = |name| self.held.get(name).is_some_and(|entry| entry.is(NAMED));
            if self.wildcard || self.in_glob(text) {
                claimed.push((names.intern(text), version));
            } else if let Some(name) = names.find(text)
                && subscribed(name)
            {
                claimed.push((name, version));
            }
        }
        let ids: Vec<NameId> = claimed.iter().map(|(name, _)| *name).collect();
        self.held.make_room(&ids);
        for (name, version) in claimed {
            self.claim(name, version, names);
            // It accepted what it still holds.
            let accepted = |version| Acked { kind: self.kind, name, version };
            outcome.acked.extend(Version::parse(version).map(accepted));
        }
    }

    /// The client says that it holds `version` of `name`.
    pub(crate) fn claim(&mut self, name: NameId, version: &str, names: &Names) {
        if self.held.get(name).is_some_and(|entry| entry.is(HELD)) {
            return;
        }
        self.held.hold(name, names.text(name), Version::parse(version).unwrap_or(FOREIGN), 0);
        self.mark(name, 0);
    }
}

/// Empty names are tolerated and mean nothing; the star is no name.
fn is_name(text: &str) -> bool {
    !text.is_empty() && text != STAR
}
