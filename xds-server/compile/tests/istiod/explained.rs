//! Differences from istiod, each kind with its section in `docs/istio-differences.md`.

use std::collections::BTreeSet;

use super::Lines;

const PORT: &str = "A destination without a port";
const WILDCARD: &str = "A wildcard host beside its services";
const GATEWAY: &str = "A gateway whose namespace has the host too";
const EXPORT: &str = "Rules for everybody, with and without saying so";
const FOLLOWS: &str = "Clusters of differing routes";

/// Their names, each with how many lines there are of it. They are to become fewer: more of a kind is a change of our
/// answers that somebody has to look at, whatever the kind explains.
pub const ALL: &[(&str, usize)] = &[(PORT, 422), (WILDCARD, 354), (GATEWAY, 6), (EXPORT, 2), (FOLLOWS, 214)];

/// A world, and what both sides say of it.
pub struct World<'a> {
    pub text: &'a str,
    pub theirs: &'a Lines,
    pub ours: &'a Lines,
}

/// The kind of difference for which only one side has this line.
pub fn by(line: &str, world: &World<'_>) -> Option<&'static str> {
    let (client, place, answer) = parts(line)?;
    if place.contains('|') || place.ends_with("Cluster") {
        return of_cluster(client, place, answer, world);
    }
    let (host, port) = place.rsplit_once(':')?;
    let of = |lines: &Lines| {
        lines.iter().find(|line| parts(line).is_some_and(|p| (p.0, p.1) == (client, place))).cloned()
    };
    let (theirs, ours) = (of(world.theirs)?, of(world.ours)?);
    let (theirs, ours) = (parts(&theirs)?.2, parts(&ours)?.2);
    if leads_to_the_only_port(theirs, ours, port) {
        return Some(PORT);
    }
    let is_routed_by_wildcard =
        is_unknown(theirs) && !is_unknown(ours) && port == "80" && wildcards(world, host);
    is_routed_by_wildcard.then_some(WILDCARD)
}

fn of_cluster(client: &str, cluster: &str, answer: &str, world: &World<'_>) -> Option<&'static str> {
    if named(client, world.theirs).contains(cluster) != named(client, world.ours).contains(cluster) {
        return Some(FOLLOWS);
    }
    let host = cluster.rsplit('|').next()?;
    if client.starts_with("edge.") {
        let namespace = client.split_once('.')?.1;
        let is_own = documents(world, "ServiceEntry")
            .any(|text| text.contains(&format!("hosts: [{host}]")) && is_in(text, namespace));
        return (answer.starts_with("at ") && is_own).then_some(GATEWAY);
    }
    let rules =
        documents(world, "DestinationRule").filter(|text| text.contains(&format!("host: \"{host}\"")));
    let own: Vec<&str> =
        rules.filter(|text| client.split_once('.').is_some_and(|c| is_in(text, c.1))).collect();
    let says = |text: &&&str| text.contains("exportTo: [\"*\"]");
    let mixed = own.iter().any(|text| says(&text)) && own.iter().any(|text| !text.contains("exportTo"));
    mixed.then_some(EXPORT)
}

/// Client, host or cluster, and what is said of that.
fn parts(line: &str) -> Option<(&str, &str, &str)> {
    let (client, rest) = line.split_once(' ')?;
    let (place, answer) = rest.split_once(' ')?;
    Some((client, place, answer))
}

/// The clusters that the routes of a client lead to.
fn named<'a>(client: &str, lines: &'a Lines) -> BTreeSet<&'a str> {
    let own = lines.iter().filter_map(|line| parts(line)).filter(|(of, ..)| *of == client);
    let routes = own.filter(|(_, place, _)| !place.contains('|'));
    let words = routes.flat_map(|(.., answer)| answer.split("-> ").skip(1));
    words.filter_map(|rest| rest.split(' ').next()).collect()
}

/// Is it what requests for unknown hosts get?
fn is_unknown(answer: &str) -> bool {
    answer.trim() == "answer 502" || answer.trim().starts_with("-> PassthroughCluster")
}

/// Do they differ only in clusters that have the listener's port with istiod?
fn leads_to_the_only_port(theirs: &str, ours: &str, port: &str) -> bool {
    let (theirs, ours): (Vec<_>, Vec<_>) = (theirs.split('|').collect(), ours.split('|').collect());
    let differs = theirs.iter().zip(&ours).filter(|(theirs, ours)| theirs != ours);
    theirs.len() == ours.len()
        && differs.clone().count() > 0
        && differs.clone().all(|(theirs, ours)| *theirs == port && ours.parse::<u16>().is_ok())
}

/// Has a `VirtualService` a wildcard that covers the host?
fn wildcards(world: &World<'_>, host: &str) -> bool {
    documents(world, "VirtualService").any(|text| {
        let wildcard = text.split_once("hosts: [\"*").and_then(|(_, rest)| rest.split_once('"'));
        wildcard.is_some_and(|(suffix, _)| host.ends_with(suffix))
    })
}

fn documents<'a>(world: &World<'a>, kind: &str) -> impl Iterator<Item = &'a str> {
    let kind = format!("kind: {kind}\n");
    world.text.split("---\n").filter(move |text| text.contains(&kind))
}

fn is_in(text: &str, namespace: &str) -> bool {
    text.contains(&format!("\n  namespace: {namespace}\n"))
}
