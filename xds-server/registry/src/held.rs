//! What one source has said about one object, and what a text says.

use std::{collections::BTreeSet, sync::Arc};

use lateen_config::{ConfigObject, Invalid, Kind, ObjectKey, Parsed, ParsedObject, codes};
use lateen_model::{Diagnostic, Host, Namespace, ObjectId, Version};

use crate::{
    amount,
    entry::Entry,
    few::Few,
    guard::Amount,
    services::{SERVICE_NAME, Translated},
    shard::Effect,
};

/// The objects of a text.
pub(crate) type Objects = Few<ObjectKey, Arc<Entry>>;

/// What is held of one object of a source.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    /// Number of the event that last named it.
    pub(crate) seen: u64,
    pub(crate) content: Content,
    pub(crate) findings: Vec<Diagnostic>,
    /// Could all of it be read when it was last read?
    pub(crate) sound: bool,
    /// Why it can't be read at present.
    pub(crate) unreadable: Option<Box<Diagnostic>>,
}

#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// It was never readable, and closes nothing.
    Nothing,
    Document {
        /// The text that the objects are; none where they are more than it, because removals are held.
        body: Option<(Version, usize)>,
        objects: Objects,
    },
    Translated(Translated),
}

/// What a service of a source and its endpoints know each other by.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum ServiceName {
    /// Host and namespace.
    Host(Host, Namespace),
    /// Namespace and name of a `Service`.
    Name(String, String),
}

impl ServiceName {
    fn of(key: &ObjectKey) -> Self {
        Self::Name(key.namespace.clone(), key.name.clone())
    }
}

/// A document that was read.
pub(crate) struct Reading {
    pub(crate) objects: Objects,
    pub(crate) findings: Vec<Diagnostic>,
    /// Could all of it be read?
    pub(crate) sound: bool,
}

impl Held {
    pub(crate) fn nothing() -> Self {
        let (content, findings) = (Content::Nothing, Vec::new());
        Self { seen: 0, content, findings, sound: true, unreadable: None }
    }
}

impl Content {
    /// Is nothing known of it but that it is there?
    pub(crate) fn was_never_read(&self) -> bool {
        match self {
            Self::Nothing => true,
            Self::Document { body, objects } => {
                body.is_none() && !objects.is_empty() && objects.values().all(|entry| entry.stands_in)
            }
            Self::Translated(_) => false,
        }
    }

    /// How many objects this is, and how much for the guard.
    pub(crate) fn size(&self) -> (usize, Amount) {
        match self {
            Self::Nothing => (0, Amount::default()),
            Self::Translated(translated) => (1, amount::of_translated(translated)),
            Self::Document { objects, .. } => (objects.len(), amount_of(objects)),
        }
    }

    /// The services that it defines.
    pub(crate) fn services(&self) -> Vec<ServiceName> {
        match self {
            Self::Translated(Translated::Service(service)) => {
                vec![ServiceName::Host(service.host.clone(), service.namespace.clone())]
            }
            Self::Translated(Translated::Endpoints(..)) | Self::Nothing => Vec::new(),
            Self::Document { objects, .. } => {
                let named = |entry: &Arc<Entry>| match &entry.object.spec {
                    ConfigObject::Service(_) => Some(ServiceName::of(&entry.object.key)),
                    _ => None,
                };
                objects.values().filter_map(named).collect()
            }
        }
    }

    /// The services whose endpoints it has, as far as it names them.
    pub(crate) fn serves(&self) -> Vec<ServiceName> {
        match self {
            Self::Translated(Translated::Endpoints(host, namespace, _)) => {
                vec![ServiceName::Host(host.clone(), namespace.clone())]
            }
            Self::Translated(Translated::Service(_)) | Self::Nothing => Vec::new(),
            Self::Document { objects, .. } => {
                let named = |entry: &Arc<Entry>| match &entry.object.spec {
                    ConfigObject::EndpointSlice(_) => {
                        let name = entry.object.meta.labels.get(SERVICE_NAME)?.clone();
                        Some(ServiceName::Name(entry.object.key.namespace.clone(), name))
                    }
                    _ => None,
                };
                objects.values().filter_map(named).collect()
            }
        }
    }

    /// The end of what stood there.
    pub(crate) fn taken_out(self, id: &ObjectId) -> Vec<Effect> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Translated(_) => vec![Effect::Translated(id.clone(), None)],
            Self::Document { objects, .. } => differences(objects, &Objects::default()),
        }
    }
}

/// How much the objects of a text are, for the guard.
pub(crate) fn amount_of(objects: &Objects) -> Amount {
    let mut all = Amount::default();
    for entry in objects.values() {
        all.add(amount::of_object(&entry.object));
    }
    all
}

