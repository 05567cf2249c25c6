//! A lease that is kept alive.

use std::time::Duration;

use etcd_client::{Client, LeaseKeepAliveStream, LeaseKeeper};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::client::{self, ClientError, QUICK};

/// A lease, and the stream that keeps it.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) id: i64,
    pub(crate) ttl: Duration,
    keeper: LeaseKeeper,
    answers: LeaseKeepAliveStream,
    /// When the last renewal that was granted had been asked for: the server counts from then or later.
    renewed: Instant,
    /// When the renewal was asked for that was not answered yet.
    asked: Option<Instant>,
}

impl Lease {
    /// A new one.
    pub(crate) async fn grant(client: &mut Client, ttl: Duration) -> Result<Self, ClientError> {
        let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX).max(1);
        let granted = client::answer("asking for a lease", QUICK, client.lease_grant(seconds, None)).await?;
        // The server may grant more than was asked for.
        let ttl = Duration::from_secs(u64::try_from(granted.ttl()).unwrap_or(1));
        Self::resume(client, granted.id(), ttl).await
    }

    /// One that was granted before. An error when it has expired.
    pub(crate) async fn resume(client: &mut Client, id: i64, ttl: Duration) -> Result<Self, ClientError> {
        let renewed = Instant::now();
        let kept = client.lease_keep_alive(id);
        let (keeper, answers) = client::answer("keeping a lease alive", QUICK, kept).await?;
        Ok(Self { id, ttl, keeper, answers, renewed, asked: None })
    }

    /// When it may be gone.
    pub(crate) fn expires(&self) -> Instant {
        self.renewed + self.ttl
    }

    /// Waits until it is time, and renews it once. May be dropped and called again.
    pub(crate) async fn renew(&mut self) -> Result<(), ClientError> {
        let (act, after) = ("keeping a lease alive", self.ttl / 3);
        let failed = |source| ClientError::Etcd { act, source };
        let asked = if let Some(asked) = self.asked {
            asked
        } else {
            sleep_until(self.renewed + after).await;
            let before = Instant::now();
            // Sending waits only when a hundred are waiting already.
            self.keeper.keep_alive().await.map_err(failed)?;
            *self.asked.insert(before)
        };
        let answer = timeout_at(asked + after, self.answers.message()).await;
        let answer = answer.map_err(|_| ClientError::Silent { act, after })?.map_err(failed)?;
        match answer {
            Some(answer) if answer.ttl() > 0 => {
                self.asked = None;
                self.renewed = asked;
                Ok(())
            }
            Some(_) => Err(ClientError::LeaseGone),
            None => Err(ClientError::Ended("the server closed the lease's stream".to_owned())),
        }
    }
}
