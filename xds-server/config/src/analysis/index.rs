//! Look-ups over all objects.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap},
    rc::Rc,
};

use lateen_model::{Host, Namespace, Protocol};

use super::{
    Elsewhere,
    leads::Leads,
    meeting::{Meeting, meetings},
    selectors::Selectors,
};
use crate::{
    ConfigObject, Kind, ObjectKey, ParsedObject, gateway_api,
    istio::{self, Labels},
    kubernetes, reference,
};

/// How many names are compared with one that is unknown: more cost more than a hint is worth.
pub(super) const HINTS_FROM_MAX: usize = 2_000;

/// Namespace and name.
pub(super) type Id<'a> = (&'a str, &'a str);

/// A definition of a host.
pub(super) struct Known<'a> {
    pub(super) namespace: Namespace,
    pub(super) ports: Rc<[(u32, Option<Protocol>)]>,
    /// `None` where another source knows it.
    pub(super) object: Option<&'a ParsedObject>,
    /// Whom it is exported to; empty for everybody.
    pub(super) export_to: &'a [String],
    pub(super) workloads: Workloads<'a>,
}

/// Which workloads stand behind a host.
pub(super) enum Workloads<'a> {
    /// Those of the namespace with these labels.
    Selected(&'a Labels),
    /// Endpoints with these labels.
    Listed(Rc<[&'a Labels]>),
    /// It is not known.
    Unknown,
}

impl Known<'_> {
    /// Are its endpoints pods, none of which is known?
    pub(super) fn is_of_unknown_pods(&self, index: &Index<'_>) -> bool {
        self.object.is_some_and(|object| {
            let id = (&*object.key.namespace, &*object.key.name);
            object.key.kind == Kind::Service && index.of_pods.contains(&id) && index.workloads(id.0).is_none()
        })
    }

    /// May the namespace see it?
    pub(super) fn is_visible_to(&self, namespace: &str) -> bool {
        self.export_to.is_empty()
            || self.export_to.iter().any(|entry| match &**entry {
                "*" => true,
                "." => self.namespace.as_str() == namespace,
                other => other == namespace,
            })
    }
}

/// Labels by workload.
pub(super) type Merged<'a> = HashMap<&'a ObjectKey, Labels>;

/// The labels that no object holds as they are.
pub(super) fn merged(objects: &[ParsedObject]) -> Merged<'_> {
    let merged = objects.iter().filter_map(|object| {
        let ConfigObject::WorkloadEntry(entry) = &object.spec else { return None };
        match entry.labels_of(&object.meta) {
            Cow::Owned(labels) => Some((&object.key, labels)),
            Cow::Borrowed(_) => None,
        }
    });
    merged.collect()
}

