//! `lateen adapter`: looks at a source without serving it.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::ExitCode,
    time::Duration,
};

use anyhow::bail;
use lateen_adapter::ToCore;
use lateen_model::{Endpoint, ObjectId, ObjectKind, Scope, SourceEvent, event::Object};
use serde::Serialize;
use tokio::{sync::mpsc, time::Instant};

use crate::{
    adapters,
    args::{Adapter as Args, AdapterCommand, CompareAdapters, Format, TestAdapter},
    output,
};

/// Messages that wait to be counted; when full, the adapter waits.
const QUEUE_MAX: usize = 64;

/// Runs one of the two.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        AdapterCommand::Test(args) => test(args).await,
        AdapterCommand::Compare(args) => compare(args).await,
    }
}

/// What a source has said so far.
#[derive(Debug, Default)]
struct Seen {
    objects: BTreeMap<ObjectId, Option<Object>>,
    open: Vec<(Scope, BTreeSet<ObjectId>)>,
    /// When the last of the scopes of a listing closed first.
    listed: Option<Instant>,
    upserts: u64,
    removals: u64,
    /// What can't be read, in words, by object.
    invalid: BTreeMap<ObjectId, String>,
    /// How often it was stale, and why last.
    stale: u64,
    error: Option<String>,
}

impl Seen {
    fn take(&mut self, message: ToCore) {
        match message {
            ToCore::Events(_, events) => events.into_iter().for_each(|event| self.event(event)),
            ToCore::Failed(_, why) => {
                self.stale += 1;
                self.error = Some(why);
                self.open.clear();
            }
            ToCore::Recovered(_) => self.error = None,
        }
    }

    fn event(&mut self, event: SourceEvent) {
        match event {
            SourceEvent::Resync(scope) => {
                self.open.retain(|(open, _)| *open != scope);
                self.open.push((scope, BTreeSet::new()));
            }
            SourceEvent::Synced(scope) => {
                let Some(at) = self.open.iter().position(|(open, _)| *open == scope) else { return };
                let (_, named) = self.open.remove(at);
                self.objects.retain(|id, _| !scope.contains(id) || named.contains(id));
                self.invalid.retain(|id, _| !scope.contains(id) || named.contains(id));
                if self.open.is_empty() {
                    self.listed.get_or_insert_with(Instant::now);
                }
            }
            SourceEvent::Upsert { id, object } => {
                self.name(&id);
                self.invalid.remove(&id);
                self.upserts += 1;
                self.objects.insert(id, Some(object));
            }
            SourceEvent::Remove { id } => {
                self.invalid.remove(&id);
                self.objects.remove(&id);
                self.removals += 1;
            }
            SourceEvent::Invalid { id, diagnostic } => {
                self.name(&id);
                self.objects.entry(id.clone()).or_insert(None);
                self.invalid.insert(id, diagnostic.to_string());
            }
        }
    }

    fn name(&mut self, id: &ObjectId) {
        for (scope, named) in &mut self.open {
            if scope.contains(id) {
                named.insert(id.clone());
            }
        }
    }

    fn counts(&self) -> Counts {
        let of = |kind| self.objects.keys().filter(|id| id.kind == kind).count();
        let endpoints = self.objects.values().flatten().map(|object| match object {
            Object::Endpoints { endpoints, .. } => endpoints.len(),
            Object::Document(_) | Object::Service(_) => 0,
        });
        Counts {
            documents: of(ObjectKind::Document),
            services: of(ObjectKind::Service),
            endpoint_sets: of(ObjectKind::Endpoints),
            endpoints: endpoints.sum(),
            invalid: self.invalid.len(),
        }
    }
}

/// How many of what.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Counts {
    documents: usize,
    services: usize,
    endpoint_sets: usize,
    endpoints: usize,
    invalid: usize,
}

/// The report of `lateen adapter test`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    source: String,
    /// From the start to the end of the first listing; none when it did not end.
    listed_ms: Option<u128>,
    counts: Counts,
    watched_s: f64,
    /// Changes after the listing.
    changes: u64,
    changes_per_s: f64,
    /// How often contact was lost, and why last, if it is lost now.
    stale: u64,
    error: Option<String>,
    invalid: Vec<String>,
}

