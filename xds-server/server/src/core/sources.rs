//! Sources: what they say, whether they can be read, what was saved of them, and the way back to them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use lateen_adapter::{Because, ObjectStatus, ParentStatus, Refusal, Rejected, StatusSink, Unresolved};
use lateen_compile::{NO_DESTINATION, REJECTED};
use lateen_config::{
    Kind, ParsedObject,
    convert::{self, Parent},
};
use lateen_model::{Diagnostic, Document, ObjectId, ObjectKind, Severity, SourceId, event::Object};
use lateen_registry::{ABOUT_REFERENCES, Changes, Registry, Touched};

use super::{Core, reading::Told};
use crate::{
    metrics::SourceLabel,
    state::{Saved, Saver, unix_ms},
};

/// Time between two publications of statuses: what changes in between is told at once.
const STATUS_PAUSE_MS: u64 = 200;

/// What the core is given towards the sources, beside their events.
#[derive(Debug, Default)]
pub struct SourceEnds {
    /// What was saved of them.
    pub saved: Saved,
    /// Where they are saved.
    pub writer: Option<Saver>,
    /// The ways back to those that have a place for status.
    pub statuses: BTreeMap<SourceId, StatusSink>,
}

/// Source and place of a document.
type Place = (Arc<str>, Arc<str>);

/// What the core keeps for that.
#[derive(Debug)]
pub(super) struct Sources {
    ends: SourceEnds,
    /// Sources that are saved as listed.
    listed: BTreeSet<SourceId>,
    /// When sources that were not listed are restored from what was saved.
    grace_ends_ms: u64,
    /// Documents whose status may be another one.
    touched: BTreeSet<(SourceId, ObjectId)>,
    /// May findings have changed?
    pub(super) findings_changed: bool,
    /// Findings beyond those of a document alone, as last told.
    together: BTreeMap<Place, Vec<Diagnostic>>,
    /// What clients reject, as last told.
    rejected: BTreeMap<Place, Rejected>,
    /// Before that, no status is told again.
    quiet_until_ms: u64,
}

impl Sources {
    pub(super) fn new(mut ends: SourceEnds, sources: &[SourceId], grace_ms: u64) -> Self {
        // What was saved of other sources stays on disk, for when they are served again.
        ends.saved.retain(|source, _| sources.contains(source));
        Self {
            ends,
            listed: BTreeSet::new(),
            grace_ends_ms: grace_ms,
            touched: BTreeSet::new(),
            findings_changed: false,
            together: BTreeMap::new(),
            rejected: BTreeMap::new(),
            quiet_until_ms: 0,
        }
    }

    fn status_wanted(&self) -> bool {
        !self.ends.statuses.is_empty() && (self.findings_changed || !self.touched.is_empty())
    }
}

impl Core {
    /// The registry, to be changed. Whoever still answers from it as it was has a copy of its own then.
    pub(super) fn registry_mut(&mut self) -> &mut Registry {
        Arc::make_mut(&mut self.registry)
    }

    pub(super) fn on_source(&mut self, told: Told) {
        let now = self.now();
        let source = match told {
            Told::Events(source, events) => {
                self.recall(&source);
                for event in events {
                    let changes = self.registry_mut().apply(&source, event, now);
                    self.add_changes(changes);
                }
                self.note_touched();
                source
            }
            Told::Failed(source, error) => {
                if self.registry.source(&source).is_some_and(|status| status.synced) {
                    tracing::warn!(%source, error, "source failed, its last known state keeps being served");
                } else {
                    tracing::warn!(%source, error, "source failed, and was not listed yet; it is tried again");
                }
                self.registry_mut().source_failed(&source, &error, now);
                source
            }
            Told::Recovered(source) => {
                tracing::info!(%source, "source is back");
                self.registry_mut().source_recovered(&source, now);
                source
            }
        };
        self.measure(&source);
    }

