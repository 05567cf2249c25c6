//! A client that does on an aggregated stream what a proxy does: it asks for all clusters and listeners, follows what
//! they name, and writes down in which order things came.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use lateen_proto::{
    any,
    envoy::{
        config::{
            cluster::v3::{Cluster, cluster},
            listener::v3::{Listener, filter},
            route::v3::{RouteConfiguration, route, route_action},
        },
        extensions::filters::network::http_connection_manager::v3::{
            HttpConnectionManager, http_connection_manager,
        },
    },
    google::protobuf::Any,
};
use lateen_xds::ResourceType;

use crate::{
    context::{Context, Failure, Outcome},
    message::Response,
    stream::Stream,
};

/// Responses to a world at rest, after which the server is said not to come to rest.
const RESTING_MAX: usize = 200;

/// What came, in order.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) kind: ResourceType,
    pub(super) response: Response,
}

/// The client.
#[derive(Debug)]
pub(super) struct Proxy {
    pub(super) stream: Stream,
    /// Everything that came.
    pub(super) log: Vec<Seen>,
    /// Types whose acknowledgements are held back.
    pub(super) hold: BTreeSet<ResourceType>,
    /// Types that are rejected.
    pub(super) reject: BTreeSet<ResourceType>,
    held_back: BTreeMap<ResourceType, Response>,
    /// A route that named a cluster which the client did not hold.
    pub(super) broken: Option<String>,
}

impl Proxy {
    /// Connects and asks for all clusters and listeners.
    pub(super) async fn start(context: &Context) -> Outcome<Self> {
        let mut stream = context.open().await?;
        stream.subscribe(ResourceType::Cluster, &[]).await?;
        stream.subscribe(ResourceType::Listener, &[]).await?;
        Ok(Self {
            stream,
            log: Vec::new(),
            hold: BTreeSet::new(),
            reject: BTreeSet::new(),
            held_back: BTreeMap::new(),
            broken: None,
        })
    }

    /// Takes what comes within a time, and follows it. `false`: nothing came.
    pub(super) async fn step(&mut self, within: Duration) -> Outcome<bool> {
        let Some(response) = self.stream.next_any(within).await? else { return Ok(false) };
        let Some(kind) = ResourceType::from_url(&response.type_url) else { return Ok(true) };
        self.log.push(Seen { kind, response: response.clone() });
        if self.reject.contains(&kind) {
            self.stream.nack(kind, &response, "rejected").await?;
            return Ok(true);
        }
        self.look(kind, &response);
        if self.hold.contains(&kind) {
            self.stream.take_over(kind, &response);
            self.held_back.insert(kind, response.clone());
        } else {
            self.stream.ack(kind, &response).await?;
        }
        self.follow(kind).await?;
        Ok(true)
    }

    /// Until something is so.
    pub(super) async fn until(
        &mut self,
        context: &Context,
        what: &str,
        mut done: impl FnMut(&mut Self) -> bool,
    ) -> Outcome {
        let deadline = Instant::now() + context.patience.within;
        while !done(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            if !self.step(left).await? {
                return Err(Failure::Broken(format!("{what} not reached in time")));
            }
        }
        Ok(())
    }

    /// Until nothing comes for the quiet period.
    pub(super) async fn rest(&mut self, context: &Context) -> Outcome {
        for _ in 0..RESTING_MAX {
            if !self.step(context.patience.quiet).await? {
                return Ok(());
            }
        }
        Err(Failure::Broken("responses don't come to rest".to_owned()))
    }

    /// Acknowledges what was held back for a type, and holds back no more.
    pub(super) async fn release(&mut self, kind: ResourceType) -> Outcome {
        self.hold.remove(&kind);
        match self.held_back.remove(&kind) {
            Some(response) => self.stream.ack(kind, &response).await,
            None => Ok(()),
        }
    }

    /// Does it hold the name with that body?
    pub(super) fn has(&mut self, kind: ResourceType, name: &str, body: &Any) -> bool {
        self.stream.known(kind).has(name, body)
    }

    /// The place in the log where the name came with that body.
    pub(super) fn place(&self, kind: ResourceType, name: &str, body: &Any) -> Option<usize> {
        let is = |seen: &Seen| seen.kind == kind && seen.response.get(name).is_some_and(|r| r.is(body));
        self.log.iter().position(is)
    }

    fn look(&mut self, kind: ResourceType, response: &Response) {
        if kind != ResourceType::RouteConfiguration {
            return;
        }
        for body in response.resources.iter().filter_map(|r| r.body.as_ref()) {
            for cluster in clusters_of(body) {
                if !self.stream.known(ResourceType::Cluster).held.contains_key(&cluster) {
                    self.broken = Some(cluster);
                }
            }
        }
    }

    async fn follow(&mut self, kind: ResourceType) -> Outcome {
        let (of, next, names): (_, _, fn(&Any) -> Option<String>) = match kind {
            ResourceType::Cluster => (kind, ResourceType::Endpoints, eds_name),
            ResourceType::Listener => (kind, ResourceType::RouteConfiguration, rds_name),
            _ => return Ok(()),
        };
        let held = &self.stream.known(of).held;
        let wanted: BTreeSet<String> =
            held.values().filter_map(|r| r.body.as_ref().and_then(names)).collect();
        if self.stream.known(next).names != wanted {
            let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
            self.stream.subscribe(next, &wanted).await?;
        }
        Ok(())
    }
}

fn eds_name(body: &Any) -> Option<String> {
    let cluster: Cluster = any::unpack(body).ok()?;
    let eds = cluster::ClusterDiscoveryType::Type(cluster::DiscoveryType::Eds.into());
    (cluster.cluster_discovery_type == Some(eds)).then_some(cluster.name)
}

fn rds_name(body: &Any) -> Option<String> {
    let listener: Listener = any::unpack(body).ok()?;
    let filters = listener.filter_chains.into_iter().flat_map(|c| c.filters);
    filters.into_iter().find_map(|f| match f.config_type {
        Some(filter::ConfigType::TypedConfig(config)) => {
            let manager: HttpConnectionManager = any::unpack(&config).ok()?;
            match manager.route_specifier {
                Some(http_connection_manager::RouteSpecifier::Rds(rds)) => Some(rds.route_config_name),
                _ => None,
            }
        }
        _ => None,
    })
}

fn clusters_of(body: &Any) -> Vec<String> {
    let Ok(routes) = any::unpack::<RouteConfiguration>(body) else { return Vec::new() };
    let actions = routes.virtual_hosts.into_iter().flat_map(|h| h.routes).filter_map(|r| r.action);
    actions
        .filter_map(|action| match action {
            route::Action::Route(action) => match action.cluster_specifier {
                Some(route_action::ClusterSpecifier::Cluster(cluster)) => Some(cluster),
                _ => None,
            },
            _ => None,
        })
        .collect()
}
