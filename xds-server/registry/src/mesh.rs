//! The mesh's configuration, and what follows from it for other objects.

use std::{collections::BTreeMap, sync::Arc};

use lateen_config::{ConfigObject, istio};
use lateen_model::{Diagnostic, Namespace, Severity, service::Visibility};

use crate::{Fact, FactKey, Precedence, codes, entry::Entry, objects::Change};

/// The namespace in which the mesh is configured: who may write elsewhere may not rule everybody.
/// <https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig-root_namespace>
const MESH_NAMESPACE: &str = "istio-system";

/// Objects that configure the mesh; the first one in the mesh's namespace counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mesh {
    all: BTreeMap<Precedence, Arc<Entry>>,
    findings: Vec<Diagnostic>,
    defaults: Defaults,
}

/// What objects are visible to when they don't say it themselves.
/// <https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig>
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Defaults {
    pub(crate) service: Vec<String>,
    pub(crate) virtual_service: Vec<String>,
    pub(crate) destination_rule: Vec<String>,
}

impl Mesh {
    /// Takes over a change; true when the defaults of other objects have changed.
    pub(crate) fn update(&mut self, change: &Change) -> bool {
        let Change { before, after } = change;
        if let Some(entry) = before {
            self.all.remove(&entry.precedence);
        }
        if let Some(entry) = after {
            self.all.insert(entry.precedence.clone(), entry.clone());
        }
        self.note_shadowed();
        let config = self.config();
        let defaults = Defaults {
            service: config.default_service_export_to.clone(),
            virtual_service: config.default_virtual_service_export_to.clone(),
            destination_rule: config.default_destination_rule_export_to.clone(),
        };
        let changed = defaults != self.defaults;
        self.defaults = defaults;
        changed
    }

    pub(crate) fn config(&self) -> Arc<istio::MeshConfig> {
        match self.first().map(|entry| &entry.object.spec) {
            Some(ConfigObject::MeshConfig(config)) => config.clone(),
            _ => Arc::default(),
        }
    }

    pub(crate) fn defaults(&self) -> &Defaults {
        &self.defaults
    }

    pub(crate) fn cell(&self) -> (FactKey, Option<Fact>) {
        (FactKey::Mesh, Some(Fact::Mesh(self.config())))
    }

    pub(crate) fn findings(&self) -> impl Iterator<Item = &Diagnostic> {
        self.findings.iter()
    }

    /// The one that counts: one that can be read before what stands in for one that never could.
    fn first(&self) -> Option<&Arc<Entry>> {
        self.counting().find(|entry| !entry.stands_in).or_else(|| self.counting().next())
    }

    /// Those that may configure the mesh, in their order.
    fn counting(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.all.values().filter(|entry| entry.object.key.namespace == MESH_NAMESPACE)
    }

    fn note_shadowed(&mut self) {
        let finding = |entry: &Entry, code, message, hint| Diagnostic {
            code,
            severity: Severity::Warning,
            object: Some(entry.object.key.to_ref()),
            origin: Some(entry.object.origin.clone()),
            path: String::new(),
            message,
            hint,
        };
        let first = self.first();
        let noted = self.all.values().filter_map(|entry| {
            if entry.object.key.namespace != MESH_NAMESPACE {
                let text =
                    format!("this has no effect: the mesh is configured in namespace {MESH_NAMESPACE}");
                let hint = format!("move it to namespace {MESH_NAMESPACE}");
                return Some(finding(entry, codes::MESH_NAMESPACE, text, Some(hint)));
            }
            let first = first.filter(|first| !Arc::ptr_eq(first, entry))?;
            let text = format!("the mesh is configured by {} in {}", first.object.key, first.object.origin);
            Some(finding(entry, codes::MESH_CONFIG, text, None))
        });
        self.findings = noted.collect();
    }
}

/// Whom an object of `namespace` is visible to: its own list, else the default, else everybody.
/// <https://istio.io/latest/docs/reference/config/networking/virtual-service/#VirtualService-export_to>
pub(crate) fn visibility<'a>(own: &'a [String], default: &'a [String], namespace: &Namespace) -> Visibility {
    let list = if own.is_empty() { default } else { own };
    if list.is_empty() || list.iter().any(|entry| entry == "*") {
        return Visibility::All;
    }
    let mut namespaces: Vec<Namespace> = list
        .iter()
        .filter(|entry| *entry != "~")
        .map(|entry| if entry == "." { namespace.clone() } else { Namespace::from(entry.as_str()) })
        .collect();
    namespaces.sort();
    namespaces.dedup();
    Visibility::Namespaces(namespaces.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_list_counts_before_the_default() {
        let shop = Namespace::from("shop");
        let of = |own: &[&str], default: &[&str]| {
            let owned = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
            visibility(&owned(own), &owned(default), &shop)
        };
        let only = |name: &str| Visibility::Namespaces([Namespace::from(name)].into());
        assert_eq!(of(&[], &[]), Visibility::All);
        assert_eq!(of(&[], &["."]), only("shop"));
        assert_eq!(of(&["other"], &["."]), only("other"));
        assert_eq!(of(&["~"], &[]), Visibility::Namespaces([].into()));
        assert_eq!(of(&[".", "*"], &[]), Visibility::All);
    }
}
