//! Each state-of-the-world request repeats all names that the client asks for: what a thousand clients with a
//! thousand names each acknowledge is a million names to decode, for nothing.

use std::collections::BTreeMap;

use prost::{
    DecodeError,
    bytes::Buf,
    encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field},
};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// The field `resource_names` of a `DiscoveryRequest`, and `type_url`.
/// <https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/discovery/v3/discovery.proto#service-discovery-v3-discoveryrequest>
const NAMES: u32 = 3;
const TYPE: u32 = 4;
/// Types of which a list is remembered on a stream.
const TYPES_MAX: usize = 32;

/// The lists of names in a stream's last requests, as hashes.
#[derive(Debug, Default)]
pub struct Lists {
    by_type: BTreeMap<u64, u64>,
    /// Is the stream of one type, which its requests may name or not?
    one_type: bool,
}

impl Lists {
    /// Of a stream of one type.
    pub fn of_one_type() -> Self {
        Self { one_type: true, ..Self::default() }
    }

    /// The encoded state-of-the-world request without its names, if they are those of the last one of its type.
    pub fn without_repetition(&mut self, message: &[u8]) -> Result<Option<Vec<u8>>, DecodeError> {
        let mut rest = Vec::new();
        let (mut names, mut kind) = (Xxh3::new(), 0);
        let mut left = message;
        while left.has_remaining() {
            let before = left;
            let (tag, wire_type) = decode_key(&mut left)?;
            match (tag, wire_type) {
                (NAMES, WireType::LengthDelimited) => {
                    let name = take(&mut left)?;
                    names.update(&name.len().to_le_bytes());
                    names.update(name);
                    continue;
                }
                (TYPE, WireType::LengthDelimited) if !self.one_type => kind = xxh3_64(take(&mut left)?),
                _ => skip_field(wire_type, tag, &mut left, DecodeContext::default())?,
            }
            rest.extend_from_slice(before.get(..before.len() - left.len()).unwrap_or_default());
        }
        let names = names.digest();
        if self.by_type.get(&kind) == Some(&names) {
            return Ok(Some(rest));
        }
        if self.by_type.len() < TYPES_MAX || self.by_type.contains_key(&kind) {
            self.by_type.insert(kind, names);
        }
        Ok(None)
    }
}

fn take<'a>(left: &mut &'a [u8]) -> Result<&'a [u8], DecodeError> {
    let length = usize::try_from(decode_varint(left)?).unwrap_or(usize::MAX);
    // The decoder of the whole message has the words for what is cut short.
    let (taken, after) = left.split_at_checked(length).unwrap_or((left, &[]));
    *left = after;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use lateen_proto::{Message, envoy::service::discovery::v3::DiscoveryRequest};

    use super::*;

    fn request(kind: &str, names: &[&str], nonce: &str) -> Vec<u8> {
        let resource_names = names.iter().map(ToString::to_string).collect();
        let (type_url, response_nonce) = (kind.to_owned(), nonce.to_owned());
        DiscoveryRequest { type_url, response_nonce, resource_names, ..Default::default() }.encode_to_vec()
    }

    #[test]
    fn a_list_that_repeats_the_last_one_of_its_type_is_left_out() {
        let mut lists = Lists::default();
        let mut short = |message: Vec<u8>| lists.without_repetition(&message).unwrap();
        assert_eq!(short(request("a", &["x", "y"], "1")), None);
        assert_eq!(short(request("a", &["x", "y"], "2")), Some(request("a", &[], "2")));
        assert_eq!(short(request("b", &["x", "y"], "3")), None, "another type");
        assert_eq!(short(request("a", &["xy"], "4")), None, "another list");
        assert_eq!(short(request("a", &["x", "y"], "5")), None, "not that of the last one");
        assert_eq!(short(request("a", &[], "6")), None);
        assert_eq!(short(request("a", &[], "7")), Some(request("a", &[], "7")));
    }

    #[test]
    fn a_stream_of_one_type_need_not_name_it() {
        let mut lists = Lists::of_one_type();
        let mut short = |message: Vec<u8>| lists.without_repetition(&message).unwrap();
        assert_eq!(short(request("a", &["x"], "1")), None);
        assert_eq!(short(request("", &["x"], "2")), Some(request("", &[], "2")));
        assert_eq!(short(request("", &["y"], "3")), None);
        assert_eq!(short(request("a", &["x"], "4")), None);
    }

    #[test]
    fn a_stream_of_many_types_is_bounded() {
        let mut lists = Lists::default();
        for kind in 0..1_000 {
            lists.without_repetition(&request(&kind.to_string(), &["x"], "")).unwrap();
        }
        assert_eq!(lists.by_type.len(), TYPES_MAX);
    }
}