    /// Does for sources what is due: removals that were held long enough go, and sources that can't be listed are
    /// restored.
    pub(super) fn tend_sources(&mut self) {
        let now = self.now();
        if self.registry.deadline().is_some_and(|at| at <= now) {
            let changes = self.registry_mut().on_time(now);
            self.add_changes(changes);
            self.note_touched();
            for source in self.registry.sources() {
                self.measure(&source.id);
            }
        }
        if !self.sources.ends.saved.is_empty() {
            self.restore(now);
        }
        self.publish_statuses(now);
    }

    /// When [`Core::tend_sources`] has something to do.
    pub(super) fn sources_deadline(&self) -> Option<u64> {
        let sources = &self.sources;
        let grace = (!sources.ends.saved.is_empty()).then_some(sources.grace_ends_ms);
        let status = sources.status_wanted().then_some(sources.quiet_until_ms);
        [self.registry.deadline(), grace, status].into_iter().flatten().min()
    }

    pub(super) fn add_changes(&mut self, changes: Changes) {
        match &mut self.pending {
            Some(pending) => pending.merge(changes),
            None => self.pending = Some(changes),
        }
    }

    /// What was saved of a source is what it is taken to have said before: its first listing is a change of that.
    fn recall(&mut self, source: &SourceId) {
        let Some(saved) = self.sources.ends.saved.get_mut(source) else { return };
        let objects = std::mem::take(&mut saved.objects);
        if !objects.is_empty() {
            let changes = self.registry_mut().recall(source, objects);
            self.add_changes(changes);
            self.note_touched();
        }
    }

    /// Of sources that failed before they were listed, or take too long, what was saved is served.
    fn restore(&mut self, now: u64) {
        let names: Vec<SourceId> = self.sources.ends.saved.keys().cloned().collect();
        for source in names {
            let Some(status) = self.registry.source(&source) else { continue };
            if !status.synced && status.error.is_none() && now < self.sources.grace_ends_ms {
                continue;
            }
            if !status.synced {
                self.recall(&source);
            }
            let Some(saved) = self.sources.ends.saved.remove(&source) else { continue };
            if !status.synced {
                tracing::warn!(
                    %source, saved_unix_ms = saved.at_unix_ms,
                    "source can't be listed, what was saved of it is served"
                );
                self.registry_mut().trust_saved(&source, saved.at_unix_ms);
                self.measure(&source);
            }
        }
    }

    /// Saves what clients have accepted for the first time, and what they go on with in place of what they reject.
    pub(super) fn save_accepted(&mut self) {
        let forms = self.compiler.take_forms();
        if let Some(writer) = self.sources.ends.writer.as_ref().filter(|_| !forms.is_empty()) {
            writer.forms(forms);
        }
        let accepted = self.compiler.take_accepted();
        let Some(writer) = self.sources.ends.writer.as_ref().filter(|_| !accepted.is_empty()) else { return };
        writer.accepted(&accepted);
        if writer.wants_in_use() {
            writer.in_use(self.compiler.accepted_in_use());
        }
    }

    /// Saves what has changed, and notes whose status may be another one.
    fn note_touched(&mut self) {
        for (source, id, touched) in self.registry_mut().take_touched() {
            if let Some(writer) = &self.sources.ends.writer {
                match touched {
                    Touched::Gone => writer.save(&source, id.clone(), None),
                    Touched::Translated(object) => writer.save(&source, id.clone(), Some(object)),
                    Touched::Document { texts, replaces } => {
                        self.save_texts(writer, &source, &id, texts, replaces);
                    }
                    Touched::Restored => {}
                }
            }
            if id.kind == ObjectKind::Document && self.sources.ends.statuses.contains_key(&source) {
                self.sources.touched.insert((source, id));
            }
        }
        self.sources.findings_changed = true;
    }

