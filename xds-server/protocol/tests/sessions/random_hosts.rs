//! VHDS under random use, against a client with Envoy's quirks: one empty request per stream, hosts forgotten
//! together with their route configuration without a word, versions listed that it no longer has.

use std::collections::{BTreeMap, VecDeque};

use proptest::{collection::vec, prelude::*};

use crate::rig::{Reply, Rig, RouteConfiguration, VirtualHost, delta};

#[derive(Clone, Debug)]
enum Op {
    Routes(u8, u8),
    Host(u8, u8, u8),
    NoHost(u8, u8),
    Subscribe(u8),
    Unsubscribe(u8),
    Deliver,
    Answer,
    Reconnect,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        1 => (0..3_u8, 0..9_u8).prop_map(|(rc, content)| Op::Routes(rc, content)),
        3 => (0..3_u8, 0..3_u8, 0..10_u8).prop_map(|(rc, host, content)| Op::Host(rc, host, content)),
        1 => (0..3_u8, 0..3_u8).prop_map(|(rc, host)| Op::NoHost(rc, host)),
        2 => (0..3_u8).prop_map(Op::Subscribe),
        1 => (0..3_u8).prop_map(Op::Unsubscribe),
        5 => Just(Op::Deliver),
        5 => Just(Op::Answer),
        1 => Just(Op::Reconnect),
    ];
    vec(op, 0..80)
}

#[derive(Default)]
struct Envoy {
    subscribed: Vec<String>,
    /// Route configurations, with hosts by name.
    routes: BTreeMap<String, BTreeMap<String, String>>,
    route_versions: BTreeMap<String, String>,
    /// What it reports as held, rightly or not.
    reported: BTreeMap<String, String>,
    asked_for_hosts: bool,
    inbox: VecDeque<Reply>,
}

fn pairs(map: &BTreeMap<String, String>) -> Vec<(&str, &str)> {
    map.iter().map(|(name, version)| (name.as_str(), version.as_str())).collect()
}

impl Envoy {
    fn subscribe(&mut self, rig: &mut Rig, name: &str) {
        if !self.subscribed.iter().any(|known| known == name) {
            self.subscribed.push(name.into());
            rig.send(&delta(RouteConfiguration, &[name], &[]));
        }
    }

    fn unsubscribe(&mut self, rig: &mut Rig, name: &str) {
        if self.subscribed.iter().any(|known| known == name) {
            self.subscribed.retain(|known| known != name);
            self.routes.remove(name);
            self.route_versions.remove(name);
            rig.send(&delta(RouteConfiguration, &[], &[name]));
        }
    }

    fn answer(&mut self, rig: &mut Rig) -> bool {
        let Some(reply) = self.inbox.pop_front() else { return false };
        if reply.kind() == RouteConfiguration {
            for name in reply.names() {
                if self.subscribed.iter().any(|known| known == name) {
                    self.routes.entry(name.into()).or_default();
                    self.route_versions.insert(name.into(), reply.versions[name].clone());
                }
            }
            rig.ack(&reply);
            if !self.asked_for_hosts {
                self.asked_for_hosts = true;
                rig.send(&delta(VirtualHost, &[], &[]).holding(&pairs(&self.reported)));
            }
            return true;
        }
        if reply.resources.values().flatten().any(|content| content == "9") {
            rig.nack(&reply, "bad");
            return true;
        }
        for (name, content) in &reply.resources {
            let (owner, _) = name.rsplit_once('/').unwrap();
            self.reported.insert(name.clone(), reply.versions[name].clone());
            if let Some(hosts) = self.routes.get_mut(owner) {
                hosts.insert(name.clone(), content.clone().unwrap());
            }
        }
        for name in &reply.removed {
            let (owner, _) = name.rsplit_once('/').unwrap();
            self.reported.remove(name);
            if let Some(hosts) = self.routes.get_mut(owner) {
                hosts.remove(name);
            }
        }
        rig.ack(&reply);
        true
    }

