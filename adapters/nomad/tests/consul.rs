//! A real Nomad beside a real Consul: what Nomad registers there is Consul's to tell, under the same host.

#![allow(clippy::unwrap_used, reason = "a test that can't reach its server has failed")]

mod common;

use common::Heard;
use lateen_adapter_consul::ConsulAdapter;
use lateen_test_servers::{
    consul::{self, Consul},
    nomad::{Nomad, Options, WebJob},
};

fn web(name: &str, provider: &'static str) -> WebJob {
    let command = Some("exec sleep 1000".to_owned());
    WebJob { service: "web".to_owned(), provider, command, ..WebJob::new(name) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_of_both_providers_is_one_host_with_each_instance_once() {
    let consul = Consul::start(consul::Options::default()).await.unwrap();
    let options = Options { consul: Some(consul.address().to_string()), ..Options::default() };
    let nomad = Nomad::start(options).await.unwrap();
    let mut of_nomad = Heard::synced(&nomad.url()).await;
    let mut of_consul = Heard::of(Box::new(ConsulAdapter::from_flag(&consul.url()).unwrap()));
    nomad.run(&web("one", "nomad")).await.unwrap();
    nomad.run(&web("two", "consul")).await.unwrap();
    of_nomad.until_healthy("default/web", 1).await;
    of_consul.until_healthy("default/web", 1).await;

    let (here, there) = (&of_nomad.services["default/web"], &of_consul.services["default/web"]);
    assert_eq!(here.host, there.host);
    assert_eq!((here.ports[0].number, there.ports[0].number), (80, 80));
    // Port 80 is one port of one service, whatever each calls it; the instances are different ones.
    let number = |heard: &Heard| *heard.endpoints("default/web")[0].ports.values().next().unwrap();
    assert_ne!(number(&of_nomad), number(&of_consul));
    let known = nomad.instances("default", "web").await.unwrap();
    assert_eq!(known.len(), 1);
    assert_eq!(known[0]["Port"], number(&of_nomad));

    nomad.stop(&web("two", "consul")).await.unwrap();
    of_consul.until("no web", |heard| !heard.services.contains_key("default/web")).await;
    of_nomad.drain();
    assert_eq!(of_nomad.endpoints("default/web").len(), 1);
}
