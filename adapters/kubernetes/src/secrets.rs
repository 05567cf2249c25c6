//! Follows the secrets that gateways name, each by its name: secrets are never listed as a whole.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tokio::{
    sync::{Notify, mpsc, watch},
    task::{AbortHandle, JoinSet},
};

use crate::{
    api::Api,
    follow::{Failing, Follower, Told},
    kinds::{SECRET, Target},
    translate::{Item, SecretName, unreadable},
    translation::{Change, Translation},
};

/// So many secrets are followed, each with a connection of its own; what gateways name beyond is not read.
pub(crate) const SECRETS_MAX: usize = 1000;
/// What followers may have said before they wait.
const QUEUE: usize = 64;

/// The secrets that are wanted; none until that is known.
pub(crate) type Wanted = watch::Receiver<Option<Arc<BTreeSet<SecretName>>>>;

/// One secret that is followed.
struct Followed {
    name: SecretName,
    task: AbortHandle,
    /// Has it been read, or found to be not there?
    heard: bool,
    item: Option<Item>,
    failing: Option<Failing>,
}

/// Follows secrets.
pub(crate) struct Secrets {
    api: Api,
    source: Arc<str>,
    at: usize,
    told: mpsc::Sender<Told>,
    /// By number, which is never used twice: what a follower that was ended still says is passed over.
    followed: BTreeMap<usize, Followed>,
    tasks: JoinSet<()>,
    next: usize,
    listed: bool,
}

impl Secrets {
    /// Tells of secrets as of the target with that number.
    pub(crate) fn new(api: Api, source: Arc<str>, at: usize, told: mpsc::Sender<Told>) -> Self {
        let tasks = JoinSet::new();
        Self { api, source, at, told, followed: BTreeMap::new(), tasks, next: 0, listed: false }
    }

    /// Follows until nobody listens any more.
    pub(crate) async fn run(mut self, mut wanted: Wanted) {
        let (tell, mut heard) = mpsc::channel(QUEUE);
        let Ok(first) = wanted.wait_for(Option::is_some).await.map(|names| names.clone().unwrap_or_default())
        else {
            return;
        };
        let mut names = first;
        loop {
            let mut out = self.want(&names, &tell);
            out.extend(self.complete());
            for told in out {
                if self.told.send(told).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                changed = wanted.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    names = wanted.borrow_and_update().clone().unwrap_or_default();
                }
                Some(said) = heard.recv() => {
                    if let Some(told) = self.said(said)
                        && self.told.send(told).await.is_err()
                    {
                        return;
                    }
                }
                () = self.told.closed() => return,
            }
        }
    }

    /// Follows these and no others.
    fn want(&mut self, names: &BTreeSet<SecretName>, tell: &mpsc::Sender<Told>) -> Vec<Told> {
        let names: BTreeSet<&SecretName> = names.iter().take(SECRETS_MAX).collect();
        let mut gone = Vec::new();
        self.followed.retain(|_, followed| {
            let stays = names.contains(&followed.name);
            if !stays {
                followed.task.abort();
                gone.extend(followed.item.take().map(|item| Change::Gone(item.name)));
            }
            stays
        });
        // The tasks that were ended.
        while self.tasks.try_join_next().is_some() {}
        let known: BTreeSet<SecretName> =
            self.followed.values().map(|followed| followed.name.clone()).collect();
        for name in names.into_iter().filter(|name| !known.contains(*name)) {
            let number = self.next;
            self.next += 1;
            let follower = Follower {
                api: self.api.clone(),
                at: number,
                target: Target { kind: SECRET, namespace: Some(name.0.clone()) },
                only: name.1.clone(),
                told: tell.clone(),
                arrived: Arc::new(Notify::new()),
                translation: Translation::new(self.source.clone(), SECRET),
            };
            let task = self.tasks.spawn(follower.run());
            let new = Followed { name: name.clone(), task, heard: false, item: None, failing: None };
            self.followed.insert(number, new);
        }
        if gone.is_empty() || !self.listed { Vec::new() } else { vec![Told::Changed(self.at, gone)] }
    }

    /// The listing of all, once all were heard of and none fails.
    fn complete(&mut self) -> Option<Told> {
        let all = self.followed.values().all(|followed| followed.heard && followed.failing.is_none());
        if self.listed || !all {
            return None;
        }
        self.listed = true;
        let items = self.followed.values().filter_map(|followed| followed.item.clone()).collect();
        Some(Told::Listed(self.at, items))
    }

    /// Takes what one follower says.
    fn said(&mut self, said: Told) -> Option<Told> {
        let (Told::Listed(number, _) | Told::Changed(number, _) | Told::Failing(number, _)) = &said;
        let followed = self.followed.get_mut(number)?;
        let before = followed.item.clone();
        match said {
            Told::Listed(_, items) => {
                followed.item = items.into_iter().next();
                followed.failing = None;
            }
            Told::Changed(_, changes) => {
                for change in changes {
                    followed.item = match change {
                        Change::Set(item) => Some(item),
                        Change::Gone(_) => None,
                    };
                }
            }
            // That one secret may not be read is a finding about it, and no failure of the source.
            Told::Failing(_, Failing::Forbidden(why)) => {
                let (namespace, name) = &followed.name;
                followed.item = Some(unreadable(&self.source, SECRET, namespace, name, &why));
                followed.failing = None;
            }
            Told::Failing(_, failing) => {
                followed.failing = Some(failing.clone());
                // A listing follows when all can be read again.
                self.listed = false;
                return Some(Told::Failing(self.at, failing));
            }
        }
        followed.heard = true;
        if !self.listed || before == followed.item {
            return None;
        }
        let change = match (&followed.item, before) {
            (Some(item), _) => Change::Set(item.clone()),
            (None, Some(before)) => Change::Gone(before.name),
            (None, None) => return None,
        };
        Some(Told::Changed(self.at, vec![change]))
    }
}
