//! Keys and certificates have a store of their own. The World says of a secret that it is there, and in which version:
//! what is compiled, kept as last good, dumped or compared is made from that, and holds no key (I-8).

use std::{collections::HashMap, fmt, sync::Arc};

use lateen_config::kubernetes;
use lateen_model::{Namespace, Origin, Version};

/// A secret as the World knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SecretRef {
    /// Its namespace.
    pub namespace: Namespace,
    /// Its name.
    pub name: Arc<str>,
    /// Tells one content from another: a hash from which no content follows.
    pub version: Version,
    /// Where it begins.
    pub origin: Origin,
}

/// The contents, by namespace and name.
#[derive(Clone, Default)]
pub struct SecretStore {
    contents: HashMap<(Namespace, Arc<str>), (Version, Arc<kubernetes::Secret>)>,
}

impl SecretStore {
    /// The content of a secret. `None` if it is gone, or has another one by now: whoever asks has read an older World.
    pub fn get(&self, secret: &SecretRef) -> Option<&Arc<kubernetes::Secret>> {
        let (version, content) = self.contents.get(&(secret.namespace.clone(), secret.name.clone()))?;
        (*version == secret.version).then_some(content)
    }

    /// Takes a content, or forgets it. Returns the version of what is there now.
    pub(crate) fn put(
        &mut self,
        namespace: &Namespace,
        name: &Arc<str>,
        content: Option<&Arc<kubernetes::Secret>>,
    ) -> Option<Version> {
        let key = (namespace.clone(), name.clone());
        let Some(content) = content else {
            self.contents.remove(&key);
            return None;
        };
        let version = version_of(content);
        self.contents.insert(key, (version, content.clone()));
        Some(version)
    }
}

/// How many there are, and nothing of what they hold.
impl fmt::Debug for SecretStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretStore({} secrets)", self.contents.len())
    }
}

fn version_of(secret: &kubernetes::Secret) -> Version {
    let data = secret.data.iter().map(|(name, value)| (name, value.0.as_slice()));
    let texts = secret.string_data.iter().map(|(name, value)| (name, value.0.as_bytes()));
    let mut bytes = secret.kind.clone().into_bytes();
    for (name, value) in data.chain(texts) {
        for part in [name.as_bytes(), value] {
            bytes.extend((part.len() as u64).to_le_bytes());
            bytes.extend(part);
        }
    }
    Version::of(&bytes)
}
