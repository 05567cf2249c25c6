//! Inside a resource the guilty parts are found, and only they are held back.

use std::collections::BTreeSet;

use lateen_xds::{Acked, Guilty, Resource};

use super::*;
use crate::NodeHandle;

/// One gateway with many hosts, and clients that reject whatever names a bad path.
struct Edge {
    registry: Registry,
    compiler: Compiler,
    clients: Vec<Client>,
}

struct Client {
    node: NodeHandle,
    principal: &'static str,
    held: Option<Arc<Resource>>,
    refused: BTreeSet<lateen_model::Version>,
    answers: usize,
    /// What made it reject is mended on its side.
    repaired: bool,
}

fn info(number: usize) -> Arc<NodeInfo> {
    let mut info = NodeInfo::from_id(&format!("router~10.0.0.{number}~edge-{number}.a~a.svc.cluster.local"));
    info.labels.insert("app".into(), "edge".into());
    Arc::new(info)
}

const ROUTES: &str = "http.8080";

fn host(number: usize, path: &str) -> Edit {
    let text = format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: h{number:03}, namespace: a}}\nspec:\n  \
         hosts: [h{number:03}.example.com]\n  gateways: [edge]\n  http: [{{match: [{{uri: {{prefix: {path}}}}}], route: \
         [{{destination: {{host: s0, port: {{number: 80}}}}}}]}}]"
    );
    Edit { name: format!("h{number:03}.yaml"), text: Some(text) }
}

fn is_bad(resource: &Resource) -> bool {
    let bytes = resource.body.bytes();
    bytes.windows(4).any(|bytes| bytes == b"/bad") || bytes.windows(8).any(|bytes| bytes == b"bad-name")
}