/// What other objects stand there now.
pub(crate) fn differences(mut old: Objects, new: &Objects) -> Vec<Effect> {
    let mut effects = Vec::new();
    for (key, entry) in new.iter() {
        let before = old.remove(key);
        if before.as_ref().is_none_or(|before| !Arc::ptr_eq(before, entry)) {
            effects.push(Effect::Object(before, Some(entry.clone())));
        }
    }
    effects.extend(old.into_values().map(|gone| Effect::Object(Some(gone), None)));
    effects
}

/// Takes over what a document of the source of this rank says. An object that is there and invalid keeps its last good form; where
/// it can't be told which objects are invalid, or the text breaks off, all that are not there in good form keep
/// theirs. For a policy that was never in good form stands what closes whom it may select.
pub(crate) fn read(rank: u32, old: &Objects, parsed: Parsed) -> Reading {
    let is_closing = |invalid: &&Invalid| invalid.stand_in.is_some();
    let closing: BTreeSet<&ObjectKey> =
        parsed.invalid.iter().filter(is_closing).filter_map(|invalid| invalid.key.as_ref()).collect();
    // Those of which the text has a good one too.
    let twice = parsed.objects.iter().map(|object| &object.key).filter(|key| closing.contains(key));
    let twice: BTreeSet<ObjectKey> = twice.cloned().collect();
    let new = |object: ParsedObject| (object.key.clone(), Arc::new(Entry::new(rank, object)));
    let mut objects: Objects = parsed.objects.into_iter().map(new).collect();
    let breaks_off = parsed.diagnostics.iter().any(breaks_off);
    let mut keep = |(key, entry): (&ObjectKey, &Arc<Entry>)| {
        // What stood in for another text is no good form.
        if (breaks_off || !entry.stands_in) && objects.get(key).is_none() {
            objects.insert(key.clone(), entry.clone());
        }
    };
    for invalid in &parsed.invalid {
        match &invalid.key {
            Some(key) if !breaks_off => old.get(key).into_iter().for_each(|entry| keep((key, entry))),
            Some(_) | None => old.iter().for_each(&mut keep),
        }
    }
    for invalid in &parsed.invalid {
        let Some(object) = invalid.stand_in.as_deref() else { continue };
        if invalid.key.as_ref().is_some_and(|key| twice.contains(key)) {
            let object = beside(object.clone());
            objects.insert(object.key.clone(), Arc::new(Entry::stand_in(rank, object)));
            continue;
        }
        // Of one without a name it can't be told which it was: one of its kind that is missing now.
        let (kind, namespace) = (object.key.kind, &object.key.namespace);
        let is_old = |key: &ObjectKey, entry: &Arc<Entry>| {
            old.get(key).is_some_and(|before| Arc::ptr_eq(before, entry))
        };
        let may_be = |key: &ObjectKey, entry: &Arc<Entry>| match &invalid.key {
            Some(invalid) => invalid == key,
            None => key.kind == kind && key.namespace == *namespace && is_old(key, entry),
        };
        if !objects.iter().any(|(key, entry)| !entry.stands_in && may_be(key, entry)) {
            objects.insert(object.key.clone(), Arc::new(Entry::stand_in(rank, object.clone())));
        }
    }
    Reading { objects, findings: parsed.diagnostics, sound: parsed.invalid.is_empty() }
}

/// What stands in for an object beside a good one of its name in the same text, which may select others: no object has
/// such a name.
fn beside(mut object: ParsedObject) -> ParsedObject {
    let ParsedObject { key, origin, .. } = &object;
    object.key = ObjectKey::new(key.kind, &*key.namespace, format!("{} (line {})", key.name, origin.line));
    object
}

/// What is in force where a source names a policy and could never read it, by what it says of that.
pub(crate) fn never_read(rank: u32, finding: &Diagnostic) -> Option<Content> {
    let about = finding.object.as_ref()?;
    let kind = Kind::ALL.iter().copied().find(|kind| kind.may_refuse() && kind.as_str() == &*about.kind)?;
    let key = ObjectKey::new(kind, &*about.namespace, &*about.name);
    let object = lateen_config::stand_in(key.clone(), finding.origin.clone()?)?;
    Some(Content::Document {
        body: None,
        objects: Objects::from_iter([(key, Arc::new(Entry::stand_in(rank, object)))]),
    })
}

/// Does the text break off somewhere? Then the namespace of the object that it breaks off in may be missing, and
/// the objects that came after it. Where not all findings are kept, this one may be missing.
fn breaks_off(finding: &Diagnostic) -> bool {
    matches!(
        finding.code,
        codes::SYNTAX | codes::NOT_UTF8 | codes::TOO_LARGE | codes::BUDGET | codes::SUPPRESSED
    )
}
