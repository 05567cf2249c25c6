//! References from one object to another.

/// The namespace and the name of the `Gateway` that an object of `namespace` names: `namespace/name`, `./name`,
/// `name`, or, where a dot stands in it, the old form `name.namespace` or `name.namespace.svc.cluster.local`.
/// <https://istio.io/latest/docs/reference/config/networking/virtual-service/#VirtualService-gateways>
pub fn gateway<'a>(reference: &'a str, namespace: &'a str) -> (&'a str, &'a str) {
    match (reference.split_once('/'), reference.split_once('.')) {
        (Some((".", name)), _) => (namespace, name),
        (Some((of, name)), _) => (of, name),
        (None, Some((name, rest))) => (rest.split('.').next().unwrap_or(rest), name),
        (None, None) => (namespace, reference),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_are_named_in_five_ways() {
        for (reference, expected) in [
            ("edge", ("shop", "edge")),
            ("./edge", ("shop", "edge")),
            ("infra/edge", ("infra", "edge")),
            ("edge.infra", ("infra", "edge")),
            ("edge.infra.svc.cluster.local", ("infra", "edge")),
            ("infra/edge.v2", ("infra", "edge.v2")),
        ] {
            assert_eq!(gateway(reference, "shop"), expected, "{reference}");
        }
    }
}
