//! Sources that go, come back, lose much at once, or can't be reached from the start (faults rows 1 to 4 and 11).

use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};

use lateen_adapter::{ObjectStatus, Refusal, Unresolved};
use lateen_model::{
    Severity, SourceEvent,
    event::{ObjectId, ObjectKind, Scope},
};
use lateen_proto::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use lateen_registry::GuardSettings;
use lateen_xds_server::{
    serve::ServeConfig,
    status::{Source, Status},
};
use tokio::time::timeout;

use crate::{
    client::{ADS_DELTA, CDS, Call, EDS, PATIENCE, ack, nack, names, node, subscribe},
    rig::{Rig, service, settings},
};

/// Settings with a folder for state; a grace so long that only a failure ends it.
fn saving(folder: &Path) -> ServeConfig {
    let mut settings = settings();
    settings.core.state = Some(folder.to_owned());
    settings.core.saved_grace = Duration::from_hours(1);
    settings
}

/// So many services, one document each.
fn documents(numbers: std::ops::Range<usize>) -> Vec<(String, String)> {
    let document = |n| (format!("s{n}.yaml"), service(&format!("s{n}.example"), &format!("10.0.0.{n}")));
    numbers.map(document).collect()
}

fn list(rig: &Rig, numbers: std::ops::Range<usize>) {
    let documents = documents(numbers);
    let listing: Vec<_> = documents.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
    rig.sources[0].list(&listing);
}

async fn status(rig: &Rig) -> Status {
    let (_, body) = rig.admin("/debug/status", "localhost").await;
    serde_json::from_str(&body).unwrap()
}

