//! The registry: shards in, World out.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use lateen_config::{Kind, ObjectKey, Parsed, ParsedObject, kind::Role, parse};
use lateen_model::{Diagnostic, Document, ObjectId, ObjectKind, SourceId, Unapplied, event::Object};

use crate::{
    Changes, DocumentState, Fact, FactKey, GuardSettings, NamespaceFact, SecretStore, Touched, World,
    backlog::{Backlog, Turn},
    contested::{self, Contested},
    derived::Derivation,
    entry::Entry,
    mesh::Mesh,
    objects::{Change, Objects},
    policies::Policies,
    prepared::Prepared,
    routing::{Context, Routing},
    services::Services,
    shard::{Effect, Shard},
};

/// DNS domain of services of Kubernetes unless told otherwise.
pub const DOMAIN_DEFAULT: &str = "cluster.local";

/// Rank of what is proposed; sources count from 1.
const PROPOSED: u32 = 0;

/// How a source is doing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceStatus {
    /// Its name.
    pub id: SourceId,
    /// Was it listed once, or restored from what was saved?
    pub synced: bool,
    /// Since when it fails; what it said before is served.
    pub stale_since: Option<u64>,
    /// Why it fails.
    pub error: Option<String>,
    /// How many objects it holds.
    pub objects: usize,
    /// How many findings there are about its objects themselves.
    pub findings: usize,
    /// When it last said something.
    pub last_event: Option<u64>,
    /// When what is in force of it was saved, by the clock of who restored it; none once it was listed.
    pub saved_at: Option<u64>,
    /// How many of its removals wait for a confirmation.
    pub held_removals: usize,
}

/// The one owner of what all sources say. Times are milliseconds of the caller's clock.
#[derive(Clone, Debug)]
pub struct Registry {
    domain: Arc<str>,
    guard: GuardSettings,
    shards: Vec<Shard>,
    ranks: HashMap<Arc<str>, u32>,
    objects: Objects,
    mesh: Mesh,
    routing: Routing,
    policies: Policies,
    services: Services,
    derivation: Derivation,
    contested: Contested,
    world: World,
    /// Cells that may differ from what the indices say.
    dirty: BTreeSet<FactKey>,
    /// Those of large changes, which are brought up to date in portions.
    backlog: Backlog,
    /// How many cells are brought up to date at once.
    portion: usize,
}

impl Registry {
    /// A registry that waits for these sources; where objects conflict the earlier source wins.
    pub fn new(sources: &[SourceId]) -> Self {
        Self::with_domain(sources, DOMAIN_DEFAULT)
    }

    /// The same with another DNS domain of services than [`DOMAIN_DEFAULT`].
    pub fn with_domain(sources: &[SourceId], domain: &str) -> Self {
        let mut registry = Self {
            domain: domain.into(),
            guard: GuardSettings::default(),
            shards: Vec::new(),
            ranks: HashMap::new(),
            objects: Objects::default(),
            mesh: Mesh::default(),
            routing: Routing::default(),
            policies: Policies::default(),
            services: Services::default(),
            derivation: Derivation::default(),
            contested: Contested::default(),
            world: World::new(),
            dirty: BTreeSet::new(),
            backlog: Backlog::default(),
            portion: usize::MAX,
        };
        for source in sources {
            registry.shard(source);
        }
        registry
    }

    /// The facts.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The contents of secrets, which the World does not hold.
    pub fn secrets(&self) -> &SecretStore {
        self.routing.secrets()
    }

    /// Takes over one event of a source. While the source lists, changes are held back until the listing ends, so
    /// that it is one change. A document that was not read yet is read now.
    pub fn apply(&mut self, source: &SourceId, event: impl Into<Prepared>, now: u64) -> Changes {
        let shard = self.shard(source);
        shard.last_event = Some(now);
        let effects = shard.apply(event.into(), now);
        let (listing, rank) = (shard.is_listing(), shard.rank);
        self.perform(rank, effects);
        if listing { self.nothing() } else { self.flush() }
    }

    /// Does what is due: removals that were held long enough go.
    pub fn on_time(&mut self, now: u64) -> Changes {
        let due = self.shards.iter_mut().filter(|shard| shard.deadline().is_some_and(|at| at <= now));
        let due: Vec<_> = due.map(|shard| (shard.rank, shard.on_time(now))).collect();
        if due.is_empty() {
            return self.nothing();
        }
        for (rank, effects) in due {
            self.perform(rank, effects);
        }
        self.flush()
    }

    /// When [`Registry::on_time`] has something to do.
    pub fn deadline(&self) -> Option<u64> {
        self.shards.iter().filter_map(Shard::deadline).min()
    }