pub(crate) struct Index<'a> {
    pub(super) objects: &'a [ParsedObject],
    pub(super) domain: &'a str,
    /// Labels of workloads that are put together from two places.
    pub(super) merged: &'a Merged<'a>,
    pub(super) root_namespace: &'a str,
    pub(super) hosts: BTreeMap<Host, Vec<Known<'a>>>,
    /// Labels of the workloads of each namespace.
    pub(super) workloads: BTreeMap<&'a str, Vec<&'a Labels>>,
    /// `None` where there are no `Namespace` objects: then none is known to be missing.
    pub(super) namespaces: Option<BTreeSet<&'a str>>,
    pub(super) secrets: Option<BTreeSet<Id<'a>>>,
    pub(super) virtual_services: BTreeMap<Id<'a>, &'a istio::VirtualService>,
    /// The objects that route a host.
    pub(super) routes: BTreeMap<Host, Vec<(&'a ParsedObject, &'a istio::VirtualService)>>,
    /// Objects that others delegate to.
    pub(super) delegates: BTreeSet<Id<'a>>,
    /// Gateways that a `VirtualService` is bound to.
    pub(super) bound_gateways: BTreeSet<Id<'a>>,
    /// Subsets that a route leads to.
    pub(super) used_subsets: BTreeSet<(Host, &'a str)>,
    /// Subsets that a rule defines, by the host of the rule.
    pub(super) defined_subsets: BTreeSet<(Host, &'a str)>,
    pub(super) rules: BTreeMap<Host, Vec<(&'a ParsedObject, &'a istio::DestinationRule)>>,
    /// Are the proxies of some gateway among the workloads?
    pub(super) knows_gateways: bool,
    pub(super) gateways: BTreeMap<Id<'a>, (&'a ParsedObject, &'a istio::Gateway)>,
    pub(super) sidecars: BTreeMap<&'a str, Vec<(&'a ParsedObject, &'a istio::Sidecar)>>,
    pub(super) api_gateways: BTreeMap<Id<'a>, (&'a ParsedObject, &'a gateway_api::Gateway)>,
    pub(super) services: BTreeMap<Id<'a>, &'a kubernetes::Service>,
    /// Services with endpoints that are pods, whose labels only the pods themselves tell.
    pub(super) of_pods: BTreeSet<Id<'a>>,
    /// Workloads and services by labels.
    pub(super) selectors: Selectors<'a>,
    /// Entries that say that their host is part of the mesh.
    pub(super) internal: BTreeSet<Id<'a>>,
    /// Services that lead to one port of the same workloads.
    pub(super) leads: Leads<'a>,
    /// Gateways by selector.
    pub(super) meetings: HashMap<&'a Labels, Meeting<'a>>,
}

impl<'a> Index<'a> {
    pub(super) fn new(objects: &'a [ParsedObject], elsewhere: &'a Elsewhere, merged: &'a Merged<'a>) -> Self {
        let mut index = Self {
            objects,
            merged,
            domain: &elsewhere.domain,
            root_namespace: "istio-system",
            hosts: BTreeMap::new(),
            workloads: BTreeMap::new(),
            namespaces: None,
            secrets: None,
            virtual_services: BTreeMap::new(),
            routes: BTreeMap::new(),
            delegates: BTreeSet::new(),
            bound_gateways: BTreeSet::new(),
            used_subsets: BTreeSet::new(),
            defined_subsets: BTreeSet::new(),
            rules: BTreeMap::new(),
            knows_gateways: false,
            gateways: BTreeMap::new(),
            sidecars: BTreeMap::new(),
            api_gateways: BTreeMap::new(),
            services: BTreeMap::new(),
            of_pods: BTreeSet::new(),
            selectors: Selectors::default(),
            internal: BTreeSet::new(),
            leads: Leads::default(),
            meetings: HashMap::new(),
        };
        for service in &elsewhere.services {
            let known = Known {
                namespace: service.namespace.clone(),
                ports: service.ports.iter().map(|port| (*port, None)).collect(),
                object: None,
                export_to: &[],
                workloads: Workloads::Unknown,
            };
            index.hosts.entry(service.host.clone()).or_default().push(known);
        }
        for object in objects {
            object.spec.analyse().enter(object, &mut index);
        }
        index.selectors = Selectors::new(&index.workloads, &index.services);
        index.leads = Leads::new(&index.services, &index.selectors);
        index.meetings = meetings(&index.gateways, &index.selectors);
        index.knows_gateways = index
            .meetings
            .keys()
            .any(|selector| !selector.is_empty() && index.selectors.find(None, selector).next().is_some());
        // References to gateways can be told only when all gateways are known.
        for object in objects {
            if let ConfigObject::VirtualService(spec) = &object.spec {
                let in_matches = spec.http.iter().flat_map(|route| &route.matches).flat_map(|m| &m.gateways);
                for name in spec.gateways.iter().chain(in_matches) {
                    let id = reference::gateway(name, &object.key.namespace);
                    index.bound_gateways.insert(id);
                }
            }
        }
        index
    }

    pub(super) fn add_routes(&mut self, object: &'a ParsedObject, spec: &'a istio::VirtualService) {
        let namespace = &*object.key.namespace;
        self.virtual_services.insert((namespace, &object.key.name), spec);
        for host in &spec.hosts {
            let host = self.resolve(host, namespace);
            self.routes.entry(host).or_default().push((object, spec));
        }
        for delegate in spec.http.iter().filter_map(|route| route.delegate.as_ref()) {
            let own = if delegate.namespace.is_empty() { namespace } else { &*delegate.namespace };
            self.delegates.insert((own, &delegate.name));
        }
        let http = spec.http.iter().flat_map(|route| {
            let mirrors = route.mirrors.iter().filter_map(|mirror| mirror.destination.as_ref());
            let routes = route.route.iter().filter_map(|entry| entry.destination.as_ref());
            routes.chain(mirrors).chain(route.mirror.as_ref())
        });
        let tls = spec.tls.iter().flat_map(|route| &route.route);
        let tcp = spec.tcp.iter().flat_map(|route| &route.route);
        let below = tls.chain(tcp).filter_map(|entry| entry.destination.as_ref());
        for destination in http.chain(below).filter(|destination| !destination.subset.is_empty()) {
            let host = self.resolve(&destination.host, namespace);
            self.used_subsets.insert((host, &destination.subset));
        }
    }

    /// The rules for a host: its own and those of the wildcards that cover it.
    pub(super) fn rules_for(&self, host: &Host) -> impl Iterator<Item = &'a istio::DestinationRule> {
        let hosts = std::iter::once(host.clone()).chain(host.wildcards());
        let found: Vec<_> =
            hosts.filter_map(|host| self.rules.get(host.as_str())).flatten().map(|(_, rule)| *rule).collect();
        found.into_iter()
    }

    pub(super) fn add_entry(&mut self, object: &'a ParsedObject, spec: &'a istio::ServiceEntry) {
        // All hosts share what is the same for them.
        let endpoints: Rc<[&Labels]> = spec.endpoints.iter().map(|endpoint| &endpoint.labels).collect();
        let protocol = |port: &istio::ServicePort| (port.number, Protocol::from_name(&port.protocol));
        let ports: Rc<[_]> = spec.ports.iter().map(protocol).collect();
        for host in &spec.hosts {
            let workloads = match &spec.workload_selector {
                Some(selector) => Workloads::Selected(&selector.labels),
                None if spec.endpoints.is_empty() => Workloads::Unknown,
                None => Workloads::Listed(endpoints.clone()),
            };
            let known = Known {
                namespace: object.key.namespace.as_str().into(),
                ports: ports.clone(),
                object: Some(object),
                export_to: &spec.export_to,
                workloads,
            };
            self.hosts.entry(entry_host(host)).or_default().push(known);
        }
    }

    pub(super) fn add_service(&mut self, object: &'a ParsedObject, spec: &'a kubernetes::Service) {
        let (namespace, name) = (&*object.key.namespace, &*object.key.name);
        self.services.insert((namespace, name), spec);
        let protocol = |port: &kubernetes::ServicePort| (port.port, super::common::protocol_of(port));
        let known = Known {
            namespace: namespace.into(),
            ports: spec.ports.iter().map(protocol).collect(),
            object: Some(object),
            export_to: &[],
            workloads: if spec.selector.is_empty() {
                Workloads::Unknown
            } else {
                Workloads::Selected(&spec.selector)
            },
        };
        let host = Host::from(format!("{name}.{namespace}.svc.{}", self.domain));
        self.hosts.entry(host).or_default().push(known);
    }

    /// The full name of a host that an object of the namespace names.
    pub(super) fn resolve(&self, host: &str, namespace: &str) -> Host {
        Host::resolve(host, &Namespace::from(namespace), self.domain)
    }

    /// Are there services at all? If not, none is known to be missing.
    pub(super) fn knows_services(&self) -> bool {
        !self.hosts.is_empty()
    }

    /// The definitions of a host: its own, or else those of a wildcard that covers it.
    pub(super) fn find(&self, host: &Host) -> Option<&[Known<'a>]> {
        let own = self.hosts.get(host.as_str());
        own.or_else(|| host.wildcards().find_map(|parent| self.hosts.get(parent.as_str()))).map(Vec::as_slice)
    }

    /// The definitions of the hosts that a host, perhaps a wildcard, covers.
    pub(super) fn covered_by(&self, host: &Host) -> Vec<&Known<'a>> {
        if !host.is_wildcard() {
            return self.find(host).unwrap_or_default().iter().collect();
        }
        let covered = self.hosts.iter().filter(|(known, _)| host.covers(known));
        covered.flat_map(|(_, known)| known).collect()
    }

    /// The known host nearest to one that is unknown.
    pub(super) fn nearest_host(&self, host: &Host, namespace: &str) -> Option<String> {
        if self.hosts.len() > HINTS_FROM_MAX {
            return None;
        }
        let local = format!(".{namespace}.svc.{}", self.domain);
        let short = |host: &Host| host.as_str().strip_suffix(&*local).unwrap_or(host.as_str()).to_owned();
        let names: Vec<String> = self.hosts.keys().map(short).collect();
        let near = crate::decode::nearest(&short(host), names.iter().map(String::as_str));
        near.map(|near| format!("did you mean {near}?"))
    }

    /// Labels of the workloads of a namespace; `None` where none is known.
    pub(super) fn workloads(&self, namespace: &str) -> Option<&[&'a Labels]> {
        self.workloads.get(namespace).map(Vec::as_slice)
    }

    /// Are the labels those of no workload, although there are workloads? `namespace` may be `None` for all.
    pub(super) fn selects_nothing(&self, labels: &Labels, namespace: Option<&str>) -> bool {
        self.selectors.knows(namespace) && self.selectors.find(namespace, labels).next().is_none()
    }

    /// Is it known that there is no such namespace?
    pub(super) fn lacks_namespace(&self, namespace: &str) -> bool {
        self.namespaces.as_ref().is_some_and(|known| !known.contains(namespace))
    }

    /// Objects of one kind.
    pub(super) fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &'a ParsedObject> {
        self.objects.iter().filter(move |object| object.key.kind == kind)
    }
}

/// A host of a `ServiceEntry`: always a full name, also one without dots.
pub(super) fn entry_host(host: &str) -> Host {
    Host::from(host.trim_end_matches('.').to_ascii_lowercase())
}

/// Does a workload have all the labels?
pub(super) fn selects(selector: &Labels, workload: &Labels) -> bool {
    selector.iter().all(|(key, value)| workload.get(key) == Some(value))
}
