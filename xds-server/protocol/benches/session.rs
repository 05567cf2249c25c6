//! What one change costs per session: `cargo bench -p lateen-xds`. 2,000 delta sessions that hold 1,000 clusters
//! and 1,000 assignments each; one assignment changes, every session is told, asked, and answered.
#![allow(clippy::print_stdout, reason = "a benchmark reports on stdout")]

use std::{hint::black_box, sync::Arc, time::Instant};

use bytes::Bytes;
use lateen_model::Version;
use lateen_xds::{
    Body, Change, ClientProfile, Limits, NameId, Names, Outcome, Request, Resource, ResourceRef,
    ResourceType, Session, SessionOptions, Variant, View, resource::Refs,
};

const SESSIONS: usize = 2_000;
const SERVICES: usize = 1_000;
const ROUNDS: usize = 50;

/// Tables by name, as the compiler has them.
#[derive(Default)]
struct Tables {
    names: Names,
    clusters: Vec<Option<Arc<Resource>>>,
    endpoints: Vec<Option<Arc<Resource>>>,
}

impl Tables {
    fn table(&self, kind: ResourceType) -> &[Option<Arc<Resource>>] {
        match kind {
            ResourceType::Cluster => &self.clusters,
            ResourceType::Endpoints => &self.endpoints,
            _ => &[],
        }
    }

    fn set(&mut self, kind: ResourceType, name: NameId, round: usize) {
        let body = format!("{round:08}").repeat(if kind == ResourceType::Cluster { 60 } else { 50 });
        let refs = if kind == ResourceType::Cluster {
            Refs::list(vec![ResourceRef { kind: ResourceType::Endpoints, name }])
        } else {
            Refs::default()
        };
        let version = Version::of(format!("{}{body}", name.index()).as_bytes());
        let body = Body::Whole(Bytes::from(body));
        let resource = Arc::new(Resource { kind, name, version, body, refs, origins: Arc::from([]) });
        let table = if kind == ResourceType::Cluster { &mut self.clusters } else { &mut self.endpoints };
        if table.len() <= name.index() {
            table.resize(name.index() + 1, None);
        }
        table[name.index()] = Some(resource);
    }
}

impl View for Tables {
    fn names(&self) -> &Names {
        &self.names
    }

    fn get(&self, kind: ResourceType, name: NameId) -> Option<&Arc<Resource>> {
        self.table(kind).get(name.index())?.as_ref()
    }

    fn members(&self, kind: ResourceType, visit: &mut dyn FnMut(NameId, &Arc<Resource>)) {
        self.table(kind).iter().flatten().for_each(|resource| visit(resource.name, resource));
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

fn request(kind: ResourceType, variant: Variant, names: &[String], nonce: &str) -> Request {
    let change = match variant {
        Variant::Sotw => Change::Sotw { names: names.to_vec() },
        Variant::Delta => Change::Delta {
            subscribe: if nonce.is_empty() { names.to_vec() } else { Vec::new() },
            unsubscribe: Vec::new(),
            initial: std::collections::BTreeMap::new(),
        },
    };
    Request { type_url: kind.info().url.into(), nonce: nonce.into(), error: None, change }
}

fn options(variant: Variant, stream: usize) -> SessionOptions {
    SessionOptions {
        variant,
        only: None,
        limits: Limits::default(),
        profile: ClientProfile::Envoy,
        stream: stream as u64,
        identifier: "lateen-bench".into(),
    }
}

fn run(variant: Variant) {
    let mut tables = Tables::default();
    let texts: Vec<String> =
        (0..SERVICES).map(|i| format!("outbound|80||service-{i}.ns-{}.svc.cluster.local", i % 40)).collect();
    let ids: Vec<NameId> = texts.iter().map(|text| tables.names.intern(text)).collect();
    for id in &ids {
        tables.set(ResourceType::Cluster, *id, 0);
        tables.set(ResourceType::Endpoints, *id, 0);
    }
    let mut outcome = Outcome::default();
    let start = Instant::now();
    let mut sessions: Vec<Session> = Vec::new();
    for stream in 0..SESSIONS {
        let mut session = Session::new(options(variant, stream));
        for (kind, names) in [(ResourceType::Cluster, &[][..]), (ResourceType::Endpoints, &texts[..])] {
            let first = request(kind, variant, names, "");
            session.on_request(&first, &mut tables.names, 0, &mut outcome).expect("a good request");
            while let Some(response) = session.next_response(&tables, 0) {
                let answer = request(response.kind, variant, names, &response.nonce);
                session.on_request(&answer, &mut tables.names, 0, &mut outcome).expect("a good request");
            }
        }
        sessions.push(session);
    }
    let cold = start.elapsed();
    let memory: usize = sessions.iter().map(Session::memory_bytes).sum::<usize>() / SESSIONS;
    let (mut push, mut answer) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let id = ids[round * 7 % SERVICES];
        tables.set(ResourceType::Endpoints, id, round);
        let mut nonces = Vec::with_capacity(SESSIONS);
        let start = Instant::now();
        for session in &mut sessions {
            session.on_changed(ResourceType::Endpoints, &[id]);
            let response = session.next_response(&tables, 1).expect("a response");
            nonces.push(black_box(response).nonce);
        }
        push.push(start.elapsed().as_nanos());
        let answers: Vec<Request> =
            nonces.iter().map(|nonce| request(ResourceType::Endpoints, variant, &texts, nonce)).collect();
        let start = Instant::now();
        for (session, answer) in sessions.iter_mut().zip(&answers) {
            session.on_request(answer, &mut tables.names, 1, &mut outcome).expect("a good request");
            assert!(session.next_response(&tables, 1).is_none());
        }
        answer.push(start.elapsed().as_nanos());
        assert_eq!(outcome.acked.len(), 1);
    }
    // The fastest round: what else runs on the machine only adds.
    let least = |rounds: &[u128]| rounds.iter().min().map_or(0, |ns| ns / SESSIONS as u128);
    println!(
        "{variant:?}: on_changed + next_response {} ns, answer {} ns, {memory} bytes per session, cold {} us per session",
        least(&push),
        least(&answer),
        cold.as_micros() / SESSIONS as u128,
    );
}

fn main() {
    run(Variant::Delta);
    run(Variant::Sotw);
}
