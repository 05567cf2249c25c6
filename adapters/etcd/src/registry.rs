//! Writing what the adapter reads: `lateen registry`.

use std::{future::Future, time::Duration};

use etcd_client::{Client, DeleteOptions, EventType, PutOptions};
use tokio::time::{Instant, sleep, timeout};

use lateen_model::Address;

use crate::{
    EndpointSpec, HealthSpec, ServiceSpec,
    client::{self, ANSWER, ClientError, QUICK, Watch},
    config::Settings,
    keys::{Item, Layout, check_service},
    lease::Lease,
    store::DOCUMENT_BYTES_MAX,
    translate,
    wire::{self, Pool, ResolutionSpec},
};

/// Between two tries to register.
const RETRY: Duration = Duration::from_millis(300);
/// How long taking back a registration may take; its lease does it otherwise.
const LEAVE: Duration = Duration::from_secs(5);

/// The keys of one mesh.
#[derive(Clone)]
pub struct Registry {
    client: Client,
    settings: Settings,
}

/// A key below the prefix.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Without the prefix: `services/shop/cart`.
    pub name: String,
    /// What it holds.
    pub value: Vec<u8>,
}

/// A key that was written or removed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Without the prefix.
    pub name: String,
    /// What it holds; `None` when it is gone.
    pub value: Option<Vec<u8>>,
}

impl Registry {
    /// Connects to all members.
    pub async fn connect(settings: &Settings) -> Result<Self, ClientError> {
        Ok(Self { client: client::connect_all(settings).await?, settings: settings.clone() })
    }

    /// Writes a key, if the adapter could read it. An instance that is named instead of addressed is refused where
    /// its service finds instances by address.
    pub async fn put(&mut self, name: &str, value: &[u8]) -> Result<(), ClientError> {
        check(&self.settings, name, value).map_err(ClientError::Wrong)?;
        if let Some((service, address)) = named_instance(&self.settings, name, value) {
            let definition = self.list(&format!("services/{service}")).await?;
            let definition = definition.iter().find(|entry| entry.name == format!("services/{service}"));
            resolves_names(&service, &address, definition.map(|entry| &*entry.value))
                .map_err(ClientError::Wrong)?;
        }
        let key = format!("{}{name}", self.settings.prefix);
        client::answer("writing", ANSWER, self.client.put(key, value, None)).await?;
        Ok(())
    }

    /// Removes a key; with a slash at the end, all below it. How many there were.
    pub async fn remove(&mut self, name: &str) -> Result<i64, ClientError> {
        let key = format!("{}{name}", self.settings.prefix);
        let options = name.ends_with('/').then(|| DeleteOptions::new().with_prefix());
        let removed = client::answer("removing", ANSWER, self.client.delete(key, options)).await?;
        Ok(removed.deleted())
    }

    /// The keys whose names begin so, in order.
    pub async fn list(&mut self, under: &str) -> Result<Vec<Entry>, ClientError> {
        let prefix = format!("{}{under}", self.settings.prefix);
        let listed = client::list(self.client.kv_client(), &prefix).await?;
        let entries = listed.pairs.into_iter();
        Ok(entries.map(|(key, value)| Entry { name: self.settings.shown(&key), value }).collect())
    }

    /// What happens from now on to keys whose names begin so.
    pub async fn watch(&mut self, under: &str) -> Result<Changes, ClientError> {
        let prefix = format!("{}{under}", self.settings.prefix);
        let head = client::head(self.client.kv_client(), &prefix, ANSWER).await?;
        let watch = client::watch(self.client.watch_client(), &prefix, head.revision + 1, ANSWER).await?;
        Ok(Changes { watch, settings: self.settings.clone() })
    }
}

/// Changes as they happen.
#[derive(Debug)]
pub struct Changes {
    watch: Watch,
    settings: Settings,
}

impl Changes {
    /// The next ones.
    pub async fn next(&mut self) -> Result<Vec<Change>, ClientError> {
        loop {
            let response = self.watch.responses.message().await;
            let response = response.map_err(|source| ClientError::Etcd { act: "watching", source })?;
            let response = response.ok_or_else(|| ClientError::Ended("the stream was closed".to_owned()))?;
            if response.canceled() {
                return Err(ClientError::Ended(response.cancel_reason().to_owned()));
            }
            let changes = response.events().iter().filter_map(|event| {
                let pair = event.kv()?;
                let value = (event.event_type() == EventType::Put).then(|| pair.value().to_vec());
                Some(Change { name: self.settings.shown(pair.key()), value })
            });
            let changes: Vec<_> = changes.collect();
            if !changes.is_empty() {
                return Ok(changes);
            }
        }
    }
}

