//! What is fuzzed: every parser of outside bytes. Each body takes any bytes and must neither panic nor take
//! more than its bounds. libFuzzer drives them (`fuzz/`), and proptest on stable (`tests/bodies.rs`).

use std::sync::Arc;

use lateen_model::Version;
use lateen_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use lateen_xds::{
    Body, ClientProfile, Limits, NameId, Names, Outcome, Request, Resource, ResourceType, Session,
    SessionOptions, Variant, View, resource::Refs,
};
use prost::Message;

/// Configuration text, as an adapter hands it over.
pub fn config(data: &[u8]) {
    let parsed = lateen_config::parse(data, &Arc::from("fuzz"), &Arc::from("fuzz.yaml"));
    let _ = lateen_config::analysis::analyze(&parsed.objects);
}

/// A regular expression, as users write them.
pub fn expressions(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(accepted) = lateen_config::re2::examine(&text) {
        assert!(accepted.size <= lateen_config::re2::PROGRAM_MAX);
    }
}

/// A stream of requests, each prefixed by its length in a byte: what a hostile client may send.
pub fn xds_requests(data: &[u8]) {
    let Some((&first, mut rest)) = data.split_first() else { return };
    let variant = if first & 1 == 0 { Variant::Sotw } else { Variant::Delta };
    let mut fake = Fake::new();
    let mut session = session(variant, first & 2 != 0);
    let mut now = 0;
    while let Some((&length, tail)) = rest.split_first() {
        let (message, tail) = tail.split_at(tail.len().min(usize::from(length)));
        rest = tail;
        now += u64::from(length) * 50;
        let request = match variant {
            Variant::Sotw => DiscoveryRequest::decode(message).map(Request::from),
            Variant::Delta => DeltaDiscoveryRequest::decode(message).map(Request::from),
        };
        let Ok(request) = request else { continue };
        if !drive(&mut session, &mut fake, &request, now) {
            return;
        }
    }
}

/// Names to subscribe to and to unsubscribe from, in both variants, separated by zero bytes.
pub fn subscription_names(data: &[u8]) {
    let Some((&first, rest)) = data.split_first() else { return };
    let names: Vec<String> =
        rest.split(|byte| *byte == 0).map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    let (some, others) = names.split_at(names.len() / 2);
    let kind = ResourceType::ALL[usize::from(first) % ResourceType::COUNT];
    let mut fake = Fake::new();
    for variant in [Variant::Sotw, Variant::Delta] {
        let mut session = session(variant, false);
        for (round, (subscribe, unsubscribe)) in
            [(some, others), (others, some), (&names, &[])].into_iter().enumerate()
        {
            let type_url = kind.info().url.to_owned();
            let request = match variant {
                Variant::Sotw => Request::from(DiscoveryRequest {
                    type_url,
                    resource_names: subscribe.to_vec(),
                    ..DiscoveryRequest::default()
                }),
                Variant::Delta => Request::from(DeltaDiscoveryRequest {
                    type_url,
                    resource_names_subscribe: subscribe.to_vec(),
                    resource_names_unsubscribe: unsubscribe.to_vec(),
                    ..DeltaDiscoveryRequest::default()
                }),
            };
            if !drive(&mut session, &mut fake, &request, round as u64) {
                break;
            }
        }
    }
}

/// One request and all its answers; false when the stream was refused.
fn drive(session: &mut Session, fake: &mut Fake, request: &Request, now: u64) -> bool {
    let mut outcome = Outcome::default();
    if session.on_request(request, &mut fake.names, now, &mut outcome).is_err() {
        return false;
    }
    for turn in 0.. {
        assert!(turn < 1000, "a request is answered without end");
        let Some(response) = session.next_response(fake, now) else { break };
        assert_eq!(response.len, response.frames.iter().map(bytes_len).sum::<usize>());
    }
    true
}

fn bytes_len(bytes: &impl AsRef<[u8]>) -> usize {
    bytes.as_ref().len()
}

fn session(variant: Variant, separate: bool) -> Session {
    Session::new(SessionOptions {
        variant,
        only: separate.then_some(ResourceType::Cluster),
        limits: Limits { names_max: 1000, ..Limits::default() },
        profile: ClientProfile::Envoy,
        stream: 1,
        identifier: Arc::from("fuzz"),
    })
}

/// A few resources of every type.
struct Fake {
    names: Names,
    resources: Vec<Arc<Resource>>,
}

impl Fake {
    fn new() -> Self {
        let mut names = Names::default();
        let mut resources = Vec::new();
        for kind in ResourceType::ALL {
            for text in ["a", "b", "80/c"] {
                let body = bytes::Bytes::from(format!("{kind}{text}"));
                let name = names.intern(text);
                resources.push(Arc::new(Resource {
                    kind,
                    name,
                    version: Version::of(&body),
                    body: Body::Whole(body),
                    refs: Refs::default(),
                    origins: Arc::from([]),
                }));
            }
        }
        Self { names, resources }
    }

    fn of(&self, kind: ResourceType) -> impl Iterator<Item = &Arc<Resource>> {
        self.resources.iter().filter(move |resource| resource.kind == kind)
    }
}

impl View for Fake {
    fn names(&self) -> &Names {
        &self.names
    }

    fn get(&self, kind: ResourceType, name: NameId) -> Option<&Arc<Resource>> {
        self.of(kind).find(|resource| resource.name == name)
    }

    fn members(&self, kind: ResourceType, visit: &mut dyn FnMut(NameId, &Arc<Resource>)) {
        self.of(kind).for_each(|resource| visit(resource.name, resource));
    }

    fn is_member(&self, kind: ResourceType, name: NameId) -> bool {
        self.get(kind, name).is_some()
    }

    fn hosts_of(&self, _: NameId, _: &mut dyn FnMut(NameId, &Arc<Resource>)) {}

    fn ready(&self) -> bool {
        true
    }

    fn last_good(&self, _: ResourceType, _: NameId) -> Option<&Arc<Resource>> {
        None
    }

    fn condemned(&self, _: &Resource) -> bool {
        false
    }
}
