//! Responses as bytes. Written by hand so that bodies, which are shared by all streams, are never copied when
//! they are large and copied once when they are small. Field numbers:
//! <https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/discovery/v3/discovery.proto>

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use lateen_model::Version;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use crate::{
    Resource, ResourceType,
    faults::{Fault, active},
};

/// A body above this is shared, not copied.
const SHARE_ABOVE_BYTES: usize = 4 << 10;
/// Type URL of the wrapper that carries a TTL in state of the world.
const WRAPPER_URL: &str = "type.googleapis.com/envoy.service.discovery.v3.Resource";
/// A type of no response, for [`Fault::WrongResourceType`].
const OTHER_URL: &str = "type.googleapis.com/google.protobuf.Empty";
/// Why a name can't be had: a code of `google.rpc.Code`.
/// <https://github.com/cncf/xds/blob/main/proposals/TP3-xds-error-propagation.md>
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ErrorCode {
    NotFound = 5,
    PermissionDenied = 7,
    Unavailable = 14,
}

/// A name that can't be had.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ItemError<'a> {
    pub(crate) name: &'a str,
    pub(crate) code: ErrorCode,
}

impl ItemError<'_> {
    fn message(&self, kind: ResourceType) -> String {
        match self.code {
            ErrorCode::NotFound => format!("no {kind} resource {} for this node", self.name),
            ErrorCode::PermissionDenied => {
                format!("this node may not have the {kind} resource {}", self.name)
            }
            ErrorCode::Unavailable => {
                format!("who knows the {kind} resource {} can't be asked at the moment", self.name)
            }
        }
    }

    /// A `ResourceError`: `resource_name { name 1 }` 1, `error_detail { code 1, message 2 }` 2.
    fn write(&self, out: &mut Frames, tag: u32, kind: ResourceType) {
        let message = self.message(kind);
        let code = self.code as u64;
        let name_len = field_len(1, self.name.len());
        let status_len = number_len(1, code) + field_len(2, message.len());
        out.open(tag, nested_len(1, name_len) + nested_len(2, status_len));
        out.open(1, name_len);
        out.bytes(1, self.name.as_bytes());
        out.open(2, status_len);
        out.number(1, code);
        out.bytes(2, message.as_bytes());
    }
}

/// One resource of a response.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item<'a> {
    pub(crate) name: &'a str,
    pub(crate) content: Content<'a>,
    /// Other names of it.
    pub(crate) aliases: &'a [Arc<str>],
    pub(crate) ttl_ms: Option<u32>,
}

/// What is said of it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Content<'a> {
    /// The resource.
    Full(&'a Resource),
    /// Still the same: a heartbeat, delta only.
    Same(Version),
    /// An empty `ClusterLoadAssignment`: the assignment does not exist.
    NoEndpoints,
    /// The virtual host that was asked for does not exist.
    NoHost,
}

/// Everything around the resources.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Envelope<'a> {
    pub(crate) kind: ResourceType,
    pub(crate) version: Version,
    pub(crate) nonce: &'a str,
    pub(crate) identifier: &'a str,
}

/// A message in pieces.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    done: Vec<Bytes>,
    tail: BytesMut,
}

impl Frames {
    fn with_capacity(bytes: usize) -> Self {
        Self { done: Vec::new(), tail: BytesMut::with_capacity(bytes) }
    }

    fn body(&mut self, body: Bytes) {
        if body.len() > SHARE_ABOVE_BYTES {
            if !self.tail.is_empty() {
                self.done.push(self.tail.split().freeze());
            }
            self.done.push(body);
        } else {
            self.tail.put_slice(&body);
        }
    }

    fn open(&mut self, tag: u32, len: usize) {
        encode_key(tag, WireType::LengthDelimited, &mut self.tail);
        encode_varint(len as u64, &mut self.tail);
    }

    fn bytes(&mut self, tag: u32, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.open(tag, bytes.len());
            self.tail.put_slice(bytes);
        }
    }

    fn number(&mut self, tag: u32, number: u64) {
        if number != 0 {
            encode_key(tag, WireType::Varint, &mut self.tail);
            encode_varint(number, &mut self.tail);
        }
    }

    fn finish(mut self) -> (Vec<Bytes>, usize) {
        if !self.tail.is_empty() || self.done.is_empty() {
            self.done.push(self.tail.freeze());
        }
        let len = self.done.iter().map(Bytes::len).sum();
        (self.done, len)
    }
}

/// Length of a length-delimited field; 0 where the field is left out.
fn field_len(tag: u32, len: usize) -> usize {
    if len == 0 { 0 } else { nested_len(tag, len) }
}

/// Length of a nested message, which is there even when empty.
fn nested_len(tag: u32, len: usize) -> usize {
    key_len(tag) + encoded_len_varint(len as u64) + len
}

fn number_len(tag: u32, number: u64) -> usize {
    if number == 0 { 0 } else { key_len(tag) + encoded_len_varint(number) }
}

/// The text of a version, without an allocation.
fn version_text(version: Version) -> [u8; 16] {
    let mut text = [0; 16];
    for (digit, shift) in text.iter_mut().zip((0..64).step_by(4).rev()) {
        let nibble = u8::try_from((version.0 >> shift) & 15).expect("invariant: masked to 4 bits");
        *digit = if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    }
    text
}

