//! Elections.

use std::time::Duration;

use lateen_adapter_etcd::{
    Settings,
    leader::{Candidate, Standing},
};
use lateen_test_servers::{Relay, etcd::Etcd};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, timeout},
};

const PATIENCE: Duration = Duration::from_secs(30);

struct Running {
    standing: watch::Receiver<Standing>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Running {
    fn start(url: &str, name: &str, ttl: u64) -> Self {
        let settings = Settings::parse(url).unwrap();
        let candidate = Candidate::new(settings, "status", name, Duration::from_secs(ttl));
        let (tell, standing) = watch::channel(Standing::Follows);
        let task = tokio::spawn(async move {
            candidate.run(&tell).await;
        });
        Self { standing, task }
    }

    async fn leads(&mut self) -> i64 {
        let is = self.standing.wait_for(|standing| *standing != Standing::Follows);
        match *timeout(PATIENCE, is).await.expect("it leads in time").unwrap() {
            Standing::Leads(term) => term,
            Standing::Follows => unreachable!("waited for the other"),
        }
    }

    async fn follows(&mut self) {
        let is = self.standing.wait_for(|standing| *standing == Standing::Follows);
        timeout(PATIENCE, is).await.expect("it follows in time").unwrap();
    }

    fn is_leading(&self) -> bool {
        *self.standing.borrow() != Standing::Follows
    }
}

#[tokio::test]
async fn one_of_two_leads_and_the_other_one_follows_when_it_is_gone() {
    let etcd = Etcd::start().await.unwrap();
    let mut one = Running::start(&etcd.url(), "one", 2);
    let first = one.leads().await;
    let mut other = Running::start(&etcd.url(), "other", 2);
    // Three leases long: it is kept.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(one.is_leading() && !other.is_leading());
    drop(one);
    let second = other.leads().await;
    assert!(second > first);
}

/// A leader that has no contact stops leading before another one begins.
#[tokio::test]
async fn a_leader_without_contact_gives_up_before_another_one_leads() {
    let etcd = Etcd::start().await.unwrap();
    let relay = Relay::to(etcd.address()).await.unwrap();
    let mut one = Running::start(&format!("http://{}", relay.address()), "one", 3);
    one.leads().await;
    let mut other = Running::start(&etcd.url(), "other", 3);
    relay.hang();
    let hung = Instant::now();
    let (gave_up, began) = tokio::join!(
        async {
            one.follows().await;
            Instant::now()
        },
        async {
            other.leads().await;
            Instant::now()
        }
    );
    println!("gave up after {:?}, replaced after {:?}", gave_up - hung, began - hung);
    assert!(gave_up < began);
}

#[tokio::test]
async fn a_leader_whose_key_is_taken_away_stops_leading() {
    let etcd = Etcd::start().await.unwrap();
    let mut one = Running::start(&etcd.url(), "one", 5);
    let first = one.leads().await;
    let mut watched = one.standing.clone();
    watched.mark_unchanged();
    etcd.ctl(&["del", "--prefix", "/lateen/leader/status"]).unwrap();
    timeout(PATIENCE, watched.changed()).await.expect("in time").unwrap();
    one.follows().await;
    assert!(one.leads().await > first, "and stands again");
}
