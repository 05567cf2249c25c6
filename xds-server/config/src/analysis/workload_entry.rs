//! `WorkloadEntry`.

use super::{Analyse, index::Index};
use crate::{ParsedObject, istio::WorkloadEntry};

impl Analyse for WorkloadEntry {
    fn enter<'a>(&'a self, object: &'a ParsedObject, index: &mut Index<'a>) {
        // Its own labels are those of the instance; Istio adds those of the object.
        let labels = if self.labels.is_empty() { &object.meta.labels } else { &self.labels };
        index.workloads.entry(&object.key.namespace).or_default().push(labels);
    }
}
