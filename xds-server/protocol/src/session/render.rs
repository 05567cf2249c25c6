//! From a plan to bytes.

use std::collections::BTreeSet;

use lateen_model::Version;

use crate::{
    NameId, Resource, ResourceType, Response, Variant, View,
    channel::Channel,
    encode::{self, Content, Envelope, ErrorCode, Item, ItemError},
    faults::{Fault, active},
    held::{HELD, NAMED},
};

use super::{
    Session,
    compose::{Plan, code_of},
};

impl Session {
    /// The response that `plan` is, after it was written down what the client holds by it.
    pub(super) fn render(&self, channel: &Channel, plan: &Plan<'_>, view: &dyn View) -> Response {
        let names = view.names();
        let delta = self.options.variant == Variant::Delta;
        let mut items = self.resources(channel, plan, view);
        let mut gone: Vec<&str> = Vec::new();
        let mut errors: Vec<ItemError<'_>> = Vec::new();
        let tells = self.options.profile.reads_resource_errors() && !active(Fault::NoResourceErrors);
        let mut tell = |name: NameId| {
            let asked = channel.held.get(name).is_some_and(|entry| entry.is(NAMED));
            if tells && asked {
                errors.push(ItemError { name: names.text(name), code: code_of(channel.kind, name, view) });
            }
        };
        plan.removed.iter().chain(&plan.unavailable).for_each(|name| tell(*name));
        if delta {
            gone.extend(plan.removed.iter().map(|name| &**names.text(*name)));
        }
        for &name in &plan.absent {
            let text = &**names.text(name);
            let asked = channel.held.get(name).is_some_and(|entry| entry.is(NAMED));
            match (channel.kind, delta) {
                (ResourceType::VirtualHost, true) if active(Fault::SilentAboutHost) => {}
                // A host that was asked for: without a resource, but with its alias, the request that waits for
                // it is answered; a removal would leave it waiting.
                // <https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/vhds#subscribing-to-resources>
                (ResourceType::VirtualHost, true) if asked => {
                    let alias = std::slice::from_ref(names.text(name));
                    items.push(Item { name: text, content: Content::NoHost, aliases: alias, ttl_ms: None });
                }
                // <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#knowing-when-a-requested-resource-does-not-exist>
                (_, true) => {
                    gone.push(text);
                    tell(name);
                }
                // An empty response does not end the warming of a cluster, an empty assignment does.
                (ResourceType::Endpoints, false)
                    if !tells || code_of(channel.kind, name, view) == ErrorCode::NotFound =>
                {
                    items.push(Item {
                        name: text,
                        content: Content::NoEndpoints,
                        aliases: &[],
                        ttl_ms: None,
                    });
                }
                (_, false) => tell(name),
            }
        }
        // An empty response does not end the warming of a listener that waits for hosts, a removal does.
        let placeholder = plan.hostless.map(|name| format!("{}/none", names.text(name)));
        gone.extend(placeholder.as_deref());
        if active(Fault::DuplicateResource) {
            let first = items.first().copied();
            items.extend(first);
        }
        let nonce = self.nonce();
        let version = if active(Fault::ConstantVersion) {
            Version(1)
        } else if active(Fault::CountingVersion) {
            Version(self.number)
        } else {
            channel.held.version()
        };
        let envelope =
            Envelope { kind: channel.kind, version, nonce: &nonce, identifier: &self.options.identifier };
        let (resources, removed) = (items.len(), gone.len());
        let (frames, len) = if delta {
            encode::delta(&envelope, &items, &gone, &errors)
        } else {
            encode::sotw(&envelope, &items, &errors)
        };
        Response { kind: channel.kind, nonce, frames, len, resources, removed }
    }

    /// The resources of the response: what changed, or in a complete set all that the client holds now.
    fn resources<'a>(&'a self, channel: &'a Channel, plan: &Plan<'a>, view: &'a dyn View) -> Vec<Item<'a>> {
        let item = |resource: &'a Resource, content| {
            let spelling = view.spelling(channel.kind, resource.name);
            Item {
                name: view.names().text(spelling.map_or(resource.name, |spelling| spelling.name)),
                content,
                aliases: spelling.map_or(&[], |spelling| spelling.aliases),
                ttl_ms: self.ttl_ms(resource, view).filter(|_| !active(Fault::NoTtl)),
            }
        };
        let bodyless = active(Fault::BodylessHeartbeat) && !plan.same.is_empty();
        if channel.full && !bodyless && !active(Fault::PartialSet) {
            let holds = |name| channel.held.get(name).is_some_and(|entry| entry.is(HELD));
            let kept = channel.kept.iter().filter(|keep| holds(keep.name));
            return kept.filter_map(|keep| keep.sent.as_deref()).map(|r| item(r, Content::Full(r))).collect();
        }
        let changed = plan.sends.iter().map(|r| item(r, Content::Full(r)));
        let mut items: Vec<Item<'a>> =
            changed.chain(plan.same.iter().map(|r| item(r, Content::Same(r.version)))).collect();
        if items.iter().any(|item| !item.aliases.is_empty()) {
            // Asked for by two of its names, it is told once: clients reject a name that comes twice.
            let mut told = BTreeSet::new();
            items.retain(|item| told.insert(item.name));
        }
        items
    }
}