impl Edge {
    fn new(hosts: impl Iterator<Item = Edit>, principals: &[&'static str]) -> Self {
        let mut registry = Registry::new(&[SourceId("test".into())]);
        let mut compiler = Compiler::new();
        let fixed = [
            (
                "gateway.yaml",
                "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: edge, namespace: a}\nspec:\n  selector: \
                 {app: edge}\n  servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: ['*']}]",
            ),
            (
                "service.yaml",
                "apiVersion: v1\nkind: Service\nmetadata: {name: s0, namespace: a}\nspec: {clusterIP: 10.96.0.1, ports: \
                 [{name: http, port: 80}]}",
            ),
        ];
        for (name, text) in fixed {
            apply(&mut registry, &Edit { name: name.to_owned(), text: Some(text.to_owned()) });
        }
        hosts.for_each(|edit| drop(apply(&mut registry, &edit)));
        let mut clients = Vec::new();
        for (number, principal) in principals.iter().enumerate() {
            let node = compiler.attach(registry.world(), &info(number));
            clients.push(Client {
                node,
                principal,
                held: None,
                refused: BTreeSet::new(),
                answers: 0,
                repaired: false,
            });
        }
        Self { registry, compiler, clients }
    }

    fn edit(&mut self, edit: &Edit) {
        let changes = apply(&mut self.registry, edit);
        self.compiler.apply(self.registry.world(), &changes);
    }

    fn routes(&self, client: usize) -> Arc<Resource> {
        let name = self.compiler.names().find(ROUTES).unwrap();
        let view = self.compiler.view(self.clients[client].node);
        view.get(ResourceType::RouteConfiguration, name).unwrap().clone()
    }

    /// The client answers what it is given until it has that, or has rejected it.
    fn settle(&mut self, client: usize) {
        loop {
            let given = self.routes(client);
            let Client { node, principal, held, refused, answers, repaired } = &mut self.clients[client];
            let Resource { kind, name, version, .. } = *given;
            if held.as_ref().is_some_and(|held| held.version == version) || refused.contains(&version) {
                return;
            }
            *answers += 1;
            assert!(*answers < 2_000, "no end");
            if is_bad(&given) && !*repaired {
                refused.insert(version);
                let guilty = Guilty { kind, name, version, message: "no".into(), accepted: held.clone() };
                self.compiler.nacked(*node, &(*principal).into(), &guilty);
            } else {
                *held = Some(given.clone());
                self.compiler.acked(*node, &Acked { kind, name, version });
            }
        }
    }

    /// The client connects anew, and holds nothing.
    fn reconnect(&mut self, client: usize) {
        self.compiler.detach(self.clients[client].node);
        let node = self.compiler.attach(self.registry.world(), &info(client));
        let Client { principal, repaired, .. } = self.clients[client];
        self.clients[client] =
            Client { node, principal, held: None, refused: BTreeSet::new(), answers: 0, repaired };
    }

    /// The hosts that a client serves, of those with the path.
    fn serves(&self, client: usize, path: &str) -> usize {
        let Some(held) = &self.clients[client].held else { return 0 };
        let routes =
            lateen_proto::envoy::config::route::v3::RouteConfiguration::decode(held.body.bytes()).unwrap();
        let of =
            |host: &&lateen_proto::envoy::config::route::v3::VirtualHost| format!("{host:?}").contains(path);
        routes.virtual_hosts.iter().filter(of).count()
    }

    fn named(&self) -> Vec<String> {
        self.compiler
            .findings()
            .filter(|finding| finding.code == super::super::REJECTED)
            .map(ToString::to_string)
            .collect()
    }
}

#[test]
fn a_new_client_gets_all_but_the_guilty_and_each_is_named() {
    let path = |number: usize| if number % 10 == 3 { "/bad" } else { "/good" };
    let mut edge = Edge::new((0..200).map(|number| host(number, path(number))), &["local", "local"]);
    edge.settle(0);
    assert_eq!((edge.serves(0, "/good"), edge.serves(0, "/bad")), (180, 0));
    // Nobody else takes their requests.
    assert_eq!((edge.serves(0, "status: 503"), edge.serves(0, "h003.example.com")), (20, 1));
    assert!(edge.clients[0].answers < 200, "{}", edge.clients[0].answers);
    let named = edge.named();
    assert_eq!(named.len(), 20, "{named:#?}");
    for number in (0..200).filter(|number| number % 10 == 3) {
        let place = format!("h{number:03}.yaml:1:");
        assert!(named.iter().any(|finding| finding.starts_with(&place)), "{place}: {named:#?}");
    }
    // A second one profits, but finds it out by itself.
    edge.settle(1);
    assert_eq!((edge.serves(1, "/good"), edge.serves(1, "/bad")), (180, 0));
    assert!(edge.clients[1].answers <= 2 + 2 * 20 + 2, "{}", edge.clients[1].answers);

    // What is mended is served, one by one, and its finding is gone.
    for (mended, number) in (0..200).filter(|number| number % 10 == 3).enumerate() {
        edge.edit(&host(number, "/good"));
        for client in [0, 1] {
            edge.settle(client);
            assert_eq!((edge.serves(client, "/good"), edge.serves(client, "/bad")), (181 + mended, 0));
        }
        assert_eq!(edge.named().len(), 19 - mended);
    }
    assert!(edge.compiler.trials.is_empty());
}

#[test]
fn who_comes_back_is_given_once_more_what_it_rejected() {
    let hosts = (0..20).map(|number| host(number, if number == 3 { "/bad" } else { "/good" }));
    let mut edge = Edge::new(hosts, &["one", "two", "three"]);
    edge.settle(0);
    edge.settle(1);
    // Independent clients agree: the third is not even given it.
    assert!(!is_bad(&edge.routes(2)));
    // One comes back as it was: it says no once more, and that is all.
    edge.reconnect(0);
    assert!(is_bad(&edge.routes(0)));
    edge.settle(0);
    assert_eq!((edge.serves(0, "/bad"), edge.serves(0, "/good")), (0, 19));
    assert_eq!(edge.clients[0].answers, 2);
    assert!(!is_bad(&edge.routes(2)));
    // It comes back with what it lacked: it has everything, and the others are given it again.
    edge.clients[0].repaired = true;
    edge.reconnect(0);
    edge.settle(0);
    assert_eq!((edge.serves(0, "/bad"), edge.serves(0, "/good")), (1, 19));
    assert!(is_bad(&edge.routes(2)));
    edge.settle(2);
    assert_eq!((edge.serves(2, "/bad"), edge.serves(2, "/good")), (0, 19));
}

#[test]
fn where_a_closed_host_is_rejected_for_its_names_the_guilty_are_left_out() {
    let named = |mut edit: Edit, name: &str| {
        edit.text = edit.text.map(|text| text.replace("h007.example.com", name));
        edit
    };
    let mut hosts: Vec<Edit> = (0..40).map(|number| host(number, "/good")).collect();
    hosts[7] = named(host(7, "/good"), "bad-name.example.com");
    hosts[9] = host(9, "/bad");
    let mut edge = Edge::new(hosts.into_iter(), &["local"]);
    edge.settle(0);
    assert_eq!((edge.serves(0, "/good"), edge.serves(0, "/bad")), (38, 0));
    assert_eq!(edge.named().len(), 2, "{:#?}", edge.named());
}

#[test]
fn a_part_that_turns_bad_stays_as_it_was_and_the_others_move_on() {
    let mut edge = Edge::new((0..8).map(|number| host(number, "/one")), &["local"]);
    edge.settle(0);
    edge.edit(&host(3, "/bad"));
    edge.settle(0);
    assert_eq!(edge.clients[0].answers, 2, "there is only one to blame");
    assert_eq!(edge.serves(0, "/one"), 8);
    assert_eq!(edge.named().len(), 1);
    edge.edit(&host(4, "/two"));
    edge.settle(0);
    assert_eq!((edge.serves(0, "/one"), edge.serves(0, "/two")), (7, 1));
    edge.edit(&host(5, "/bad"));
    edge.settle(0);
    assert_eq!((edge.serves(0, "/one"), edge.serves(0, "/two"), edge.named().len()), (7, 1, 2));
    edge.edit(&Edit { name: "h003.yaml".to_owned(), text: None });
    edge.settle(0);
    assert_eq!((edge.serves(0, "/one"), edge.serves(0, "/two"), edge.named().len()), (6, 1, 1));
}

#[test]
fn what_one_client_rejects_others_get_until_independent_ones_agree() {
    let mut edge = Edge::new((0..8).map(|number| host(number, "/one")), &["a", "a", "b", "c"]);
    (0..4).for_each(|client| edge.settle(client));
    edge.edit(&host(3, "/bad"));
    edge.settle(0);
    edge.settle(1);
    assert!(is_bad(&edge.routes(2)), "two of one identity count as one");
    edge.settle(2);
    assert!(!is_bad(&edge.routes(3)), "two agree");
    edge.settle(3);
    assert_eq!((edge.serves(3, "/one"), edge.named().len()), (8, 1));
    edge.edit(&host(3, "/two"));
    (0..4).for_each(|client| edge.settle(client));
    assert!((0..4).all(|client| edge.serves(client, "/two") == 1));
    assert_eq!(edge.named().len(), 0);
}

/// A route whose new cluster the client rejects would be a 503 where the old one works.
#[test]
fn what_leads_to_a_rejected_cluster_stays_as_it_was_until_the_cluster_is_mended() {
    let service = |resolver: &str| Edit {
        name: "other.yaml".to_owned(),
        text: Some(format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: other, namespace: a}}\nspec: {{clusterIP: 10.96.0.2, ports: \
             [{{name: {resolver}, port: 80}}]}}"
        )),
    };
    let mut edge = Edge::new((0..4).map(|number| host(number, "/one")), &["local"]);
    edge.settle(0);
    edge.edit(&service("http"));
    let moved = host(3, "/two").text.unwrap().replace("host: s0", "host: other");
    edge.edit(&Edit { name: "h003.yaml".to_owned(), text: Some(moved) });
    edge.edit(&host(2, "/two"));
    let node = edge.clients[0].node;
    let cluster = |edge: &Edge| {
        let name = edge.compiler.names().find("outbound|80||other.a.svc.cluster.local").unwrap();
        edge.compiler.view(node).get(ResourceType::Cluster, name).unwrap().clone()
    };
    let Resource { kind, name, version, .. } = *cluster(&edge);
    let guilty = Guilty { kind, name, version, message: "no".into(), accepted: None };
    edge.compiler.nacked(node, &"local".into(), &guilty);
    edge.settle(0);
    assert_eq!((edge.serves(0, "/one"), edge.serves(0, "/two")), (3, 1), "the others move on");
    edge.edit(&service("grpc"));
    let Resource { kind, name, version, .. } = *cluster(&edge);
    assert_ne!(version, guilty.version);
    edge.compiler.acked(node, &Acked { kind, name, version });
    edge.settle(0);
    assert_eq!((edge.serves(0, "/one"), edge.serves(0, "/two")), (2, 2));
}

