//! The state of one resource type on a stream.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    NameId, Names, ResourceType, SessionOptions, Variant,
    encode::ErrorCode,
    flight::Flight,
    held::{FORCE, HELD, Held, NAMED, PENDING},
    kept::Kept,
    suspects::Suspects,
    xdstp::Glob,
};

/// What the client said when it last rejected something.
#[derive(Clone, Debug)]
pub(crate) struct LastNack {
    pub(crate) message: Arc<str>,
    pub(crate) since_ms: u64,
}

#[allow(clippy::struct_excessive_bools, reason = "independent marks, each set and read on its own")]
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) kind: ResourceType,
    /// Must a response hold the complete set? LDS and CDS (and SRDS) in state of the world.
    /// <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#grouping-resources-into-responses>
    pub(crate) full: bool,
    /// Is what was sent kept? Where old references still matter, and where sets must be complete.
    pub(crate) keeps: bool,
    /// Does the route configuration that was sent imply the subscription? VHDS on an aggregated stream.
    pub(crate) implicit: bool,
    /// Has the client sent a request for the type?
    pub(crate) requested: bool,
    pub(crate) wildcard: bool,
    /// Collections that are subscribed by their names.
    pub(crate) globs: Vec<(NameId, Glob)>,
    /// Has it ever named a resource? Then an empty list is no wildcard any more (state of the world).
    pub(crate) ever_named: bool,
    /// How many names the client has asked for.
    pub(crate) named: usize,
    pub(crate) held: Held,
    /// Names to look at; those in a trial are not among them.
    pub(crate) pending: Vec<NameId>,
    /// Everything is to be compared with the view.
    pub(crate) rescan: bool,
    /// The client waits for a response, be it empty.
    pub(crate) answer_due: bool,
    /// The last request was stale: what it asks for goes with the next response, but causes none.
    pub(crate) on_hold: bool,
    pub(crate) flight: Flight,
    pub(crate) kept: Kept,
    pub(crate) suspects: Suspects,
    pub(crate) nack: Option<LastNack>,
    /// When resources must be repeated before their time to live is over.
    pub(crate) beats: BTreeMap<NameId, u64>,
    /// Route configurations whose hosts are none, which the client has to be told (VHDS).
    pub(crate) hostless: Vec<NameId>,
    /// Hosts that were on their way when the client unsubscribed their route configuration (VHDS): it may have it
    /// again by the time that they arrive.
    pub(crate) overtaken: Vec<NameId>,
    /// Names that the client was told can't be had, with the code: once is enough.
    pub(crate) told: BTreeMap<NameId, ErrorCode>,
    /// Nothing is sent before this time.
    pub(crate) not_before_ms: u64,
}

impl Channel {
    pub(crate) fn new(kind: ResourceType, options: &SessionOptions) -> Self {
        let full = options.variant == Variant::Sotw && kind.info().wildcard;
        let refers = match kind {
            ResourceType::Listener | ResourceType::RouteConfiguration | ResourceType::ScopedRoute => true,
            // A virtual host refers to clusters too, but there may be thousands: see `Gates::removal_waits`.
            ResourceType::Cluster
            | ResourceType::Endpoints
            | ResourceType::Secret
            | ResourceType::ExtensionConfig
            | ResourceType::VirtualHost
            | ResourceType::Runtime => false,
        };
        Self {
            kind,
            full,
            keeps: full || refers,
            implicit: kind == ResourceType::VirtualHost && options.only.is_none(),
            requested: false,
            wildcard: false,
            globs: Vec::new(),
            ever_named: false,
            named: 0,
            held: Held::default(),
            pending: Vec::new(),
            rescan: false,
            answer_due: false,
            on_hold: false,
            flight: Flight::default(),
            kept: Kept::default(),
            suspects: Suspects::default(),
            nack: None,
            beats: BTreeMap::new(),
            hostless: Vec::new(),
            overtaken: Vec::new(),
            told: BTreeMap::new(),
            not_before_ms: 0,
        }
    }

