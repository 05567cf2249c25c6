//! Jobs that were taken away. Of one that is purged while it runs Nomad forgets the allocations at once, without an
//! event, and keeps their registrations until its client has ended them, two at a time. Its client may even miss that
//! they are gone, until something else changes on its node: a question of the client's that is asked afterwards has
//! nothing to compare with (`numOldAllocs` in Nomad's `node_endpoint.go`). So the allocations are looked for.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

/// When they are looked for, after the job was taken away and after each other. A task may take its time to end.
const LOOKS: [Duration; 5] = [
    Duration::from_millis(100),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(15),
];
/// Jobs at a time; what is beyond that is found by the next full reading.
const JOBS_MAX: usize = 1_024;

/// Namespace and id.
pub(crate) type JobKey = (String, String);

/// Those whose allocations are still to be looked for.
#[derive(Debug, Default)]
pub(crate) struct Stopped {
    /// When next, and how often before.
    jobs: BTreeMap<JobKey, (Instant, usize)>,
}

impl Stopped {
    /// The job was taken away.
    pub(crate) fn add(&mut self, job: JobKey, now: Instant) {
        if self.jobs.len() < JOBS_MAX || self.jobs.contains_key(&job) {
            self.jobs.insert(job, (now + LOOKS[0], 0));
        }
    }

    /// When there is something to look for.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.jobs.values().map(|(due, _)| *due).min()
    }

    /// What is to be looked for now, of what is known of the jobs.
    pub(crate) fn due(&mut self, now: Instant, known: impl Fn(&JobKey) -> Vec<String>) -> Vec<String> {
        let mut ids = Vec::new();
        self.jobs.retain(|job, (due, looks)| {
            if *due > now {
                return true;
            }
            let of_job = known(job);
            *looks += 1;
            let Some(pause) = LOOKS.get(*looks).filter(|_| !of_job.is_empty()) else {
                ids.extend(of_job);
                return false;
            };
            *due = now + *pause;
            ids.extend(of_job);
            true
        });
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocations_are_looked_for_until_none_is_known() {
        let (mut stopped, began) = (Stopped::default(), Instant::now());
        let job = || ("default".to_owned(), "web".to_owned());
        let known = |_: &JobKey| vec!["a".to_owned()];
        stopped.add(job(), began);
        assert!(stopped.due(began, known).is_empty());
        let mut looks = 0;
        while let Some(at) = stopped.next_at() {
            assert_eq!(stopped.due(at, known), ["a"]);
            looks += 1;
        }
        assert_eq!(looks, LOOKS.len());
        stopped.add(job(), began);
        assert!(stopped.due(began + LOOKS[0], |_| Vec::new()).is_empty());
        assert_eq!(stopped.next_at(), None);
    }

    #[test]
    fn jobs_are_bounded() {
        let mut stopped = Stopped::default();
        for n in 0..2 * JOBS_MAX {
            stopped.add(("default".to_owned(), n.to_string()), Instant::now());
        }
        assert_eq!(stopped.jobs.len(), JOBS_MAX);
    }
}
