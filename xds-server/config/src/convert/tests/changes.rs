//! A gateway that is converted again for what changed only.

use std::{cell::Cell, collections::HashMap};

use proptest::{collection, prelude::*, sample::select};

use super::{super::hostname::intersect, *};
use crate::gateway_api::ParentRef;

const LISTENERS: &str = "
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: web}
spec:
  gatewayClassName: lateen
  listeners:
  - {name: all, port: 8080, protocol: HTTP}
  - {name: narrow, port: 8080, protocol: HTTP, hostname: '*.x.test'}
  - {name: one, port: 9090, protocol: HTTP, hostname: a.x.test}
";

/// A gateway, and what its conversion has come to by updates.
struct Followed {
    gateway: ParsedObject,
    routes: HashMap<ObjectKey, ParsedObject>,
    conversion: GatewayConversion,
    objects: BTreeMap<ObjectKey, Derived>,
    /// How often a route was asked for.
    reads: usize,
}

impl Followed {
    fn new(gateway: &str) -> Self {
        let gateway = one(gateway);
        let around = Surroundings { grants: &[], namespace_labels: &|_| None, domain: "cluster.local" };
        let input = GatewayInput { gateway: &gateway, class: None, routes: &[], around };
        let (conversion, objects) = GatewayConversion::new(&input);
        let objects = objects.into_iter().map(|made| (made.object.key.clone(), made)).collect();
        Self { gateway, routes: HashMap::new(), conversion, objects, reads: 0 }
    }

    /// Takes over that these have come, changed or gone; gives the keys of what is made otherwise.
    fn change(&mut self, changes: Vec<(ObjectKey, Option<ParsedObject>)>) -> Vec<ObjectKey> {
        let concerned = changes.iter().map(|(key, _)| key.clone()).collect();
        for (key, route) in changes {
            match route {
                Some(route) => drop(self.routes.insert(key, route)),
                None => drop(self.routes.remove(&key)),
            }
        }
        let reads = Cell::new(0);
        let route = |key: &ObjectKey| {
            reads.set(reads.get() + 1);
            self.routes.get(key)
        };
        let around = Surroundings { grants: &[], namespace_labels: &|_| None, domain: "cluster.local" };
        let input = GatewayInput { gateway: &self.gateway, class: None, routes: &[], around };
        let update = self.conversion.update(&input, concerned, &route);
        self.reads = reads.get();
        let mut keys = Vec::new();
        for (key, made) in update.objects {
            keys.push(key.clone());
            match made {
                Some(made) => drop(self.objects.insert(key, made)),
                None => drop(self.objects.remove(&key)),
            }
        }
        keys
    }

    fn converted(&self) -> Converted {
        Converted {
            objects: self.objects.values().cloned().collect(),
            findings: self.conversion.findings().cloned().collect(),
            attached: self.conversion.attached().clone(),
        }
    }

    /// What it comes to when it is converted as a whole.
    fn cold(&self) -> Converted {
        let routes: Vec<&ParsedObject> = self.routes.values().collect();
        let around = Surroundings { grants: &[], namespace_labels: &|_| None, domain: "cluster.local" };
        super::super::gateway(&GatewayInput { gateway: &self.gateway, class: None, routes: &routes, around })
    }
}

fn one(text: &str) -> ParsedObject {
    let mut parsed = parse(text.as_bytes(), &"test".into(), &"mesh.yaml".into());
    assert!(parsed.objects.len() == 1, "{text}: {:?}", parsed.diagnostics);
    parsed.objects.remove(0)
}

#[derive(Clone, Copy, Debug)]
struct Route {
    is_grpc: bool,
    name: u8,
    hosts: &'static str,
    /// None: the route goes.
    created: Option<u8>,
    parent: &'static str,
    backend: &'static str,
}

impl Route {
    fn key(&self) -> ObjectKey {
        let kind = if self.is_grpc { Kind::GrpcRoute } else { Kind::HttpRoute };
        ObjectKey::new(kind, "web", format!("r{}", self.name))
    }

    fn object(&self) -> Option<ParsedObject> {
        let Self { hosts, created, parent, backend, .. } = self;
        let (key, created) = (self.key(), (*created)?);
        Some(one(&format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: {}\nmetadata: {{name: {}, namespace: web, \
             creationTimestamp: '2024-01-0{created}T00:00:00Z'}}\nspec: {{parentRefs: [{{{parent}}}], hostnames: [{hosts}], \
             rules: [{{backendRefs: [{{{backend}}}]}}]}}\n",
            key.kind, key.name
        )))
    }
}

