//! A stream as a state machine. It is told what came in and what changed, and asked what to send; it does no
//! I/O and reads no clock.
//!
//! Streams of one node that carry one type each ([`SessionOptions::only`]) know nothing of each other: make
//! before break across them is best effort, as the specification has it. Ordering them together is a matter of
//! sharing what `gates` reads.

mod answer;
mod compose;
mod gates;
mod hosts;
mod render;
mod status;

use std::collections::BTreeMap;

use crate::{
    Change, NameId, Names, Outcome, Refusal, Request, ResourceType, Response, SessionOptions, Variant, View,
    channel::Channel,
    faults::{Fault, active},
    subscription::DeltaChange,
};

use gates::Fresh;
pub use status::{HeldResource, HeldState, TypeState, TypeStatus};

type Channels = [Option<Box<Channel>>; ResourceType::COUNT];

/// One gRPC stream.
#[derive(Debug)]
pub struct Session {
    options: SessionOptions,
    channels: Channels,
    /// Clusters that the client was sent for the first time and has not accepted yet.
    fresh: Fresh,
    /// Number of the last response.
    number: u64,
    /// Types that may have something to send, as bits.
    dirty: u16,
    /// Types that have something to send and wait for an answer or for time.
    waiting: u16,
    /// When a waiting type is to be looked at.
    wake_ms: u64,
    /// Can the client read a resource that is wrapped (state of the world)?
    wrapper: bool,
    /// The client came with what it held: removals wait until its routes are answered, or until then.
    reconnect_until_ms: u64,
}

impl Session {
    /// A stream that has just been opened.
    pub fn new(options: SessionOptions) -> Self {
        let wrapper = options.profile != crate::ClientProfile::Other;
        Self {
            options,
            channels: Channels::default(),
            fresh: Fresh::default(),
            number: 0,
            dirty: 0,
            waiting: 0,
            wake_ms: u64::MAX,
            reconnect_until_ms: 0,
            wrapper,
        }
    }

    /// The client says that it can read wrapped resources. Envoy, gRPC and our own proxy can whatever they say.
    /// <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#sotw-ttl>
    pub fn allow_wrapper(&mut self) {
        self.wrapper = true;
    }

    /// The time to live that this client can be told.
    fn ttl_ms(&self, resource: &crate::Resource, view: &dyn View) -> Option<u32> {
        let told = self.wrapper || self.options.variant == Variant::Delta;
        told.then(|| view.ttl_ms(resource)).flatten()
    }

    /// How the stream was opened.
    pub fn options(&self) -> &SessionOptions {
        &self.options
    }

