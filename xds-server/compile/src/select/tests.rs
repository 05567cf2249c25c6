//! Istio's truth table of selection, row by row; `docs/selection.md` has the same rows in words.

use std::collections::BTreeSet;

use lateen_model::{Host, Namespace, NodeInfo, NodeRole};
use lateen_xds::Names;

use self::objects::object;
use super::{Client, Rules, effective_sidecar};
use crate::translate::{
    OutboundView, Scope,
    cold::{Plain, world},
    node_views, outbound_scope, read,
};

mod objects;

const HOST: &str = "api.example.com";
/// The host of `service a/api`.
const PLATFORM: &str = "api.a.svc.cluster.local";

/// What is asked.
#[derive(Clone, Copy)]
enum Asks {
    /// Namespace of the definition of [`HOST`]; in brackets where it is only led to.
    Service,
    /// The same of [`PLATFORM`].
    PlatformService,
    /// The ports on which [`HOST`] is called by that name.
    Calls,
    /// The `VirtualService`s for HTTP of [`HOST`].
    Http,
    /// The same of [`PLATFORM`].
    PlatformHttp,
    /// Those for TCP and TLS.
    Streams,
    /// The `DestinationRule`s of [`HOST`], their subsets, and the connections that the policy allows.
    Rules,
    /// The `Sidecar`.
    Sidecar,
}
use Asks::{Calls, Http, PlatformHttp, PlatformService, Rules as RulesOf, Service, Sidecar, Streams};

