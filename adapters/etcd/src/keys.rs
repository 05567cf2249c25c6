//! Which key is what.

use std::sync::Arc;

/// Longest service or instance name, as DNS has it.
const NAME_MAX: usize = 253;
/// Longest namespace: a DNS label.
const NAMESPACE_MAX: usize = 63;

/// Where things are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Layout {
    /// Of all keys; ends in a slash.
    pub(crate) prefix: Arc<str>,
    /// Of documents; ends in a slash.
    pub(crate) config_prefix: Arc<str>,
}

/// What a key is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Item<'a> {
    /// A document.
    Document,
    /// The definition of a service, by `NAMESPACE/NAME`.
    Service(&'a str),
    /// An instance of a service.
    Endpoint {
        /// `NAMESPACE/NAME`.
        service: &'a str,
        /// Its own name.
        instance: &'a str,
    },
    /// A service or an instance whose key makes no sense.
    Bad {
        /// Is it an instance?
        part: Part,
        /// What is wrong.
        why: String,
    },
    /// Nothing that is read here.
    Other,
}

/// Parts of the layout that hold services.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Part {
    /// `services/`
    Services,
    /// `endpoints/`
    Endpoints,
}

impl Layout {
    /// What is this key?
    pub(crate) fn item<'a>(&self, key: &'a str) -> Item<'a> {
        if key.starts_with(&*self.config_prefix) {
            return if key.ends_with('/') { Item::Other } else { Item::Document };
        }
        let Some(rest) = key.strip_prefix(&*self.prefix) else { return Item::Other };
        if let Some(service) = rest.strip_prefix("services/") {
            return match check_service(service) {
                Ok(()) => Item::Service(service),
                Err(why) => Item::Bad { part: Part::Services, why },
            };
        }
        let Some(rest) = rest.strip_prefix("endpoints/") else { return Item::Other };
        let split = rest.match_indices('/').nth(1).map(|(at, _)| rest.split_at(at));
        let Some((service, instance)) = split.map(|(service, rest)| (service, &rest[1..])) else {
            let why = "it is not endpoints/NAMESPACE/NAME/INSTANCE".to_owned();
            return Item::Bad { part: Part::Endpoints, why };
        };
        match check_service(service).and_then(|()| check_instance(instance)) {
            Ok(()) => Item::Endpoint { service, instance },
            Err(why) => Item::Bad { part: Part::Endpoints, why },
        }
    }

    /// Key of a service's definition.
    pub(crate) fn service(&self, service: &str) -> String {
        format!("{}services/{service}", self.prefix)
    }

    /// Key of an instance.
    pub(crate) fn endpoint(&self, service: &str, instance: &str) -> String {
        format!("{}endpoints/{service}/{instance}", self.prefix)
    }
}

/// Is this a `NAMESPACE/NAME`?
pub(crate) fn check_service(service: &str) -> Result<(), String> {
    let Some((namespace, name)) = service.split_once('/') else {
        return Err(format!("{service:?} is not NAMESPACE/NAME"));
    };
    let label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if namespace.is_empty() || namespace.len() > NAMESPACE_MAX || !namespace.chars().all(label) {
        return Err(format!("{namespace:?} is no namespace: lower case letters, digits and -, at most 63"));
    }
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(letter) {
        return Err(format!("{name:?} is no service name: letters, digits, -, _ and dots, at most 253"));
    }
    Ok(())
}

fn check_instance(instance: &str) -> Result<(), String> {
    if instance.is_empty() || instance.len() > NAME_MAX || instance.chars().any(char::is_control) {
        return Err(format!(
            "{instance:?} is no name of an instance: at most 253 bytes, no control characters"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout {
        Layout { prefix: "/lateen/".into(), config_prefix: "/lateen/config/".into() }
    }

    #[test]
    fn keys_are_told_apart() {
        let layout = layout();
        assert_eq!(layout.item("/lateen/config/shop/routes.yaml"), Item::Document);
        assert_eq!(layout.item("/lateen/services/shop/cart"), Item::Service("shop/cart"));
        let endpoint = Item::Endpoint { service: "shop/cart", instance: "10.0.0.1:80" };
        assert_eq!(layout.item("/lateen/endpoints/shop/cart/10.0.0.1:80"), endpoint);
        assert_eq!(layout.item("/lateen/leader/status/1"), Item::Other);
        assert_eq!(layout.item("/other"), Item::Other);
        assert_eq!(layout.item(&layout.endpoint("shop/cart", "10.0.0.1:80")), endpoint);
        assert_eq!(layout.item(&layout.service("a/b")), Item::Service("a/b"));
    }

    #[test]
    fn keys_that_make_no_sense_are_bad() {
        for key in ["services/x", "services/A/b", "services/a/b c", "services/a/b/c", "services//b"] {
            let key = format!("/lateen/{key}");
            assert!(matches!(layout().item(&key), Item::Bad { part: Part::Services, .. }), "{key}");
        }
        let long = format!("endpoints/a/b/{}", "x".repeat(254));
        for key in ["endpoints/a/b", "endpoints/a/b/", "endpoints/a/b/\n", "endpoints/a/é/x", &long] {
            let key = format!("/lateen/{key}");
            assert!(matches!(layout().item(&key), Item::Bad { part: Part::Endpoints, .. }), "{key}");
        }
    }
}
