//! Istio's routing objects, indexed by what they are looked up by.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use lateen_config::{ConfigObject, ObjectKey, istio};
use lateen_model::{Host, Namespace, service::Visibility};

use crate::{
    Asked, ClientSelector, Fact, FactKey, GatewayId, GatewayServers, SecretRef, SecretStore, Selector,
    Sourced,
    entry::Entry,
    index::{Counted, Index},
    mesh::{Defaults, visibility},
    objects::Change,
};

/// What reading an object needs beside the object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    pub(crate) domain: &'a str,
    pub(crate) defaults: &'a Defaults,
}

type Shared<T> = Arc<Sourced<T>>;

/// <https://istio.io/latest/docs/reference/config/annotations/#SecurityDryRun>
const DRY_RUN: &str = "istio.io/dry-run";

/// The indices.
#[derive(Clone, Debug, Default)]
pub(crate) struct Routing {
    virtual_services: Index<Host, Shared<istio::VirtualService>>,
    gateway_routes: Index<(GatewayId, Host), Shared<istio::VirtualService>>,
    gateway_streams: Index<GatewayId, Shared<istio::VirtualService>>,
    by_key: HashMap<ObjectKey, Shared<istio::VirtualService>>,
    destination_rules: Index<Host, Shared<istio::DestinationRule>>,
    sidecars: Index<Namespace, Shared<istio::Sidecar>>,
    gateways: Index<(), Shared<istio::Gateway>>,
    gateway_by_id: HashMap<GatewayId, Shared<istio::Gateway>>,
    secrets: HashMap<(Namespace, Arc<str>), Arc<SecretRef>>,
    store: SecretStore,
    client_selectors: Counted<ClientSelector>,
    failover_labels: Counted<Arc<str>>,
}

impl Routing {
    /// Takes over a change of a routing object and marks the cells that may differ now.
    pub(crate) fn update(&mut self, change: &Change, context: Context<'_>, dirty: &mut BTreeSet<FactKey>) {
        let Change { before, after } = change;
        if let Some(entry) = before {
            self.change(entry, context, false, dirty);
        }
        if let Some(entry) = after {
            self.change(entry, context, true, dirty);
        }
    }

    fn change(&mut self, entry: &Entry, context: Context<'_>, add: bool, dirty: &mut BTreeSet<FactKey>) {
        match &entry.object.spec {
            ConfigObject::VirtualService(spec) => self.virtual_service(entry, spec, context, add, dirty),
            ConfigObject::DestinationRule(spec) => self.destination_rule(entry, spec, context, add, dirty),
            ConfigObject::Sidecar(spec) => {
                let key = Namespace::from(entry.object.key.namespace.as_str());
                set(&mut self.sidecars, key.clone(), entry, add.then(|| sourced(entry, spec, &[], &[])));
                dirty.insert(FactKey::Sidecars(key));
            }
            ConfigObject::IstioGateway(spec) => {
                let id = GatewayId::of(&entry.object.key);
                let value = add.then(|| sourced(entry, spec, &[], &[]));
                set(&mut self.gateways, (), entry, value.clone());
                put(&mut self.gateway_by_id, id.clone(), value);
                dirty.extend([FactKey::Gateways, FactKey::Gateway(id)]);
            }
            ConfigObject::Secret(spec) => {
                let GatewayId { namespace, name } = GatewayId::of(&entry.object.key);
                let version = self.store.put(&namespace, &name, add.then_some(spec));
                let origin = entry.object.origin.clone();
                let known = version.map(|version| {
                    Arc::new(SecretRef { namespace: namespace.clone(), name: name.clone(), version, origin })
                });
                put(&mut self.secrets, (namespace.clone(), name.clone()), known);
                dirty.insert(FactKey::Secret(namespace, name));
            }
            // Of other roles.
            _ => {}
        }
    }

    /// The contents of secrets.
    pub(crate) fn secrets(&self) -> &SecretStore {
        &self.store
    }

