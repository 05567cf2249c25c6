//! The messages of our own control protocol (`conformance/proto`), in proto3's JSON mapping.
//! <https://protobuf.dev/programming-guides/json/>

use std::time::Duration;

use bytes::Bytes;
use lateen_proto::google::protobuf::Any;
use serde::{Deserialize, Serialize};

use super::{Change, Condition, ConditionState, ControlError, RawResource, ResourceKey};

/// Path of the service.
pub const SERVICE: &str = "lateen.conformance.v1.Control";

/// Nothing.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Empty {}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct GetCapabilitiesResponse {
    pub(crate) groups: bool,
    pub(crate) features: Vec<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ApplyRequest {
    group: String,
    put: Vec<WireResource>,
    remove: Vec<WireKey>,
    conditions: Vec<WireCondition>,
    #[serde(skip_serializing_if = "Option::is_none")]
    synced: Option<bool>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireResource {
    type_url: String,
    name: String,
    #[serde(with = "base64_bytes")]
    body: Bytes,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl_ms: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    aliases: Vec<String>,
    on_demand: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireKey {
    type_url: String,
    name: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WireCondition {
    type_url: String,
    name: String,
    state: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Group {
    pub(crate) group: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct CountStreamsResponse {
    pub(crate) streams: u32,
}

/// What an error looks like: <https://connectrpc.com/docs/protocol/#error-end-stream>.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ErrorBody {
    pub(crate) code: String,
    pub(crate) message: String,
}

impl ApplyRequest {
    pub(crate) fn new(group: &str, change: Change) -> Self {
        let Change { put, remove, conditions, synced } = change;
        let resource = |resource: RawResource| {
            let RawResource { name, body, version, ttl, aliases, wildcard } = resource;
            WireResource {
                type_url: body.type_url,
                name,
                body: body.value,
                version,
                ttl_ms: ttl.map(|ttl| u32::try_from(ttl.as_millis()).unwrap_or(u32::MAX)),
                aliases,
                on_demand: !wildcard,
            }
        };
        let condition = |Condition { key, state }: Condition| WireCondition {
            type_url: key.type_url,
            name: key.name,
            state: match state {
                Some(ConditionState::Denied) => "denied",
                Some(ConditionState::Unavailable) => "unavailable",
                None => "",
            }
            .to_owned(),
        };
        Self {
            group: group.to_owned(),
            put: put.into_iter().map(resource).collect(),
            remove: remove
                .into_iter()
                .map(|ResourceKey { type_url, name }| WireKey { type_url, name })
                .collect(),
            conditions: conditions.into_iter().map(condition).collect(),
            synced,
        }
    }

    pub(crate) fn into_change(self) -> Result<(String, Change), ControlError> {
        let Self { group, put, remove, conditions, synced } = self;
        let resource = |resource: WireResource| {
            let WireResource { type_url, name, body, version, ttl_ms, aliases, on_demand } = resource;
            RawResource {
                name,
                body: Any { type_url, value: body },
                version,
                ttl: ttl_ms.map(|ms| Duration::from_millis(ms.into())),
                aliases,
                wildcard: !on_demand,
            }
        };
        let key = |WireKey { type_url, name }| ResourceKey { type_url, name };
        let condition = |WireCondition { type_url, name, state }| {
            let state = match state.as_str() {
                "denied" => Some(ConditionState::Denied),
                "unavailable" => Some(ConditionState::Unavailable),
                "" => None,
                _ => {
                    return Err(ControlError::Refused {
                        reason: format!("no condition is called {state:?}"),
                    });
                }
            };
            Ok(Condition { key: ResourceKey { type_url, name }, state })
        };
        let change = Change {
            put: put.into_iter().map(resource).collect(),
            remove: remove.into_iter().map(key).collect(),
            conditions: conditions.into_iter().map(condition).collect::<Result<_, _>>()?,
            synced,
        };
        Ok((group, change))
    }
}

/// `bytes` in JSON. Readers take the URL-safe alphabet, and no padding, too.
mod base64_bytes {
    use base64::{
        Engine,
        alphabet::{STANDARD, URL_SAFE},
        engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
    };
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const USUAL: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);
    const IN_URLS: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);

    pub(super) fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&USUAL.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(deserializer)?;
        let engine = if text.contains(['-', '_']) { IN_URLS } else { USUAL };
        engine.decode(text).map(Bytes::from).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_survives_the_wire() {
        let any =
            Any { type_url: "type.googleapis.com/x.Y".to_owned(), value: Bytes::from_static(&[255, 254, 0]) };
        let key = ResourceKey { type_url: any.type_url.clone(), name: "b".to_owned() };
        let change = Change {
            put: vec![RawResource {
                ttl: Some(Duration::from_millis(1_500)),
                aliases: vec!["c".to_owned()],
                wildcard: false,
                version: Some("7".to_owned()),
                ..RawResource::new("a", any)
            }],
            remove: vec![key.clone()],
            conditions: vec![
                Condition { key: key.clone(), state: Some(ConditionState::Denied) },
                Condition { key, state: None },
            ],
            synced: Some(false),
        };
        let json = serde_json::to_string(&ApplyRequest::new("node", change.clone())).unwrap();
        let (group, read) = serde_json::from_str::<ApplyRequest>(&json).unwrap().into_change().unwrap();
        assert_eq!((group.as_str(), read), ("node", change));
    }

    #[test]
    fn left_out_fields_have_their_defaults() {
        let json = r#"{"put": [{"typeUrl": "t", "name": "a", "body": "__-_"}]}"#;
        let (group, change) = serde_json::from_str::<ApplyRequest>(json).unwrap().into_change().unwrap();
        let put = &change.put[0];
        assert_eq!((group.as_str(), put.wildcard, put.ttl, change.synced), ("", true, None, None));
        assert_eq!(&put.body.value[..], [255, 255, 191]);
        assert!(serde_json::from_str::<ApplyRequest>(r#"{"put": [{"body": "!"}]}"#).is_err());
    }
}