    /// `name` is to be looked at; `force`: and to be answered whatever is found.
    pub(crate) fn mark(&mut self, name: NameId, force: u32) {
        let entry = self.held.entry(name);
        let known = entry.is(PENDING);
        entry.set(PENDING | force);
        if !known {
            self.pending.push(name);
        }
    }

    /// `name` changed. Is that of interest here?
    pub(crate) fn touch(&mut self, name: NameId) -> bool {
        // Whether a collection has the name is seen when it is looked at.
        if self.wildcard || self.implicit || !self.globs.is_empty() {
            self.mark(name, 0);
            return true;
        }
        let Some(entry) = self.held.get(name).copied() else { return false };
        if !entry.is(NAMED | HELD) {
            return false;
        }
        if !entry.is(PENDING) {
            self.mark(name, 0);
        }
        true
    }

    /// Looks at all that the client has asked for or holds.
    pub(crate) fn touch_all(&mut self) {
        let Self { held, pending, .. } = self;
        held.change(
            |entry| entry.is(NAMED | HELD) && !entry.is(PENDING),
            |entry| {
                entry.set(PENDING);
                pending.push(entry.name);
            },
        );
        self.rescan |= self.wildcard || self.implicit || !self.globs.is_empty();
    }

    /// Does a collection that is subscribed have this name?
    pub(crate) fn in_glob(&self, text: &str) -> bool {
        self.globs.iter().any(|(_, glob)| glob.has(text))
    }

    /// Was the client told of this error?
    pub(crate) fn was_told(&self, name: NameId, code: ErrorCode) -> bool {
        self.told.get(&name) == Some(&code)
    }

    /// The client is told that `name` can't be had, or, with no code, that it can.
    pub(crate) fn tell(&mut self, name: NameId, code: Option<ErrorCode>) {
        match code {
            Some(code) => self.told.insert(name, code),
            None => self.told.remove(&name),
        };
    }

    /// Nothing more to say about `name` for now.
    pub(crate) fn settle(&mut self, name: NameId) {
        if let Some(entry) = self.held.get_mut(name) {
            entry.clear(PENDING | FORCE);
            if !entry.is(NAMED | HELD) {
                self.held.drop_if_dead(name);
            }
        }
    }

    /// Nothing is on its way: what the client holds is kept together with others who hold the same.
    pub(crate) fn rest(&mut self, names: &mut Names) {
        if self.flight.is_empty() && self.pending.is_empty() {
            self.held.share(&mut names.common);
        }
    }

    /// The client has let go of `names`: it neither asks for them nor holds them.
    pub(crate) fn forget(&mut self, names: &[NameId], texts: &Names) {
        for &name in names {
            self.held.release(name, texts.text(name));
            if let Some(entry) = self.held.get_mut(name) {
                entry.clear(NAMED | PENDING | FORCE);
            }
        }
        if names.is_empty() {
            return;
        }
        self.held.drop_dead();
        let Self { held, pending, kept, suspects, beats, told, .. } = self;
        let lives = |name| held.get(name).is_some();
        pending.retain(|name| lives(*name));
        kept.retain(lives);
        suspects.retain(lives);
        beats.retain(|name, _| lives(*name));
        told.retain(|name, _| lives(*name));
    }

    /// Is there nothing to send?
    pub(crate) fn is_idle(&self) -> bool {
        self.pending.is_empty() && !self.rescan && !self.answer_due && !self.suspects.has_trials()
    }

    /// Has everything that the client asked for been sent and accepted?
    pub(crate) fn is_answered(&self) -> bool {
        self.requested && self.is_idle() && self.flight.is_empty()
    }

    /// The next heartbeat.
    pub(crate) fn beat_ms(&self) -> Option<u64> {
        self.beats.values().copied().min()
    }
}