    fn virtual_service(
        &mut self,
        entry: &Entry,
        spec: &Arc<istio::VirtualService>,
        context: Context<'_>,
        add: bool,
        dirty: &mut BTreeSet<FactKey>,
    ) {
        let value = add.then(|| sourced(entry, spec, &spec.export_to, &context.defaults.virtual_service));
        let namespace = Namespace::from(entry.object.key.namespace.as_str());
        let (in_mesh, gateways) = bindings(spec, &namespace);
        let hosts: BTreeSet<Host> =
            spec.hosts.iter().map(|host| Host::resolve(host, &namespace, context.domain)).collect();
        if in_mesh {
            for host in &hosts {
                set(&mut self.virtual_services, host.clone(), entry, value.clone());
                dirty.insert(FactKey::VirtualServices(host.clone()));
            }
        }
        for id in gateways {
            if !spec.http.is_empty() {
                for host in &hosts {
                    set(&mut self.gateway_routes, (id.clone(), host.clone()), entry, value.clone());
                    dirty.insert(FactKey::GatewayRoutes(id.clone(), host.clone()));
                }
            }
            if !spec.tls.is_empty() || !spec.tcp.is_empty() {
                set(&mut self.gateway_streams, id.clone(), entry, value.clone());
                dirty.insert(FactKey::GatewayStreams(id));
            }
        }
        if in_mesh {
            // Of one that goes as it came: the defaults may be others now.
            let known = value.as_ref().or_else(|| self.by_key.get(&entry.object.key));
            let seen_by = match known {
                Some(known) if !hosts.is_empty() => known.export_to.clone(),
                // A delegate is for whoever sees its root.
                _ => Visibility::All,
            };
            for labels in source_selectors(spec) {
                let selector = ClientSelector { asked: Asked::Sidecars(seen_by.clone()), labels };
                count(&mut self.client_selectors, selector, add);
                dirty.insert(FactKey::SourceSelectors);
            }
        }
        put(&mut self.by_key, entry.object.key.clone(), value);
        dirty.insert(FactKey::VirtualService(entry.object.key.clone()));
    }

    fn destination_rule(
        &mut self,
        entry: &Entry,
        spec: &Arc<istio::DestinationRule>,
        context: Context<'_>,
        add: bool,
        dirty: &mut BTreeSet<FactKey>,
    ) {
        let namespace = Namespace::from(entry.object.key.namespace.as_str());
        let host = Host::resolve(&spec.host, &namespace, context.domain);
        let value = add.then(|| sourced(entry, spec, &spec.export_to, &context.defaults.destination_rule));
        set(&mut self.destination_rules, host.clone(), entry, value);
        dirty.insert(FactKey::DestinationRules(host));
        if let Some(selector) = spec.workload_selector.as_ref().filter(|s| !s.match_labels.is_empty()) {
            let labels = Arc::new(shared(&selector.match_labels));
            count(
                &mut self.client_selectors,
                ClientSelector { asked: Asked::Namespace(namespace), labels },
                add,
            );
            dirty.insert(FactKey::SourceSelectors);
        }
        for label in rule_failover_labels(spec) {
            count(&mut self.failover_labels, label, add);
            dirty.insert(FactKey::FailoverLabels);
        }
    }

    /// The value of a cell that [`Routing::update`] marks; `mesh` is the mesh's configuration.
    pub(crate) fn cell(&self, key: &FactKey, mesh: &istio::MeshConfig) -> Option<Fact> {
        match key {
            FactKey::VirtualServices(host) => self.virtual_services.list(host).map(Fact::VirtualServices),
            FactKey::GatewayRoutes(id, host) => {
                self.gateway_routes.list(&(id.clone(), host.clone())).map(Fact::VirtualServices)
            }
            FactKey::GatewayStreams(id) => self.gateway_streams.list(id).map(Fact::VirtualServices),
            FactKey::VirtualService(key) => self.by_key.get(key).cloned().map(Fact::VirtualService),
            FactKey::DestinationRules(host) => self.destination_rules.list(host).map(Fact::DestinationRules),
            FactKey::Sidecars(namespace) => self.sidecars.list(namespace).map(Fact::Sidecars),
            FactKey::Gateway(id) => self.gateway_by_id.get(id).cloned().map(Fact::Gateway),
            FactKey::Gateways => {
                let all: Arc<[GatewayServers]> =
                    self.gateways.row(&()).map(|gateway| servers(gateway)).collect();
                (!all.is_empty()).then_some(Fact::Gateways(all))
            }
            FactKey::Secret(namespace, name) => {
                self.secrets.get(&(namespace.clone(), name.clone())).cloned().map(Fact::Secret)
            }
            FactKey::SourceSelectors => {
                let all = || self.client_selectors.elements().cloned().collect();
                (!self.client_selectors.is_empty()).then(|| Fact::SourceSelectors(Arc::new(all())))
            }
            FactKey::FailoverLabels => {
                let mut all: BTreeSet<Arc<str>> = self.failover_labels.elements().cloned().collect();
                all.extend(mesh_failover_labels(mesh));
                (!all.is_empty()).then(|| Fact::FailoverLabels(Arc::new(all)))
            }
            // Cells of others.
            _ => None,
        }
    }
}

