//! `Secret`: certificates of gateways.
//! <https://kubernetes.io/docs/reference/kubernetes-api/config-and-storage-resources/secret-v1/>

use std::collections::BTreeMap;

use crate::decode::{SecretBytes, object};

object! {
    /// A secret.
    pub struct Secret {
        kind: String = "type",
        data: BTreeMap<String, SecretBytes> = "data",
        string_data: BTreeMap<String, SecretText> = "stringData",
        immutable: Option<bool> = "immutable",
    }
    others ignored
}

/// Text that must not be printed.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct SecretText(pub String);

impl std::fmt::Debug for SecretText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SecretText({} bytes)", self.0.len())
    }
}

impl crate::decode::Decode for SecretText {
    fn decode(
        node: &crate::yaml::Node,
        at: &crate::path::Path<'_>,
        out: &mut crate::findings::Findings,
    ) -> Option<Self> {
        String::decode(node, at, out).map(Self)
    }
}

impl Secret {
    /// The bytes of a key (`tls.crt`, `tls.key`, `ca.crt`).
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        let text = self.string_data.get(key).map(|text| text.0.as_bytes());
        text.or_else(|| self.data.get(key).map(|bytes| bytes.0.as_slice()))
    }
}