    fn save_texts(
        &self,
        writer: &Saver,
        source: &SourceId,
        id: &ObjectId,
        texts: Vec<Document>,
        replaces: bool,
    ) {
        if self.registry.document(source, id).is_none() {
            return;
        }
        let mut texts = texts.into_iter().map(Object::Document);
        if replaces {
            writer.save(source, id.clone(), texts.next());
        }
        texts.for_each(|text| writer.save_over(source, id.clone(), text));
    }

    fn measure(&mut self, source: &SourceId) {
        let Some(status) = self.registry.source(source) else { return };
        if let Some(writer) = &self.sources.ends.writer
            && status.synced
            && status.saved_at.is_none()
            && self.sources.listed.insert(source.clone())
        {
            writer.listed(source);
        }
        let label = SourceLabel { source: source.to_string() };
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let metrics = &self.metrics;
        let since = status.stale_since.map_or(0, |since| {
            let ago = self.now().saturating_sub(since);
            i64::try_from(unix_ms().saturating_sub(ago) / 1000).unwrap_or(i64::MAX)
        });
        metrics.stale.get_or_create(&label).set(i64::from(status.stale_since.is_some()));
        metrics.stale_since.get_or_create(&label).set(since);
        metrics.objects.get_or_create(&label).set(number(status.objects));
        metrics.held_removals.get_or_create(&label).set(number(status.held_removals));
        metrics.from_saved.get_or_create(&label).set(i64::from(status.saved_at.is_some()));
    }

    /// Tells sources that have a place for it how their documents stand. What it costs follows the documents that
    /// changed and the number of findings.
    fn publish_statuses(&mut self, now: u64) {
        self.sources.ends.statuses.retain(|_, sink| !sink.is_closed());
        let reconsidered = if self.registry.has_reconsidered() {
            self.registry_mut().take_reconsidered()
        } else {
            BTreeSet::new()
        };
        if self.sources.ends.statuses.is_empty() {
            self.sources.touched.clear();
            self.sources.findings_changed = false;
            return;
        }
        let id = |location: &Arc<str>| ObjectId { kind: ObjectKind::Document, name: location.clone() };
        let places = reconsidered.iter().map(|(source, location)| (SourceId(source.clone()), id(location)));
        self.sources.touched.extend(places);
        if !self.sources.status_wanted() || now < self.sources.quiet_until_ms {
            return;
        }
        self.sources.quiet_until_ms = now + STATUS_PAUSE_MS;
        if std::mem::take(&mut self.sources.findings_changed) {
            let (together, rejected) = (self.findings_together(), self.rejections());
            let mut places = different(&self.sources.together, &together);
            places.extend(different(&self.sources.rejected, &rejected));
            let places = places.iter().map(|(source, location)| (SourceId(source.clone()), id(location)));
            self.sources.touched.extend(places);
            (self.sources.together, self.sources.rejected) = (together, rejected);
        }
        let mut changes: BTreeMap<SourceId, Vec<_>> = BTreeMap::new();
        for (source, id) in std::mem::take(&mut self.sources.touched) {
            let status = self.object_status(&source, &id).map(Arc::new);
            changes.entry(source).or_default().push((id, status));
        }
        for (source, changes) in changes {
            if let Some(sink) = self.sources.ends.statuses.get(&source) {
                sink.publish(changes);
            }
        }
    }

    /// Findings about objects together, from compiling and from clients, by the document that they are about.
    fn findings_together(&self) -> BTreeMap<Place, Vec<Diagnostic>> {
        let mut together: BTreeMap<Place, BTreeSet<&Diagnostic>> = BTreeMap::new();
        for finding in self.registry.diagnostics_together().chain(self.compiler.findings()) {
            let Some(origin) = &finding.origin else { continue };
            if self.sources.ends.statuses.contains_key(&SourceId(origin.source.clone())) {
                let place = (origin.source.clone(), origin.location.clone());
                together.entry(place).or_default().insert(finding);
            }
        }
        let owned = |about: BTreeSet<&Diagnostic>| about.into_iter().cloned().collect();
        together.into_iter().map(|(place, about)| (place, owned(about))).collect()
    }

