//! Policies: which hold for a node, and what becomes of them. None of them is applied as it is meant yet; what each
//! closes instead is the table of `docs/unapplied.md`.

mod closing;
mod findings;
mod tokens;

use std::{collections::BTreeMap, sync::Arc};

use lateen_config::{
    ConfigObject, Kind, Kind as K, ObjectKey,
    istio::{MutualTls, MutualTlsMode, PeerAuthentication, PolicySelector, PolicyTarget, TrafficSide},
};
use lateen_model::{Diagnostic, Namespace, NodeInfo, NodeRole, Severity, Unapplied};
use lateen_proto::{
    any::pack,
    envoy::{
        config::{core::v3::TypedExtensionConfig, rbac::v3 as rules},
        extensions::filters::http::rbac::v3::Rbac,
    },
    google::protobuf::Any,
    pgv,
};
use lateen_registry::{Fact, FactKey, Sourced, SourcedList};
use lateen_xds::ResourceType;

use super::{
    Compiled, Plaintext, PolicyView, Read,
    notes::{Notes, UNAPPLIED},
    read,
};
use crate::plan::{ConnectionPolicy, Slot};
use closing::{Closes, closes};

/// A policy of some kind.
type Policy = Arc<Sourced<ConfigObject>>;

/// The kinds that hold for workloads and are looked at here.
const KINDS: [Kind; 7] = [
    K::AuthorizationPolicy,
    K::PeerAuthentication,
    K::RequestAuthentication,
    K::Telemetry,
    K::EnvoyFilter,
    K::WasmPlugin,
    K::TrafficExtension,
];
/// The label that names the Gateway of the Gateway API that a proxy runs for.
/// <https://gateway-api.sigs.k8s.io/geps/gep-1762/>
const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";

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
pub(super) fn effective(r: &mut dyn Read, node: &NodeInfo) -> Effective {
    let all = selecting(r, node);
    if all.is_empty() {
        return Effective::default();
    }
    let closing = read::unapplied(r) == Unapplied::Close;
    let of = |kind: Kind| -> Arc<[ObjectKey]> {
        all.iter().filter(|policy| policy.key.kind == kind).map(|policy| policy.key.clone()).collect()
    };
    let decisive =
        |policy: &&Policy| !matches!(policy.key.kind, K::RequestAuthentication | K::PeerAuthentication);
    let plaintext = match node.role {
        // Whose clients are outside the mesh has no peers: how a gateway takes connections is said by its servers.
        NodeRole::Gateway => Plaintext::default(),
        NodeRole::Sidecar | NodeRole::Grpc => plaintext(r, &all),
    };
    let refuses = |closes: Closes| closes.streams && (closing || closes.exactly);
    let gateway = node.role == NodeRole::Gateway;
    let refuses_streams = all.iter().any(|policy| closes(policy, &all, side(gateway)).is_some_and(refuses));
    Effective {
        view: PolicyView {
            authentication: of(K::RequestAuthentication),
            authorization: all.iter().filter(decisive).map(|policy| policy.key.clone()).collect(),
            peers: if gateway { Arc::from([]) } else { of(K::PeerAuthentication) },
            gateway,
        },
        connections: ConnectionPolicy { refuses_streams },
        plaintext: if closing { plaintext } else { Plaintext::default() },
    }
}

/// On which side of a proxy its requests are. What comes to a gateway is a client's, on its way to a server.
/// <https://istio.io/latest/docs/reference/config/type/workload-selector/#WorkloadMode>
const fn side(gateway: bool) -> TrafficSide {
    if gateway { TrafficSide::Client } else { TrafficSide::Server }
}