/// Waits until the first source's status is as wanted.
async fn source_is(rig: &Rig, wanted: impl Fn(&Source) -> bool) -> Source {
    let poll = async {
        loop {
            let source = status(rig).await.sources.remove(0);
            if wanted(&source) {
                return source;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, poll).await.expect("the source's status does not become what is wanted")
}

async fn clusters(rig: &Rig) -> (Call, DeltaDiscoveryResponse) {
    let mut call = rig.connect().await.open(ADS_DELTA).await;
    call.send(&subscribe(Some(node("a")), CDS, &[]));
    let response: DeltaDiscoveryResponse = call.next().await.unwrap();
    call.send(&ack(&response));
    (call, response)
}

/// The next response with resources of a type, or with removals.
async fn next_of(call: &mut Call, type_url: &str) -> DeltaDiscoveryResponse {
    loop {
        let response: DeltaDiscoveryResponse = call.next().await.unwrap();
        call.send(&ack(&response));
        if response.type_url == type_url {
            return response;
        }
    }
}

/// A server that was told something, saved it, and ended.
async fn saved(folder: &Path, numbers: std::ops::Range<usize>) {
    let rig = Rig::waiting(saving(folder), 1).await;
    list(&rig, numbers);
    rig.metric_is("lateen_ready", 1).await;
    rig.stop();
    rig.ended().await.unwrap();
    unlocked(folder).await;
}

/// The state's last commit, and then its lock, go with the core's thread.
async fn unlocked(folder: &Path) {
    let unlocked = async {
        while let (_, Err(error)) = lateen_xds_server::state::open(folder) {
            assert!(matches!(error, lateen_xds_server::state::StateError::InUse { .. }), "{error}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, unlocked).await.expect("the state stays locked");
}

/// Row 2.
#[tokio::test]
async fn a_restart_without_its_sources_serves_what_was_saved() {
    let folder = tempfile::tempdir().unwrap();
    saved(folder.path(), 0..3).await;

    let rig = Rig::waiting(saving(folder.path()), 1).await;
    assert_eq!(rig.admin("/ready", "localhost").await.0, 503);
    rig.sources[0].fail("connection refused");
    rig.metric_is("lateen_ready", 1).await;
    assert_eq!(rig.admin("/ready", "localhost").await.0, 200);
    let (mut call, response) = clusters(&rig).await;
    assert!(names(&response).contains(&"outbound|80||s2.example"), "{:?}", names(&response));
    let source = status(&rig).await.sources.remove(0);
    assert!(source.saved_unix_ms.is_some_and(|ms| ms > 1_600_000_000_000), "{source:?}");
    assert_eq!((source.objects, source.error.as_deref()), (3, Some("connection refused")));
    assert!(source.stale_ms.is_some());
    rig.metric_is("lateen_source_from_saved_state{source=\"memory:0\"}", 1).await;
    rig.metric_is("lateen_source_stale{source=\"memory:0\"}", 1).await;
    rig.metric_is("lateen_source_objects{source=\"memory:0\"}", 3).await;

    // The source is back: what is the same is not sent again, what differs is.
    list(&rig, 0..3);
    source_is(&rig, |source| source.saved_unix_ms.is_none() && source.stale_ms.is_none()).await;
    call.is_quiet().await;
    list(&rig, 1..4);
    let response = next_of(&mut call, CDS).await;
    assert_eq!(names(&response), ["outbound|80||s3.example"]);
    rig.metric_is("lateen_source_from_saved_state{source=\"memory:0\"}", 0).await;
}

/// Row 2: a source that says nothing at all.
#[tokio::test]
async fn a_source_that_is_silent_is_restored_after_the_grace() {
    let folder = tempfile::tempdir().unwrap();
    saved(folder.path(), 0..3).await;
    let mut settings = saving(folder.path());
    settings.core.saved_grace = Duration::from_millis(100);
    let rig = Rig::waiting(settings, 1).await;
    rig.metric_is("lateen_ready", 1).await;
    let source = status(&rig).await.sources.remove(0);
    assert!(source.saved_unix_ms.is_some() && source.stale_ms.is_none(), "{source:?}");
}

/// Row 2: with nothing saved nothing is sent, and empty is not invented.
#[tokio::test]
async fn without_saved_state_and_without_sources_nothing_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = saving(folder.path());
    settings.core.saved_grace = Duration::from_millis(1);
    let rig = Rig::waiting(settings, 1).await;
    rig.sources[0].fail("connection refused");
    let mut call = rig.connect().await.open(ADS_DELTA).await;
    call.send(&subscribe(Some(node("a")), CDS, &[]));
    source_is(&rig, |source| source.stale_ms.is_some()).await;
    call.is_quiet().await;
    let (code, body) = rig.admin("/ready", "localhost").await;
    assert!(code == 503 && body.contains("memory:0"), "{body}");
}

/// A source that has nothing is saved as such: that is no reason not to serve the other one.
#[tokio::test]
async fn a_source_that_was_empty_is_restored_as_empty() {
    let folder = tempfile::tempdir().unwrap();
    {
        let rig = Rig::waiting(saving(folder.path()), 2).await;
        list(&rig, 0..3);
        rig.sources[1].list(&[]);
        rig.metric_is("lateen_ready", 1).await;
        rig.stop();
        rig.ended().await.unwrap();
    }
    unlocked(folder.path()).await;
    let rig = Rig::waiting(saving(folder.path()), 2).await;
    rig.sources[0].fail("refused");
    rig.sources[1].fail("refused");
    rig.metric_is("lateen_ready", 1).await;
}

/// A run that ended in the middle of the first listing saved a part only, and a part is not served as the whole.
#[tokio::test]
async fn what_was_saved_of_half_a_listing_is_not_served() {
    let folder = tempfile::tempdir().unwrap();
    {
        let rig = Rig::waiting(saving(folder.path()), 1).await;
        let scope = Scope { kind: ObjectKind::Document, prefix: "".into() };
        rig.sources[0].say(vec![SourceEvent::Resync(scope)]);
        rig.sources[0].put("s1.yaml", &service("s1.example", "10.0.0.1"));
        rig.metric_is("lateen_source_objects{source=\"memory:0\"}", 1).await;
        rig.stop();
        rig.ended().await.unwrap();
    }
    unlocked(folder.path()).await;
    let rig = Rig::waiting(saving(folder.path()), 1).await;
    rig.sources[0].fail("refused");
    source_is(&rig, |source| source.stale_ms.is_some()).await;
    assert_eq!(rig.admin("/ready", "localhost").await.0, 503);
}

/// One of two sources was never saved: its part would be missing, so nothing is sent.
#[tokio::test]
async fn what_was_saved_of_one_source_does_not_stand_for_the_other() {
    let folder = tempfile::tempdir().unwrap();
    saved(folder.path(), 0..3).await;
    let rig = Rig::waiting(saving(folder.path()), 2).await;
    rig.sources[0].fail("refused");
    rig.sources[1].fail("refused");
    source_is(&rig, |source| source.saved_unix_ms.is_some()).await;
    assert_eq!(rig.admin("/ready", "localhost").await.0, 503);
    rig.sources[1].list(&[]);
    rig.metric_is("lateen_ready", 1).await;
}

#[tokio::test]
async fn what_went_while_nobody_looked_is_not_restored_later() {
    let folder = tempfile::tempdir().unwrap();
    saved(folder.path(), 0..3).await;
    // A run that is listed at once: s0 is gone.
    saved(folder.path(), 1..3).await;
    let rig = Rig::waiting(saving(folder.path()), 1).await;
    rig.sources[0].fail("refused");
    let source = source_is(&rig, |source| source.saved_unix_ms.is_some()).await;
    assert_eq!(source.objects, 2);
}

/// Rows 2 and 3 together: the platform comes back empty while the control plane starts.
#[tokio::test]
async fn a_first_listing_that_lacks_nearly_all_that_was_saved_is_held() {
    let folder = tempfile::tempdir().unwrap();
    saved(folder.path(), 0..20).await;
    let rig = Rig::waiting(saving(folder.path()), 1).await;
    list(&rig, 0..1);
    rig.metric_is("lateen_ready", 1).await;
    let source = status(&rig).await.sources.remove(0);
    assert_eq!((source.held_removals, source.objects, source.saved_unix_ms), (19, 20, None));
    list(&rig, 0..1);
    source_is(&rig, |source| source.held_removals == 0 && source.objects == 1).await;
}

#[tokio::test]
async fn a_bad_text_does_not_replace_the_good_one_that_was_saved_and_keys_are_not_saved() {
    let folder = tempfile::tempdir().unwrap();
    let rig = Rig::waiting(saving(folder.path()), 1).await;
    list(&rig, 0..2);
    rig.sources[0].put("s0.yaml", "spec: [");
    let secret = "{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: shop}, type: Opaque, \
                  data: {tls.crt: Zm9v, tls.key: c2VjcmV0LWtleQ==}}";
    rig.sources[0].put("secret.yaml", secret);
    // What stands beside it is saved, and so is a policy that could never be read, though it names a secret.
    let broken = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: lock, namespace: shop}\n\
                  spec: {action: DENNY, rules: [{to: [{operation: {paths: [/secret]}}]}]}";
    rig.sources[0].put("beside.yaml", &[secret, broken].join("\n---\n"));
    rig.metric_is("lateen_source_objects{source=\"memory:0\"}", 5).await;
    rig.stop();
    rig.ended().await.unwrap();
    let opened = async {
        loop {
            match lateen_xds_server::state::open(folder.path()) {
                (saved, Ok(_)) => break saved,
                (_, Err(_)) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    let saved = timeout(PATIENCE, opened).await.unwrap();
    let names: Vec<&str> =
        saved.values().flat_map(|source| &source.objects).map(|(id, _)| &*id.name).collect();
    assert_eq!(names, ["beside.yaml", "s0.yaml", "s1.yaml"]);
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(12).any(|window| window == b"c2VjcmV0LWtl"), "the key is on disk");
    }

    let rig = Rig::waiting(saving(folder.path()), 1).await;
    rig.sources[0].fail("refused");
    rig.metric_is("lateen_ready", 1).await;
    let (_call, response) = clusters(&rig).await;
    assert!(self::names(&response).contains(&"outbound|80||s0.example"));
}

/// A faulty object costs neither its neighbours in the text nor its own last good form, over a restart either.
#[tokio::test]
async fn what_stands_beside_a_faulty_object_is_saved_as_it_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let faulty = |host: &str| {
        let name = host.replace('.', "-");
        format!(
            "{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{name: {name}, namespace: shop}}, spec: {{hosts: 7}}}}"
        )
    };
    {
        let rig = Rig::waiting(saving(folder.path()), 1).await;
        // One was never good; the other was.
        let never = [service("s0.example", "10.0.0.1"), faulty("s1.example")].join("\n---\n");
        let good = [service("s2.example", "10.0.0.1"), service("s3.example", "10.0.0.1")].join("\n---\n");
        rig.sources[0].list(&[("never.yaml", never), ("once.yaml", good)]);
        rig.metric_is("lateen_ready", 1).await;
        rig.metric_is("lateen_source_objects{source=\"memory:0\"}", 3).await;
        let once =
            [faulty("s2.example"), service("s3.example", "10.0.0.2"), service("s4.example", "10.0.0.2")];
        rig.sources[0].put("once.yaml", &once.join("\n---\n"));
        rig.metric_is("lateen_source_objects{source=\"memory:0\"}", 4).await;
        rig.stop();
        rig.ended().await.unwrap();
    }
    unlocked(folder.path()).await;
    let rig = Rig::waiting(saving(folder.path()), 1).await;
    rig.sources[0].fail("refused");
    rig.metric_is("lateen_ready", 1).await;
    assert_eq!(status(&rig).await.sources.remove(0).objects, 4);
    let (_call, response) = clusters(&rig).await;
    for number in [0, 2, 3, 4] {
        let cluster = format!("outbound|80||s{number}.example");
        assert!(names(&response).contains(&&*cluster), "{cluster} is not in {:?}", names(&response));
    }
}

/// A file that can't be read costs what was saved, and nothing else.
#[tokio::test]
async fn damaged_state_is_moved_aside_and_the_server_serves() {
    let folder = tempfile::tempdir().unwrap();
    saved(folder.path(), 0..3).await;
    let file = folder.path().join("last-known.redb");
    std::fs::write(&file, &std::fs::read(&file).unwrap()[..5000]).unwrap();
    let rig = Rig::waiting(saving(folder.path()), 1).await;
    rig.sources[0].fail("refused");
    source_is(&rig, |source| source.stale_ms.is_some()).await;
    assert_eq!(rig.admin("/ready", "localhost").await.0, 503);
    list(&rig, 0..3);
    rig.metric_is("lateen_ready", 1).await;
    let files = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(files.filter(|name| name.to_string_lossy().contains("damaged")).count(), 1);
}

/// Row 1.
#[tokio::test]
async fn a_source_that_goes_leaves_its_part_serving() {
    let rig = Rig::waiting(settings(), 2).await;
    list(&rig, 0..3);
    rig.sources[1].list(&[("other.yaml", service("other.example", "10.1.0.1"))]);
    rig.metric_is("lateen_ready", 1).await;
    let (mut call, _) = clusters(&rig).await;
    rig.sources[0].fail("gone");
    let source = source_is(&rig, |source| source.stale_ms.is_some()).await;
    assert_eq!((source.objects, source.error.as_deref()), (3, Some("gone")));
    assert!(rig.metric("lateen_source_stale_since_seconds{source=\"memory:0\"}").await > Some(1_600_000_000));
    call.is_quiet().await;
    // The other one goes on.
    rig.sources[1].put("more.yaml", &service("more.example", "10.1.0.2"));
    assert_eq!(names(&next_of(&mut call, CDS).await), ["outbound|80||more.example"]);
    list(&rig, 0..3);
    source_is(&rig, |source| source.stale_ms.is_none()).await;
    rig.metric_is("lateen_source_stale_since_seconds{source=\"memory:0\"}", 0).await;
    call.is_quiet().await;
}

/// Row 3.
#[tokio::test]
async fn a_listing_that_lacks_nearly_all_is_held_until_the_next_one() {
    let rig = Rig::waiting(settings(), 1).await;
    list(&rig, 0..20);
    rig.metric_is("lateen_ready", 1).await;
    let (mut call, _) = clusters(&rig).await;
    list(&rig, 0..2);
    source_is(&rig, |source| source.held_removals == 18).await;
    rig.metric_is("lateen_source_held_removals{source=\"memory:0\"}", 18).await;
    assert!(status(&rig).await.findings.iter().any(|finding| finding.contains("LAT2404")));
    call.is_quiet().await;
    // A new service is not held up by that.
    rig.sources[0].put("new.yaml", &service("new.example", "10.1.0.2"));
    assert_eq!(names(&next_of(&mut call, CDS).await), ["outbound|80||new.example"]);
    list(&rig, 0..2);
    let mut removed = Vec::new();
    while removed.len() < 19 {
        removed.extend(next_of(&mut call, CDS).await.removed_resources);
    }
    assert!(status(&rig).await.findings.is_empty());
}

/// Row 3: what is not looked at again goes after a time.
#[tokio::test]
async fn a_held_removal_goes_after_its_time() {
    let mut settings = settings();
    settings.core.guard = GuardSettings { confirm_ms: 500, ..GuardSettings::default() };
    let rig = Rig::waiting(settings, 1).await;
    list(&rig, 0..20);
    rig.metric_is("lateen_ready", 1).await;
    let (mut call, _) = clusters(&rig).await;
    let remove = |n| SourceEvent::Remove { id: id(&format!("s{n}.yaml")) };
    rig.sources[0].say((0..20).map(remove).collect());
    let mut removed = Vec::new();
    while removed.len() < 20 {
        removed.extend(next_of(&mut call, CDS).await.removed_resources);
    }
    rig.metric_is("lateen_source_held_removals{source=\"memory:0\"}", 0).await;
}

fn id(name: &str) -> ObjectId {
    ObjectId { kind: ObjectKind::Document, name: name.into() }
}

/// Waits until a document's status is as wanted.
async fn document_is(
    feed: &mut lateen_adapter::StatusFeed,
    name: &str,
    wanted: impl Fn(Option<&ObjectStatus>) -> bool,
) -> Option<Arc<ObjectStatus>> {
    let wait = async {
        loop {
            let changes = feed.changed(100).await.unwrap();
            for (changed, status) in changes {
                if *changed.name == *name && wanted(status.as_deref()) {
                    return status;
                }
            }
        }
    };
    let message = "the document's status does not become what is wanted";
    timeout(PATIENCE, wait).await.expect(message)
}

#[tokio::test]
async fn sources_are_told_how_their_documents_stand() {
    let rig = Rig::waiting(settings(), 2).await;
    let mut feed = rig.sources[0].statuses().await;
    let mut other = rig.sources[1].statuses().await;
    let route = |generation: u32, host: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v, namespace: shop, \
             generation: {generation}}}\nspec: {{hosts: [cart.example], http: [{{route: [{{destination: {{host: \
             {host}}}}}]}}]}}\n"
        )
    };
    rig.sources[1].list(&[]);
    rig.sources[0].list(&[
        ("cart.yaml", service("cart.example", "10.0.0.1")),
        ("route.yaml", route(7, "cart.example")),
    ]);
    let status = document_is(&mut feed, "route.yaml", |status| status.is_some()).await.unwrap();
    assert!(status.accepted && status.findings.is_empty() && status.generation == Some(7), "{status:?}");

    // A destination that does not exist is found when a client needs the route, and told.
    let (mut call, _) = clusters(&rig).await;
    rig.sources[0].put("route.yaml", &route(8, "nobody.example"));
    let status = document_is(&mut feed, "route.yaml", |s| s.is_some_and(|s| !s.findings.is_empty())).await;
    let status = status.unwrap();
    assert!(status.accepted && status.generation == Some(8), "{status:?}");
    assert_eq!(status.findings[0].severity, Severity::Error);

    // An object with an error is not accepted; its last good form is in force, with its generation.
    rig.sources[0].put("route.yaml", &route(9, "[]"));
    let status = document_is(&mut feed, "route.yaml", |s| s.is_some_and(|s| !s.accepted)).await.unwrap();
    assert!(status.has_errors() && status.generation == Some(8), "{status:?}");

    // The other source has the same object: it is told that it does not count.
    rig.sources[1].put("copy.yaml", &route(1, "cart.example"));
    let status = document_is(&mut other, "copy.yaml", |s| s.is_some()).await.unwrap();
    assert!(!status.accepted && status.findings[0].code.0 == "LAT2401", "{status:?}");

    // What a client rejects is told to where it comes from.
    let bad = service("bad.example", "10.0.0.9");
    rig.sources[0].put("bad.yaml", &bad);
    let response: DeltaDiscoveryResponse = loop {
        let response: DeltaDiscoveryResponse = call.next().await.unwrap();
        if names(&response).contains(&"outbound|80||bad.example") {
            break response;
        }
        call.send(&ack(&response));
    };
    call.send(&nack(&response, "no such thing"));
    let status =
        document_is(&mut feed, "bad.yaml", |s| s.is_some_and(|s| s.rejected.is_some())).await.unwrap();
    let rejected = status.rejected.clone().unwrap();
    assert!(rejected.proxies == 1 && rejected.message.contains("no such thing"), "{rejected:?}");

    rig.sources[0].say(vec![SourceEvent::Remove { id: id("bad.yaml") }]);
    document_is(&mut feed, "bad.yaml", |status| status.is_none()).await;
}

