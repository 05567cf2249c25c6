//! Places in the filter list of a connection manager whose content comes by ECDS.
//! <https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/overview/extension>

use lateen_proto::envoy::{
    config::core::v3::ExtensionConfigSource,
    extensions::filters::{
        http::{jwt_authn::v3::JwtAuthentication, rbac::v3::Rbac},
        network::http_connection_manager::v3::{HttpFilter, http_filter},
    },
};
use prost::Name;

use super::{Direction, Phase};
use crate::translate::{ClientProfile, wire};

/// A place for a policy. Its resource exists always, also when no policy holds: a connection manager whose slot has
/// no content yet takes no request, and so nothing is open while a policy is under way.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) enum Slot {
    /// Tokens of end users.
    Authentication,
    /// Which requests are let through.
    Authorization,
}

impl Slot {
    /// All slots.
    pub(crate) const ALL: [Self; 2] = [Self::Authentication, Self::Authorization];

    /// Those of a direction: policies hold where requests arrive.
    pub(crate) fn of(direction: Direction, profile: ClientProfile) -> &'static [Self] {
        match (direction, profile) {
            (_, ClientProfile::Grpc) | (Direction::Outbound, _) => &[],
            (Direction::Inbound | Direction::Gateway, ClientProfile::Envoy(_) | ClientProfile::Lateen) => {
                &Self::ALL
            }
        }
    }

    /// Name of the filter and of its resource. The content differs from workload to workload, the name does not:
    /// it stands in listeners that many workloads share.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Authentication => "lateen.authentication",
            Self::Authorization => "lateen.authorization",
        }
    }

    pub(crate) fn phase(self) -> Phase {
        match self {
            Self::Authentication => Phase::Authentication,
            Self::Authorization => Phase::Authorization,
        }
    }

    /// The filter. There is no default to begin with: the listener waits for the resource.
    pub(crate) fn finish(self, profile: ClientProfile) -> HttpFilter {
        let url = match self {
            Self::Authentication => JwtAuthentication::type_url(),
            Self::Authorization => Rbac::type_url(),
        };
        HttpFilter {
            name: self.name().to_owned(),
            config_type: Some(http_filter::ConfigType::ConfigDiscovery(ExtensionConfigSource {
                config_source: Some(wire::config_source(profile)),
                type_urls: vec![url],
                ..Default::default()
            })),
            ..Default::default()
        }
    }
}