impl Settings {
    fn shown(&self, key: &[u8]) -> String {
        let key = String::from_utf8_lossy(key);
        key.strip_prefix(&*self.prefix).unwrap_or(&key).to_owned()
    }
}

/// Could the adapter read this?
fn check(settings: &Settings, name: &str, value: &[u8]) -> Result<(), String> {
    let layout = Layout { prefix: settings.prefix.clone(), config_prefix: settings.config_prefix.clone() };
    let key = format!("{}{name}", settings.prefix);
    let origin = lateen_model::Origin { source: "".into(), location: "".into(), line: 0, column: 0 };
    match layout.item(&key) {
        Item::Document if value.len() > DOCUMENT_BYTES_MAX => {
            Err(format!("it has {} bytes, more than {DOCUMENT_BYTES_MAX}", value.len()))
        }
        Item::Document => std::str::from_utf8(value).map(|_| ()).map_err(|error| error.to_string()),
        Item::Service(service) => {
            let spec: ServiceSpec = wire::parse(value)?;
            translate::service(service, &spec, &settings.hosts, origin).map(|_| ())
        }
        Item::Endpoint { .. } => {
            let spec: EndpointSpec = wire::parse(value)?;
            translate::endpoint(&spec, &mut Pool::default(), origin).map(|_| ())
        }
        Item::Bad { why, .. } => Err(why),
        Item::Other => Err(format!("{name:?} is no key of config/, services/ or endpoints/")),
    }
}

/// The service and the address of an instance that is given by name; `None` for all else.
fn named_instance(settings: &Settings, name: &str, value: &[u8]) -> Option<(String, Address)> {
    let layout = Layout { prefix: settings.prefix.clone(), config_prefix: settings.config_prefix.clone() };
    let key = format!("{}{name}", settings.prefix);
    let Item::Endpoint { service, .. } = layout.item(&key) else { return None };
    let spec: EndpointSpec = wire::parse(value).ok()?;
    let address = Address::parse(&spec.address);
    matches!(address, Address::Name(_)).then(|| (service.to_owned(), address))
}

/// Does the definition of a service say that its instances have names?
fn resolves_names(service: &str, address: &Address, definition: Option<&[u8]>) -> Result<(), String> {
    let spec: Option<ServiceSpec> = definition.and_then(|value| wire::parse(value).ok());
    let resolution = spec.map(|spec| spec.resolution).unwrap_or_default();
    if matches!(resolution, ResolutionSpec::Dns | ResolutionSpec::DnsRoundRobin) {
        return Ok(());
    }
    Err(format!(
        "{:?} is a name, and the instances of {service} are found by address: give its IP address, or put \
         services/{service} with `resolution: DNS` first",
        address.to_string()
    ))
}

/// An instance that registers itself.
#[derive(Clone, Debug)]
pub struct Registration {
    settings: Settings,
    service: String,
    instance: String,
    spec: EndpointSpec,
    lease: Duration,
    drain: Duration,
}

/// How a registration stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Registered {
    /// It is there.
    Yes,
    /// It may be gone, or go soon; it is tried again.
    No(String),
    /// It tells clients to go elsewhere, and is still there.
    Draining,
    /// It was taken back.
    Removed,
}

impl Registration {
    /// An instance of `NAMESPACE/NAME`, which is gone `lease` (whole seconds) after this process is. When it is
    /// stopped, it drains for `drain` first.
    pub fn new(
        settings: &Settings,
        service: &str,
        instance: &str,
        spec: EndpointSpec,
        (lease, drain): (Duration, Duration),
    ) -> Result<Self, ClientError> {
        check_service(service).map_err(ClientError::Wrong)?;
        let value = encoded(&spec)?;
        let name = format!("endpoints/{service}/{instance}");
        check(settings, &name, &value).map_err(ClientError::Wrong)?;
        let (settings, service, instance) = (settings.clone(), service.to_owned(), instance.to_owned());
        Ok(Self { settings, service, instance, spec, lease, drain })
    }

    /// Keeps it registered until `stop`: over lost members, and again when its lease was lost. Refusals end it.
    pub async fn run(
        &self,
        stop: impl Future<Output = ()>,
        mut told: impl FnMut(Registered),
    ) -> Result<(), ClientError> {
        tokio::pin!(stop);
        let mut member = 0_usize;
        let mut lease: Option<(i64, Duration)> = None;
        loop {
            let members = &self.settings.members;
            let url = members.get(member % members.len().max(1)).map_or("", String::as_str);
            let kept = self.keep(url, &mut lease, &mut told);
            let error = tokio::select! {
                () = &mut stop => {
                    self.leave(lease, &mut told).await;
                    return Ok(());
                }
                Err(error) = kept => error,
            };
            if error.is_refusal() {
                return Err(error);
            }
            told(Registered::No(error.chain()));
            member = member.wrapping_add(1);
            tokio::select! {
                () = &mut stop => {
                    self.leave(lease, &mut told).await;
                    return Ok(());
                }
                () = sleep(RETRY) => {}
            }
        }
    }