/// A parent's name, whether it is known, and the reasons.
type Stands = (String, bool, Option<Refusal>, Option<Unresolved>);

#[tokio::test]
async fn routes_of_the_gateway_api_are_told_how_they_stand_with_each_parent() {
    let rig = Rig::waiting(settings(), 1).await;
    let mut feed = rig.sources[0].statuses().await;
    let route = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r, namespace: shop}\nspec: \
                 {parentRefs: [{name: edge}, {name: none}], rules: [{backendRefs: [{name: x, namespace: other, port: \
                 80}]}]}\n";
    let gateway = |section: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: edge, namespace: shop}}\nspec: \
             {{gatewayClassName: lateen, listeners: [{{name: {section}, port: 80, protocol: HTTP}}]}}\n"
        )
    };
    rig.sources[0].list(&[("route", route.to_owned())]);
    let status = document_is(&mut feed, "route", |s| s.is_some()).await.unwrap();
    let parents = |status: &ObjectStatus| -> Vec<Stands> {
        let show = |p: &lateen_adapter::ParentStatus| {
            let (refused, unresolved) = (p.refused.as_ref(), p.unresolved.as_ref());
            (p.name.clone(), p.known, refused.map(|why| why.reason), unresolved.map(|why| why.reason))
        };
        status.parents.iter().map(show).collect()
    };
    let missing = Some(Unresolved::BackendNotFound);
    assert_eq!(
        parents(&status),
        [("edge".into(), false, None, missing), ("none".into(), false, None, missing)]
    );
    // The gateway comes: the route is told so, and that its backend is of a namespace that grants nothing. The route
    // itself is in force.
    rig.sources[0].put("gateway", &gateway("http"));
    let known = |status: Option<&ObjectStatus>| status.is_some_and(|status| status.parents[0].known);
    let status = document_is(&mut feed, "route", known).await.unwrap();
    assert_eq!(parents(&status)[0], ("edge".into(), true, None, Some(Unresolved::RefNotPermitted)));
    assert!(status.accepted, "{status:?}");
    let counted = feed.latest(&id("gateway")).unwrap();
    assert_eq!(counted.listeners.get("http"), Some(&1), "{counted:?}");

    let put = |spec: &str| {
        let head = route.split_once("spec: ").unwrap().0;
        rig.sources[0].put("route", &format!("{head}spec: {{{spec}}}\n"));
    };
    let cases = [
        ("parentRefs: [{name: edge, sectionName: other}]", Some(Refusal::NoMatchingParent), None),
        (
            "parentRefs: [{name: edge}], rules: [{backendRefs: [{group: x.io, kind: Bucket, name: b}]}]",
            None,
            Some(Unresolved::InvalidKind),
        ),
        (
            "parentRefs: [{name: edge}], rules: [{backendRefs: [{name: cart, port: 80}]}]",
            None,
            Some(Unresolved::BackendNotFound),
        ),
    ];
    for (spec, refused, unresolved) in cases {
        put(spec);
        let stands = ("edge".to_owned(), true, refused, unresolved);
        let is =
            |status: Option<&ObjectStatus>| status.is_some_and(|status| parents(status) == [stands.clone()]);
        document_is(&mut feed, "route", is).await;
    }
    // The service comes, and goes again: the route is told each time, though it did not change.
    let service = "{apiVersion: v1, kind: Service, metadata: {name: cart, namespace: shop}, spec: {ports: [{port: 80}]}}";
    rig.sources[0].put("service", service);
    let resolved = |status: Option<&ObjectStatus>| status.is_some_and(|s| s.parents[0].unresolved.is_none());
    document_is(&mut feed, "route", resolved).await;
    rig.sources[0].say(vec![SourceEvent::Remove { id: id("service") }]);
    document_is(&mut feed, "route", |status| !resolved(status)).await;
    // Listeners that take routes of another kind.
    let picky = gateway("http")
        .replace("protocol: HTTP", "protocol: HTTP, allowedRoutes: {kinds: [{kind: GRPCRoute}]}");
    rig.sources[0].put("gateway", &picky);
    let refused = |status: Option<&ObjectStatus>| {
        status.is_some_and(|s| parents(s)[0].2 == Some(Refusal::NotAllowedByListeners))
    };
    document_is(&mut feed, "route", refused).await;
}

