//! gRPC framing and the few protobuf fields that a load client looks at, without decoding whole messages.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// A message in a gRPC frame.
/// <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#requests>
pub fn frame(message: &impl prost::Message) -> Bytes {
    let mut framed = BytesMut::with_capacity(5 + message.encoded_len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.encoded_len()).expect("a message below 4 GiB"));
    message.encode(&mut framed).expect("room was reserved");
    framed.freeze()
}

/// Takes the next whole message out of what was received.
pub fn next_message(received: &mut BytesMut) -> Option<Bytes> {
    let length = usize::try_from(u32::from_be_bytes(received.get(1..5)?.try_into().ok()?)).ok()?;
    if received.len() < 5 + length {
        received.reserve(5 + length - received.len());
        return None;
    }
    received.advance(5);
    Some(received.split_to(length).freeze())
}

/// A length-delimited field: number and contents. Other wire types are skipped.
pub fn fields(mut message: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    std::iter::from_fn(move || {
        loop {
            if message.is_empty() {
                return None;
            }
            let tag = varint(&mut message)?;
            match tag & 7 {
                0 => {
                    varint(&mut message)?;
                }
                1 => message = message.get(8..)?,
                2 => {
                    let length = usize::try_from(varint(&mut message)?).ok()?;
                    let (contents, rest) = message.split_at_checked(length)?;
                    message = rest;
                    return Some((tag >> 3, contents));
                }
                5 => message = message.get(4..)?,
                _ => return None,
            }
        }
    })
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// What a client must know of a discovery response to acknowledge it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ResponseHead {
    /// Type URL.
    pub type_url: String,
    /// Nonce.
    pub nonce: String,
    /// `version_info` (state of the world only).
    pub version: String,
    /// How many resources it brings.
    pub resources: usize,
}

/// Reads the head of a response; `delta` decides between the two messages.
pub fn head(message: &[u8], delta: bool) -> ResponseHead {
    let text = |contents: &[u8]| String::from_utf8_lossy(contents).into_owned();
    let mut head = ResponseHead::default();
    for (number, contents) in fields(message) {
        match (number, delta) {
            (2, _) => head.resources += 1,
            (4, _) => head.type_url = text(contents),
            (5, _) => head.nonce = text(contents),
            (1, false) => head.version = text(contents),
            _ => {}
        }
    }
    head
}

/// What a request says to a response.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RequestHead {
    /// Nonce of the response; empty where it answers none.
    pub nonce: String,
    /// It has an error: the response is rejected.
    pub rejects: bool,
    /// What the error says.
    pub reason: String,
}

/// Reads the head of a request; `delta` decides between the two messages.
pub fn request_head(message: &[u8], delta: bool) -> RequestHead {
    let (nonce, error) = if delta { (6, 7) } else { (5, 6) };
    let mut head = RequestHead::default();
    for (number, contents) in fields(message) {
        if number == nonce {
            head.nonce = String::from_utf8_lossy(contents).into_owned();
        }
        if number == error {
            head.rejects = true;
            // https://github.com/googleapis/googleapis/blob/master/google/rpc/status.proto
            let message = fields(contents).find(|(number, _)| *number == 2);
            head.reason =
                message.map(|(_, text)| String::from_utf8_lossy(text).into_owned()).unwrap_or_default();
        }
    }
    head
}

/// Names of the resources in a response, for resources whose first field is their name (Cluster,
/// `ClusterLoadAssignment`, Listener, `RouteConfiguration`).
pub fn names(message: &[u8], delta: bool) -> Vec<String> {
    let resources = fields(message).filter(|(number, _)| *number == 2).map(|(_, contents)| contents);
    let name = |any: &[u8]| {
        let value = fields(any).find(|(number, _)| *number == 2)?.1;
        let name = fields(value).find(|(number, _)| *number == 1)?.1;
        Some(String::from_utf8_lossy(name).into_owned())
    };
    resources
        .filter_map(|resource| {
            if delta {
                let name = fields(resource).find(|(number, _)| *number == 3)?.1;
                Some(String::from_utf8_lossy(name).into_owned())
            } else {
                name(resource)
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use lateen_proto::{
        envoy::{
            config::cluster::v3::Cluster,
            service::discovery::v3::{
                DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
            },
        },
        google::{protobuf::Any, rpc::Status},
    };
    use prost::Message;

    use super::*;

    fn any(name: &str) -> Any {
        let cluster = Cluster { name: name.to_owned(), ..Cluster::default() };
        Any { type_url: "t".to_owned(), value: cluster.encode_to_vec().into() }
    }

    #[test]
    fn heads_and_names_are_read_from_both_variants() {
        let sotw = DiscoveryResponse {
            version_info: "7".to_owned(),
            type_url: "t".to_owned(),
            nonce: "n".to_owned(),
            resources: vec![any("a"), any("b")],
            ..DiscoveryResponse::default()
        };
        let bytes = sotw.encode_to_vec();
        assert_eq!(head(&bytes, false).resources, 2);
        assert_eq!(head(&bytes, false).version, "7");
        assert_eq!(names(&bytes, false), ["a", "b"]);
        let resource = Resource { name: "c".to_owned(), resource: Some(any("c")), ..Resource::default() };
        let delta = DeltaDiscoveryResponse {
            nonce: "m".to_owned(),
            resources: vec![resource],
            ..DeltaDiscoveryResponse::default()
        };
        let bytes = delta.encode_to_vec();
        assert_eq!((head(&bytes, true).nonce.as_str(), names(&bytes, true)), ("m", vec!["c".to_owned()]));
    }

    #[test]
    fn acknowledgement_and_rejection_are_told_apart_in_both_variants() {
        let nonce = || "n".to_owned();
        let error = || Some(Status { message: "bad".to_owned(), ..Status::default() });
        let delta = DeltaDiscoveryRequest { response_nonce: nonce(), ..DeltaDiscoveryRequest::default() };
        let sotw = DiscoveryRequest { response_nonce: nonce(), ..DiscoveryRequest::default() };
        let accepts = RequestHead { nonce: nonce(), ..RequestHead::default() };
        assert_eq!(request_head(&delta.encode_to_vec(), true), accepts);
        assert_eq!(request_head(&sotw.encode_to_vec(), false), accepts);
        let rejects = RequestHead { rejects: true, reason: "bad".to_owned(), ..accepts };
        let delta = DeltaDiscoveryRequest { error_detail: error(), ..delta };
        let sotw = DiscoveryRequest { error_detail: error(), ..sotw };
        assert_eq!(request_head(&delta.encode_to_vec(), true), rejects);
        assert_eq!(request_head(&sotw.encode_to_vec(), false), rejects);
    }

    #[test]
    fn messages_come_out_whole() {
        let cluster = Cluster { name: "x".repeat(300), ..Cluster::default() };
        let framed = frame(&cluster);
        let mut received = BytesMut::from(&framed[..7]);
        assert_eq!(next_message(&mut received), None);
        received.extend_from_slice(&framed[7..]);
        assert_eq!(next_message(&mut received).unwrap(), cluster.encode_to_vec());
    }
}