    fn key(&self) -> String {
        format!("{}endpoints/{}/{}", self.settings.prefix, self.service, self.instance)
    }

    /// One session with one member: goes on with the lease that there is, when it still lives.
    async fn keep(
        &self,
        url: &str,
        lease: &mut Option<(i64, Duration)>,
        told: &mut impl FnMut(Registered),
    ) -> Result<std::convert::Infallible, ClientError> {
        let mut client = client::connect(&self.settings, url, QUICK).await?;
        if let address @ Address::Name(_) = Address::parse(&self.spec.address) {
            let key = format!("{}services/{}", self.settings.prefix, self.service);
            let definition = client::answer("reading", QUICK, client.get(key, None)).await?;
            let definition = definition.kvs().first().map(etcd_client::KeyValue::value);
            resolves_names(&self.service, &address, definition).map_err(ClientError::Wrong)?;
        }
        let resumed = match *lease {
            None => None,
            // When it is gone, or can't be asked for, a new one is granted; the old one expires then.
            Some((id, ttl)) => Lease::resume(&mut client, id, ttl).await.ok(),
        };
        let mut kept = match resumed {
            Some(kept) => kept,
            None => Lease::grant(&mut client, self.lease).await?,
        };
        *lease = Some((kept.id, kept.ttl));
        self.write(&mut client, kept.id, &self.spec).await?;
        told(Registered::Yes);
        loop {
            kept.renew().await?;
        }
    }

    async fn write(&self, client: &mut Client, lease: i64, spec: &EndpointSpec) -> Result<(), ClientError> {
        let options = PutOptions::new().with_lease(lease);
        let put = client.put(self.key(), encoded(spec)?, Some(options));
        client::answer("registering", QUICK, put).await?;
        Ok(())
    }

    /// Drains and takes it back, at whichever member does it.
    async fn leave(&self, lease: Option<(i64, Duration)>, told: &mut impl FnMut(Registered)) {
        let Some((lease, _)) = lease else { return };
        let until = Instant::now() + LEAVE + self.drain;
        let mut is_drained = self.drain.is_zero();
        for url in self.settings.members.iter().cycle() {
            if Instant::now() > until {
                told(Registered::No("it could not be taken back; its lease does that".to_owned()));
                return;
            }
            let tried = async {
                let mut client = client::connect(&self.settings, url, QUICK).await?;
                if !is_drained {
                    let spec = EndpointSpec { health: HealthSpec::Draining, ..self.spec.clone() };
                    self.write(&mut client, lease, &spec).await?;
                    told(Registered::Draining);
                    is_drained = true;
                    self.hold(&mut client, lease).await;
                }
                client::answer("taking back", QUICK, client.lease_revoke(lease)).await?;
                Ok::<(), ClientError>(())
            };
            if tried.await.is_ok() {
                told(Registered::Removed);
                return;
            }
            sleep(RETRY).await;
        }
    }

    /// Keeps the lease while it drains.
    async fn hold(&self, client: &mut Client, lease: i64) {
        let renewing = async {
            let mut lease = Lease::resume(client, lease, self.lease).await?;
            loop {
                lease.renew().await?;
            }
        };
        // Drained long enough, or the lease is lost, and with it the registration.
        let _ = timeout(self.drain, async {
            let ended: Result<std::convert::Infallible, ClientError> = renewing.await;
            drop(ended);
            std::future::pending::<()>().await;
        })
        .await;
    }
}

fn encoded(spec: &EndpointSpec) -> Result<Vec<u8>, ClientError> {
    serde_json::to_vec(spec).map_err(|error| ClientError::Wrong(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_with_a_name_needs_a_service_that_resolves_names() {
        let settings = Settings::parse("a:1").unwrap();
        let named = |value: &str| named_instance(&settings, "endpoints/shop/db/one", value.as_bytes());
        assert_eq!(named("{address: 10.0.0.1}"), None);
        assert_eq!(named("{address: 'unix:///run/x'}"), None);
        let (service, address) = named("{address: db.example.com}").unwrap();
        assert_eq!(named_instance(&settings, "services/shop/db", b"{}"), None);
        let with =
            |definition: Option<&str>| resolves_names(&service, &address, definition.map(str::as_bytes));
        assert!(with(None).unwrap_err().contains("services/shop/db"), "{:?}", with(None));
        assert!(with(Some("{ports: [{number: 80}]}")).is_err());
        assert_eq!(with(Some("{ports: [{number: 80}], resolution: DNS}")), Ok(()));
    }
}
