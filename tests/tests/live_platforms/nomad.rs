//! Nomad: each instance is a job of one allocation, which the agent really runs.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration, time::Instant};

use anyhow::Context;
use lateen_test_servers::nomad::{Nomad, Options, WebJob};
use serde_json::{Value, json};

use crate::{
    platform::{Change, NAMESPACE, Platform, SERVICE},
    watch::{Seen, Watch},
};

/// How long an instance goes on after its service was taken out.
const SHUTDOWN_DELAY: Duration = Duration::from_secs(1);

/// An agent and its jobs.
pub struct OnNomad {
    nomad: Nomad,
    jobs: BTreeMap<String, WebJob>,
}

impl OnNomad {
    pub async fn start() -> anyhow::Result<Self> {
        let nomad = Nomad::start(Options::default()).await?;
        nomad.put_namespace(NAMESPACE).await?;
        Ok(Self { nomad, jobs: BTreeMap::new() })
    }
}

/// What the events say of a job, with when they came.
fn events<'a>(name: &'a str, seen: &'a [Seen]) -> impl Iterator<Item = (Instant, &'a Value)> {
    let events = |seen: &'a Seen| {
        let events = seen.body["Events"].as_array().into_iter().flatten();
        events.map(|event| (seen.at, event))
    };
    seen.iter().flat_map(events).filter(move |(_, event)| {
        let payload = &event["Payload"];
        payload["Service"]["JobID"] == *name || payload["Allocation"]["JobID"] == *name
    })
}

impl Platform for OnNomad {
    const NAME: &'static str = "Nomad";
    const AT_ONCE: usize = 10;

    fn adapter(&self) -> String {
        format!("nomad={}", self.nomad.url())
    }

    async fn configure(&mut self, name: &str, document: &str) -> anyhow::Result<()> {
        self.nomad.put_variable(&format!("lateen/config/{name}"), &json!({"yaml": document})).await
    }

    async fn watch(&self) -> anyhow::Result<Watch> {
        let path = format!("/v1/event/stream?namespace={NAMESPACE}&topic=Service&topic=Allocation");
        Watch::lines(self.nomad.address(), "GET", &path, "").await
    }

    async fn start(&mut self, name: &str) -> anyhow::Result<()> {
        let backend = env!("CARGO_BIN_EXE_backend");
        let port = "${NOMAD_PORT_http}";
        let job = WebJob {
            service: SERVICE.to_owned(),
            namespace: NAMESPACE.to_owned(),
            command: Some(format!("exec {backend} {name}:{port} 127.0.0.1:{port}")),
            shutdown_delay: SHUTDOWN_DELAY,
            ..WebJob::new(name)
        };
        self.nomad.run(&job).await?;
        self.jobs.insert(name.to_owned(), job);
        Ok(())
    }

    async fn drain(&mut self, name: &str) -> anyhow::Result<()> {
        self.nomad.halt(self.jobs.get(name).context("a job")?).await
    }

    /// Nomad ends it by itself.
    async fn end(&mut self, name: &str) -> anyhow::Result<()> {
        self.jobs.remove(name);
        let ended = async |nomad: &Nomad| nomad.running_allocs(name).await;
        self.nomad
            .until(
                "the allocation's end",
                |nomad| async move { Ok(ended(nomad).await?.is_empty().then_some(())) },
            )
            .await
    }

    async fn fail(&mut self, name: &str) -> anyhow::Result<()> {
        for alloc in self.nomad.running_allocs(name).await? {
            self.nomad.stop_alloc(&alloc).await?;
        }
        Ok(())
    }

    /// An instance is there when its service is registered and its deployment has found it healthy, and is gone as
    /// soon as it is to be stopped.
    fn told(&self, name: &str, change: Change, since: &[Seen]) -> Option<Instant> {
        let first = |fits: &dyn Fn(&Value) -> bool| {
            events(name, since).find(|(_, event)| fits(event)).map(|(at, _)| at)
        };
        let is = |event: &Value, kind: &str| event["Type"] == *kind;
        let alloc = |event: &Value, at: &str| event.pointer(&format!("/Payload/Allocation/{at}")).cloned();
        match change {
            Change::Comes => {
                let registered = first(&|event| is(event, "ServiceRegistration"))?;
                let healthy = first(&|event| {
                    alloc(event, "ClientStatus").is_some_and(|status| status == "running")
                        && alloc(event, "DeploymentStatus/Healthy") == Some(Value::Bool(true))
                })?;
                Some(registered.max(healthy))
            }
            Change::Goes => first(&|event| {
                is(event, "ServiceDeregistration")
                    || alloc(event, "DesiredStatus").is_some_and(|status| status == "stop")
            }),
        }
    }

    fn address(&self, name: &str, seen: &[Seen]) -> Option<SocketAddr> {
        let mut services = events(name, seen).map(|(_, event)| &event["Payload"]["Service"]);
        let service = services.find(|service| service["Address"].is_string())?;
        let port = u16::try_from(service["Port"].as_u64()?).ok()?;
        Some((service["Address"].as_str()?.parse::<std::net::IpAddr>().ok()?, port).into())
    }

    fn answers_as(name: &str, address: SocketAddr) -> String {
        format!("{name}:{}", address.port())
    }
}
