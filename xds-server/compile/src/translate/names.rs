//! Names of resources, as Istio writes them.

use std::sync::Arc;

use lateen_model::{Host, Namespace};

use super::{Aliases, Bind};

/// Cluster for connections to where they were going anyway.
pub(crate) const PASSTHROUGH: &str = "PassthroughCluster";
/// Cluster without endpoints.
pub(crate) const BLACK_HOLE: &str = "BlackHoleCluster";
/// Listener that captured outbound connections come to.
pub(crate) const VIRTUAL_OUTBOUND: &str = "virtualOutbound";

/// `outbound|80|v1|reviews.default.svc.cluster.local`
pub(crate) fn cluster(port: u16, subset: Option<&str>, host: &str) -> Arc<str> {
    format!("outbound|{port}|{}|{host}", subset.unwrap_or_default()).into()
}

/// `0.0.0.0_80`; of a Unix socket its path.
pub(crate) fn listener(bind: &Bind) -> Arc<str> {
    if bind.port == 0 { bind.address.clone() } else { format!("{}_{}", bind.address, bind.port).into() }
}

/// `reviews.default.svc.cluster.local:80`
pub(crate) fn virtual_host(host: &Host, port: u16) -> Arc<str> {
    format!("{host}:{port}").into()
}

/// The short names under which clients in `namespace` know a platform's service.
pub(crate) fn aliases(host: &Host, namespace: &Namespace, domain: &str) -> Aliases {
    let Some(stem) = host.as_str().strip_suffix(domain).and_then(|rest| rest.strip_suffix(".svc.")) else {
        return Aliases::None;
    };
    match stem.split_once('.') {
        Some((name, of)) if !name.is_empty() && !name.contains('*') && !of.contains('.') => {
            if of == namespace.as_str() {
                Aliases::Short(stem.into())
            } else {
                Aliases::Qualified(stem.into())
            }
        }
        _ => Aliases::None,
    }
}

impl Aliases {
    /// The names, the longest first.
    pub(crate) fn names(&self) -> Vec<String> {
        match self {
            Self::None => Vec::new(),
            Self::Qualified(stem) => vec![format!("{stem}.svc"), stem.to_string()],
            Self::Short(stem) => {
                let name = stem.split('.').next().unwrap_or_default();
                vec![format!("{stem}.svc"), stem.to_string(), name.to_owned()]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_services_of_the_platform_have_short_names() {
        let shop = Namespace::from("shop");
        let names = |host: &str| aliases(&Host::from(host), &shop, "cluster.local").names();
        assert_eq!(names("cart.shop.svc.cluster.local"), ["cart.shop.svc", "cart.shop", "cart"]);
        assert_eq!(names("pay.bank.svc.cluster.local"), ["pay.bank.svc", "pay.bank"]);
        for host in ["api.example.com", "*.shop.svc.cluster.local", "a.b.c.svc.cluster.local", "*"] {
            assert_eq!(names(host), Vec::<String>::new(), "{host}");
        }
    }
}