/// Row 11, and the endpoints of what both know.
#[tokio::test]
async fn a_conflict_of_two_sources_is_decided_once_and_does_not_swing() {
    let rig = Rig::waiting(settings(), 2).await;
    let one = service("cart.example", "10.0.0.1");
    rig.sources[1].list(&[("b.yaml", service("cart.example", "10.0.0.2"))]);
    rig.sources[0].list(&[("a.yaml", one.clone())]);
    rig.metric_is("lateen_ready", 1).await;
    let mut call = rig.connect().await.open(ADS_DELTA).await;
    call.send(&subscribe(Some(node("a")), EDS, &["outbound|80||cart.example"]));
    let response: DeltaDiscoveryResponse = call.next().await.unwrap();
    call.send(&ack(&response));
    let finding = status(&rig).await.findings.join("\n");
    assert!(
        finding.contains("LAT2401") && finding.contains("a.yaml") && finding.contains("b.yaml"),
        "{finding}"
    );
    // The loser says other things, again and again: nobody is disturbed.
    for last in 3..30 {
        rig.sources[1].put("b.yaml", &service("cart.example", &format!("10.0.0.{last}")));
    }
    rig.sources[1].put("marker.yaml", &service("marker.example", "10.9.9.9"));
    source_is(&rig, |_| true).await;
    call.is_quiet().await;
    // The winner goes: the other one counts.
    rig.sources[0].say(vec![
        SourceEvent::Resync(Scope { kind: ObjectKind::Document, prefix: "".into() }),
        SourceEvent::Synced(Scope { kind: ObjectKind::Document, prefix: "".into() }),
    ]);
    assert_eq!(names(&next_of(&mut call, EDS).await), ["outbound|80||cart.example"]);
}

