//! The resources behind what a client holds, for the few types whose old references still matter.

use std::sync::Arc;

use crate::{NameId, Resource, ResourceRef};

/// What a client may hold of one name.
#[derive(Debug)]
pub(crate) struct Keep {
    pub(crate) name: NameId,
    /// The response in which `sent` went out.
    seq: u32,
    /// Sent last; none: its removal was.
    pub(crate) sent: Option<Arc<Resource>>,
    /// Accepted last.
    pub(crate) accepted: Option<Arc<Resource>>,
    /// Rejected together with others: a client may have applied it all the same, Envoy does.
    tried: Option<Arc<Resource>>,
}

/// Sorted by name.
#[derive(Debug, Default)]
pub(crate) struct Kept(Vec<Keep>);

impl Kept {
    fn position(&self, name: NameId) -> Result<usize, usize> {
        self.0.binary_search_by_key(&name, |keep| keep.name)
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Keep> {
        self.0.iter()
    }

    pub(crate) fn get(&self, name: NameId) -> Option<&Keep> {
        self.0.get(self.position(name).ok()?)
    }

    /// `resource` was sent.
    pub(crate) fn sent(&mut self, resource: &Arc<Resource>, seq: u32) {
        let name = resource.name;
        match self.position(name) {
            Ok(at) => {
                if let Some(keep) = self.0.get_mut(at) {
                    keep.sent = Some(resource.clone());
                    keep.seq = seq;
                }
            }
            Err(at) => self
                .0
                .insert(at, Keep { name, seq, sent: Some(resource.clone()), accepted: None, tried: None }),
        }
    }

    /// The client turned out to hold `resource` already.
    pub(crate) fn holds(&mut self, resource: &Arc<Resource>) {
        let name = resource.name;
        if let Err(at) = self.position(name) {
            let (sent, accepted) = (Some(resource.clone()), Some(resource.clone()));
            self.0.insert(at, Keep { name, seq: u32::MAX, sent, accepted, tried: None });
        }
    }

    /// The removal of `name` was sent.
    pub(crate) fn removed(&mut self, name: NameId, seq: u32) {
        if let Ok(at) = self.position(name)
            && let Some(keep) = self.0.get_mut(at)
        {
            keep.sent = None;
            keep.seq = seq;
        }
    }

    /// Response `seq` was accepted.
    pub(crate) fn acked(&mut self, seq: u32) {
        self.0.retain_mut(|keep| {
            if keep.seq == seq {
                keep.accepted.clone_from(&keep.sent);
                keep.tried = None;
            }
            keep.sent.is_some() || keep.accepted.is_some() || keep.tried.is_some()
        });
    }

    /// Of response `seq`, `name` was rejected; `alone`: because of itself, so it is not in use.
    pub(crate) fn nacked(&mut self, name: NameId, seq: u32, alone: bool) {
        if let Ok(at) = self.position(name)
            && let Some(keep) = self.0.get_mut(at)
            && keep.seq == seq
        {
            keep.tried = keep.sent.take().filter(|_| !alone);
            keep.sent.clone_from(&keep.accepted);
            keep.seq = u32::MAX;
        }
    }

    /// Response `from` is judged together with response `to`.
    pub(crate) fn renumber(&mut self, from: u32, to: u32) {
        for keep in &mut self.0 {
            if keep.seq == from {
                keep.seq = to;
            }
        }
    }

    /// The client has let go of all names for which `keep` is false.
    pub(crate) fn retain(&mut self, keep: impl Fn(NameId) -> bool) {
        self.0.retain(|kept| keep(kept.name));
    }

    /// May the client hold something that refers to `target`, other than the version that it is meant to have
    /// (`wanted`)? Its answer to what replaces that may still come.
    pub(crate) fn is_in_use(
        &self,
        target: ResourceRef,
        wanted: impl Fn(NameId) -> Option<lateen_model::Version>,
    ) -> bool {
        self.0.iter().any(|keep| {
            let mut may_hold = [&keep.sent, &keep.accepted, &keep.tried].into_iter().flatten();
            may_hold.any(|held| held.refers_to(target) && Some(held.version) != wanted(keep.name))
        })
    }

    /// May the client hold something that refers to `target`?
    pub(crate) fn refers_to(&self, target: ResourceRef) -> bool {
        self.0.iter().any(|keep| {
            let same = match (&keep.sent, &keep.accepted) {
                (Some(sent), Some(accepted)) => Arc::ptr_eq(sent, accepted),
                _ => false,
            };
            let refers = |resource: &Option<Arc<Resource>>| {
                resource.as_ref().is_some_and(|resource| resource.refers_to(target))
            };
            refers(&keep.sent) || (!same && refers(&keep.accepted)) || refers(&keep.tried)
        })
    }
}