    /// Takes what was saved of a source, as if it had said so before: what it has said itself already stays, and its
    /// next listing takes out what it does not name, where that is not too much at once. The source is not listed
    /// by that.
    pub fn recall(&mut self, source: &SourceId, objects: Vec<(ObjectId, Object)>) -> Changes {
        let shard = self.shard(source);
        let (rank, effects) = (shard.rank, shard.recall(objects));
        self.perform(rank, effects);
        self.flush()
    }

    /// The source can't be listed: what is known of it, saved then, counts as listed until it can.
    pub fn trust_saved(&mut self, source: &SourceId, saved_at: u64) {
        self.shard(source).trust_saved(saved_at);
    }

    /// From now on an event that concerns more cells than this is taken over in portions: the first, of as many cells,
    /// at once, the others by [`Registry::advance`]. Unless told so, every event is taken over as a whole.
    pub fn set_portion(&mut self, cells: usize) {
        self.portion = cells;
    }

    /// Do changes wait for [`Registry::advance`]?
    pub fn is_behind(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Takes over the next portion of what waits, of about so many cells and of one at least.
    pub fn advance(&mut self, cells: usize) -> Changes {
        let portion = self.backlog.take(cells.max(1));
        self.derive(portion)
    }

    fn perform(&mut self, rank: u32, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Object(old, new) => self.replace(old.as_ref(), new),
                Effect::Translated(id, new) => self.services.translated(rank, &id, new, &mut self.dirty),
            }
        }
    }

    /// What counts as a mass removal, for all sources.
    pub fn set_guard(&mut self, guard: GuardSettings) {
        self.guard = guard;
        self.shards.iter_mut().for_each(|shard| shard.removals.set_guard(guard));
    }

    /// What happens to settings that can't be applied.
    pub fn set_unapplied(&mut self, choice: Unapplied) -> Changes {
        let fact = (choice != Unapplied::default()).then_some(Fact::Unapplied(choice));
        self.world.write([(FactKey::Unapplied, fact)])
    }

    /// The objects of sources that are others, or in another state, than at the last call. One entry for each.
    pub fn take_touched(&mut self) -> Vec<(SourceId, ObjectId, Touched)> {
        let of = |shard: &mut Shard| {
            let source = shard.id.clone();
            shard.take_touched().into_iter().map(move |(id, touched)| (source.clone(), id, touched))
        };
        self.shards.iter_mut().flat_map(of).collect()
    }

    /// Source and place of the documents of the Gateway API whose standing may be another one since the last call.
    pub fn take_reconsidered(&mut self) -> BTreeSet<(Arc<str>, Arc<str>)> {
        self.derivation.take_reconsidered()
    }

    /// Would [`Registry::take_reconsidered`] give any?
    pub fn has_reconsidered(&self) -> bool {
        self.derivation.has_reconsidered()
    }

    pub(crate) fn derivation(&self) -> &Derivation {
        &self.derivation
    }

    pub(crate) fn domain(&self) -> &str {
        &self.domain
    }

    /// What is known of a document of a source.
    pub fn document(&self, source: &SourceId, id: &ObjectId) -> Option<DocumentState<'_>> {
        self.shards.iter().find(|shard| shard.id == *source)?.document_state(id)
    }

    /// The source can't be read; what it said stays. A listing under way is abandoned: what it did not get to
    /// name is not gone, and what it brought waits for the next event.
    pub fn source_failed(&mut self, source: &SourceId, error: &str, now: u64) {
        let shard = self.shard(source);
        shard.stale_since.get_or_insert(now);
        shard.error = Some(error.to_owned());
        shard.abandon_listings();
    }

    /// The source can be read again.
    pub fn source_recovered(&mut self, source: &SourceId, _now: u64) {
        let shard = self.shard(source);
        (shard.stale_since, shard.error) = (None, None);
    }

    /// Was every source listed once, or restored from what was saved?
    pub fn synced(&self) -> bool {
        self.shards.iter().all(|shard| shard.synced)
    }

    /// How the sources are doing, in their order.
    pub fn sources(&self) -> Vec<SourceStatus> {
        self.shards.iter().map(Shard::status).collect()
    }

    /// How a source is doing.
    pub fn source(&self, source: &SourceId) -> Option<SourceStatus> {
        self.shards.iter().find(|shard| shard.id == *source).map(Shard::status)
    }

    /// Does the source have the object, as far as is known?
    pub fn has(&self, source: &SourceId, id: &ObjectId) -> bool {
        self.shards.iter().any(|shard| shard.id == *source && shard.has(id))
    }

    /// All findings: about texts and objects by source, then about objects together.
    pub fn diagnostics(&self) -> impl Iterator<Item = &Diagnostic> {
        let texts = self.shards.iter().flat_map(Shard::findings);
        texts.chain(self.diagnostics_together())
    }

    /// Findings about objects together: those that [`Registry::document`] does not know.
    pub fn diagnostics_together(&self) -> impl Iterator<Item = &Diagnostic> {
        let together = self.objects.findings().chain(self.mesh.findings()).chain(self.services.findings());
        together.chain(self.derivation.findings()).chain(self.contested.findings())
    }

    /// Of these the findings about what several objects claim, of which one counts.
    pub fn contested(&self) -> impl Iterator<Item = &Diagnostic> {
        self.contested.findings()
    }

    /// The objects that count, in no order; those converted from the Gateway API are among them.
    pub fn objects(&self) -> impl Iterator<Item = &ParsedObject> {
        self.objects.all().map(|entry| &entry.object)
    }

    /// The World as it would be if these texts were applied over all that sources say, and the findings about the
    /// texts. Each text has the name it is reported by.
    pub fn propose(&self, source: &SourceId, texts: &[(Arc<str>, Arc<[u8]>)]) -> (World, Vec<Diagnostic>) {
        let (proposal, findings) = self.clone().proposed(source, texts);
        (proposal.world, findings)
    }

    /// The same as [`Registry::propose`], of a registry that is not needed otherwise; gives it as it would be.
    pub fn proposed(self, source: &SourceId, texts: &[(Arc<str>, Arc<[u8]>)]) -> (Self, Vec<Diagnostic>) {
        let mut proposal = self;
        proposal.portion = usize::MAX;
        proposal.advance(usize::MAX);
        proposal.ranks.insert(source.0.clone(), PROPOSED);
        proposal.shards.push(Shard::new(source.clone(), PROPOSED));
        for (location, body) in texts {
            let id = ObjectId { kind: ObjectKind::Document, name: location.clone() };
            let parsed = parse(body, &source.0, location);
            let in_force = proposal.in_force(&parsed);
            let document = Document { body: body.clone() };
            let effects = proposal.shard(source).propose(&id, &document, parsed, in_force);
            proposal.perform(PROPOSED, effects);
            proposal.flush();
        }
        let findings = proposal.shards.last().into_iter().flat_map(Shard::findings).cloned().collect();
        (proposal, findings)
    }

    /// What is in force of the objects that can't be read in a proposed text: whichever document it is to replace, that
    /// is their last good form. One without a name may be any of its kind.
    fn in_force(&self, parsed: &Parsed) -> Vec<Arc<Entry>> {
        let keys: BTreeSet<&ObjectKey> = parsed.invalid.iter().filter_map(|it| it.key.as_ref()).collect();
        let unnamed = parsed.invalid.iter().filter(|it| it.key.is_none());
        let kinds: BTreeSet<(Kind, &str)> = unnamed
            .filter_map(|it| it.stand_in.as_deref())
            .map(|object| (object.key.kind, &*object.key.namespace))
            .collect();
        if keys.is_empty() && kinds.is_empty() {
            return Vec::new();
        }
        let is_meant = |key: &ObjectKey| keys.contains(key) || kinds.contains(&(key.kind, &*key.namespace));
        self.objects.good(is_meant).cloned().collect()
    }

    /// The shard of a source. One that was not announced comes after all others.
    fn shard(&mut self, source: &SourceId) -> &mut Shard {
        let at = self.shards.iter().position(|shard| shard.id == *source).unwrap_or_else(|| {
            let rank = u32::try_from(self.shards.len() + 1).unwrap_or(u32::MAX);
            self.ranks.insert(source.0.clone(), rank);
            let mut shard = Shard::new(source.clone(), rank);
            shard.removals.set_guard(self.guard);
            self.shards.push(shard);
            self.shards.len() - 1
        });
        &mut self.shards[at]
    }

    fn replace(&mut self, old: Option<&Arc<Entry>>, new: Option<Arc<Entry>>) {
        if let Some(entry) = &new
            && entry.precedence.rank == PROPOSED
        {
            // What is proposed stands for the object of its key, whose ever that is.
            for change in self.objects.supersede(&entry.object.key, PROPOSED) {
                self.take(&change);
            }
        }
        for change in self.objects.replace(old, new) {
            self.take(&change);
        }
    }

    /// Another object counts under a key: brings the indices up to date and marks the cells.
    fn take(&mut self, change: &Change) {
        let Some(key) = change.key() else { return };
        match key.kind.role() {
            Role::Mesh => {
                self.dirty.extend([FactKey::Mesh, FactKey::FailoverLabels]);
                if self.mesh.update(change) {
                    self.renew_defaults();
                }
            }
            Role::Namespaces => {
                self.dirty.insert(FactKey::Namespace(key.name.as_str().into()));
                self.derivation.update(change);
            }
            Role::Routing => {
                let context = Context { domain: &self.domain, defaults: self.mesh.defaults() };
                self.routing.update(change, context, &mut self.dirty);
            }
            Role::Services => {
                let context = Context { domain: &self.domain, defaults: self.mesh.defaults() };
                self.services.update(change, context, &mut self.dirty);
            }
            Role::GatewayApi => self.derivation.update(change),
            Role::Policy => self.policies.update(change, &mut self.dirty),
        }
    }

    /// The mesh's defaults have changed: objects that may follow them are read again. This is the one change
    /// whose work is that of the whole mesh.
    fn renew_defaults(&mut self) {
        let kinds = [Kind::VirtualService, Kind::DestinationRule, Kind::ServiceEntry, Kind::Service];
        let all: Vec<Arc<Entry>> =
            kinds.into_iter().flat_map(|kind| self.objects.of_kind(kind).cloned()).collect();
        for entry in all {
            self.take(&Change { before: Some(entry.clone()), after: Some(entry) });
        }
    }

    fn nothing(&self) -> Changes {
        Changes { revision: self.world.revision(), ..Changes::default() }
    }

    /// Brings the World up to date, or begins to.
    fn flush(&mut self) -> Changes {
        for (old, new) in self.derivation.convert(&self.domain, &self.ranks) {
            self.replace(old.as_ref(), new);
        }
        let dirty = std::mem::take(&mut self.dirty);
        if dirty.len() <= self.portion {
            return self.derive(dirty);
        }
        for key in dirty {
            let turn = self.turn(&key);
            self.backlog.add(turn, key);
        }
        self.advance(self.portion)
    }

    /// When a cell is brought up to date that has to wait.
    fn turn(&mut self, key: &FactKey) -> Turn {
        match key {
            // What stays or comes of it holds before anything new is there to protect, what goes holds to the end.
            FactKey::Mesh | FactKey::Unapplied => Turn::Protects,
            FactKey::Policies(..) if self.cell(key).is_some() => Turn::Protects,
            FactKey::DestinationRules(host) if host.is_wildcard() && self.cell(key).is_some() => {
                Turn::Protects
            }
            FactKey::Policies(..) => Turn::Goes,
            FactKey::DestinationRules(host) if host.is_wildcard() => Turn::Goes,
            _ => {
                let Some(host) = key.host() else { return Turn::Changes };
                let was_there = self.world.get(&FactKey::Service(host.clone())).is_some();
                Turn::of_host(was_there, self.services.defines(host))
            }
        }
    }

    /// Brings these cells of the World up to date.
    fn derive(&mut self, dirty: BTreeSet<FactKey>) -> Changes {
        let mut cells = Vec::new();
        let mut later = BTreeSet::new();
        for key in dirty {
            let fact = match &key {
                FactKey::Endpoints(host, namespace) => {
                    let before = self.world.get(&key);
                    self.services.endpoints_cell(host, namespace, before, &mut later)
                }
                FactKey::ServicesAt(_) => continue,
                _ => self.cell(&key),
            };
            cells.push((key, fact));
        }
        for key in later {
            let fact = self.cell(&key);
            cells.push((key, fact));
        }
        // What an object says of itself may be another thing where the cell is the same.
        let looked_at = cells.iter().map(|(key, _)| key).filter_map(contested::about).collect();
        let changes = self.world.write(cells);
        for key in &changes.facts {
            if let FactKey::Service(host) = key {
                let routes = self.routes_to(host);
                self.derivation.reconsider_all(routes);
            }
        }
        let Self { world, domain, objects, services, .. } = self;
        let mesh = contested::Mesh { world, domain, objects, services };
        self.contested.update(&mesh, &looked_at);
        changes
    }

    fn cell(&mut self, key: &FactKey) -> Option<Fact> {
        match key {
            FactKey::Mesh => self.mesh.cell().1,
            // Written by `set_unapplied`.
            FactKey::Unapplied => self.world.get(key).cloned(),
            FactKey::Namespace(name) => self.derivation.namespace(name.as_str()).map(|entry| {
                let (labels, origin) = (entry.object.meta.labels.clone(), entry.object.origin.clone());
                Fact::Namespace(Arc::new(NamespaceFact { labels, origin }))
            }),
            FactKey::Service(host) => self.services.services_cell(host),
            FactKey::ServicesAt(ip) => self.services.services_at_cell(*ip),
            FactKey::AddressOf(ip) => self.services.address_of_cell(*ip),
            // Written by `derive`, which knows their values so far.
            FactKey::Endpoints(..) => None,
            FactKey::Policies(kind, namespace) => self.policies.cell(*kind, namespace),
            FactKey::DestinationRules(_)
            | FactKey::VirtualServices(_)
            | FactKey::GatewayRoutes(..)
            | FactKey::GatewayStreams(_)
            | FactKey::VirtualService(_)
            | FactKey::Sidecars(_)
            | FactKey::Gateways
            | FactKey::Gateway(_)
            | FactKey::SourceSelectors
            | FactKey::FailoverLabels
            | FactKey::Secret(..) => self.routing.cell(key, &self.mesh.config()),
        }
    }
}
