//! Of a mesh's configuration: which namespace's policies hold for all, whether unknown hosts are reachable, and who sees
//! what says nothing itself.

use super::{field, is_sound, sound};
use crate::{Metadata, istio::MeshConfig, yaml::Node};

/// What of these settings can be read; `None` if there is nothing.
pub(super) fn config(spec: &Node, meta: &Metadata) -> Option<MeshConfig> {
    let none = MeshConfig { span: spec.span, ..MeshConfig::default() };
    let settings: [fn(&mut MeshConfig, &Node); 5] = [
        |to, spec| set(&mut to.root_namespace, spec, "rootNamespace"),
        |to, spec| set(&mut to.outbound_traffic_policy, spec, "outboundTrafficPolicy"),
        |to, spec| set(&mut to.default_service_export_to, spec, "defaultServiceExportTo"),
        |to, spec| set(&mut to.default_virtual_service_export_to, spec, "defaultVirtualServiceExportTo"),
        |to, spec| set(&mut to.default_destination_rule_export_to, spec, "defaultDestinationRuleExportTo"),
    ];
    let mut all = none.clone();
    for read in settings {
        let mut alone = none.clone();
        read(&mut alone, spec);
        if is_sound(&alone, meta) {
            read(&mut all, spec);
        }
    }
    (all != none).then_some(all)
}

fn set<T: crate::decode::Decode>(slot: &mut T, spec: &Node, name: &str) {
    if let Some(value) = sound(field(spec, name)) {
        *slot = value;
    }
}