/// A large document of one source is read while the change of another reaches its clients.
#[tokio::test]
async fn a_large_document_holds_up_no_other_source() {
    let rig = Rig::waiting(settings(), 2).await;
    rig.sources[0].list(&[("cart.yaml", service("cart.example", "10.0.0.1"))]);
    rig.sources[1].list(&[]);
    let (mut call, _) = clusters(&rig).await;
    let hosts: Vec<String> = (0..5_000).map(|number| format!("h{number}.example")).collect();
    let large =
        service("large.example", "10.0.0.3").replace("[large.example]", &format!("[{}]", hosts.join(", ")));
    rig.sources[1].put("large.yaml", &large);
    // What the same source says later is read later, and need not wait until all of the large one is taken over.
    rig.sources[1].put("after.yaml", &service("after.example", "10.0.0.4"));
    rig.sources[0].put("small.yaml", &service("small.example", "10.0.0.2"));
    let first = next_of(&mut call, CDS).await;
    assert_eq!(names(&first), ["outbound|80||small.example"]);
    let mut rest = BTreeSet::new();
    while rest.len() < 5_001 {
        let next = next_of(&mut call, CDS).await;
        rest.extend(names(&next).into_iter().map(str::to_owned));
    }
    assert!(rest.contains("outbound|80||after.example") && rest.contains("outbound|80||h4999.example"));
}