/// A claim: objects, a client, and what it gets. A client is `NAMESPACE`, `NAMESPACE app=x` with a label, or
/// `gateway NAMESPACE`, with a label or without. Objects are lines `KIND NAMESPACE/NAME WORDS`: see [`object`].
type Row = (&'static str, &'static [&'static str], &'static str, Asks, &'static str);

const ROWS: &[Row] = &[
    // Services: one definition for each client and host.
    ("a host that nobody defines is none", &[], "c", Service, "-"),
    ("a definition for everybody is everybody's", &["entry a/x"], "c", Service, "a"),
    ("one that is exported to its own namespace alone is not", &["entry a/x to=."], "c", Service, "-"),
    ("and is its own namespace's", &["entry a/x to=."], "a", Service, "a"),
    (
        "one that is exported to nobody is called by nobody, but its namespace's routes lead to it",
        &["entry a/x to=~"],
        "a",
        Service,
        "(a)",
    ),
    ("and one that it imports counts before", &["entry a/x to=b", "entry c/x"], "a", Service, "c"),
    ("one that is exported to the client is the client's", &["entry a/x to=b,c"], "c", Service, "a"),
    ("the client's own counts", &["entry a/x age=1", "entry c/x age=2"], "c", Service, "c"),
    ("of others the older counts", &["entry a/x age=2", "entry b/x age=1"], "c", Service, "b"),
    ("an unknown age is the oldest", &["entry a/x age=1", "entry b/x"], "c", Service, "b"),
    ("of one age the namespace decides", &["entry b/x age=1", "entry a/y age=1"], "c", Service, "a"),
    (
        "who names the client counts before who names nobody",
        &["entry a/x age=1", "entry b/x age=2 to=c"],
        "c",
        Service,
        "b",
    ),
    (
        "a Sidecar imports by namespace",
        &["entry a/x age=1", "entry b/x age=2", "sidecar c/s hosts=b/*"],
        "c",
        Service,
        "b",
    ),
    ("by host", &["entry a/x", "sidecar c/s hosts=*/other.example.com"], "c", Service, "(a)"),
    ("by wildcard", &["entry a/x", "sidecar c/s hosts=a/*.example.com"], "c", Service, "a"),
    (
        "what it excludes is not imported",
        &["entry a/x", "sidecar c/s hosts=*/*,~a/api.example.com"],
        "c",
        Service,
        "(a)",
    ),
    (
        "nor what a wildcard excludes",
        &["entry a/x", "sidecar c/s hosts=*/*,~*/*.example.com"],
        "c",
        Service,
        "(a)",
    ),
    ("`~/*` stands for nothing", &["entry a/x", "sidecar c/s hosts=~/*"], "c", Service, "(a)"),
    (
        "the first listener's counts",
        &["entry a/x age=2", "entry b/x age=1", "sidecar c/s hosts=a/* hosts=b/*"],
        "c",
        Service,
        "a",
    ),
    (
        "routes lead to the client's own where nothing is imported",
        &["entry a/x age=1", "entry c/x age=2", "sidecar c/s hosts=./other"],
        "c",
        Service,
        "(c)",
    ),
    (
        "whoever that is exported to",
        &["entry a/x age=1", "entry c/x age=2 to=b", "sidecar c/s hosts=./other"],
        "c",
        Service,
        "(c)",
    ),
    (
        "else to the oldest",
        &["entry a/x age=2", "entry b/x age=1", "sidecar c/s hosts=./other"],
        "c",
        Service,
        "(b)",
    ),
    (
        "and never to what is not exported",
        &["entry a/x to=.", "sidecar c/s hosts=./other"],
        "c",
        Service,
        "-",
    ),
    ("a gateway sees its own first", &["entry a/x age=1", "entry g/x age=2"], "gateway g", Service, "g"),
    ("a gateway has no Sidecar", &["entry a/x", "sidecar g/s hosts=./*"], "gateway g", Service, "a"),
    // Services of a platform.
    (
        "the platform's own service counts, against any ServiceEntry",
        &["service a/api", "entry b/x host=api.a.svc.cluster.local"],
        "c",
        PlatformService,
        "a",
    ),
    (
        "but for one in the client's namespace",
        &["service a/api", "entry c/x host=api.a.svc.cluster.local"],
        "c",
        PlatformService,
        "c",
    ),
    (
        "of two listeners too, whichever is the first",
        &["service a/api", "entry b/x host=api.a.svc.cluster.local", "sidecar c/s hosts=b/* hosts=a/*"],
        "c",
        PlatformService,
        "a",
    ),
    (
        "and routes lead to it",
        &["service a/api", "entry b/x host=api.a.svc.cluster.local", "sidecar c/s hosts=./*"],
        "c",
        PlatformService,
        "(a)",
    ),
    // Where a host is called by its very name.
    ("a host is called on its ports", &["entry a/x port=9000"], "c", Calls, "9000"),
    ("and on port 80 where it has routes", &["entry a/x port=9000", "routes b/r"], "c", Calls, "9000 80"),
    ("with routes alone on port 80 only", &["routes a/r"], "c", Calls, "80"),
    ("not with those for streams", &["streams a/r"], "c", Calls, "-"),
    ("nor with those that the client does not see", &["routes a/r to=."], "c", Calls, "-"),
    ("a host that is only led to is not called", &["entry a/x", "sidecar c/s hosts=./*"], "c", Calls, "-"),
    (
        "through a listener with a port of its own a service is called on any",
        &["entry a/x port=9000", "sidecar c/s hosts=a/* hosts=a/*"],
        "c",
        Calls,
        "all",
    ),
    // VirtualServices for HTTP.
    ("no routes are none", &["entry a/x"], "c", Http, ""),
    ("routes are for everybody", &["routes a/r"], "c", Http, "a/r"),
    ("but where they are not exported", &["routes a/r to=."], "c", Http, ""),
    (
        "the client's own private ones come first, however young",
        &["routes a/r age=1", "routes c/r age=9 to=."],
        "c",
        Http,
        "c/r a/r",
    ),
    (
        "its own public ones are as all public ones",
        &["routes a/r age=1", "routes c/r age=9"],
        "c",
        Http,
        "a/r c/r",
    ),
    (
        "then those that name the client",
        &["routes a/r age=1", "routes b/r age=2 to=c", "routes c/r age=3 to=."],
        "c",
        Http,
        "c/r b/r a/r",
    ),
    (
        "of these the Gateway API's for the client's namespace before all",
        &["service a/api", "routes c/r host=api.a.svc.cluster.local to=. age=1", "consumer c/q age=2"],
        "c",
        PlatformHttp,
        "c/api.a~mesh c/r",
    ),
    ("of one class the older", &["routes a/r age=2", "routes b/r age=1"], "c", Http, "b/r a/r"),
    (
        "of one age the first by name, then by namespace",
        &["routes a/s", "routes b/r", "routes a/r"],
        "c",
        Http,
        "a/r b/r a/s",
    ),
    (
        "an exact host hides wildcards",
        &["routes a/w host=*.example.com age=1", "routes b/r age=2"],
        "c",
        Http,
        "b/r",
    ),
    (
        "the longest wildcard hides shorter ones",
        &["routes a/w host=*.com age=1", "routes b/w host=*.example.com age=2"],
        "c",
        Http,
        "b/w",
    ),
    (
        "what the client does not see hides nothing",
        &["routes a/w host=*.example.com", "routes b/r to=."],
        "c",
        Http,
        "a/w",
    ),
    (
        "a Sidecar imports routes by their namespace",
        &["routes a/r", "routes b/r", "sidecar c/s hosts=b/*"],
        "c",
        Http,
        "b/r",
    ),
    (
        "whatever the service's namespace is",
        &["entry a/x", "routes b/r", "sidecar c/s hosts=a/*"],
        "c",
        Http,
        "",
    ),
    ("and by a host that they have", &["routes a/r", "sidecar c/s hosts=a/other.example.com"], "c", Http, ""),
    (
        "routes of a wider host are imported too",
        &["routes a/w host=*.example.com", "sidecar c/s hosts=a/api.example.com"],
        "c",
        Http,
        "a/w",
    ),
    (
        "and routes of which one host is",
        &["routes a/r host=api.example.com,b.example.com", "sidecar c/s hosts=a/b.example.com"],
        "c",
        Http,
        "a/r",
    ),
    ("but not excluded ones", &["routes a/r", "sidecar c/s hosts=*/*,~*/api.example.com"], "c", Http, ""),
    // VirtualServices for TCP and TLS.
    (
        "streams are all that cover the host",
        &["streams a/r age=2", "streams b/w host=*.example.com age=1", "routes d/r"],
        "c",
        Streams,
        "b/w a/r",
    ),
    ("in the order of classes", &["streams a/r age=1", "streams c/r to=. age=2"], "c", Streams, "c/r a/r"),
    // DestinationRules.
    (
        "the client's namespace comes first",
        &["entry a/x", "rule a/r max=1", "rule c/r max=2"],
        "c",
        RulesOf,
        "c/r max=2",
    ),
    ("then the service's", &["entry a/x", "rule a/r max=1", "rule root/r max=2"], "c", RulesOf, "a/r max=1"),
    (
        "then the root namespace",
        &["entry a/x", "rule root/r max=2", "rule b/r max=3"],
        "c",
        RulesOf,
        "root/r max=2",
    ),
    ("others don't matter", &["entry a/x", "rule b/r max=3"], "c", RulesOf, "-"),
    (
        "what is not exported does not count",
        &["entry a/x", "rule a/r max=1 to=.", "rule root/r max=2"],
        "c",
        RulesOf,
        "root/r max=2",
    ),
    (
        "nor, in its own namespace, what is exported to others",
        &["entry c/x", "rule c/r max=1 to=b", "rule root/r max=2"],
        "c",
        RulesOf,
        "root/r max=2",
    ),
    (
        "in a namespace the most specific host counts",
        &["entry a/x", "rule a/w host=*.example.com max=1", "rule a/r max=2"],
        "c",
        RulesOf,
        "a/r max=2",
    ),
    (
        "the namespace before the host",
        &["entry a/x", "rule c/w host=*.com max=1", "rule a/r max=2"],
        "c",
        RulesOf,
        "c/w max=1",
    ),
    (
        "a rule for others hides a less specific one",
        &[
            "entry a/x",
            "rule a/r to=b max=1",
            "rule a/w host=*.example.com max=2",
            "rule root/w host=* max=3",
        ],
        "c",
        RulesOf,
        "root/w max=3",
    ),
    (
        "a private rule does not",
        &["entry a/x", "rule a/r to=. max=1", "rule a/w host=*.example.com max=2"],
        "c",
        RulesOf,
        "a/w max=2",
    ),
    (
        "a client in the root namespace looks in the service's first",
        &["entry a/x", "rule root/w host=*.com max=1", "rule a/r max=2"],
        "root",
        RulesOf,
        "a/r max=2",
    ),
    (
        "so does a gateway",
        &["entry a/x", "rule root/w host=*.com max=1", "rule a/r max=2"],
        "gateway root",
        RulesOf,
        "a/r max=2",
    ),
    (
        "but for rules that nobody else sees",
        &["entry a/x", "rule root/w host=*.com max=1 to=.", "rule a/r max=2"],
        "root",
        RulesOf,
        "root/w max=1",
    ),
    (
        "and finds its own last",
        &["entry a/x", "rule root/w host=*.com max=1"],
        "root",
        RulesOf,
        "root/w max=1",
    ),
    // Merging.
    (
        "subsets of all, each once",
        &["entry a/x", "rule a/r subsets=v1,v2 age=1", "rule a/s subsets=v2,v3 age=2"],
        "c",
        RulesOf,
        "a/r a/s v1 v2 v3",
    ),
    (
        "the first policy for the whole host",
        &["entry a/x", "rule a/r subsets=v1 age=1", "rule a/s max=2 age=2", "rule a/t max=3 age=3"],
        "c",
        RulesOf,
        "a/r a/s a/t v1 max=2",
    ),
    (
        "policies are not mixed",
        &["entry a/x", "rule a/r balance=RANDOM age=1", "rule a/s max=2 age=2"],
        "c",
        RulesOf,
        "a/r a/s",
    ),
    (
        "only one host's",
        &["entry a/x", "rule a/r subsets=v1", "rule a/w host=*.example.com max=2"],
        "c",
        RulesOf,
        "a/r v1",
    ),
    (
        "only one namespace's",
        &["entry a/x", "rule a/r subsets=v1", "rule root/r max=2"],
        "c",
        RulesOf,
        "a/r v1",
    ),
    (
        "what is exported differently is apart, and the last counts",
        &["entry a/x", "rule a/r subsets=v1 age=1", "rule a/s max=2 to=c age=2"],
        "c",
        RulesOf,
        "a/s max=2",
    ),
    (
        "whichever that is",
        &["entry a/x", "rule a/r subsets=v1 age=2", "rule a/s max=2 to=c age=1"],
        "c",
        RulesOf,
        "a/r v1",
    ),
    (
        "a list that is longer joins a shorter one before it",
        &["entry a/x", "rule a/r subsets=v1 to=c age=1", "rule a/s max=2 to=b,c age=2"],
        "c",
        RulesOf,
        "a/r a/s v1 max=2",
    ),
    (
        "and stands alone for the others",
        &["entry a/x", "rule a/r subsets=v1 to=c age=1", "rule a/s max=2 to=b,c age=2"],
        "b",
        RulesOf,
        "a/s max=2",
    ),
    (
        "unset is everybody",
        &["entry a/x", "rule a/r subsets=v1 age=1", "rule a/s max=2 to=* age=2"],
        "c",
        RulesOf,
        "a/r a/s v1 max=2",
    ),
    // Workload selectors.
    (
        "a rule that selects the client comes first",
        &["entry a/x", "rule c/r max=1 age=1", "rule c/s max=2 select=x age=2"],
        "c app=x",
        RulesOf,
        "c/s max=2",
    ),
    (
        "and nobody else's",
        &["entry a/x", "rule c/r max=1 age=1", "rule c/s max=2 select=x age=2"],
        "c app=y",
        RulesOf,
        "c/r max=1",
    ),
    (
        "nor another namespace's",
        &["entry a/x", "rule a/r max=1 age=1", "rule a/s max=2 select=x age=2"],
        "c app=x",
        RulesOf,
        "a/r max=1",
    ),
    (
        "one that selects others still hides what comes after",
        &["entry a/x", "rule a/r max=1", "rule c/s max=2 select=x"],
        "c app=y",
        RulesOf,
        "-",
    ),
    (
        "a gateway is selected as a sidecar is",
        &["entry a/x", "rule c/r max=1 age=1", "rule c/s max=2 select=x age=2"],
        "gateway c app=x",
        RulesOf,
        "c/s max=2",
    ),
    (
        "and not by what selects others",
        &["entry a/x", "rule c/r max=1 age=1", "rule c/s max=2 select=x age=2"],
        "gateway c app=y",
        RulesOf,
        "c/r max=1",
    ),
    (
        "nor by another namespace's",
        &["entry a/x", "rule a/r max=1 age=1", "rule a/s max=2 select=x age=2"],
        "gateway c app=x",
        RulesOf,
        "a/r max=1",
    ),
    // Sidecars.
    ("no Sidecar", &[], "c", Sidecar, "-"),
    ("the namespace's", &["sidecar c/s", "sidecar root/r"], "c", Sidecar, "c/s"),
    ("the root namespace's", &["sidecar root/r", "sidecar b/s"], "c", Sidecar, "root/r"),
    (
        "one that selects the workload before one for all",
        &["sidecar c/a age=1", "sidecar c/s select=x age=2"],
        "c app=x",
        Sidecar,
        "c/s",
    ),
    (
        "not one that selects others",
        &["sidecar c/s select=x", "sidecar root/r"],
        "c app=y",
        Sidecar,
        "root/r",
    ),
    ("the older of two", &["sidecar c/s age=2", "sidecar c/t age=1"], "c", Sidecar, "c/t"),
    ("the root namespace selects nobody", &["sidecar root/r select=x"], "c app=x", Sidecar, "-"),
];

#[test]
fn the_truth_table_holds() {
    let wrong: Vec<String> = ROWS
        .iter()
        .filter_map(|(claim, objects, client, asks, expected)| {
            let answer = answer(objects, client, *asks);
            (answer != *expected)
                .then(|| format!("{claim}: {objects:?} for {client}: {answer:?}, not {expected:?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn answer(objects: &[&str], client: &str, asks: Asks) -> String {
    let mut text =
        "apiVersion: lateen.io/v1\nkind: MeshConfig\nmetadata: {name: istio}\nspec: {rootNamespace: root}\n"
            .to_owned();
    for line in objects {
        text.push_str(&object(line));
    }
    let world = world(&text);
    let mut r = Plain { world: &world, names: Names::default() };
    let mesh = read::mesh(&mut r);
    if let Some(client) = client.strip_prefix("gateway ") {
        let node = NodeInfo { role: NodeRole::Gateway, ..node(client) };
        let view = node_views(&mut r, &node).gateway.unwrap();
        return ask(&mut r, &Client::gateway(&view, &mesh), None, asks);
    }
    let node = node(client);
    if matches!(asks, Sidecar) {
        let found = effective_sidecar(&mut r, &node, &Namespace::from("root"));
        return found.map_or("-".into(), |key| format!("{}/{}", key.namespace, key.name));
    }
    let view: OutboundView = node_views(&mut r, &node).outbound.unwrap();
    let scope = outbound_scope(&mut r, &view);
    ask(&mut r, &Client::outbound(&view, &mesh, &scope), Some(&scope), asks)
}

fn ask(r: &mut Plain<'_>, client: &Client<'_>, scope: Option<&Scope>, asks: Asks) -> String {
    let host = Host::from(if matches!(asks, PlatformService | PlatformHttp) { PLATFORM } else { HOST });
    match asks {
        Calls => match client.calls(r, &host) {
            None => "-".into(),
            Some(ports) if ports.is_empty() => "all".into(),
            Some(ports) => ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        },
        Service | PlatformService => client.service(r, &host).map_or("-".into(), |found| {
            if found.imported {
                found.service.namespace.to_string()
            } else {
                format!("({})", found.service.namespace)
            }
        }),
        Http | PlatformHttp | Streams => {
            let held = client.routes(r, scope.and_then(|scope| scope.listeners.first()), &host);
            let list = if matches!(asks, Streams) { held.streams } else { held.http };
            let names: Vec<_> = list.iter().map(|s| format!("{}/{}", s.key.namespace, s.key.name)).collect();
            names.join(" ")
        }
        RulesOf => {
            let target = client.target(r, host);
            let Some(set) = &target.rules else { return "-".into() };
            let rules = Rules::load(r, Some(set));
            let mut shown: Vec<String> =
                rules.iter().map(|rule| format!("{}/{}", rule.key.namespace, rule.key.name)).collect();
            shown.extend(rules.subsets().into_iter().map(str::to_owned));
            let policy = rules.policy(None, 80);
            let max = policy.tcp().and_then(|tcp| tcp.max_connections);
            shown.extend(max.map(|max| format!("max={max}")));
            shown.join(" ")
        }
        Sidecar => unreachable!("asked elsewhere"),
    }
}

fn node(client: &str) -> NodeInfo {
    let (namespace, labels) = client.split_once(' ').unwrap_or((client, ""));
    let mut node =
        NodeInfo::from_id(&format!("sidecar~10.0.0.1~w.{namespace}~{namespace}.svc.cluster.local"));
    node.labels =
        labels.split_once('=').map(|(name, value)| (name.into(), value.into())).into_iter().collect();
    node
}

#[test]
fn every_claim_is_made_once() {
    let claims: BTreeSet<_> = ROWS.iter().map(|(claim, ..)| claim).collect();
    assert_eq!(claims.len(), ROWS.len());
}