fn servers(gateway: &Sourced<istio::Gateway>) -> GatewayServers {
    GatewayServers { id: GatewayId::of(&gateway.key), selector: Arc::new(shared(&gateway.spec.selector)) }
}

fn set<K: Eq + std::hash::Hash, V>(index: &mut Index<K, V>, key: K, entry: &Entry, value: Option<V>) {
    match value {
        Some(value) => index.insert(key, entry.precedence.clone(), value),
        None => drop(index.remove(&key, &entry.precedence)),
    }
}

fn put<K: Eq + std::hash::Hash, V>(map: &mut HashMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}

fn count<T: Ord>(set: &mut Counted<T>, element: T, add: bool) {
    if add { set.add(element) } else { set.remove(&element) }
}

/// An object as the translation reads it; `default` stands for an absent `exportTo`.
pub(crate) fn sourced<T>(
    entry: &Entry,
    spec: &Arc<T>,
    export_to: &[String],
    default: &[String],
) -> Shared<T> {
    let object = &entry.object;
    let namespace = Namespace::from(object.key.namespace.as_str());
    Arc::new(Sourced {
        key: object.key.clone(),
        precedence: entry.precedence.clone(),
        export_to: visibility(export_to, default, &namespace),
        namespace,
        origin: object.origin.clone(),
        origins: entry.made_from.clone().unwrap_or_else(|| Arc::from([object.origin.clone()])),
        spans: object.spans.clone(),
        dry_run: object.meta.annotations.get(DRY_RUN).is_some_and(|value| value == "true"),
        unreadable: entry.stands_in,
        spec: spec.clone(),
    })
}

/// Labels with shared texts.
pub(crate) fn shared(labels: &BTreeMap<String, String>) -> BTreeMap<Arc<str>, Arc<str>> {
    labels.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect()
}

/// Does it hold for sidecars, and for which gateways? No gateway means the mesh.
/// <https://istio.io/latest/docs/reference/config/networking/virtual-service/#VirtualService-gateways>
fn bindings(spec: &istio::VirtualService, namespace: &Namespace) -> (bool, BTreeSet<GatewayId>) {
    let in_mesh = spec.gateways.is_empty() || spec.gateways.iter().any(|name| name == "mesh");
    let gateways = spec.gateways.iter().filter(|name| *name != "mesh");
    (in_mesh, gateways.map(|name| GatewayId::named(name, namespace)).collect())
}

fn source_selectors(spec: &istio::VirtualService) -> impl Iterator<Item = Selector> + '_ {
    let http = spec.http.iter().flat_map(|route| &route.matches).map(|wanted| &wanted.source_labels);
    let tls = spec.tls.iter().flat_map(|route| &route.matches).map(|wanted| &wanted.source_labels);
    let tcp = spec.tcp.iter().flat_map(|route| &route.matches).map(|wanted| &wanted.source_labels);
    http.chain(tls).chain(tcp).filter(|labels| !labels.is_empty()).map(|labels| Arc::new(shared(labels)))
}

/// Entries are `label` or `label=value`.
/// <https://istio.io/latest/docs/reference/config/networking/destination-rule/#LocalityLoadBalancerSetting-failover_priority>
fn label_name(entry: &str) -> Arc<str> {
    entry.split_once('=').map_or(entry, |(label, _)| label).into()
}

fn lb_failover_labels(lb: &istio::LoadBalancer) -> impl Iterator<Item = Arc<str>> + '_ {
    let locality = lb.locality_lb_setting.iter().flat_map(|setting| &setting.failover_priority);
    let zone = lb.zone_aware_lb_setting.iter().flat_map(|setting| &setting.failover_priority);
    locality.chain(zone).map(|entry| label_name(entry))
}

fn rule_failover_labels(spec: &istio::DestinationRule) -> impl Iterator<Item = Arc<str>> + '_ {
    let policies =
        spec.traffic_policy.iter().chain(spec.subsets.iter().filter_map(|s| s.traffic_policy.as_ref()));
    let balancers = policies.flat_map(|policy| {
        let ports = policy.port_level_settings.iter().filter_map(|port| port.load_balancer.as_ref());
        policy.load_balancer.iter().chain(ports)
    });
    balancers.flat_map(lb_failover_labels)
}

fn mesh_failover_labels(mesh: &istio::MeshConfig) -> impl Iterator<Item = Arc<str>> + '_ {
    let locality = mesh.locality_lb_setting.iter().flat_map(|setting| &setting.failover_priority);
    let zone = mesh.zone_aware_lb_setting.iter().flat_map(|setting| &setting.failover_priority);
    locality.chain(zone).map(|entry| label_name(entry))
}
