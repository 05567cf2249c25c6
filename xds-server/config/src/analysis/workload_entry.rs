//! `WorkloadEntry`.

use std::borrow::Cow;

use super::{Analyse, index::Index};
use crate::{ParsedObject, istio::WorkloadEntry};

impl Analyse for WorkloadEntry {
    fn enter<'a>(&'a self, object: &'a ParsedObject, index: &mut Index<'a>) {
        let labels = match self.labels_of(&object.meta) {
            Cow::Borrowed(labels) => labels,
            Cow::Owned(_) => match index.merged.get(&object.key) {
                Some(labels) => labels,
                None => return,
            },
        };
        index.workloads.entry(&object.key.namespace).or_default().push(labels);
    }
}
