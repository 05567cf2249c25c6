//! VHDS as stock Envoy speaks it on an aggregated stream: one empty request for the whole type, whatever the
//! number of route configurations, and none when a route configuration comes back. So a route configuration
//! that is sent is the subscription to its hosts.
//! <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/vhds>

use std::collections::BTreeMap;

use crate::{
    NameId, Names, Outcome, Resource, ResourceRef, ResourceType, Variant, View,
    channel::Channel,
    held::{HELD, NAMED},
};

use super::{Channels, Session, bit};

/// The route configuration in the name of a virtual host (`ROUTE_CONFIGURATION/HOST`).
pub(super) fn route_configuration_of(host: &str) -> Option<&str> {
    host.rsplit_once('/').map(|(route_configuration, _)| route_configuration)
}

/// Does the client have the route configuration of this virtual host?
pub(super) fn is_active(channels: &Channels, host: NameId, view: &dyn View) -> bool {
    let names = view.names();
    route_configuration_of(names.text(host)).and_then(|text| names.find(text)).is_some_and(|name| {
        let routes = channels.get(ResourceType::RouteConfiguration.index()).and_then(Option::as_deref);
        routes.and_then(|routes| routes.held.get(name)).is_some_and(|entry| entry.is(NAMED) && entry.is(HELD))
    })
}

/// Are the hosts of this route configuration delivered by VHDS?
pub(super) fn has_hosts(resource: &Resource) -> bool {
    resource.kind == ResourceType::RouteConfiguration
        && resource.refers_to(ResourceRef { kind: ResourceType::VirtualHost, name: resource.name })
}

impl Session {
    /// The hosts of a route configuration that goes out now follow it; with `FORCE` even those that the client
    /// is thought to have: it forgets them together with the route configuration and does not say so.
    pub(super) fn push_hosts(&mut self, resource: &Resource, force: u32, view: &dyn View, now_ms: u64) {
        if self.options.variant != Variant::Delta || !has_hosts(resource) {
            return;
        }
        let name = resource.name;
        let options = self.options.clone();
        let slot = self.channel(ResourceType::VirtualHost);
        let hosts = slot.get_or_insert_with(|| Box::new(Channel::new(ResourceType::VirtualHost, &options)));
        if !hosts.implicit {
            return;
        }
        let mut all = Vec::new();
        view.hosts_of(name, &mut |host, _| all.push(host));
        hosts.held.make_room(&all);
        for &host in &all {
            hosts.mark(host, force);
        }
        let names = view.names();
        let of_this = |host: &mut NameId| route_configuration_of(names.text(*host)) == Some(names.text(name));
        let overtaken: Vec<NameId> = hosts.overtaken.extract_if(.., of_this).collect();
        for host in overtaken {
            // Held in a form that is none of ours: what is gone meanwhile is removed.
            hosts.claim(host, "", names);
        }
        if force == 0 && !hosts.requested {
            // The request in which the client says which it holds is on its way: when everybody comes back at once,
            // for long.
            hosts.not_before_ms = now_ms + options.limits.reconnect_ms;
        } else if force != 0 {
            hosts.not_before_ms = 0;
        }
        if all.is_empty() && force != 0 && !hosts.hostless.contains(&name) {
            hosts.hostless.push(name);
        }
        self.dirty |= bit(ResourceType::VirtualHost);
    }

    /// All hosts of all route configurations that the client has are to be compared with the view.
    pub(super) fn rescan_hosts(&self, hosts: &mut Channel, view: &dyn View) {
        let Some(routes) = self.peek(ResourceType::RouteConfiguration) else { return };
        let mut all = Vec::new();
        for entry in routes.held.iter().filter(|entry| entry.is(NAMED) && entry.is(HELD)) {
            view.hosts_of(entry.name, &mut |host, _| all.push(host));
        }
        hosts.held.make_room(&all);
        for host in all {
            hosts.mark(host, 0);
        }
    }

    /// What a client that has reconnected says it holds. Envoy also lists the hosts of route configurations
    /// that it has dropped; only those that it has subscribed to on this stream can be believed.
    pub(super) fn claim_hosts(&mut self, initial: &BTreeMap<String, String>, names: &mut Names) {
        let Some(mut hosts) = self.channel(ResourceType::VirtualHost).take() else { return };
        hosts.not_before_ms = 0;
        if hosts.implicit {
            let routes = self.peek(ResourceType::RouteConfiguration);
            let mut believed = Vec::new();
            for (text, version) in initial {
                let active = route_configuration_of(text)
                    .and_then(|text| names.find(text))
                    .and_then(|name| routes.and_then(|routes| routes.held.get(name)))
                    .is_some_and(|entry| entry.is(NAMED));
                if active {
                    believed.push((names.intern(text), version));
                }
            }
            hosts.held.make_room(&believed.iter().map(|(name, _)| *name).collect::<Vec<_>>());
            // One that is about to follow its route configuration is sent all the same.
            for (name, version) in believed {
                hosts.claim(name, version, names);
            }
            hosts.rescan = true;
        }
        *self.channel(ResourceType::VirtualHost) = Some(hosts);
    }

    /// The hosts of route configurations that the client has unsubscribed are forgotten: when it subscribes
    /// again, it must be sent all of them.
    pub(super) fn drop_hosts(&mut self, names: &Names, outcome: &Outcome) {
        let Some(hosts) = self.channel(ResourceType::VirtualHost).as_deref_mut() else { return };
        let dropped: Vec<&str> = outcome
            .unsubscribed
            .iter()
            .filter(|(kind, _)| *kind == ResourceType::RouteConfiguration)
            .map(|(_, name)| &**names.text(*name))
            .collect();
        if dropped.is_empty() || !hosts.implicit {
            return;
        }
        let left: Vec<NameId> = hosts
            .held
            .iter()
            .map(|entry| entry.name)
            .filter(|host| route_configuration_of(names.text(*host)).is_some_and(|rc| dropped.contains(&rc)))
            .collect();
        hosts.forget(&left, names);
        if hosts.flight.is_empty() {
            hosts.overtaken.clear();
        } else {
            hosts.overtaken.extend(left);
        }
        hosts.hostless.retain(|name| !dropped.contains(&&**names.text(*name)));
    }
}
