//! Discovery responses of both variants, read into one shape.

use std::time::Instant;

use bytes::Bytes;
use lateen_proto::{
    any,
    envoy::service::discovery::v3::{DeltaDiscoveryResponse, DiscoveryResponse, Resource, ResourceError},
    google::protobuf::Any,
};
use prost::Message;

use crate::content;

/// A response of the server.
#[derive(Clone, Debug)]
pub struct Response {
    /// Type URL it is for.
    pub type_url: String,
    /// `version_info`, or `system_version_info` in delta.
    pub version: String,
    /// Nonce.
    pub nonce: String,
    /// The resources, in order.
    pub resources: Vec<Received>,
    /// Names in `removed_resources` (delta).
    pub removed: Vec<String>,
    /// xRFC TP3 errors.
    pub errors: Vec<ReceivedError>,
    /// `control_plane.identifier`, if there is a control plane field.
    pub control_plane: Option<String>,
    /// Size on the wire without gRPC's frame.
    pub bytes: usize,
    /// When it was received.
    pub at: Instant,
}

/// A resource in a response.
#[derive(Clone, Debug)]
pub struct Received {
    /// Its name; in state of the world read from the body, or from the wrapper.
    pub name: String,
    /// Its own version (delta, or a wrapper).
    pub version: String,
    /// Its body; none is a heartbeat, or says that the name is known not to exist.
    pub body: Option<Any>,
    /// Time to live in milliseconds, if it has one.
    pub ttl_ms: Option<u64>,
    /// Aliases.
    pub aliases: Vec<String>,
    /// Was it in a `Resource`? Always in delta.
    pub wrapped: bool,
}

/// An entry of `resource_errors`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReceivedError {
    /// Name of the resource.
    pub name: String,
    /// gRPC code.
    pub code: i32,
    /// Text.
    pub message: String,
}

impl Received {
    /// Is it that resource?
    pub fn is(&self, body: &Any) -> bool {
        self.body.as_ref().is_some_and(|own| content::same(own, body))
    }
}

impl Response {
    /// Reads a `DiscoveryResponse`.
    pub fn sotw(bytes: Bytes, at: Instant) -> Result<Self, prost::DecodeError> {
        let size = bytes.len();
        let response = DiscoveryResponse::decode(bytes)?;
        let resources = response.resources.into_iter().map(unwrap).collect::<Result<_, _>>()?;
        Ok(Self {
            type_url: response.type_url,
            version: response.version_info,
            nonce: response.nonce,
            resources,
            removed: Vec::new(),
            errors: response.resource_errors.into_iter().map(error).collect(),
            control_plane: response.control_plane.map(|c| c.identifier),
            bytes: size,
            at,
        })
    }

    /// Reads a `DeltaDiscoveryResponse`.
    pub fn delta(bytes: Bytes, at: Instant) -> Result<Self, prost::DecodeError> {
        let size = bytes.len();
        let response = DeltaDiscoveryResponse::decode(bytes)?;
        let mut removed = response.removed_resources;
        removed.extend(response.removed_resource_names.into_iter().map(|n| n.name));
        Ok(Self {
            type_url: response.type_url,
            version: response.system_version_info,
            nonce: response.nonce,
            resources: response.resources.into_iter().map(resource).collect(),
            removed,
            errors: response.resource_errors.into_iter().map(error).collect(),
            control_plane: response.control_plane.map(|c| c.identifier),
            bytes: size,
            at,
        })
    }

    /// The names of its resources, in order.
    pub fn names(&self) -> Vec<&str> {
        self.resources.iter().map(|r| r.name.as_str()).collect()
    }

    /// Its resource of that name.
    pub fn get(&self, name: &str) -> Option<&Received> {
        self.resources.iter().find(|r| r.name == name)
    }
}

fn unwrap(body: Any) -> Result<Received, prost::DecodeError> {
    if any::type_name(&body.type_url) == "envoy.service.discovery.v3.Resource" {
        return Ok(resource(Resource::decode(body.value)?));
    }
    Ok(Received {
        name: name_of(&body)?,
        version: String::new(),
        body: Some(body),
        ttl_ms: None,
        aliases: Vec::new(),
        wrapped: false,
    })
}

fn resource(resource: Resource) -> Received {
    let name = match resource.resource_name {
        Some(name) if resource.name.is_empty() => name.name,
        _ => resource.name,
    };
    let ttl_ms = resource.ttl.map(|ttl| {
        let seconds = u64::try_from(ttl.seconds).unwrap_or_default();
        seconds * 1000 + u64::try_from(ttl.nanos).unwrap_or_default() / 1_000_000
    });
    Received {
        name,
        version: resource.version,
        body: resource.resource,
        ttl_ms,
        aliases: resource.aliases,
        wrapped: true,
    }
}

fn error(error: ResourceError) -> ReceivedError {
    let (code, message) = error.error_detail.map(|s| (s.code, s.message)).unwrap_or_default();
    ReceivedError { name: error.resource_name.map(|n| n.name).unwrap_or_default(), code, message }
}

/// Every xDS resource type has its name in the first field.
#[derive(Clone, PartialEq, prost::Message)]
struct Named {
    #[prost(string, tag = "1")]
    name: String,
}

/// The name in the body of a resource.
pub fn name_of(body: &Any) -> Result<String, prost::DecodeError> {
    Named::decode(body.value.clone()).map(|n| n.name)
}
