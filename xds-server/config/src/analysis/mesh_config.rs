//! `MeshConfig`.

use super::{Analyse, index::Index};
use crate::{ParsedObject, istio::MeshConfig};

impl Analyse for MeshConfig {
    fn enter<'a>(&'a self, _: &'a ParsedObject, index: &mut Index<'a>) {
        if !self.root_namespace.is_empty() {
            index.root_namespace = &self.root_namespace;
        }
    }
}
