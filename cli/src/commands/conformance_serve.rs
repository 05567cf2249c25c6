//! `lateen conformance serve`: our xDS server with resources that are told, for the conformance suite and whoever
//! else wants to tell them.

use std::{collections::BTreeSet, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context;
use async_trait::async_trait;
use lateen_conformance::control::{
    self, Capabilities, Change, Condition, ConditionState, Control, ControlError, Feature, ResourceKey, Shelf,
};
use lateen_xds::{Obstacle, ResourceType};
use lateen_xds_server::{
    core::{Contents, CoreConfig, Query},
    listen::ListenAddress,
    raw::{RawChange, RawResource},
    serve::{Bound, ServeConfig, ServeError},
    service::StreamLimits,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::{Mutex, mpsc, oneshot, watch},
    task::JoinHandle,
};

use crate::args::ConformanceServe as Args;

/// What the server can do, of what cases may need.
const FEATURES: &[Feature] = &[
    Feature::Sotw,
    Feature::Delta,
    Feature::Ads,
    Feature::Separate,
    Feature::ContentVersions,
    Feature::Aliases,
    Feature::RateLimit,
    Feature::Ttl,
    Feature::OnDemand,
    Feature::Conditions,
    Feature::ResourceErrors,
    Feature::Unsynced,
    Feature::Xdstp,
    Feature::Globs,
    Feature::Vhds,
    Feature::Srds,
    Feature::Ecds,
    Feature::Sds,
    Feature::Rtds,
    Feature::Split,
    Feature::StreamCount,
    Feature::Restart,
    Feature::Csds,
];
/// How long streams may finish when the server is restarted.
const DRAIN: Duration = Duration::from_secs(1);

/// Runs until SIGINT or SIGTERM.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let core = core_config(&args);
    let Args { listen, control, admin, .. } = args;
    let mut config = config(listen, admin, core);
    let running = Running::start(&config).await?;
    let address = running.xds.clone();
    println!("xDS on {address}");
    let listener = TcpListener::bind(control).await.with_context(|| format!("can't listen on {control}"))?;
    println!("control on {}", listener.local_addr()?);
    config.xds = vec![address];
    let served = Served { config, state: Mutex::new((Some(running), Shelf::default())) };
    let router = control::router(Arc::new(served));
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        ended = axum::serve(listener, router) => ended.context("the control port failed")?,
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(ExitCode::SUCCESS)
}

fn core_config(args: &Args) -> CoreConfig {
    #[cfg(feature = "faults")]
    let fault = args.fault;
    #[cfg(not(feature = "faults"))]
    let _ = args;
    CoreConfig {
        contents: Contents::Raw,
        #[cfg(feature = "faults")]
        fault,
        ..CoreConfig::default()
    }
}

fn config(xds: ListenAddress, admin: Option<ListenAddress>, core: CoreConfig) -> ServeConfig {
    ServeConfig { xds: vec![xds], tls: None, admin, core, limits: StreamLimits::default(), drain: DRAIN }
}

/// A server that runs.
struct Running {
    xds: ListenAddress,
    queries: mpsc::Sender<Query>,
    stop: watch::Sender<bool>,
    done: JoinHandle<Result<(), ServeError>>,
}

impl Running {
    async fn start(config: &ServeConfig) -> anyhow::Result<Self> {
        let bound = Bound::bind(config.clone()).await?;
        let xds = bound.xds_addresses()?.into_iter().next().context("the server has no address")?;
        let queries = bound.queries();
        let (stop, stopped) = watch::channel(false);
        let done = tokio::spawn(bound.run(Vec::new(), stopped));
        Ok(Self { xds, queries, stop, done })
    }

    async fn ask<A>(&self, query: impl FnOnce(oneshot::Sender<A>) -> Query) -> Result<A, ControlError> {
        let gone = || ControlError::Refused { reason: "the server has ended".to_owned() };
        let (reply, answer) = oneshot::channel();
        self.queries.send(query(reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }

    async fn apply(&self, group: &str, change: Change) -> Result<(), ControlError> {
        let change = raw_change(group, change)?;
        self.ask(|reply| Query::Raw { change, reply }).await.map(drop)
    }
}

/// The server, exchanged when it is restarted, and what it was told.
struct Served {
    config: ServeConfig,
    /// Held over each call: what is told is told in order, and not while the server restarts. Without a server: a
    /// restart has failed.
    state: Mutex<(Option<Running>, Shelf)>,
}

impl std::fmt::Debug for Served {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Served").field("config", &self.config).finish_non_exhaustive()
    }
}

fn down() -> ControlError {
    ControlError::Refused { reason: "the server did not start again".to_owned() }
}

#[async_trait]
impl Control for Served {
    async fn capabilities(&self) -> Result<Capabilities, ControlError> {
        Ok(Capabilities { groups: true, features: FEATURES.iter().copied().collect::<BTreeSet<_>>() })
    }

