//! One service that several sources know.

use std::{collections::BTreeMap, sync::Arc};

use lateen_model::{
    Address, DefinedBy, Endpoint, Health, Host, Locality, ObjectId, ObjectKind, Origin, Port, Protocol,
    Resolution, Service, SourceEvent, SourceId, event::Object, service::Visibility,
};
use lateen_registry::Registry;
use proptest::{collection, prelude::*, sample::Index};

use crate::feed::{apply, source};

const SOURCES: [&str; 4] = ["kubernetes", "consul", "nomad", "etcd"];
const HOST: &str = "a.default.svc.cluster.local";

fn origin(of: &str, location: &str) -> Origin {
    Origin { source: of.into(), location: location.into(), line: 0, column: 0 }
}

fn service(of: &str, ports: &[(u16, &str)]) -> Object {
    let port = |(number, name): &(u16, &str)| Port {
        number: *number,
        name: (*name).into(),
        protocol: Protocol::Http,
        target: None,
    };
    Object::Service(Arc::new(Service {
        host: Host::from(HOST),
        namespace: "default".into(),
        name: "a".into(),
        defined_by: DefinedBy::Platform,
        ports: ports.iter().map(port).collect(),
        addresses: Vec::new(),
        resolution: Resolution::Static,
        external: false,
        export_to: Visibility::All,
        subject_alt_names: Vec::new(),
        labels: BTreeMap::new(),
        origin: origin(of, "default/a"),
        created: 0,
    }))
}

fn endpoint(of: &str, last: u8, ports: &[(&str, u16)]) -> Endpoint {
    Endpoint {
        address: Address::Ip([10, 0, 0, last].into()),
        ports: Arc::new(ports.iter().map(|(name, number)| ((*name).into(), *number)).collect()),
        labels: Arc::default(),
        locality: Locality::parse(&format!("{of}/zone")),
        network: "".into(),
        weight: 1,
        health: Health::Healthy,
        service_account: "".into(),
        origin: origin(of, "default/a"),
    }
}

fn upsert(kind: ObjectKind, object: Object) -> SourceEvent {
    SourceEvent::Upsert { id: ObjectId { kind, name: "default/a".into() }, object }
}

fn endpoints(endpoints: impl IntoIterator<Item = Endpoint>) -> SourceEvent {
    let endpoints = endpoints.into_iter().collect();
    let object = Object::Endpoints { host: Host::from(HOST), namespace: "default".into(), endpoints };
    upsert(ObjectKind::Endpoints, object)
}

fn registry() -> Registry {
    let sources: Vec<SourceId> = SOURCES.iter().map(|name| source(name)).collect();
    Registry::new(&sources)
}

/// Address, first port and source of every endpoint.
fn shown(registry: &Registry) -> Vec<String> {
    let all = registry.world().endpoints(&Host::from(HOST), &"default".into()).unwrap_or_default();
    let show = |endpoint: &Endpoint| {
        let ports: Vec<_> = endpoint.ports.iter().map(|(name, port)| format!("{name}={port}")).collect();
        format!("{} {} {} {}", endpoint.address, ports.join(","), endpoint.origin.source, endpoint.locality)
    };
    all.iter().map(show).collect()
}

#[test]
fn endpoints_of_all_sources_unite_each_with_its_place_and_each_once() {
    let mut registry = registry();
    let (kubernetes, consul, nomad) = (source("kubernetes"), source("consul"), source("nomad"));
    apply(&mut registry, &nomad, upsert(ObjectKind::Service, service("nomad", &[(80, "web")])));
    apply(&mut registry, &consul, upsert(ObjectKind::Service, service("consul", &[(80, "http")])));
    apply(&mut registry, &kubernetes, upsert(ObjectKind::Service, service("kubernetes", &[(80, "http")])));
    // Nomad calls the port otherwise, and knows an instance that Kubernetes knows, too; Consul another port of one.
    apply(&mut registry, &nomad, endpoints([1, 2].map(|ip| endpoint("nomad", ip, &[("web", 8080)]))));
    apply(&mut registry, &kubernetes, endpoints([endpoint("kubernetes", 1, &[("http", 8080)])]));
    apply(&mut registry, &consul, endpoints([endpoint("consul", 1, &[("http", 9090)])]));
    assert_eq!(
        shown(&registry),
        [
            "10.0.0.1 http=8080 kubernetes kubernetes/zone/",
            "10.0.0.1 http=9090 consul consul/zone/",
            "10.0.0.2 http=8080,web=8080 nomad nomad/zone/",
        ]
    );
    // Kubernetes forgets it: now Nomad's counts.
    apply(&mut registry, &kubernetes, endpoints([]));
    assert_eq!(shown(&registry)[0], "10.0.0.1 http=8080,web=8080 nomad nomad/zone/");
    assert!(registry.diagnostics().next().is_none(), "only a name differs");
}