#[test]
fn a_routed_service_that_disappears_takes_its_cluster_with_it() {
    let mut edge = Edge::new((0..2).map(|number| host(number, "/one")), &["local"]);
    edge.settle(0);
    let before = edge.routes(0);
    let cluster = edge.compiler.names().find("outbound|80||s0.a.svc.cluster.local").unwrap();
    let view = edge.compiler.view(edge.clients[0].node);
    assert!(view.get(ResourceType::Cluster, cluster).is_some());
    edge.edit(&Edit { name: "service.yaml".to_owned(), text: None });
    let view = edge.compiler.view(edge.clients[0].node);
    assert!(view.get(ResourceType::Cluster, cluster).is_none());
    assert_eq!(edge.routes(0).version, before.version, "the routes still lead there, and Envoy answers 503");
    let told = edge.compiler.findings().filter(|finding| finding.code.0 == "LAT3001").count();
    assert!(told > 0, "the absence is a finding");
}

/// A gateway of three servers, and a client that rejects listeners with `bad` in them. All listeners that it was given,
/// and whether it accepted the last one.
fn listeners(bad: &str) -> (Edge, Vec<lateen_proto::envoy::config::listener::v3::Listener>, bool) {
    let server = |host: &str, number: usize| {
        format!(
            "{{port: {{number: 8443, name: https-{number}, protocol: HTTPS}}, hosts: ['{host}'], tls: {{mode: SIMPLE, \
             serverCertificate: /cert-{number}, privateKey: /key}}}}"
        )
    };
    let servers =
        [server("h000.example.com", 0), server("h001.example.com", 1), server("*", 2)].join(",\n   ");
    let gateway = format!(
        "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: edge, namespace: a}}\nspec:\n  selector: \
         {{app: edge}}\n  servers: [{servers}]"
    );
    let mut edge = Edge::new((0..2).map(|number| host(number, "/one")), &["local"]);
    edge.edit(&Edit { name: "gateway.yaml".to_owned(), text: Some(gateway) });
    let node = edge.clients[0].node;
    let (mut given, mut held, mut refused) = (Vec::new(), None::<Arc<Resource>>, BTreeSet::new());
    loop {
        let mut now = Vec::new();
        edge.compiler.view(node).members(ResourceType::Listener, &mut |_, r| now.push(r.clone()));
        assert_eq!(
            now.len(),
            1,
            "{:?}",
            edge.compiler.findings().map(ToString::to_string).collect::<Vec<_>>()
        );
        let listener = now.pop().unwrap();
        let Resource { kind, name, version, .. } = *listener;
        if held.as_ref().is_some_and(|held| held.version == version) {
            return (edge, given, true);
        }
        if !refused.insert(version) {
            return (edge, given, false);
        }
        let bytes = listener.body.bytes();
        given.push(lateen_proto::envoy::config::listener::v3::Listener::decode(bytes.clone()).unwrap());
        if bytes.windows(bad.len()).any(|bytes| bytes == bad.as_bytes()) {
            let guilty = Guilty { kind, name, version, message: "no".into(), accepted: held.clone() };
            edge.compiler.nacked(node, &"local".into(), &guilty);
        } else {
            held = Some(listener);
            edge.compiler.acked(node, &Acked { kind, name, version });
        }
    }
}