    fn reconnect(&mut self, rig: &mut Rig) {
        // A stream that breaks between a route configuration that came back and one of its hosts: Envoy then reports
        // the hosts that it had before, which it has not, and nothing on the wire gives that away.
        let lacks = |host: &String| {
            let routes = self.routes.get(host.rsplit_once('/').unwrap().0);
            routes.is_some_and(|hosts| !hosts.contains_key(host))
        };
        if self.reported.keys().any(lacks) {
            return;
        }
        rig.reconnect();
        self.inbox.clear();
        if self.subscribed.is_empty() {
            self.asked_for_hosts = false;
            return;
        }
        let names: Vec<&str> = self.subscribed.iter().map(String::as_str).collect();
        rig.send(&delta(RouteConfiguration, &names, &[]).holding(&pairs(&self.route_versions)));
        if self.asked_for_hosts {
            rig.send(&delta(VirtualHost, &[], &[]).holding(&pairs(&self.reported)));
        }
    }
}

fn run(rig: &mut Rig, envoy: &mut Envoy, op: &Op) {
    let (rc, host) = (|rc: &u8| format!("8{rc}"), |rc: &u8, host: &u8| format!("8{rc}/h{host}"));
    match op {
        Op::Routes(i, content) => {
            let name = rc(i);
            rig.put_refs(RouteConfiguration, &name, &content.to_string(), &[(VirtualHost, &name)]);
        }
        Op::Host(i, j, content) => rig.put(VirtualHost, &host(i, j), &content.to_string()),
        Op::NoHost(i, j) => rig.remove(VirtualHost, &host(i, j)),
        Op::Subscribe(i) => envoy.subscribe(rig, &rc(i)),
        Op::Unsubscribe(i) => envoy.unsubscribe(rig, &rc(i)),
        Op::Deliver => envoy.inbox.extend(rig.next()),
        Op::Answer => drop(envoy.answer(rig)),
        Op::Reconnect => envoy.reconnect(rig),
    }
}

/// Delivers and answers until there is nothing more to say.
fn until_quiet(rig: &mut Rig, envoy: &mut Envoy) {
    loop {
        let next = rig.next();
        let moved = next.is_some();
        envoy.inbox.extend(next);
        if !envoy.answer(rig) && !moved {
            let Some(deadline) = rig.session.deadline() else { break };
            rig.now_ms = rig.now_ms.max(deadline);
        }
    }
}

proptest! {
    #![proptest_config(crate::random::config())]

    #[test]
    fn envoy_ends_with_the_hosts_of_its_route_configurations(ops in ops()) {
        let (mut rig, mut envoy) = (Rig::delta(), Envoy::default());
        for op in &ops {
            run(&mut rig, &mut envoy, op);
        }
        until_quiet(&mut rig, &mut envoy);
        for name in &envoy.subscribed {
            let exists = rig.view.names.find(name)
                .is_some_and(|id| rig.view.resources.contains_key(&(RouteConfiguration, id)));
            prop_assert_eq!(exists, envoy.routes.contains_key(name), "{}", name);
            let Some(hosts) = envoy.routes.get(name) else { continue };
            for j in 0..3 {
                let host = format!("{name}/h{j}");
                let id = rig.view.names.find(&host);
                let there = id.and_then(|id| rig.view.resources.get(&(VirtualHost, id)));
                let content = there.map(|there| String::from_utf8(there.body.bytes().to_vec()).unwrap());
                let content = content.map(|text| text.split_once('=').unwrap().1.to_owned());
                if content.as_deref() != Some("9") {
                    prop_assert_eq!(&content, &hosts.get(&host).cloned(), "{}", host);
                }
            }
        }
    }
}

/// The client unsubscribes a route configuration while one of its hosts is on the way, and subscribes it again.
#[test]
fn a_host_that_is_overtaken_and_goes_is_removed() {
    let (mut rig, mut envoy) = (Rig::delta(), Envoy::default());
    let ops = [Op::Routes(0, 0), Op::Host(0, 1, 0), Op::Subscribe(0), Op::Deliver, Op::Deliver];
    let again = [Op::Unsubscribe(0), Op::NoHost(0, 1), Op::Subscribe(0)];
    for op in ops.iter().chain(&again) {
        run(&mut rig, &mut envoy, op);
    }
    until_quiet(&mut rig, &mut envoy);
    assert_eq!(envoy.routes["80"], BTreeMap::new());
}
