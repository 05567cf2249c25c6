//! N11: gRPC clients with a list of xDS servers go to the next when one is gone and something is missing, stay while
//! nothing is, and come back. grpc-js has no fallback; A71 names C-core, Go and Java. The steps are those of the gRPC project's interoperability test.
//! <https://github.com/grpc/proposal/blob/master/A71-xds-fallback.md>
//! <https://github.com/grpc/psm-interop/blob/main/tests/fallback_test.py>

use anyhow::ensure;
use lateen_test_servers::Relay;
use lateen_tests::{
    backend::{Backend, RUNTIME},
    grpc::{Caller, Client, Language},
    server::until,
};
use serde_json::{Value, json};

use crate::{
    grpc::bootstrap,
    told::{self, Told},
};

const NODE: &str = "sidecar~127.0.0.1~client.shop~shop.svc.cluster.local";
const TARGET: &str = "xds:///fallback";

/// Calls that show that nothing has changed.
const CALLS: usize = 20;

/// All that a client of the target needs, at a backend. Every server has names of its own but for the target's, as in
/// the gRPC project's test: grpc-go 1.85 and gRPC's C core 1.85 don't ask a primary that is back for names that they
/// first asked the fallback for.
fn world(cluster: &str, backend: &Backend) -> Vec<Value> {
    let routes = format!("{cluster}-routes");
    let manager =
        told::manager(("rds", json!({ "config_source": told::ads(), "route_config_name": routes })), &[]);
    vec![
        json!({
            "@type": told::type_url("envoy.config.listener.v3.Listener"),
            "name": "fallback",
            "api_listener": { "api_listener": manager },
        }),
        told::routes(&routes, &json!([{ "match": { "prefix": "" }, "route": { "cluster": cluster } }])),
        told::cluster(cluster, &told::ads()),
        told::endpoints(cluster, backend.port()),
    ]
}

#[track_caller]
fn answered(client: &mut Client, by: &str) {
    until(&format!("answered by {by}"), || {
        let answer = client.call("", &[])?;
        ensure!(answer == by, "{answer}");
        Ok(true)
    })
    .unwrap();
}

/// An xDS server behind a relay: what it holds is told while nobody reaches it.
struct Primary {
    relay: Relay,
    server: Told,
}

impl Primary {
    fn start(resources: &[Value]) -> Self {
        let server = Told::start("127.0.0.1:0");
        let relay = RUNTIME.block_on(Relay::to(server.xds)).unwrap();
        relay.cut();
        server.put(NODE, resources);
        Self { relay, server }
    }

    /// Waits until the server has ended by itself, and starts it anew at its address.
    fn replaced(self, resources: &[Value]) -> Self {
        let Self { relay, server } = self;
        let at = server.xds.to_string();
        server.ended();
        relay.cut();
        let server = Told::start(&at);
        server.put(NODE, resources);
        Self { relay, server }
    }
}

fn falls_back_and_returns(language: Language) {
    let [first, second, spare] = ["first", "second", "spare"].map(|name| Backend::grpc(name).unwrap());
    let fallback = Told::start("127.0.0.1:0");
    fallback.put(NODE, &world("spare", &spare));
    let primary = Primary::start(&world("first", &first));
    let bootstrap = bootstrap("", &[primary.relay.address(), fallback.xds]);

    // The first server is not there when the client starts; then it is.
    let mut client = Client::start(language, TARGET, &bootstrap).unwrap();
    answered(&mut client, "spare");
    primary.relay.restore();
    answered(&mut client, "first");

    // It is gone while the client has all that it needs: nothing changes.
    primary.relay.cut();
    for _ in 0..CALLS {
        assert_eq!(client.call("", &[]).unwrap(), "first");
    }
    primary.relay.restore();

    // It dies in the middle of a change: the client has a route to a cluster that nobody tells it.
    primary.server.stop_on_request("envoy.config.cluster.v3.Cluster", "second");
    primary.server.put(NODE, &world("second", &second));
    let primary = primary.replaced(&world("second", &second));
    answered(&mut client, "spare");

    // It is there again, with the change.
    primary.relay.restore();
    answered(&mut client, "second");
}

#[test]
fn n11_grpcio_falls_back_when_the_primary_dies_mid_update_and_returns() {
    falls_back_and_returns(Language::Python);
}

#[test]
fn n11_grpc_go_falls_back_when_the_primary_dies_mid_update_and_returns() {
    falls_back_and_returns(Language::Go);
}