    /// A request came in at `now_ms`. What it tells is written to `outcome`, which is cleared before. After an
    /// error the stream must be ended.
    pub fn on_request(
        &mut self,
        request: &Request,
        names: &mut Names,
        now_ms: u64,
        outcome: &mut Outcome,
    ) -> Result<(), Refusal> {
        outcome.clear();
        let Some(kind) = self.kind_of(request)? else { return Ok(()) };
        self.check(kind, request, names)?;
        let mut channel = match self.channel(kind).take() {
            Some(channel) => channel,
            None => Box::new(Channel::new(kind, &self.options)),
        };
        let first = !channel.requested;
        // The first request of a type is a subscription whatever else it says: Envoy repeats a pending NACK,
        // without a nonce, on a new stream. Only hosts are sent before they are asked for.
        let initial = request.nonce.is_empty() || (first && channel.flight.is_empty());
        let number = if initial { None } else { Some(self.number_of(&request.nonce)) };
        // A response to a stale nonce would be a response to an outdated state of the client.
        // <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#when-to-send-an-update>
        if number == Some(None) && active(Fault::UnknownNonceEndsStream) {
            return Err(Refusal::NoType);
        }
        let off_time = number.is_some_and(|number| number != Some(channel.flight.last));
        let stale = self.options.variant == Variant::Sotw && off_time && !active(Fault::AnswerStale);
        let error = request.error.as_deref().filter(|_| !active(Fault::IgnoreErrorDetail));
        if let Some(Some(number)) = number {
            self.answer(&mut channel, number, error, names, now_ms, outcome);
        }
        if error.is_some() && active(Fault::ResendAfterNack) {
            channel.suspects = crate::suspects::Suspects::default();
            channel.touch_all();
        }
        let idle = channel.is_idle();
        let dropped = (error.is_some() && active(Fault::DropSubscriptionInNack))
            || (number.is_some() && error.is_none() && active(Fault::DropSubscriptionInAck))
            || (off_time && active(Fault::DropSubscriptionWhenStale));
        if !dropped {
            change(&mut channel, &request.change, names, outcome);
        }
        if off_time && active(Fault::AnswerStale) {
            let all: Vec<NameId> = channel.held.iter().map(|entry| entry.name).collect();
            for name in all {
                channel.mark(name, crate::held::FORCE);
            }
        }
        channel.on_hold = stale && (channel.on_hold || (idle && !channel.is_idle()));
        channel.requested = true;
        channel.rest(names);
        *self.channel(kind) = Some(channel);
        if first {
            self.begin(kind, &request.change, names, now_ms);
        }
        self.follow(kind, names, outcome);
        self.dirty |= bit(kind);
        Ok(())
    }

    /// These names of `kind` changed: appeared, got another version, vanished. Costs what is subscribed of them.
    pub fn on_changed(&mut self, kind: ResourceType, names: &[NameId]) {
        let Some(channel) = self.channel(kind).as_deref_mut() else { return };
        if names.len() > 16 && (channel.wildcard || channel.implicit) {
            channel.held.make_room(names);
        }
        if active(Fault::LoseUpdateInFlight) && !channel.flight.is_empty() {
            return;
        }
        let mut of_interest = false;
        if active(Fault::EverythingOnChange) {
            let all: Vec<NameId> = channel.held.iter().map(|entry| entry.name).collect();
            for name in all {
                channel.mark(name, crate::held::FORCE);
            }
        }
        for &name in names {
            of_interest |= channel.touch(name);
        }
        if of_interest {
            channel.on_hold = false;
            self.dirty |= bit(kind);
        }
    }

    /// The node reads other tables from now on: all that it asked for or holds is compared with them.
    pub fn on_view_moved(&mut self) {
        for kind in ResourceType::ALL {
            if let Some(channel) = self.channel(kind).as_deref_mut() {
                channel.touch_all();
                channel.on_hold = false;
                self.dirty |= bit(kind);
            }
        }
    }

    /// The view has become ready.
    pub fn on_ready(&mut self) {
        self.unblock();
    }

    /// Could [`Session::next_response`] return something without the time going on?
    pub fn wants_to_send(&self) -> bool {
        self.dirty != 0
    }

    /// When [`Session::next_response`] should be asked even if nothing happens until then.
    pub fn deadline(&self) -> Option<u64> {
        (self.wake_ms != u64::MAX).then_some(self.wake_ms)
    }

    /// The next response. None: nothing to send until something happens or [`Session::deadline`] has come.
    pub fn next_response(&mut self, view: &dyn View, now_ms: u64) -> Option<Response> {
        if now_ms >= self.wake_ms {
            self.wake_ms = u64::MAX;
            self.fresh.expire(now_ms, self.options.limits.gate_ms);
            self.unblock();
        }
        while self.dirty != 0 {
            // The order of the types is the push order.
            let is_dirty = |kind: &ResourceType| self.dirty & bit(*kind) != 0;
            let kind = if active(Fault::ReverseOrder) {
                ResourceType::ALL.into_iter().rev().find(is_dirty)?
            } else {
                ResourceType::ALL.into_iter().find(is_dirty)?
            };
            if let Some(mut channel) = self.channel(kind).take() {
                let response = self.compose(&mut channel, view, now_ms);
                *self.channel(kind) = Some(channel);
                if response.is_some() {
                    return response;
                }
            }
            self.dirty &= !bit(kind);
        }
        None
    }

