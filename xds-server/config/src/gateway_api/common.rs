//! References that several kinds share. An empty group is the core group; an absent one is the default that
//! the field's documentation names.

use crate::decode::{GatewayDuration, choice, object};

object! {
    /// What a route attaches to: a `Gateway` unless said otherwise, or a `Service` (mesh).
    /// <https://gateway-api.sigs.k8s.io/reference/spec/#parentreference>
    pub struct ParentRef {
        /// None is `gateway.networking.k8s.io`.
        group: Option<String> = "group",
        /// None is `Gateway`.
        kind: Option<String> = "kind",
        /// None is the route's own.
        namespace: Option<String> = "namespace",
        name: String = "name",
        section_name: Option<String> = "sectionName",
        port: Option<u32> = "port",
    }
}

impl ParentRef {
    /// Does it name a `Gateway`?
    pub fn is_gateway(&self) -> bool {
        self.group.as_deref().unwrap_or("gateway.networking.k8s.io") == "gateway.networking.k8s.io"
            && self.kind.as_deref().unwrap_or("Gateway") == "Gateway"
    }

    /// Does it name a `Service`?
    pub fn is_service(&self) -> bool {
        self.group.as_deref() == Some("") && self.kind.as_deref() == Some("Service")
    }
}

object! {
    /// What requests are sent to, without a weight.
    pub struct BackendObjectRef {
        /// None is the core group.
        group: Option<String> = "group",
        /// None is `Service`.
        kind: Option<String> = "kind",
        name: String = "name",
        /// None is the route's own.
        namespace: Option<String> = "namespace",
        port: Option<u32> = "port",
    }
}

/// Anything that names a backend.
pub trait Backend {
    /// The group, where it is given.
    fn group(&self) -> Option<&str>;
    /// The kind, where it is given.
    fn kind(&self) -> Option<&str>;

    /// Does it name a `Service`?
    fn is_service(&self) -> bool {
        self.group().unwrap_or_default().is_empty() && self.kind().unwrap_or("Service") == "Service"
    }
}

macro_rules! backend {
    ($($type:ty),*) => {$(
        impl $crate::gateway_api::Backend for $type {
            fn group(&self) -> Option<&str> {
                self.group.as_deref()
            }

            fn kind(&self) -> Option<&str> {
                self.kind.as_deref()
            }
        }
    )*};
}
pub(super) use backend;

backend!(BackendObjectRef);

object! {
    /// A certificate in a `Secret`.
    pub struct SecretObjectRef {
        /// None is the core group.
        group: Option<String> = "group",
        /// None is `Secret`.
        kind: Option<String> = "kind",
        name: String = "name",
        /// None is the object's own.
        namespace: Option<String> = "namespace",
    }
}

object! {
    /// Any object in the same namespace.
    pub struct LocalObjectRef {
        group: String = "group",
        kind: String = "kind",
        name: String = "name",
    }
}

object! {
    /// Any object.
    pub struct ObjectReference {
        group: String = "group",
        kind: String = "kind",
        name: String = "name",
        /// None is the object's own.
        namespace: Option<String> = "namespace",
    }
}

object! {
    /// Requests of one client go to one backend.
    pub struct SessionPersistence {
        absolute_timeout: Option<GatewayDuration> = "absoluteTimeout",
        idle_timeout: Option<GatewayDuration> = "idleTimeout",
        session_name: Option<String> = "sessionName",
        kind: SessionPersistenceType = "type",
        cookie: Option<CookieConfig> = "cookieConfig",
    }
}

choice! {
    /// What carries the session.
    pub enum SessionPersistenceType { Cookie = "Cookie", Header = "Header" }
}

object! {
    /// The session's cookie.
    pub struct CookieConfig {
        lifetime_type: CookieLifetime = "lifetimeType",
    }
}

choice! {
    /// How long the cookie is kept.
    pub enum CookieLifetime { Session = "Session", Permanent = "Permanent" }
}
