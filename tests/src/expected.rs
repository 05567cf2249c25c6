//! The right answers of a golden case, written in its first lines:
//!
//! ```text
//! # get: 127.0.0.1:31080 x.test /path 200=50% 500=50%
//! ```
//!
//! An address, the host that is asked for, a path, and each status with its share; one status needs no share.

use std::{collections::BTreeMap, net::SocketAddr};

use anyhow::{Context, ensure};

use crate::http;

/// How often is asked where several answers are right: 50% are then within 18% but for one run in 10⁶.
const TIMES: u32 = 200;
/// Five standard deviations, at the most.
const TOLERANCE_PERCENT: i64 = 18;

/// One line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expected {
    address: SocketAddr,
    host: String,
    path: String,
    /// By status, the share in percent.
    shares: BTreeMap<u16, i64>,
}

/// The lines of a case.
pub fn of(case: &str) -> anyhow::Result<Vec<Expected>> {
    let lines = case.lines().take_while(|line| line.starts_with('#'));
    lines.filter_map(|line| line.strip_prefix("# get: ")).map(parse).collect()
}

fn parse(line: &str) -> anyhow::Result<Expected> {
    let mut words = line.split_whitespace();
    let mut word = || words.next().with_context(|| format!("{line}: ADDRESS HOST PATH STATUS[=SHARE%]…"));
    let (address, host, path) = (word()?.parse()?, word()?.to_owned(), word()?.to_owned());
    let mut shares = BTreeMap::new();
    for answer in words {
        let (status, share) = answer.split_once('=').unwrap_or((answer, "100%"));
        shares.insert(status.parse()?, share.trim_end_matches('%').parse()?);
    }
    ensure!(shares.values().sum::<i64>() == 100, "{line}: the shares are not 100% together");
    Ok(Expected { address, host, path, shares })
}

impl Expected {
    /// Asks, and compares.
    pub fn check(&self) -> anyhow::Result<()> {
        let Self { address, host, path, shares } = self;
        let times = if shares.len() == 1 { 1 } else { TIMES };
        let mut counts: BTreeMap<u16, i64> = BTreeMap::new();
        for _ in 0..times {
            let answer = http::request(*address, "GET", path, &[("host", host)])?;
            *counts.entry(answer.status).or_default() += 1;
        }
        let right = counts.iter().all(|(status, count)| {
            let wanted = shares.get(status).copied().unwrap_or(0);
            let got = count * 100 / i64::from(times);
            wanted > 0 && (got - wanted).abs() <= if times == 1 { 0 } else { TOLERANCE_PERCENT }
        });
        ensure!(
            right && counts.len() == shares.len(),
            "{host}{path}: wanted {shares:?}, got {counts:?} of {times}"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_are_meant() {
        let case = "# node: x\n# get: 127.0.0.1:80 a.test / 200\n# get: 127.0.0.1:80 b.test /p 200=50% 500=50%\nkind: X\n";
        let all = of(case).unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].host.as_str(), all[0].shares[&200]), ("a.test", 100));
        assert_eq!((all[1].path.as_str(), all[1].shares[&500]), ("/p", 50));
        assert!(of("# get: 127.0.0.1:80 a.test / 200=40%\n").is_err());
        assert!(of("# get: 127.0.0.1:80 a.test\n").is_err());
    }
}