/// Connects, lists, watches.
async fn test(args: TestAdapter) -> anyhow::Result<ExitCode> {
    let TestAdapter { adapter, seconds, timeout, output } = args;
    let adapter = adapters::from_flag(&adapter)?;
    let source = adapter.source().to_string();
    let (messages, mut received) = mpsc::channel(QUEUE_MAX);
    let running = tokio::spawn(lateen_adapter::supervise(adapter, messages));
    let began = Instant::now();
    let mut seen = Seen::default();
    listen(&mut received, &mut seen, began + timeout, |seen| seen.listed.is_some()).await;
    let listed = seen.listed;
    let before = seen.upserts + seen.removals;
    let watching = Instant::now();
    if listed.is_some() {
        listen(&mut received, &mut seen, watching + seconds, |_| false).await;
    }
    running.abort();
    let (watched, changes) = (watching.elapsed().as_secs_f64(), seen.upserts + seen.removals - before);
    let report = Report {
        source,
        listed_ms: listed.map(|at| (at - began).as_millis()),
        counts: seen.counts(),
        watched_s: watched,
        changes,
        // A count of changes is far below the precision.
        #[allow(clippy::cast_precision_loss)]
        changes_per_s: changes as f64 / watched.max(0.001),
        stale: seen.stale,
        error: seen.error.clone(),
        invalid: seen.invalid.values().cloned().collect(),
    };
    match output {
        Format::Json => output::json(&report)?,
        Format::Table => print(&report),
    }
    let is_well = report.listed_ms.is_some() && report.error.is_none();
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::from(output::EXIT_FAILED) })
}

fn print(report: &Report) {
    let Report { source, listed_ms, counts, watched_s, changes, changes_per_s, stale, error, invalid } =
        report;
    println!("{source}");
    match listed_ms {
        Some(ms) => println!("listed in {ms} ms"),
        None => println!("NOT LISTED"),
    }
    let mut table = output::table(&["DOCUMENTS", "SERVICES", "ENDPOINT SETS", "ENDPOINTS", "UNREADABLE"]);
    let Counts { documents, services, endpoint_sets, endpoints, invalid: unreadable } = counts;
    table.add_row([documents, services, endpoint_sets, endpoints, unreadable].map(ToString::to_string));
    println!("\n{table}\n");
    println!(
        "watched for {watched_s:.1} s: {changes} changes, {changes_per_s:.1} a second; contact lost {stale} times"
    );
    if let Some(error) = error {
        println!("no contact: {error}");
    }
    for finding in invalid {
        println!("unreadable: {finding}");
    }
}

/// Takes messages until something holds, or the time is over, or the adapter is.
async fn listen(
    messages: &mut mpsc::Receiver<ToCore>,
    seen: &mut Seen,
    until: Instant,
    enough: impl Fn(&Seen) -> bool,
) {
    while !enough(seen) {
        match tokio::time::timeout_at(until, messages.recv()).await {
            Ok(Some(message)) => seen.take(message),
            Ok(None) | Err(_) => return,
        }
    }
}

/// Everything that a source has at the moment.
async fn list(flag: &str, timeout: Duration) -> anyhow::Result<(String, Seen)> {
    let adapter = adapters::from_flag(flag)?;
    let source = adapter.source().to_string();
    let (messages, mut received) = mpsc::channel(QUEUE_MAX);
    let running = tokio::spawn(lateen_adapter::supervise(adapter, messages));
    let mut seen = Seen::default();
    listen(&mut received, &mut seen, Instant::now() + timeout, |seen| seen.listed.is_some()).await;
    running.abort();
    if seen.listed.is_none() {
        let why = seen.error.unwrap_or_else(|| "no answer".to_owned());
        bail!("{source} was not listed within {} s: {why}", timeout.as_secs());
    }
    Ok((source, seen))
}

/// One difference.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Difference {
    /// `document`, `service`, `endpoints`.
    kind: &'static str,
    name: String,
    /// What differs.
    what: String,
}

async fn compare(args: CompareAdapters) -> anyhow::Result<ExitCode> {
    let CompareAdapters { first, second, timeout, output } = args;
    let (one, other) = tokio::try_join!(list(&first, timeout), list(&second, timeout))?;
    let differences = differences((&one.0, &contents(&one.1)), (&other.0, &contents(&other.1)));
    match output {
        Format::Json => output::json(&differences)?,
        Format::Table if differences.is_empty() => println!("no differences"),
        Format::Table => {
            let mut table = output::table(&["KIND", "NAME", "DIFFERENCE"]);
            for Difference { kind, name, what } in &differences {
                table.add_row([(*kind).to_owned(), name.clone(), what.clone()]);
            }
            println!("{table}");
        }
    }
    Ok(if differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(output::EXIT_FINDINGS) })
}

