//! What an accepted version refers to stays until the version after it is accepted; then the tables are those of a
//! cold compile again.

use lateen_xds::{Acked, Resource};

use super::*;
use crate::NodeHandle;

const ORDER: [ResourceType; 3] =
    [ResourceType::Listener, ResourceType::RouteConfiguration, ResourceType::Cluster];

/// Every client accepts everything that it sees.
fn accept_all(compiler: &mut Compiler, handles: &[NodeHandle]) -> Vec<(NodeHandle, Arc<Resource>)> {
    let mut accepted = Vec::new();
    for handle in handles {
        for kind in ORDER {
            compiler
                .view(*handle)
                .members(kind, &mut |_, resource| accepted.push((*handle, resource.clone())));
        }
    }
    for (handle, resource) in &accepted {
        let Resource { kind, name, version, .. } = **resource;
        compiler.acked(*handle, &Acked { kind, name, version });
    }
    accepted
}

/// Something that an accepted resource, whose successor nobody accepted, refers to and that is gone.
fn missing(compiler: &Compiler, accepted: &[(NodeHandle, Arc<Resource>)]) -> Option<String> {
    for (handle, resource) in accepted {
        let view = compiler.view(*handle);
        // A route to a service that does not exist has the same bytes: it is the current version then.
        let current = view.get(resource.kind, resource.name);
        if current.is_none_or(|current| current.version == resource.version) {
            continue;
        }
        let mut gone = None;
        resource.refs.visit(&mut |target| {
            if target.kind != ResourceType::Endpoints && view.get(target.kind, target.name).is_none() {
                gone = Some(target);
            }
        });
        if let Some(target) = gone {
            let text = |name| compiler.names().text(name).clone();
            return Some(format!(
                "accepted {} {} names {} {}",
                resource.kind,
                text(resource.name),
                target.kind,
                text(target.name)
            ));
        }
    }
    None
}

fn fault(edits: &[(Edit, bool)]) -> Option<String> {
    let mut registry = Registry::new(&[SourceId("test".into())]);
    let mut compiler = Compiler::new();
    let nodes = nodes();
    let handles: Vec<_> = nodes.iter().map(|node| compiler.attach(registry.world(), node)).collect();
    let mut accepted = Vec::new();
    let mut tables: Vec<_> = handles.iter().map(|handle| compiler.tables_of(*handle)).collect();
    for (step, (edit, accepts)) in edits.iter().enumerate() {
        let changes = apply(&mut registry, edit);
        compiler.apply(registry.world(), &changes);
        for handle in &handles {
            compiler.subscribe_all(registry.world(), *handle);
        }
        // What is kept is kept by tables: a node that reads others now begins anew, as if it had just joined.
        for (handle, before) in handles.iter().zip(&mut tables) {
            let now = compiler.tables_of(*handle);
            if std::mem::replace(before, now.clone()) != now {
                accepted.retain(|(other, _)| other != handle);
            }
        }
        if let Some(missing) = missing(&compiler, &accepted) {
            return Some(format!("step {step}, {edit:?}: {missing}"));
        }
        if *accepts {
            accepted = accept_all(&mut compiler, &handles);
        } else {
            accepted.retain_mut(|(handle, resource)| {
                let view = compiler.view(*handle);
                // A name that went and came back is a new one: nobody has accepted it.
                let Some(current) = view.get(resource.kind, resource.name) else { return false };
                if current.version == resource.version {
                    *resource = current.clone();
                }
                true
            });
        }
    }
    accept_all(&mut compiler, &handles);
    let (cold, cold_handles) = Compiler::cold(registry.world(), &nodes);
    let differs =
        |(warm, other): (&NodeHandle, &NodeHandle)| compiler.contents(*warm) != cold.contents(*other);
    handles
        .iter()
        .zip(&cold_handles)
        .any(differs)
        .then(|| "accepted by all, and not what a cold compile gives".to_owned())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_is_kept_keeps_what_it_names(
        edits in proptest::collection::vec((documents(), any::<bool>()), 1..20)
    ) {
        prop_assert_eq!(fault(&edits), None);
    }
}
