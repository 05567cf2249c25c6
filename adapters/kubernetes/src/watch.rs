//! One run of the adapter: followers for everything, and what they say on its way to the core.

use std::{convert::Infallible, path::PathBuf, sync::Arc, time::Duration};

use kube::config::{KubeConfigOptions, Kubeconfig};
use lateen_adapter::{AdapterError, EventSink};
use tokio::{
    sync::{Notify, mpsc, watch},
    task::JoinSet,
    time::{Instant, interval, sleep_until, timeout},
};

use crate::{
    api::{Api, ApiError},
    config::Settings,
    feed::Feed,
    follow::{Failing, Follower, Told, definitions},
    kinds::{KINDS, SECRET, Shape, Target},
    secrets::{SECRETS_MAX, Secrets},
    translation::Translation,
};

/// What followers may have said before they wait; their connections then hold back the server.
const QUEUE: usize = 64;
/// So many sayings are taken at once.
const TAKEN_MAX: usize = 256;
/// How often the server is asked whether it is there.
const PROBE_EVERY: Duration = Duration::from_secs(5);
/// How long it may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(12);
/// How long a connection may take to open.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Access to the cluster, read anew each time: credentials may have been exchanged.
pub(crate) async fn connect(settings: &Settings) -> Result<(Api, String), AdapterError> {
    let refused = |act: &str, source: Box<dyn std::error::Error + Send + Sync>| AdapterError::Refused {
        act: act.to_owned(),
        source,
    };
    let mut config = config(settings).await?;
    config.connect_timeout = Some(CONNECT_MAX);
    // When to ask again is decided here.
    config.default_retry = false;
    let namespace = config.default_namespace.clone();
    let client = kube::Client::try_from(config).map_err(|error| refused("using the access", error.into()))?;
    Ok((Api::new(client), namespace))
}

async fn config(settings: &Settings) -> Result<kube::Config, AdapterError> {
    let refused =
        |act: String, source: Box<dyn std::error::Error + Send + Sync>| AdapterError::Refused { act, source };
    let options = KubeConfigOptions { context: settings.context.clone(), ..KubeConfigOptions::default() };
    if let Some(path) = &settings.kubeconfig {
        let act = || format!("reading {}", path.display());
        let path: PathBuf = path.clone();
        let read = tokio::task::spawn_blocking(move || Kubeconfig::read_from(path)).await;
        let kubeconfig = read
            .map_err(|error| refused(act(), error.into()))?
            .map_err(|error| refused(act(), error.into()))?;
        return kube::Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .map_err(|error| refused(act(), error.into()));
    }
    let from_file = kube::Config::from_kubeconfig(&options).await;
    match from_file {
        Ok(config) => Ok(config),
        // A context that was asked for is in a file or nowhere.
        Err(error) if settings.context.is_some() => {
            Err(refused("reading the kubeconfig".to_owned(), error.into()))
        }
        Err(error) => kube::Config::incluster().map_err(|inside| {
            let why = format!("{error}; nor is this a cluster: {inside}");
            refused("finding access to a cluster".to_owned(), why.into())
        }),
    }
}

/// What is followed. Nodes and other kinds without namespaces are followed whatever namespaces are chosen.
fn targets(settings: &Settings) -> Vec<Target> {
    let mut targets = Vec::new();
    for kind in KINDS {
        if !kind.is_namespaced || settings.namespaces.is_empty() {
            targets.push(Target { kind, namespace: None });
            continue;
        }
        let of = |namespace: &String| Target { kind, namespace: Some(namespace.clone()) };
        targets.extend(settings.namespaces.iter().map(of));
    }
    targets.push(Target { kind: SECRET, namespace: None });
    targets
}