/// The policies that select a node: of the root namespace and of its own.
/// <https://istio.io/latest/docs/reference/config/type/workload-selector/>
fn selecting(r: &mut dyn Read, node: &NodeInfo) -> Vec<Policy> {
    let root = read::root_namespace(&read::mesh(r));
    let mut namespaces = vec![root];
    if !namespaces.contains(&node.namespace) {
        namespaces.push(node.namespace.clone());
    }
    let mut all = Vec::new();
    for kind in KINDS {
        for namespace in &namespaces {
            all.extend(policies(r, kind, namespace).iter().filter(|policy| selects(policy, node)).cloned());
        }
    }
    all
}

fn policies(r: &mut dyn Read, kind: Kind, namespace: &Namespace) -> SourcedList<ConfigObject> {
    r.fact(&FactKey::Policies(kind, namespace.clone())).and_then(Fact::policies).unwrap_or_default()
}

/// One policy.
fn policy(r: &mut dyn Read, key: &ObjectKey) -> Option<Policy> {
    let all = policies(r, key.kind, &Namespace::from(key.namespace.as_str()));
    all.iter().find(|policy| policy.key == *key).cloned()
}

fn selects(policy: &Sourced<ConfigObject>, node: &NodeInfo) -> bool {
    let (selector, one, several) = target(&policy.spec);
    let mut targets = one.into_iter().chain(several).peekable();
    if targets.peek().is_some() {
        // Services, service entries and classes of gateways are targets of policies of waypoints only.
        return node.namespace == policy.namespace
            && targets.any(|target| {
                target.is_gateway()
                    && node.labels.get(GATEWAY_NAME).is_some_and(|name| **name == *target.name)
            });
    }
    selector.is_none_or(|labels| {
        labels.iter().all(|(name, value)| node.labels.get(name.as_str()).is_some_and(|v| **v == **value))
    })
}

type Labels = BTreeMap<String, String>;

/// Which workloads a policy asks for: by labels, or by what it is attached to.
fn target(spec: &ConfigObject) -> (Option<&Labels>, Option<&PolicyTarget>, &[PolicyTarget]) {
    fn labels(selector: Option<&PolicySelector>) -> Option<&Labels> {
        selector.map(|selector| &selector.match_labels)
    }
    match spec {
        ConfigObject::AuthorizationPolicy(p) => {
            (labels(p.selector.as_ref()), p.target_ref.as_ref(), &p.target_refs)
        }
        ConfigObject::RequestAuthentication(p) => {
            (labels(p.selector.as_ref()), p.target_ref.as_ref(), &p.target_refs)
        }
        ConfigObject::Telemetry(p) => (labels(p.selector.as_ref()), p.target_ref.as_ref(), &p.target_refs),
        ConfigObject::WasmPlugin(p) => (labels(p.selector.as_ref()), p.target_ref.as_ref(), &p.target_refs),
        ConfigObject::TrafficExtension(p) => (labels(p.selector.as_ref()), None, &p.target_refs),
        ConfigObject::PeerAuthentication(p) => (labels(p.selector.as_ref()), None, &[]),
        ConfigObject::EnvoyFilter(p) => {
            (p.workload_selector.as_ref().map(|selector| &selector.labels), None, &p.target_refs)
        }
        _ => (None, None, &[]),
    }
}