impl Item<'_> {
    fn body_len(&self) -> Option<usize> {
        match self.content {
            Content::Full(resource) => Some(resource.body.len()),
            Content::NoEndpoints => Some(field_len(1, self.name.len())),
            Content::Same(_) | Content::NoHost => None,
        }
    }

    fn version(&self) -> Version {
        match self.content {
            Content::Full(resource) => resource.version,
            Content::Same(version) => version,
            Content::NoEndpoints | Content::NoHost => crate::held::FOREIGN,
        }
    }

    fn write_body(&self, out: &mut Frames, tag: u32) {
        match self.content {
            Content::Full(resource) => {
                let body = resource.body.bytes();
                if !body.is_empty() {
                    out.open(tag, body.len());
                    out.body(body);
                }
            }
            // `ClusterLoadAssignment { cluster_name }`
            Content::NoEndpoints => {
                out.open(tag, field_len(1, self.name.len()));
                out.bytes(1, self.name.as_bytes());
            }
            Content::Same(_) | Content::NoHost => {}
        }
    }

    fn ttl(&self) -> Option<(u64, u64)> {
        let ttl_ms = u64::from(self.ttl_ms?);
        Some((ttl_ms / 1_000, ttl_ms % 1_000 * 1_000_000))
    }

    /// Length of a `Resource` message: version 1, resource 2, name 3, aliases 4, ttl 6.
    fn wrapper_len(&self, url: &str) -> usize {
        let any = self.body_len().map_or(0, |len| nested_len(2, any_len(url, len)));
        let aliases: usize = self.aliases.iter().map(|alias| field_len(4, alias.len())).sum();
        let ttl = self.ttl().map_or(0, |(s, ns)| nested_len(6, number_len(1, s) + number_len(2, ns)));
        field_len(1, 16) + any + field_len(3, self.name.len()) + aliases + ttl
    }

    fn write_wrapper(&self, out: &mut Frames, url: &str) {
        out.bytes(1, &version_text(self.version()));
        if let Some(len) = self.body_len() {
            out.open(2, any_len(url, len));
            out.bytes(1, url.as_bytes());
            self.write_body(out, 2);
        }
        out.bytes(3, self.name.as_bytes());
        for alias in self.aliases {
            out.bytes(4, alias.as_bytes());
        }
        if let Some((seconds, nanos)) = self.ttl() {
            out.open(6, number_len(1, seconds) + number_len(2, nanos));
            out.number(1, seconds);
            out.number(2, nanos);
        }
    }

    fn copied_len(&self) -> usize {
        self.body_len().filter(|len| *len <= SHARE_ABOVE_BYTES).unwrap_or(0)
            + self.name.len()
            + self.aliases.iter().map(|alias| alias.len() + 8).sum::<usize>()
            + 256
    }
}

fn any_len(url: &str, body_len: usize) -> usize {
    field_len(1, url.len()) + field_len(2, body_len)
}

/// A `DeltaDiscoveryResponse`: `system_version_info` 1, `resources` 2, `type_url` 4, `nonce` 5,
/// `removed_resources` 6, `control_plane` 7, `resource_errors` 9.
pub(crate) fn delta(
    envelope: &Envelope<'_>,
    items: &[Item<'_>],
    removed: &[&str],
    errors: &[ItemError<'_>],
) -> (Vec<Bytes>, usize) {
    let url = envelope.kind.info().url;
    let capacity = items.iter().map(Item::copied_len).sum::<usize>()
        + removed.iter().map(|name| name.len() + 8).sum::<usize>();
    let mut out = Frames::with_capacity(capacity + 256);
    out.bytes(1, &version_text(envelope.version));
    let of_items = if active(Fault::WrongResourceType) { OTHER_URL } else { url };
    for item in items {
        out.open(2, item.wrapper_len(of_items));
        item.write_wrapper(&mut out, of_items);
    }
    out.bytes(4, url.as_bytes());
    out.bytes(5, envelope.nonce.as_bytes());
    for name in removed {
        out.open(6, name.len());
        out.tail.put_slice(name.as_bytes());
    }
    out.open(7, field_len(1, envelope.identifier.len()));
    out.bytes(1, envelope.identifier.as_bytes());
    for error in errors {
        error.write(&mut out, 9, envelope.kind);
    }
    out.finish()
}

/// A `DiscoveryResponse`: `version_info` 1, `resources` 2, `type_url` 4, `nonce` 5, `control_plane` 6,
/// `resource_errors` 7.
pub(crate) fn sotw(
    envelope: &Envelope<'_>,
    items: &[Item<'_>],
    errors: &[ItemError<'_>],
) -> (Vec<Bytes>, usize) {
    let url = envelope.kind.info().url;
    let capacity = items.iter().map(Item::copied_len).sum::<usize>();
    let mut out = Frames::with_capacity(capacity + 256);
    out.bytes(1, &version_text(envelope.version));
    for item in items {
        if item.ttl_ms.is_some() {
            // A TTL needs the wrapper: <https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#sotw-ttl>
            let wrapper = item.wrapper_len(url);
            out.open(2, any_len(WRAPPER_URL, wrapper));
            out.bytes(1, WRAPPER_URL.as_bytes());
            out.open(2, wrapper);
            item.write_wrapper(&mut out, url);
        } else {
            let of_item = if active(Fault::WrongResourceType) { OTHER_URL } else { url };
            out.open(2, any_len(of_item, item.body_len().unwrap_or(0)));
            out.bytes(1, of_item.as_bytes());
            item.write_body(&mut out, 2);
        }
    }
    out.bytes(4, url.as_bytes());
    out.bytes(5, envelope.nonce.as_bytes());
    out.open(6, field_len(1, envelope.identifier.len()));
    out.bytes(1, envelope.identifier.as_bytes());
    for error in errors {
        error.write(&mut out, 7, envelope.kind);
    }
    out.finish()
}