/// Follows everything until something is so wrong that all of it has to begin anew.
pub(crate) async fn run(
    source: Arc<str>,
    settings: &Settings,
    api: Api,
    events: &mut EventSink,
) -> Result<Infallible, AdapterError> {
    let targets = targets(settings);
    let (tell, mut told) = mpsc::channel(QUEUE);
    let (wanted, wanted_secrets) = watch::channel(None);
    let mut tasks = JoinSet::new();
    spawn_followers(&mut tasks, &source, &api, &targets, &tell);
    let secrets = Secrets::new(api.clone(), source.clone(), targets.len() - 1, tell);
    tasks.spawn(secrets.run(wanted_secrets));

    let mut feed = Feed::new(source, targets);
    let mut taken = Vec::new();
    let mut probe = std::pin::pin!(probe(&api));
    loop {
        let out = feed.out(Instant::now());
        if !out.events.is_empty() {
            events.send(out.events).await?;
        }
        if let Some(why) = out.stale {
            events.stale(why).await?;
        }
        let due = feed.due();
        tokio::select! {
            count = told.recv_many(&mut taken, TAKEN_MAX) => {
                if count == 0 {
                    let source = "all followers ended".into();
                    return Err(AdapterError::Unavailable { act: "following the cluster".to_owned(), source });
                }
            }
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            () = &mut probe => {
                // A new client opens new connections; those that are half open would keep silent.
                let source = "no answer".into();
                return Err(AdapterError::Unavailable { act: "asking the API server for its version".to_owned(), source });
            }
        }
        let mut gateways = feed.secrets().is_some() && wanted.borrow().is_none();
        for told in taken.drain(..) {
            let (Told::Listed(at, _) | Told::Changed(at, _) | Told::Failing(at, _)) = &told;
            gateways |= feed.is_gateway(*at);
            if let Told::Failing(_, Failing::Unauthenticated(why)) = told {
                return Err(AdapterError::Refused {
                    act: "logging in to the API server".to_owned(),
                    source: why.into(),
                });
            }
            feed.take(told);
        }
        if gateways && let Some(names) = feed.secrets() {
            if names.len() > SECRETS_MAX {
                tracing::warn!(
                    names = names.len(),
                    max = SECRETS_MAX,
                    "gateways name more secrets than are read"
                );
            }
            wanted.send_if_modified(|known| {
                let differs = known.as_deref() != Some(&names);
                if differs {
                    *known = Some(Arc::new(names));
                }
                differs
            });
        }
    }
}

fn spawn_followers(
    tasks: &mut JoinSet<()>,
    source: &Arc<str>,
    api: &Api,
    targets: &[Target],
    tell: &mpsc::Sender<Told>,
) {
    let (tell_places, places) = watch::channel(None);
    let mut bells = Vec::new();
    for (at, target) in targets.iter().enumerate().filter(|(_, target)| target.kind.shape != Shape::Secret) {
        let kind = target.kind;
        let arrived = Arc::new(Notify::new());
        bells.push((kind.definition(), arrived.clone()));
        let translation = match kind.shape {
            Shape::Node => Translation::nodes(source.clone(), kind, tell_places.clone()),
            Shape::Slice => Translation::slices(source.clone(), kind, places.clone()),
            Shape::Whole | Shape::Gateway | Shape::Pod | Shape::Secret => {
                Translation::new(source.clone(), kind)
            }
        };
        let follower = Follower {
            api: api.clone(),
            at,
            target: target.clone(),
            only: kind.only.to_owned(),
            told: tell.clone(),
            arrived,
            translation,
        };
        tasks.spawn(follower.run());
    }
    tasks.spawn(definitions(api.clone(), bells));
}

/// Ends when the server has not answered for a while, as one that takes connections and is stopped. Refusals are
/// answers.
async fn probe(api: &Api) {
    let mut answered = Instant::now();
    let mut ticks = interval(PROBE_EVERY);
    loop {
        ticks.tick().await;
        match timeout(SILENCE_MAX, api.get::<serde_json::Value>("/version", "ask for the version")).await {
            Err(_) | Ok(Err(ApiError::Unreachable { .. } | ApiError::Silent { .. })) => {
                if answered.elapsed() >= SILENCE_MAX {
                    return;
                }
            }
            Ok(_) => answered = Instant::now(),
        }
    }
}