/// Where plain text is refused: the oldest policy of the workload counts, else that of the namespace, else that of
/// the mesh; what is unset is inherited.
/// <https://istio.io/latest/docs/reference/config/security/peer_authentication/#PeerAuthentication>
fn plaintext(r: &mut dyn Read, all: &[Policy]) -> Plaintext {
    let root = read::root_namespace(&read::mesh(r));
    let (mut mesh, mut namespace, mut workload) = (None, None, None);
    let unreadable = Arc::new(PeerAuthentication {
        mtls: Some(MutualTls { mode: MutualTlsMode::Strict, ..MutualTls::default() }),
        ..PeerAuthentication::default()
    });
    for policy in all {
        let ConfigObject::PeerAuthentication(spec) = &*policy.spec else { continue };
        let general = spec.selector.as_ref().is_none_or(|selector| selector.match_labels.is_empty());
        // One that can't be read may be strict, and where its selector can't be read, it may be for any workload.
        let spec = if policy.unreadable { &unreadable } else { spec };
        if policy.unreadable && general && policy.namespace != root {
            workload = Some(spec.clone());
            break;
        }
        let place = match (general, policy.namespace == root) {
            (true, true) => &mut mesh,
            (true, false) => &mut namespace,
            (false, false) => &mut workload,
            // A selector of the root namespace selects nobody for this kind.
            (false, true) => continue,
        };
        place.get_or_insert_with(|| spec.clone());
    }
    let mode = |policy: &Option<Arc<PeerAuthentication>>| {
        policy.as_ref().and_then(|policy| policy.mtls.as_ref()).map(|mtls| mtls.mode)
    };
    let strict = |mode: MutualTlsMode| match mode {
        MutualTlsMode::Unset => None,
        MutualTlsMode::Disable | MutualTlsMode::Permissive => Some(false),
        MutualTlsMode::Strict => Some(true),
    };
    let refused = [&workload, &namespace, &mesh].into_iter().find_map(|policy| mode(policy).and_then(strict));
    let ports = workload.iter().flat_map(|policy| &policy.port_level_mtls);
    let ports = ports.filter_map(|(port, mtls)| Some((port.parse().ok()?, strict(mtls.mode)?)));
    Plaintext { refused: refused.unwrap_or(false), ports: Arc::new(ports.collect()) }
}

/// The content of all slots of a node, with what there is to say about its policies.
pub fn policy_resources(r: &mut dyn Read, view: &PolicyView) -> Vec<(ResourceType, Arc<str>, Compiled)> {
    let resource = |r: &mut dyn Read, slot: Slot| {
        let mut notes = Notes::default();
        let config = match slot {
            Slot::Authentication => authentication(r, &mut notes, view),
            Slot::Authorization => authorization(r, &mut notes, view),
        };
        let config = accepted(&mut notes, slot, config);
        let message = TypedExtensionConfig { name: slot.name().to_owned(), typed_config: Some(config) };
        (ResourceType::ExtensionConfig, slot.name().into(), notes.compiled(&message))
    };
    Slot::ALL.into_iter().map(|slot| resource(r, slot)).collect()
}

/// The content of a slot, or, instead of what Envoy refuses, what refuses everything: it would go on with the content
/// of before, which may be of other policies.
fn accepted(notes: &mut Notes, slot: Slot, config: Any) -> Any {
    let Some(violation) = pgv::check(&config).into_iter().next() else { return config };
    let message =
        format!("{} is not what Envoy takes, so all requests are refused: {violation}", slot.name());
    let code = UNAPPLIED;
    let severity = Severity::Error;
    notes.finding(Diagnostic {
        code,
        severity,
        object: None,
        origin: None,
        path: String::new(),
        message,
        hint: None,
    });
    match slot {
        Slot::Authentication => pack(&tokens::everything_refused()),
        Slot::Authorization => pack(&deny_all()),
    }
}

/// What there is to say of a policy, whoever it holds for.
pub(crate) fn of_policy(policy: &Policy, choice: Unapplied) -> Option<Diagnostic> {
    let text = match &*policy.spec {
        ConfigObject::RequestAuthentication(_) => looks_for_tokens(policy).then(|| findings::of(policy)),
        ConfigObject::PeerAuthentication(_) => closing::is_strict(policy).then(|| findings::of(policy)),
        _ => match [false, true]
            .into_iter()
            .find_map(|gateway| closes(policy, std::slice::from_ref(policy), side(gateway)))
        {
            Some(closes) => (!closes.exactly).then(|| findings::of(policy)),
            None => return findings::without_effect(policy),
        },
    };
    Some(findings::unmet(policy, text?).finding(choice))
}

/// Does it, or may it, ask for somebody to look at tokens?
fn looks_for_tokens(policy: &Policy) -> bool {
    matches!(&*policy.spec, ConfigObject::RequestAuthentication(spec) if policy.unreadable || !spec.jwt_rules.is_empty())
}

