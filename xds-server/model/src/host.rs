//! Host names and namespaces.

use std::{borrow::Borrow, fmt, sync::Arc};

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $type(Arc<str>);

        impl $type {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $type {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $type {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

name! {
    /// A fully qualified host name in lower case (`reviews.default.svc.cluster.local`), or a wildcard
    /// (`*.example.com`, `*`).
    Host
}

name! {
    /// A namespace. Platforms without namespaces use `default`.
    Namespace
}

impl Host {
    /// Resolves a host as Istio does: a name without a dot is a service of `namespace`.
    /// <https://istio.io/latest/docs/reference/config/networking/virtual-service/#VirtualService>
    pub fn resolve(short: &str, namespace: &Namespace, domain: &str) -> Self {
        let lower = short.trim_end_matches('.').to_ascii_lowercase();
        if lower.contains('.') || lower == "*" {
            Self::from(lower)
        } else {
            Self::from(format!("{lower}.{namespace}.svc.{domain}"))
        }
    }

    /// Does the name start with `*`?
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with('*')
    }

    /// Does this host, perhaps a wildcard, cover `other`, perhaps a wildcard too?
    pub fn covers(&self, other: &Host) -> bool {
        match self.0.strip_prefix('*') {
            None => self == other,
            Some(suffix) => {
                let rest = other.0.strip_prefix('*').unwrap_or(&other.0);
                rest.ends_with(suffix) && (rest.len() > suffix.len() || other.is_wildcard())
            }
        }
    }

    /// The wildcards that cover this host, the most specific first, `*` last; the host itself is not among
    /// them. At most one for each label: a look-up by wildcard is this many keyed reads, never a scan.
    pub fn wildcards(&self) -> impl Iterator<Item = Host> + '_ {
        let body = self.0.strip_prefix("*.").unwrap_or(&self.0);
        let parents = body
            .match_indices('.')
            .map(move |(dot, _)| Host::from(format!("*{}", &body[dot..])))
            .chain(std::iter::once(Host::from("*")));
        parents.filter(move |parent| parent != self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_belong_to_the_namespace() {
        let namespace = Namespace::from("shop");
        let resolve = |short| Host::resolve(short, &namespace, "cluster.local").to_string();
        assert_eq!(resolve("Cart"), "cart.shop.svc.cluster.local");
        assert_eq!(resolve("cart.other"), "cart.other");
        assert_eq!(resolve("*"), "*");
        assert_eq!(resolve("example.com."), "example.com");
    }

    #[test]
    fn wildcards_go_from_specific_to_general() {
        let all: Vec<_> = Host::from("a.b.c").wildcards().map(|h| h.to_string()).collect();
        assert_eq!(all, ["*.b.c", "*.c", "*"]);
        let all: Vec<_> = Host::from("*.b.c").wildcards().map(|h| h.to_string()).collect();
        assert_eq!(all, ["*.c", "*"]);
        assert!(Host::from("*.b.c").covers(&Host::from("a.b.c")));
        assert!(!Host::from("*.b.c").covers(&Host::from("b.c")));
        assert!(Host::from("*").covers(&Host::from("*.c")));
        assert!(!Host::from("a.b").covers(&Host::from("*.b")));
    }
}