fn route() -> impl Strategy<Value = Route> {
    let hosts =
        select(&["", "x.test", "a.x.test", "'*.x.test'", "'*.test', b.x.test", "y.test, a.x.test"][..]);
    let parent = select(&["name: edge", "name: edge", "name: edge, sectionName: narrow", "name: other"][..]);
    let backend = select(&["name: a, port: 80", "name: b, port: 80", "name: a, namespace: c, port: 80"][..]);
    (any::<bool>(), 0..4_u8, hosts, proptest::option::weighted(0.8, 1..4_u8), parent, backend).prop_map(
        |(is_grpc, name, hosts, created, parent, backend)| Route {
            is_grpc,
            name,
            hosts,
            created,
            parent,
            backend,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// However the routes came about, alone or several at once: what is made is what is made of all at once.
    #[test]
    fn updates_come_to_what_a_conversion_of_all_comes_to(
        steps in collection::vec(collection::vec(route(), 1..3), 1..16),
    ) {
        let mut followed = Followed::new(LISTENERS);
        for step in steps {
            let changes: HashMap<ObjectKey, _> = step.iter().map(|route| (route.key(), route.object())).collect();
            followed.change(changes.into_iter().collect());
            prop_assert_eq!(followed.converted(), followed.cold());
        }
    }

    /// Of two routes of different kinds that meet the older one is accepted, if it is.
    #[test]
    fn a_route_is_refused_for_an_older_one_that_is_accepted(routes in collection::vec(route(), 1..12)) {
        let mut followed = Followed::new(GATEWAY);
        let routes: BTreeMap<ObjectKey, Route> = routes.into_iter().map(|route| (route.key(), route)).collect();
        for (key, route) in &routes {
            followed.change(vec![(key.clone(), route.object())]);
        }
        let mut by_age: Vec<&ParsedObject> = followed.routes.values().collect();
        by_age.sort_by_key(|route| (age(route), route.key.name.clone(), route.key.kind));
        let mut accepted: Vec<(Kind, Vec<String>)> = Vec::new();
        let mut refused = Vec::new();
        for object in by_age {
            let (parents, hosts): (&[ParentRef], _) = match &object.spec {
                ConfigObject::HttpRoute(route) => (&route.parent_refs, &route.hostnames),
                ConfigObject::GrpcRoute(route) => (&route.parent_refs, &route.hostnames),
                _ => unreachable!(),
            };
            if parents.iter().any(|parent| parent.name != "edge" || parent.section_name.is_some()) {
                continue;
            }
            let kind = object.key.kind;
            let hosts = if hosts.is_empty() { vec!["*".to_owned()] } else { hosts.clone() };
            let meets = |other: &Vec<String>| hosts.iter().any(|a| other.iter().any(|b| intersect(a, b).is_some()));
            if accepted.iter().any(|(other, theirs)| *other != kind && meets(theirs)) {
                refused.push(object.key.to_ref());
            } else {
                accepted.push((kind, hosts));
            }
        }
        let findings = followed.conversion.findings().filter(|finding| finding.code == COMPETING);
        let mut found: Vec<_> = findings.filter_map(|finding| finding.object.clone()).collect();
        found.sort();
        refused.sort();
        prop_assert_eq!(found, refused);
    }
}

/// Routes of both kinds, each with a host of its own but for two, of which one waits for the other to go.
fn of_both_kinds(count: usize) -> Followed {
    let mut followed = Followed::new(GATEWAY);
    let mut changes = Vec::new();
    for number in 0..count {
        let kind = if number % 2 == 0 { Kind::HttpRoute } else { Kind::GrpcRoute };
        let host = if number < 2 { "shared.test".to_owned() } else { format!("h{number}.test") };
        changes.push(numbered(kind, number, &host, 80));
    }
    followed.change(changes);
    followed
}

fn numbered(kind: Kind, number: usize, host: &str, port: u16) -> (ObjectKey, Option<ParsedObject>) {
    let object = one(&format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: {kind}\nmetadata: {{name: r{number}, namespace: web}}\nspec: {{parentRefs: [{{name: edge}}], \
         hostnames: ['{host}'], rules: [{{backendRefs: [{{name: a, port: {port}}}]}}]}}\n"
    ));
    (object.key.clone(), Some(object))
}

#[test]
fn a_change_reads_the_routes_that_share_a_host_however_many_there_are() {
    let reads = |count: usize| {
        let mut followed = of_both_kinds(count);
        let mut reads = Vec::new();
        let mut change = |changes, made: usize| {
            let keys = followed.change(changes);
            assert_eq!(keys.len(), made, "{keys:?}");
            reads.push(followed.reads);
        };
        change(vec![numbered(Kind::HttpRoute, 6, "h6.test", 81)], 1);
        change(vec![numbered(Kind::HttpRoute, 6, "moved.test", 81)], 2);
        change(vec![numbered(Kind::HttpRoute, 0, "shared.test", 81)], 1);
        // The other one is accepted now.
        change(vec![numbered(Kind::HttpRoute, 0, "own.test", 81)], 2);
        let gone = numbered(Kind::GrpcRoute, 7, "h7.test", 80).0;
        change(vec![(gone, None)], 1);
        assert_eq!(followed.converted(), followed.cold());
        reads
    };
    let few = reads(40);
    assert_eq!(few, reads(160));
    assert!(few.iter().all(|reads| *reads <= 6), "{few:?}");
}
