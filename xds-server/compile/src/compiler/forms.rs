//! Forms of parts that clients go on with while they reject newer ones. They are kept over a restart: the compiler
//! makes only what is meant to be, and a client that rejects it again must not lose what it had.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use lateen_model::Version;
use lateen_xds::{NameId, ResourceRef, ResourceType};

use super::Compiler;
use crate::routes::Piece;

/// Forms that are kept at most.
const FORMS_MAX: usize = 4096;
/// How long they may be together, in bytes.
const BYTES_MAX: usize = 16 << 20;

/// A part of a resource: its type, its name, and what the part is called.
pub type PartName = (ResourceType, Arc<str>, Arc<str>);

/// The form of a part that was accepted last.
#[derive(Clone, PartialEq, Debug)]
pub struct GoodForm {
    /// The message, as an element of its field: with tag and length.
    pub bytes: Bytes,
    /// What it names.
    pub names: Vec<(ResourceType, Arc<str>)>,
}

/// All forms.
#[derive(Debug, Default)]
pub(super) struct Forms {
    known: BTreeMap<PartName, Arc<Piece>>,
    bytes: usize,
    /// Which came or went since they were last taken.
    changed: BTreeSet<PartName>,
}

impl Forms {
    fn set(&mut self, part: PartName, piece: Option<Arc<Piece>>) {
        if let Some(before) = self.known.remove(&part) {
            self.bytes -= before.wrapped.len();
        }
        if let Some(piece) = piece {
            self.bytes += piece.wrapped.len();
            self.known.insert(part.clone(), piece);
        }
        self.changed.insert(part);
        while (self.known.len() > FORMS_MAX || self.bytes > BYTES_MAX)
            && let Some((part, piece)) = self.known.pop_first()
        {
            self.bytes -= piece.wrapped.len();
            self.changed.insert(part);
        }
    }

    /// What they name.
    pub(super) fn refs(&self) -> impl Iterator<Item = &ResourceRef> {
        self.known.values().flat_map(|piece| piece.refs.iter())
    }
}

impl Compiler {
    /// The forms that came since the last call, and, without one, those that went.
    pub fn take_forms(&mut self) -> Vec<(PartName, Option<GoodForm>)> {
        let changed = std::mem::take(&mut self.forms.changed).into_iter();
        let names = &self.names;
        let form = |piece: &Arc<Piece>| GoodForm {
            bytes: piece.wrapped.clone(),
            names: piece.refs.iter().map(|to| (to.kind, names.text(to.name).clone())).collect(),
        };
        changed
            .map(|part| {
                let form = self.forms.known.get(&part).map(form);
                (part, form)
            })
            .collect()
    }

    /// The forms from before a restart.
    pub fn remember_forms(&mut self, forms: Vec<(PartName, GoodForm)>) {
        for (part, form) in forms {
            let names = form.names.iter();
            let refs = names
                .map(|(kind, name)| ResourceRef { kind: *kind, name: self.names.intern(name) })
                .collect();
            if let Some(piece) = Piece::restored(part.0, form.bytes, refs) {
                self.forms.set(part, Some(Arc::new(piece)));
            }
        }
        self.forms.changed.clear();
    }

    /// Clients go on with this form of the part.
    pub(super) fn keep_form(
        &mut self,
        kind: ResourceType,
        name: NameId,
        part: &Arc<str>,
        piece: &Arc<Piece>,
    ) {
        let part = (kind, self.names.text(name).clone(), part.clone());
        if self.forms.known.get(&part).is_none_or(|known| known.version != piece.version) {
            self.forms.set(part, Some(piece.clone()));
        }
    }

    /// A version of the part was accepted: an older form is not the last good one any more.
    pub(super) fn outdate_form(
        &mut self,
        kind: ResourceType,
        name: NameId,
        part: &Arc<str>,
        version: Version,
    ) {
        if self.forms.known.is_empty() {
            return;
        }
        let part = (kind, self.names.text(name).clone(), part.clone());
        if self.forms.known.get(&part).is_some_and(|known| known.version != version) {
            self.forms.set(part, None);
        }
    }

    /// The form from before, of a part of which `rejected` is rejected.
    pub(super) fn form(
        &self,
        kind: ResourceType,
        name: NameId,
        part: &Arc<str>,
        rejected: Version,
    ) -> Option<Arc<Piece>> {
        if self.forms.known.is_empty() {
            return None;
        }
        let part = (kind, self.names.text(name).clone(), part.clone());
        self.forms.known.get(&part).filter(|known| known.version != rejected).cloned()
    }
}
