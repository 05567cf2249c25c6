//! The contract suite on a real etcd.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use async_trait::async_trait;
use etcd_client::Client;
use lateen_adapter::{
    Adapter,
    contract::{self, Backend},
};
use lateen_adapter_etcd::EtcdAdapter;
use lateen_test_servers::{Relay, etcd::Etcd};

const OPERATIONS: usize = 1000;

/// An etcd behind a relay: the adapter goes through the relay, writers don't.
struct Real {
    relay: Relay,
    client: Client,
    // Killed when dropped.
    _etcd: Etcd,
}

impl Real {
    async fn start() -> Self {
        let etcd = Etcd::start().await.unwrap();
        let relay = Relay::to(etcd.address()).await.unwrap();
        let client = Client::connect([etcd.url()], None).await.unwrap();
        Self { relay, client, _etcd: etcd }
    }
}

fn key(name: &str) -> String {
    format!("/lateen/config/{name}")
}

#[async_trait]
impl Backend for Real {
    fn adapter(&self) -> Box<dyn Adapter> {
        let flag = format!("http://{}?silence=2", self.relay.address());
        Box::new(EtcdAdapter::from_flag(&flag).unwrap())
    }

    async fn put(&mut self, name: &str, body: &str) {
        self.client.put(key(name), body, None).await.unwrap();
    }

    async fn delete(&mut self, name: &str) {
        self.client.delete(key(name), None).await.unwrap();
    }

    async fn corrupt(&mut self, name: &str) -> bool {
        self.client.put(key(name), [0xff, 0xfe], None).await.unwrap();
        true
    }

    async fn disconnect(&mut self) -> bool {
        self.relay.cut();
        true
    }

    async fn reconnect(&mut self) {
        self.relay.restore();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract() {
    let operations =
        std::env::var("LATEEN_CONTRACT_OPERATIONS").map_or(OPERATIONS, |text| text.parse().unwrap());
    let report = contract::run(Real::start, operations).await;
    println!("{report}");
    assert!(report.failed.is_empty(), "{report}");
    assert!(report.impossible.is_empty(), "{report}");
}