/// Refuses requests that carry a token which somebody should look at, or all where it is not known where tokens are.
fn authentication(r: &mut dyn Read, notes: &mut Notes, view: &PolicyView) -> Any {
    let choice = read::unapplied(r);
    let (mut rules, mut unknown) = (Vec::new(), false);
    for key in view.authentication.iter() {
        let Some(policy) = policy(r, key) else { continue };
        notes.origin(&policy.origin);
        if let ConfigObject::RequestAuthentication(spec) = &*policy.spec {
            if looks_for_tokens(&policy) {
                notes.finding(findings::unmet(&policy, findings::of(&policy)).finding(choice));
            }
            unknown |= policy.unreadable;
            rules.extend(spec.jwt_rules.iter().cloned());
        }
    }
    match choice {
        Unapplied::Close if unknown => pack(&tokens::everything_refused()),
        Unapplied::Close => pack(&tokens::refused(&rules)),
        Unapplied::Ignore => pack(&tokens::ignored(&rules)),
    }
}

/// Refuses all requests if a policy can't be applied that might refuse some.
fn authorization(r: &mut dyn Read, notes: &mut Notes, view: &PolicyView) -> Any {
    let choice = read::unapplied(r);
    let all: Vec<Policy> = view.authorization.iter().filter_map(|key| policy(r, key)).collect();
    let mut closed = false;
    let side = side(view.gateway);
    for policy in &all {
        match closes(policy, &all, side) {
            Some(Closes { requests, exactly, .. }) => {
                closed |= requests;
                notes.origin(&policy.origin);
                if !exactly {
                    notes.finding(findings::unmet(policy, findings::of(policy)).finding(choice));
                }
            }
            None => findings::without_effect(policy).into_iter().for_each(|finding| notes.finding(finding)),
        }
    }
    for policy in view.peers.iter().filter_map(|key| policy(r, key)).collect::<Vec<_>>() {
        if closing::is_strict(&policy) {
            notes.finding(findings::unmet(&policy, findings::of(&policy)).finding(choice));
        }
    }
    // A policy that is in force as it is written stays in force where others are ignored.
    let exactly = |policy: &Policy| closes(policy, &all, side).is_some_and(|c| c.exactly && c.requests);
    let exactly = all.iter().any(exactly);
    let closed = exactly || (closed && choice == Unapplied::Close);
    pack(&if closed { deny_all() } else { Rbac::default() })
}

/// Allows what a policy allows, and there is none: each request is answered with 403.
/// <https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_filters/rbac_filter>
fn deny_all() -> Rbac {
    let none = rules::Rbac { action: rules::rbac::Action::Allow as i32, ..Default::default() };
    Rbac { rules: Some(none), ..Default::default() }
}

#[cfg(test)]
mod tests {
    use lateen_config::istio::{JwtHeader, JwtRule};

    use super::*;

    #[test]
    fn content_that_envoy_refuses_is_replaced_by_what_refuses_everything() {
        let rule = |name: &str, prefix: &str| JwtRule {
            from_headers: vec![JwtHeader {
                name: name.to_owned(),
                prefix: prefix.to_owned(),
                ..Default::default()
            }],
            ..Default::default()
        };
        let mut notes = Notes::default();
        let good = pack(&tokens::refused(&[rule("x-token", "T ")]));
        assert_eq!(accepted(&mut notes, Slot::Authentication, good.clone()), good);
        assert_eq!(notes.count(), 0);
        let closed = pack(&tokens::everything_refused());
        assert!(pgv::check(&closed).is_empty());
        for bad in [rule("", ""), rule("a\nb", ""), rule("x-token", "a\nb")] {
            let bad = pack(&tokens::refused(&[bad]));
            assert_eq!(accepted(&mut notes, Slot::Authentication, bad), closed);
        }
        assert!(notes.count() > 0);
    }
}