/// The platform's definition counts, whichever source comes first: a port is called as it is there, by the service and
/// by the endpoints of all.
#[test]
fn names_of_ports_are_those_of_the_definition_that_counts() {
    let entry = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: a, namespace: default}\nspec: \
                 {hosts: [a.default.svc.cluster.local], location: MESH_INTERNAL, resolution: STATIC, ports: [{number: 80, name: web, \
                 protocol: HTTP, targetPort: 8080}], endpoints: [{address: 10.0.0.7}]}\n";
    let (file, platform) = (source("file"), source("kubernetes"));
    let file_says = |registry: &mut Registry| apply(registry, &file, crate::feed::upsert("a.yaml", entry));
    let platform_says = |registry: &mut Registry| {
        let service = service("kubernetes", &[(80, "http")]);
        apply(registry, &platform, upsert(ObjectKind::Service, service));
        apply(registry, &platform, endpoints([endpoint("kubernetes", 1, &[("http", 8080)])]))
    };
    for (order, file_first) in
        [([&file, &platform], true), ([&file, &platform], false), ([&platform, &file], true)]
    {
        let mut registry = Registry::new(&order.map(Clone::clone));
        if file_first {
            file_says(&mut registry);
            platform_says(&mut registry);
        } else {
            platform_says(&mut registry);
            file_says(&mut registry);
        }
        let services = registry.world().services(&Host::from(HOST)).unwrap();
        let names: Vec<_> =
            services.iter().flat_map(|service| &service.ports).map(|port| &*port.name).collect();
        assert_eq!(names, ["http"]);
        let all = registry.world().endpoints(&Host::from(HOST), &"default".into()).unwrap();
        assert_eq!(all.len(), 2);
        for endpoint in all.iter() {
            assert_eq!(endpoint.ports.get("http"), Some(&8080), "{endpoint:?}");
        }
    }
}

#[test]
fn definitions_that_disagree_are_found_with_both_places() {
    let mut registry = registry();
    for (name, ports) in [("nomad", &[(80, "http"), (81, "admin")][..]), ("consul", &[(80, "http")])] {
        apply(&mut registry, &source(name), upsert(ObjectKind::Service, service(name, ports)));
    }
    let findings: Vec<String> = registry.diagnostics().map(ToString::to_string).collect();
    assert_eq!(findings.len(), 1, "{findings:?}");
    let text = &findings[0];
    assert!(
        text.contains("LAT2405") && text.contains("80, 81 here, and 80 in default/a of consul"),
        "{text}"
    );
    // It goes with the disagreement.
    apply(&mut registry, &source("nomad"), upsert(ObjectKind::Service, service("nomad", &[(80, "http")])));
    assert_eq!(registry.diagnostics().count(), 0);
}

#[derive(Clone, Debug)]
struct Said {
    source: usize,
    ports: Vec<u16>,
    endpoints: Vec<(u8, u16)>,
}

fn said() -> impl Strategy<Value = Said> {
    let ports = collection::vec(80_u16..83, 0..3);
    let endpoints = collection::vec((0_u8..4, 8000_u16..8002), 0..4);
    (0..SOURCES.len(), ports, endpoints).prop_map(|(source, ports, endpoints)| Said {
        source,
        ports,
        endpoints,
    })
}

const NAMES: [[&str; 3]; 4] =
    [["http", "admin", "x"], ["web", "admin", "x"], ["http", "http", "y"], ["", "admin", "x"]];

fn say(registry: &mut Registry, said: &Said) {
    let Said { source: at, ports, endpoints: all } = said;
    let (name, names) = (SOURCES[*at], NAMES[*at]);
    let ports: Vec<(u16, &str)> = ports.iter().map(|port| (*port, names[usize::from(port - 80)])).collect();
    apply(registry, &source(name), upsert(ObjectKind::Service, service(name, &ports)));
    let all = all.iter().map(|(ip, port)| endpoint(name, *ip, &[(names[0], *port)]));
    apply(registry, &source(name), endpoints(all));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the order in which sources speak, the last words of each decide; findings, too.
    #[test]
    fn the_last_words_decide_whoever_speaks_first(
        all in collection::vec(said(), 1..20),
        order in collection::vec(any::<Index>(), 4),
    ) {
        let mut straight = registry();
        let mut last: BTreeMap<usize, Said> = BTreeMap::new();
        for said in &all {
            say(&mut straight, said);
            last.insert(said.source, said.clone());
        }
        let mut rest: Vec<Said> = last.into_values().collect();
        let mut mixed = registry();
        for index in order {
            if !rest.is_empty() {
                let said = rest.remove(index.index(rest.len()));
                say(&mut mixed, &said);
            }
        }
        prop_assert_eq!(straight.world(), mixed.world());
        let findings = |registry: &Registry| -> Vec<String> {
            registry.diagnostics().map(ToString::to_string).collect()
        };
        prop_assert_eq!(findings(&straight), findings(&mixed));
        // No address and port twice under one name.
        let mut places = std::collections::BTreeSet::new();
        let found = straight.world().endpoints(&Host::from(HOST), &"default".into()).unwrap_or_default();
        for endpoint in found.iter() {
            for (name, port) in endpoint.ports.iter() {
                prop_assert!(places.insert((endpoint.address.clone(), name.clone(), *port)), "{:?}", found);
            }
        }
    }
}
