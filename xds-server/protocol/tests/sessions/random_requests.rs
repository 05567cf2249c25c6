//! Requests that make no sense: nothing may panic, nothing may grow.

use lateen_xds::{Change, Limits, Request, ResourceType, SessionOptions, Variant};
use proptest::{collection::vec, prelude::*};

use crate::rig::{Ask, Cluster, Endpoints, Listener, Rig, RouteConfiguration, VirtualHost, options};

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-c]",
        1 => Just("*".to_owned()),
        1 => Just(String::new()),
        1 => "[ab]/[a-c]{0,2}",
        1 => any::<String>().prop_map(|text| text.chars().take(8).collect()),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    let url = prop_oneof![
        9 => proptest::sample::select(&ResourceType::ALL[..]).prop_map(|kind| kind.info().url.to_owned()),
        1 => any::<String>(),
    ];
    let nonce = prop_oneof![
        2 => Just(String::new()),
        5 => (0..12_u64).prop_map(|number| format!("7-{number:x}")),
        1 => any::<String>(),
    ];
    let change = prop_oneof![
        1 => vec(name(), 0..4).prop_map(|names| Change::Sotw { names }),
        1 => (vec(name(), 0..4), vec(name(), 0..4), proptest::collection::btree_map(name(), name(), 0..4))
            .prop_map(|(subscribe, unsubscribe, initial)| Change::Delta { subscribe, unsubscribe, initial }),
    ];
    let error = proptest::option::of(any::<String>());
    (url, nonce, error, change).prop_map(|(type_url, nonce, error, change)| Request {
        type_url,
        nonce,
        error,
        change,
    })
}

#[derive(Clone, Debug)]
enum Op {
    Request(Request),
    Change(ResourceType, String, u8, bool),
    Later(u64),
    Respond,
    Move,
}

fn op() -> impl Strategy<Value = Op> {
    let kinds =
        proptest::sample::select(&[Cluster, Endpoints, Listener, RouteConfiguration, VirtualHost][..]);
    prop_oneof![
        4 => request().prop_map(Op::Request),
        3 => (kinds, "[a-c]|[ab]/[a-c]", any::<u8>(), any::<bool>())
            .prop_map(|(kind, name, content, there)| Op::Change(kind, name, content, there)),
        1 => (0..20_000_u64).prop_map(Op::Later),
        4 => Just(Op::Respond),
        1 => Just(Op::Move),
    ]
}

proptest! {
    #![proptest_config(crate::random::config())]

    #[test]
    fn any_request_is_survived(ops in vec(op(), 0..80), delta: bool, only: bool) {
        let variant = if delta { Variant::Delta } else { Variant::Sotw };
        let limits = Limits { names_max: 20, ..Limits::default() };
        let only = only.then_some(Endpoints);
        let mut rig = Rig::with(SessionOptions { limits, only, ..options(variant) });
        for op in ops {
            match op {
                // A refusal ends the stream in real life; here it must leave the session usable.
                Op::Request(request) => drop(rig.try_send(&Ask(request))),
                Op::Change(kind, name, content, true) => {
                    let target = if kind == RouteConfiguration { VirtualHost } else { Cluster };
                    rig.put_refs(kind, &name, &content.to_string(), &[(target, &name), (Endpoints, &name)]);
                }
                Op::Change(kind, name, _, false) => rig.remove(kind, &name),
                Op::Later(ms) => rig.now_ms += ms,
                Op::Respond => drop(rig.next()),
                Op::Move => rig.session.on_view_moved(),
            }
            let _ = rig.session.status();
            prop_assert!(rig.session.memory_bytes() < 30_000);
        }
        let mut responses = 0;
        while rig.next().is_some() {
            responses += 1;
            prop_assert!(responses < 200, "no end");
        }
        rig.session.visit_names(&mut |name| assert!(rig.view.names.text(name).len() < 64));
    }
}