    async fn apply(&self, group: &str, change: Change) -> Result<(), ControlError> {
        let mut state = self.state.lock().await;
        let (server, told) = &mut *state;
        server.as_ref().ok_or_else(down)?.apply(group, change.clone()).await?;
        told.apply(group, &change);
        Ok(())
    }

    async fn clear(&self, group: &str) -> Result<(), ControlError> {
        let mut state = self.state.lock().await;
        let (server, told) = &mut *state;
        let group_name = group.to_owned();
        server.as_ref().ok_or_else(down)?.ask(|reply| Query::ClearRaw { group: group_name, reply }).await?;
        told.clear(group);
        Ok(())
    }

    async fn streams(&self, group: &str) -> Result<usize, ControlError> {
        let state = self.state.lock().await;
        let node = group.to_owned();
        state.0.as_ref().ok_or_else(down)?.ask(|reply| Query::Streams { node, reply }).await
    }

    async fn restart(&self) -> Result<(), ControlError> {
        let mut state = self.state.lock().await;
        let (server, told) = &mut *state;
        if let Some(old) = server.take() {
            old.stop.send_replace(true);
            // However it ended: another one takes its place.
            let _ = old.done.await;
        }
        let failed = |error: anyhow::Error| ControlError::Refused { reason: format!("{error:#}") };
        let new = Running::start(&self.config).await.map_err(failed)?;
        for (group, change) in told.all() {
            new.apply(group, change).await?;
        }
        *server = Some(new);
        Ok(())
    }

    async fn stop_on_request(&self, key: ResourceKey) -> Result<(), ControlError> {
        let state = self.state.lock().await;
        let kind = kind_of(&key.type_url)?;
        let (asked, was_asked) = oneshot::channel();
        let query = Query::AskedFor { kind, name: key.name, asked };
        state.0.as_ref().ok_or_else(down)?.queries.send(query).await.map_err(|_| down())?;
        tokio::spawn(async move {
            if was_asked.await.is_ok() {
                // As if it were killed: no goodbye on any stream.
                std::process::exit(0);
            }
        });
        Ok(())
    }
}

fn kind_of(type_url: &str) -> Result<ResourceType, ControlError> {
    ResourceType::from_url(type_url)
        .ok_or_else(|| ControlError::Refused { reason: format!("the type {type_url:?} is not served") })
}

fn raw_change(group: &str, change: Change) -> Result<RawChange, ControlError> {
    let Change { put, remove, conditions, synced } = change;
    let resource = |resource: control::RawResource| {
        let control::RawResource { name, body, version, ttl, aliases, wildcard } = resource;
        if version.is_some() {
            return Err(ControlError::Unsupported { what: "a version: it is made from the content" });
        }
        Ok(RawResource {
            kind: kind_of(&body.type_url)?,
            name,
            body: body.value,
            ttl_ms: ttl.map(|ttl| u32::try_from(ttl.as_millis()).unwrap_or(u32::MAX)),
            aliases,
            wildcard,
        })
    };
    let obstacle = |Condition { key, state }: Condition| {
        let obstacle = state.map(|state| match state {
            ConditionState::Denied => Obstacle::Denied,
            ConditionState::Unavailable => Obstacle::Unavailable,
        });
        Ok((kind_of(&key.type_url)?, key.name, obstacle))
    };
    let gone = |key: ResourceKey| Ok((kind_of(&key.type_url)?, key.name));
    Ok(RawChange {
        group: group.to_owned(),
        remove: remove.into_iter().map(gone).collect::<Result<_, ControlError>>()?,
        put: put.into_iter().map(resource).collect::<Result<_, _>>()?,
        obstacles: conditions.into_iter().map(obstacle).collect::<Result<_, ControlError>>()?,
        synced,
    })
}