    /// All names that the client asks for: what is to be released when the stream ends.
    pub fn subscriptions(&self) -> impl Iterator<Item = (ResourceType, NameId)> {
        self.open_channels().flat_map(|channel| {
            let named = channel.held.iter().filter(|entry| entry.is(crate::held::NAMED));
            named.map(|entry| (channel.kind, entry.name))
        })
    }

    /// The types of which the client asks for everything.
    pub fn wildcards(&self) -> impl Iterator<Item = ResourceType> {
        self.open_channels().filter(|channel| channel.wildcard).map(|channel| channel.kind)
    }

    /// Visits every name that the session knows, perhaps repeatedly: what must survive a sweep of [`Names`].
    pub fn visit_names(&self, visit: &mut dyn FnMut(NameId)) {
        for channel in self.open_channels() {
            channel.held.iter().for_each(|entry| visit(entry.name));
            channel.kept.iter().for_each(|keep| visit(keep.name));
            channel.hostless.iter().chain(&channel.overtaken).copied().for_each(&mut *visit);
            for sent in &channel.flight.queue {
                sent.first.into_iter().for_each(&mut *visit);
                sent.removed.iter().copied().for_each(&mut *visit);
                sent.replaced.iter().for_each(|entry| visit(entry.name));
            }
        }
        self.fresh.names().for_each(visit);
    }

    fn open_channels(&self) -> impl Iterator<Item = &Channel> {
        self.channels.iter().filter_map(Option::as_deref)
    }

    fn channel(&mut self, kind: ResourceType) -> &mut Option<Box<Channel>> {
        self.channels.get_mut(kind.index()).expect("invariant: one slot per type")
    }

    fn peek(&self, kind: ResourceType) -> Option<&Channel> {
        self.channels.get(kind.index())?.as_deref()
    }

    fn unblock(&mut self) {
        self.dirty |= self.waiting;
        self.waiting = 0;
    }

    /// The type of a request. None: one that is not served, which must not disturb the others.
    fn kind_of(&self, request: &Request) -> Result<Option<ResourceType>, Refusal> {
        match (self.options.only, request.type_url.as_str()) {
            (None, "") if active(Fault::EmptyTypeIsCluster) => Ok(Some(ResourceType::Cluster)),
            (None, "") => Err(Refusal::NoType),
            (Some(_), "") if active(Fault::TypeNotImplied) => Err(Refusal::NoType),
            (Some(only), "") => Ok(Some(only)),
            (None, url) if active(Fault::UnknownTypeEndsStream) && ResourceType::from_url(url).is_none() => {
                Err(Refusal::NoType)
            }
            (None, url) => Ok(ResourceType::from_url(url)
                .filter(|kind| self.options.variant == Variant::Delta || kind.info().stream.is_some())),
            (Some(only), url) if url == only.info().url => Ok(Some(only)),
            (Some(only), url) => {
                Err(Refusal::OtherType { expected: only.info().url, given: url.chars().take(200).collect() })
            }
        }
    }

