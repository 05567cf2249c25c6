//! Policies: which hold for a node, and the content of the slots that they fill ([`crate::plan::Slot`]).
//! `docs/unapplied.md` says what becomes of each kind.

use std::sync::Arc;

use lateen_model::NodeInfo;
use lateen_proto::{
    any::pack,
    envoy::{
        config::core::v3::TypedExtensionConfig,
        extensions::filters::http::{jwt_authn::v3::JwtAuthentication, rbac::v3::Rbac},
    },
    google::protobuf::Any,
};
use lateen_xds::ResourceType;

use super::{Compiled, Plaintext, PolicyView, Read, notes::Notes};
use crate::plan::{ConnectionPolicy, Slot};

/// What holds for a node.
#[derive(Debug, Default)]
pub(super) struct Effective {
    /// In slots.
    pub view: PolicyView,
    /// In listeners.
    pub connections: ConnectionPolicy,
    /// Before anything is read.
    pub plaintext: Plaintext,
}

/// What holds for a node.
pub(super) fn effective(_r: &mut dyn Read, _node: &NodeInfo) -> Effective {
    Effective::default()
}

/// The content of all slots of a node.
pub fn policy_resources(r: &mut dyn Read, view: &PolicyView) -> Vec<(ResourceType, Arc<str>, Compiled)> {
    let resource = |r: &mut dyn Read, slot: Slot| {
        let mut notes = Notes::default();
        let config = match slot {
            Slot::Authentication => authentication(r, &mut notes, view),
            Slot::Authorization => authorization(r, &mut notes, view),
        };
        let message = TypedExtensionConfig { name: slot.name().to_owned(), typed_config: Some(config) };
        (ResourceType::ExtensionConfig, slot.name().into(), notes.compiled(&message))
    };
    Slot::ALL.into_iter().map(|slot| resource(r, slot)).collect()
}

fn authentication(_r: &mut dyn Read, _notes: &mut Notes, _view: &PolicyView) -> Any {
    pack(&JwtAuthentication::default())
}

fn authorization(_r: &mut dyn Read, _notes: &mut Notes, _view: &PolicyView) -> Any {
    pack(&Rbac::default())
}
