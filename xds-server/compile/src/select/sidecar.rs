//! Which `Sidecar` holds for a workload, and what one of its listeners imports.
//! <https://istio.io/latest/docs/reference/config/networking/sidecar/>

use lateen_config::{Family, ObjectKey, istio::Sidecar};
use lateen_model::{Host, Namespace, NodeInfo};
use lateen_registry::{Fact, FactKey};

use crate::translate::{Read, Routes};

/// The `Sidecar` of a workload: the first of its namespace that selects it, else the first of its namespace without
/// a selector, else that of the root namespace.
pub(crate) fn effective(r: &mut dyn Read, node: &NodeInfo, root: &Namespace) -> Option<ObjectKey> {
    let of = |r: &mut dyn Read, namespace: &Namespace| {
        r.fact(&FactKey::Sidecars(namespace.clone())).and_then(Fact::sidecars).unwrap_or_default()
    };
    let selects = |sidecar: &Sidecar| {
        sidecar.workload_selector.as_ref().is_some_and(|selector| {
            let mut labels = selector.labels.iter();
            labels.all(|(name, value)| node.labels.get(name.as_str()).is_some_and(|v| **v == **value))
        })
    };
    let own = of(r, &node.namespace);
    let general = |sidecar: &Sidecar| sidecar.workload_selector.is_none();
    let found = own.iter().find(|s| selects(&s.spec)).or_else(|| own.iter().find(|s| general(&s.spec)));
    if let Some(found) = found {
        return Some(found.key.clone());
    }
    if *root == node.namespace {
        return None;
    }
    of(r, root).iter().find(|sidecar| general(&sidecar.spec)).map(|sidecar| sidecar.key.clone())
}

/// The hosts of an egress listener.
/// <https://istio.io/latest/docs/reference/config/networking/sidecar/#IstioEgressListener>
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Imports(Vec<Import>);

#[derive(Clone, PartialEq, Debug)]
struct Import {
    excludes: bool,
    /// `None` for all.
    namespace: Option<Namespace>,
    host: Host,
}

impl Imports {
    /// The hosts as a `Sidecar` gives them, for workloads of the namespace `own`.
    pub(crate) fn parse(texts: &[String], own: &Namespace) -> Self {
        Self(texts.iter().filter_map(|text| Import::parse(text, own)).collect())
    }

    /// Every host.
    pub(crate) fn everything() -> Self {
        Self(vec![Import { excludes: false, namespace: None, host: Host::from("*") }])
    }

    /// Is a service of this namespace and host imported?
    pub(crate) fn service(&self, namespace: &Namespace, host: &Host) -> bool {
        self.names(namespace, |pattern| pattern.covers(host)) && !self.excludes(namespace, host)
    }

    /// Is a `VirtualService` imported? It is as a whole when one of its hosts is; one of Istio's also when its host
    /// is the wider one.
    pub(crate) fn routes(&self, routes: &Routes, domain: &str) -> bool {
        let both_ways = routes.precedence.family == Family::Istio;
        routes.spec.hosts.iter().any(|host| {
            let host = Host::resolve(host, &routes.namespace, domain);
            let meets = |pattern: &Host| pattern.covers(&host) || (both_ways && host.covers(pattern));
            self.names(&routes.namespace, meets) && !self.excludes(&routes.namespace, &host)
        })
    }

    /// What is imported: a host, perhaps a wildcard, of a namespace or of all.
    pub(crate) fn named(&self) -> impl Iterator<Item = (Option<&Namespace>, &Host)> {
        let named = self.0.iter().filter(|import| !import.excludes);
        named.map(|import| (import.namespace.as_ref(), &import.host))
    }

    fn names(&self, namespace: &Namespace, meets: impl Fn(&Host) -> bool) -> bool {
        self.0.iter().any(|import| !import.excludes && import.is_of(namespace) && meets(&import.host))
    }

    fn excludes(&self, namespace: &Namespace, host: &Host) -> bool {
        self.0.iter().any(|import| import.excludes && import.is_of(namespace) && import.host.covers(host))
    }
}

impl Import {
    /// `namespace/host`, `./host`, `*/host`; with `~` before it, or `!`, what is excluded again: `~/host` is that
    /// of all namespaces. `None` for `~/*`, which stands for nothing.
    fn parse(text: &str, own: &Namespace) -> Option<Self> {
        let (namespace, host) = text.split_once('/').unwrap_or(("*", text));
        if (namespace, host) == ("~", "*") {
            return None;
        }
        let (excludes, namespace) = match namespace.strip_prefix(['~', '!']) {
            Some("") => (true, "*"),
            Some(rest) => (true, rest),
            None => (false, namespace),
        };
        let namespace = match namespace {
            "*" => None,
            "." => Some(own.clone()),
            name => Some(Namespace::from(name)),
        };
        Some(Self { excludes, namespace, host: Host::from(host.to_ascii_lowercase()) })
    }

    fn is_of(&self, namespace: &Namespace) -> bool {
        self.namespace.as_ref().is_none_or(|wanted| wanted == namespace)
    }
}