/// Were it absent, the chain of `*` would carry its connections.
#[test]
fn a_rejected_chain_of_a_listener_is_closed_and_not_absent() {
    let (edge, given, accepted) = listeners("cert-1");
    assert!(accepted);
    let matches = |listener: &lateen_proto::envoy::config::listener::v3::Listener| {
        listener
            .filter_chains
            .iter()
            .map(|c| (c.name.clone(), c.filter_chain_match.clone()))
            .collect::<Vec<_>>()
    };
    assert!(
        given.iter().all(|listener| matches(listener) == matches(&given[0])),
        "also while it is searched for"
    );
    assert_eq!(given[0].filter_chains.len(), 3);
    let last = given.last().unwrap();
    let closed: Vec<_> = last.filter_chains.iter().filter(|chain| chain.transport_socket.is_none()).collect();
    assert_eq!(closed.len(), 1);
    assert!(format!("{:?}", closed[0].filter_chain_match).contains("h001"));
    assert_eq!(closed[0].filters.len(), 1);
    assert!(
        format!("{:?}", closed[0].filters[0].encode_to_vec().escape_ascii().to_string())
            .contains("BlackHoleCluster")
    );
    // The server whose chain it is, not the first one.
    assert!(edge.named().len() == 1 && edge.named()[0].starts_with("gateway.yaml:7:"), "{:?}", edge.named());
}

#[test]
fn a_listener_with_a_rejected_match_is_rejected_as_a_whole() {
    let (edge, given, accepted) = listeners("h001.example.com");
    assert!(!accepted);
    assert!(given.iter().all(|listener| listener.filter_chains.len() == 3));
    assert_eq!(edge.named().len(), 1, "{:#?}", edge.named());
    assert!(edge.compiler.rejections.keys().all(|subject| subject.piece.is_none()));
}

#[test]
fn what_a_client_goes_on_with_is_not_closed_by_a_restart() {
    let mut edge = Edge::new((0..4).map(|number| host(number, "/good")), &["one"]);
    edge.settle(0);
    edge.edit(&host(2, "/bad"));
    edge.settle(0);
    let before = edge.routes(0);
    assert!(before.body.bytes().windows(5).any(|bytes| bytes == b"/good"));
    let (accepted, forms) = (edge.compiler.take_accepted(), edge.compiler.take_forms());
    assert!(edge.compiler.take_forms().is_empty(), "nothing is told twice");

    let mut again = Compiler::new();
    again.remember(&accepted);
    again.remember_forms(forms.into_iter().filter_map(|(part, form)| Some((part, form?))).collect());
    let node = again.attach(edge.registry.world(), &info(0));
    edge.compiler = again;
    let client = &mut edge.clients[0];
    // What it holds it does not say again.
    (client.node, client.held) = (node, None);
    client.refused.clear();
    edge.settle(0);
    assert_eq!(edge.routes(0).version, before.version);

    edge.edit(&host(2, "/mended"));
    edge.settle(0);
    let gone: Vec<_> = edge.compiler.take_forms();
    assert!(matches!(gone.as_slice(), [(_, None)]), "{gone:?}");
}
