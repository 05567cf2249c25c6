//! The contract suite on a real Consul agent.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use lateen_adapter::{
    Adapter,
    contract::{self, Backend, CASES},
};
use lateen_adapter_consul::ConsulAdapter;
use lateen_test_servers::{
    Relay,
    consul::{Consul, Options},
};

/// A prefix of its own in the agent that all cases share; to disconnect it is to cut a relay.
struct Keys<'a> {
    consul: &'a Consul,
    relay: Relay,
    prefix: String,
}

impl Keys<'_> {
    fn path(&self, name: &str) -> String {
        format!("/v1/kv/{}{name}", self.prefix)
    }
}

#[async_trait]
impl Backend for Keys<'_> {
    fn adapter(&self) -> Box<dyn Adapter> {
        let flag = format!("http://{}?config-prefix={}", self.relay.address(), self.prefix);
        Box::new(ConsulAdapter::from_flag(&flag).unwrap())
    }

    async fn put(&mut self, name: &str, body: &str) {
        self.consul.ask("PUT", &self.path(name), body).await.unwrap();
    }

    async fn delete(&mut self, name: &str) {
        self.consul.ask("DELETE", &self.path(name), "").await.unwrap();
    }

    async fn corrupt(&mut self, name: &str) -> bool {
        self.consul.ask_bytes("PUT", &self.path(name), &[0xff, 0xfe]).await.unwrap();
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_contract() {
    let operations = std::env::var("LATEEN_CONTRACT_OPERATIONS").ok();
    let operations = operations.map_or(1000, |text| text.parse().unwrap());
    let consul = Consul::start(Options::default()).await.unwrap();
    let count = AtomicUsize::new(0);
    let make = || async {
        let prefix = format!("mesh{}/", count.fetch_add(1, Ordering::Relaxed));
        Keys { consul: &consul, relay: Relay::to(consul.address()).await.unwrap(), prefix }
    };
    let report = contract::run(make, operations).await;
    println!("{report}");
    assert_eq!(report.failed, []);
    assert_eq!(report.impossible, [] as [&str; 0]);
    assert_eq!(report.passed, CASES);
}
