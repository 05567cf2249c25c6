//! One of several replicas does what must be done once: elected by etcd.
//! <https://etcd.io/docs/v3.6/dev-guide/api_concurrency_reference_v3/>

use std::{convert::Infallible, time::Duration};

use etcd_client::{Client, EventType, ResignOptions};
use tokio::{
    sync::watch,
    time::{sleep, timeout_at},
};

use crate::{
    client::{self, ClientError, QUICK},
    config::Settings,
    lease::Lease,
};

/// Between two tries.
const RETRY: Duration = Duration::from_millis(500);

/// Where a candidate stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Standing {
    /// Another one leads, or it is not known who does.
    #[default]
    Follows,
    /// This one leads. The number grows from each leader to the next: what is written with a smaller one is old.
    Leads(i64),
}

/// A candidate in an election.
#[derive(Clone, Debug)]
pub struct Candidate {
    settings: Settings,
    election: String,
    name: String,
    ttl: Duration,
}

impl Candidate {
    /// A candidate with a name of its own in an election below the prefix (`status`). A leader that is gone is
    /// replaced after `ttl`, in whole seconds.
    pub fn new(settings: Settings, election: &str, name: &str, ttl: Duration) -> Self {
        let election = format!("{}leader/{election}", settings.prefix);
        Self { settings, election, name: name.to_owned(), ttl }
    }

    /// Runs for ever; `standing` says where it stands. Leadership is given up here before others can have it: when
    /// it can't be renewed, it ends with the lease, counted from when the last renewal was asked for. Dropped while
    /// it leads, it is replaced after the lease.
    pub async fn run(&self, standing: &watch::Sender<Standing>) -> Infallible {
        let mut member = 0_usize;
        loop {
            let members = &self.settings.members;
            let url = members.get(member % members.len().max(1)).map_or("", String::as_str);
            let Err(error) = self.stand(url, standing).await;
            standing.send_if_modified(|standing| std::mem::take(standing) != Standing::Follows);
            tracing::info!(source = %self.settings.source, %error, "candidacy ended; it begins again");
            member = member.wrapping_add(1);
            sleep(RETRY).await;
        }
    }

    async fn stand(&self, url: &str, standing: &watch::Sender<Standing>) -> Result<Infallible, ClientError> {
        let mut client = client::connect(&self.settings, url, QUICK).await?;
        let mut lease = Lease::grant(&mut client, self.ttl).await?;
        let ended = self.stand_with(&mut client, &mut lease, standing).await;
        standing.send_if_modified(|standing| std::mem::take(standing) != Standing::Follows);
        // Others need not wait for the lease; it is fine if this fails.
        let _ = client::answer("giving up a lease", QUICK, client.lease_revoke(lease.id)).await;
        ended
    }

    async fn stand_with(
        &self,
        client: &mut Client,
        lease: &mut Lease,
        standing: &watch::Sender<Standing>,
    ) -> Result<Infallible, ClientError> {
        let mut election = client.election_client();
        let campaign = election.campaign(self.election.as_str(), self.name.as_str(), lease.id);
        tokio::pin!(campaign);
        let mut elected = loop {
            tokio::select! {
                elected = &mut campaign => {
                    break elected.map_err(|source| ClientError::Etcd { act: "standing for election", source })?;
                }
                renewed = lease.renew() => renewed?,
            }
        };
        let key =
            elected.take_leader().ok_or_else(|| ClientError::Wrong("an election had no key".to_owned()))?;
        let mut watch = client::watch_key(client.watch_client(), key.key(), key.rev()).await?;
        tracing::info!(source = %self.settings.source, election = self.election, "leads");
        standing.send_replace(Standing::Leads(key.rev()));
        loop {
            let expires = lease.expires();
            let after = lease.ttl;
            tokio::select! {
                renewed = timeout_at(expires, lease.renew()) => {
                    renewed.map_err(|_| ClientError::Silent { act: "keeping leadership", after })??;
                }
                response = watch.responses.message() => {
                    let response = response.map_err(|source| ClientError::Etcd { act: "watching", source })?;
                    let response = response.filter(|response| !response.canceled());
                    let response = response.ok_or_else(|| ClientError::Ended("of the leader's key".to_owned()))?;
                    if response.events().iter().any(|event| event.event_type() == EventType::Delete) {
                        let resign = ResignOptions::new().with_leader(key.clone());
                        let _ = client::answer("resigning", QUICK, client.resign(Some(resign))).await;
                        return Err(ClientError::LeaseGone);
                    }
                }
            }
        }
    }
}