    /// Holds the request against the limits, before anything is changed.
    fn check(&self, kind: ResourceType, request: &Request, names: &Names) -> Result<(), Refusal> {
        let limits = &self.options.limits;
        let long = |name: &&String| name.len() > limits.name_bytes_max;
        let count = |channel: &Channel| channel.named;
        let all: usize = self.open_channels().map(count).sum();
        let (given, too_long) = match (&request.change, self.options.variant) {
            (Change::Sotw { names: list }, Variant::Sotw) => {
                let before = self.peek(kind).map_or(0, count);
                (all - before + list.len(), list.iter().find(long))
            }
            (Change::Delta { subscribe, unsubscribe: _, initial }, Variant::Delta) => {
                let mut given = all + subscribe.len();
                if given > limits.names_max {
                    // Names that are subscribed again count once.
                    let held = self.peek(kind).map(|channel| &channel.held);
                    let known = |text: &&String| {
                        let name = names.find(text)?;
                        held?.get(name)?.is(crate::held::NAMED).then_some(())
                    };
                    given -= subscribe.iter().filter(|text| known(text).is_some()).count();
                }
                (given.max(initial.len()), subscribe.iter().find(long).or_else(|| initial.keys().find(long)))
            }
            (Change::Repeated, Variant::Sotw) => (all, None),
            (Change::Sotw { .. } | Change::Repeated, Variant::Delta)
            | (Change::Delta { .. }, Variant::Sotw) => {
                return Err(Refusal::OtherVariant);
            }
        };
        if let Some(name) = too_long {
            return Err(Refusal::NameTooLong { given: name.len(), limit: limits.name_bytes_max });
        }
        if given > limits.names_max {
            return Err(Refusal::TooManyNames { given, limit: limits.names_max });
        }
        Ok(())
    }

    /// What else the first request of a type means.
    fn begin(&mut self, kind: ResourceType, change: &Change, names: &mut Names, now_ms: u64) {
        let Change::Delta { subscribe: _, unsubscribe: _, initial } = change else { return };
        if kind == ResourceType::Cluster && !initial.is_empty() {
            self.reconnect_until_ms = now_ms + self.options.limits.reconnect_ms;
        }
        if kind == ResourceType::VirtualHost {
            self.claim_hosts(initial, names);
        }
    }

    /// What a change of one type's subscription means for others.
    fn follow(&mut self, kind: ResourceType, names: &Names, outcome: &Outcome) {
        if outcome.unsubscribed.is_empty() && outcome.wildcard.is_empty() {
            return;
        }
        if kind == ResourceType::Cluster {
            let clusters = self.peek(kind);
            let holds = |name| {
                clusters
                    .and_then(|c| c.held.get(name))
                    .is_some_and(|e| e.is(crate::held::NAMED | crate::held::HELD))
            };
            let gone: Vec<NameId> = self.fresh.names().filter(|name| !holds(*name)).collect();
            self.fresh.remove(&gone);
        }
        if kind == ResourceType::RouteConfiguration {
            self.drop_hosts(names, outcome);
        }
        self.unblock();
    }

    fn nonce(&self) -> String {
        let number = if active(Fault::ReuseNonce) { 1 } else { self.number };
        format!("{:x}-{number:x}", self.options.stream)
    }

    /// The number in a nonce of this stream.
    fn number_of(&self, nonce: &str) -> Option<u64> {
        let (stream, number) = nonce.split_once('-')?;
        let stream = u64::from_str_radix(stream, 16).ok()?;
        (stream == self.options.stream).then(|| u64::from_str_radix(number, 16).ok())?
    }
}

fn change(channel: &mut Channel, change: &Change, names: &mut Names, outcome: &mut Outcome) {
    match change {
        Change::Sotw { names: list } => channel.apply_list(list, names, outcome),
        Change::Repeated => {}
        Change::Delta { subscribe, unsubscribe, initial } => {
            let none = BTreeMap::new();
            let kind = channel.kind;
            // VHDS has no wildcard of its own on an aggregated stream: its first request is always empty.
            let own_stream = kind == ResourceType::VirtualHost && !channel.implicit;
            let change = DeltaChange {
                subscribe,
                unsubscribe,
                initial: if channel.requested || active(Fault::IgnoreInitialVersions) {
                    &none
                } else {
                    initial
                },
                legacy_wildcard: kind.info().wildcard || own_stream,
            };
            channel.apply_delta(&change, names, outcome);
        }
    }
}

/// The bit of a type.
const fn bit(kind: ResourceType) -> u16 {
    1 << kind.index()
}