/// What a source says, in words that are the same for equal things of different platforms: where something was
/// read is left out.
type Contents = BTreeMap<(&'static str, String), BTreeSet<String>>;

fn contents(seen: &Seen) -> Contents {
    let mut contents = Contents::new();
    for (id, object) in &seen.objects {
        match object {
            None => {}
            Some(Object::Document(document)) => documents(id, &document.body, &mut contents),
            Some(Object::Service(service)) => {
                let name = format!("{} in {}", service.host, service.namespace);
                let all = contents.entry(("service", name)).or_default();
                all.extend(service.ports.iter().map(|port| {
                    format!("port {} {} {:?} to {:?}", port.number, port.name, port.protocol, port.target)
                }));
                all.extend(service.labels.iter().map(|(key, value)| format!("label {key}={value}")));
            }
            Some(Object::Endpoints { host, namespace, endpoints }) => {
                let all = contents.entry(("endpoints", format!("{host} in {namespace}"))).or_default();
                all.extend(endpoints.iter().map(endpoint));
            }
        }
    }
    contents
}

fn endpoint(endpoint: &Endpoint) -> String {
    let Endpoint {
        address,
        ports,
        labels: _,
        locality,
        network,
        weight,
        health,
        service_account: _,
        origin: _,
    } = endpoint;
    let ports: Vec<String> = ports.iter().map(|(name, port)| format!("{name}:{port}")).collect();
    let network = if network.is_empty() { String::new() } else { format!(" network {network}") };
    format!("{address} {} {health:?} weight {weight} {locality}{network}", ports.join(","))
}

/// The objects of a text, by kind and name; texts that can't be read by their place.
fn documents(id: &ObjectId, body: &[u8], contents: &mut Contents) {
    let parsed = lateen_config::parse(body, &"".into(), &id.name);
    for object in parsed.objects {
        let key = &object.key;
        let name = format!("{} {}/{}", key.kind, key.namespace, key.name);
        contents.entry(("document", name)).or_default();
    }
    for invalid in parsed.invalid {
        let name = invalid.key.map_or_else(
            || format!("unreadable {}", id.name),
            |key| format!("invalid {} {}/{}", key.kind, key.namespace, key.name),
        );
        contents.entry(("document", name)).or_default();
    }
}

fn differences((one, ours): (&str, &Contents), (other, theirs): (&str, &Contents)) -> Vec<Difference> {
    let names: BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    let mut differences = Vec::new();
    for (kind, name) in names {
        let mut differ = |what| differences.push(Difference { kind, name: name.clone(), what });
        let key = (*kind, name.clone());
        match (ours.get(&key), theirs.get(&key)) {
            (Some(left), Some(right)) => {
                left.difference(right).for_each(|what| differ(format!("only in {one}: {what}")));
                right.difference(left).for_each(|what| differ(format!("only in {other}: {what}")));
            }
            (Some(_), None) => differ(format!("only in {one}")),
            (None, _) => differ(format!("only in {other}")),
        }
    }
    differences
}

#[cfg(test)]
mod tests {
    use lateen_model::{Document, SourceId};

    use super::*;

    fn id(name: &str) -> ObjectId {
        ObjectId { kind: ObjectKind::Document, name: name.into() }
    }

    fn scope() -> Scope {
        Scope { kind: ObjectKind::Document, prefix: "".into() }
    }

    fn namespace(name: &str) -> SourceEvent {
        let text = format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}}}}}");
        let object = Object::Document(Document { body: text.into_bytes().into() });
        SourceEvent::Upsert { id: id(name), object }
    }

    fn seen(events: Vec<SourceEvent>) -> Seen {
        let mut seen = Seen::default();
        seen.take(ToCore::Events(SourceId("s".into()), events));
        seen
    }

    #[test]
    fn a_listing_sweeps_what_it_does_not_name() {
        let list = |names: &[&str]| {
            let mut events = vec![SourceEvent::Resync(scope())];
            events.extend(names.iter().map(|name| namespace(name)));
            events.push(SourceEvent::Synced(scope()));
            events
        };
        let mut events = list(&["a", "b"]);
        events.extend(list(&["b"]));
        let seen = seen(events);
        assert_eq!(seen.counts(), Counts { documents: 1, ..Counts::default() });
        assert!(seen.listed.is_some());
    }

    #[test]
    fn differences_name_the_side() {
        let one = contents(&seen(vec![namespace("a"), namespace("b")]));
        let other = contents(&seen(vec![namespace("b"), namespace("c")]));
        let found: Vec<String> = differences(("x", &one), ("y", &other))
            .into_iter()
            .map(|d| format!("{} {}: {}", d.kind, d.name, d.what))
            .collect();
        assert_eq!(found, ["document Namespace /a: only in x", "document Namespace /c: only in y"]);
        assert!(differences(("x", &one), ("y", &one)).is_empty());
    }
}