    /// Rejections by the document that the resource was first of all made from.
    fn rejections(&self) -> BTreeMap<Place, Rejected> {
        let mut principals: BTreeMap<Place, (BTreeSet<&Arc<str>>, &str)> = BTreeMap::new();
        let all = self.compiler.rejected();
        for (finding, who) in &all {
            let Some(origin) = &finding.origin else { continue };
            let place = (origin.source.clone(), origin.location.clone());
            principals
                .entry(place)
                .or_insert_with(|| (BTreeSet::new(), &finding.message))
                .0
                .extend(who.iter());
        }
        let rejected = principals.into_iter().map(|(place, (who, message))| {
            (place, Rejected { proxies: who.len(), message: message.to_owned() })
        });
        rejected.collect()
    }

    fn object_status(&self, source: &SourceId, id: &ObjectId) -> Option<ObjectStatus> {
        let state = self.registry.document(source, id)?;
        let mut findings: Vec<Diagnostic> = state.findings.into_iter().cloned().collect();
        let together = self.sources.together.get(&(source.0.clone(), id.name.clone()));
        findings.extend(together.into_iter().flatten().cloned());
        // A route is in force but for what a finding about a reference says, and that is told by parent.
        let is_route = |object: &&ParsedObject| matches!(object.key.kind, Kind::HttpRoute | Kind::GrpcRoute);
        let routes = !state.objects.is_empty() && state.objects.iter().all(is_route);
        let fails = |finding: &Diagnostic| {
            // A route to what is not there is in force too: its requests are answered with 503.
            let told = [REJECTED, NO_DESTINATION].contains(&finding.code)
                || routes && ABOUT_REFERENCES.contains(&finding.code);
            finding.severity == Severity::Error && !told
        };
        let rejected = self.sources.rejected.get(&(source.0.clone(), id.name.clone())).cloned();
        let generation = match state.objects.as_slice() {
            [object] => object.meta.generation,
            _ => None,
        };
        let parents = state.objects.iter().flat_map(|object| self.registry.parents(object)).map(|standing| {
            let (kind, namespace, name) = match standing.parent {
                Parent::Gateway { namespace, name } => ("Gateway", namespace, name),
                Parent::Service { namespace, name, .. } => ("Service", namespace, name),
            };
            let lateen_registry::ParentStanding { known, refused, unresolved, .. } = standing;
            let refused = refused.map(|(code, message)| {
                let reason = match code {
                    convert::NO_LISTENER => Refusal::NoMatchingParent,
                    convert::NO_HOSTNAME => Refusal::NoMatchingListenerHostname,
                    convert::COMPETING => Refusal::HostnameConflict,
                    _ => Refusal::NotAllowedByListeners,
                };
                Because { reason, message }
            });
            let unresolved = unresolved.map(|(code, message)| {
                let reason = match code {
                    convert::NOT_GRANTED => Unresolved::RefNotPermitted,
                    convert::BACKEND_KIND => Unresolved::InvalidKind,
                    _ => Unresolved::BackendNotFound,
                };
                Because { reason, message }
            });
            ParentStatus { kind, namespace, name, known, refused, unresolved }
        });
        Some(ObjectStatus {
            accepted: state.sound && !findings.iter().any(fails),
            generation,
            rejected,
            parents: parents.collect(),
            listeners: Arc::new(state.objects.iter().flat_map(|o| self.registry.listeners(o)).collect()),
            findings: findings.into(),
        })
    }
}

/// The places at which two maps differ.
fn different<V: PartialEq>(one: &BTreeMap<Place, V>, other: &BTreeMap<Place, V>) -> BTreeSet<Place> {
    let places = one.keys().chain(other.keys());
    places.filter(|place| one.get(*place) != other.get(*place)).cloned().collect()
}
