//! What a compilation gathers beside the message.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use lateen_config::ObjectKey;
use lateen_model::{Diagnostic, Origin, Severity, Unapplied, diagnostic::Code};
use lateen_xds::{ResourceRef, ResourceType};
use prost::Message;

use super::{Compiled, Read};

/// A route leads to a host, port or subset that does not exist for the client.
pub const NO_DESTINATION: Code = Code("LAT3001");
/// The setting is known and has no effect in this version.
pub(crate) const NOT_TRANSLATED: Code = Code("LAT3002");
/// Two objects ask for the same thing; one of them gets it, or none where one of them is closed.
pub(crate) const CONFLICT: Code = Code("LAT3003");
/// A delegate does not exist, or may not be used.
pub(crate) const NO_DELEGATE: Code = Code("LAT3004");
/// The endpoints don't fit the way they are to be found.
pub(crate) const BAD_ENDPOINT: Code = Code("LAT3005");

/// The object has no effect, and the finding says why.
pub(crate) const NO_EFFECT: Code = Code("LAT3021");
/// A setting that protects something can't be applied: what it protects is closed, or, where the operator says so,
/// as open as without it.
pub(crate) const UNAPPLIED: Code = Code("LAT3020");

/// A setting that protects something and can't be applied.
#[derive(Debug)]
pub(crate) struct Unmet<'a> {
    /// The object, and where the setting stands.
    pub about: Option<(&'a ObjectKey, Origin)>,
    /// Path of the setting.
    pub path: String,
    /// Why it can't be applied.
    pub why: String,
    /// What is closed for that.
    pub closed: String,
    /// What to write to have it open, or protected otherwise.
    pub remedy: &'a str,
}

impl Unmet<'_> {
    /// As it is told to users.
    pub(crate) fn finding(self, choice: Unapplied) -> Diagnostic {
        let Self { about, path, why, closed, remedy } = self;
        let (severity, message, hint) = match choice {
            Unapplied::Close => (
                Severity::Error,
                format!("{why}, so {closed}"),
                format!("{remedy}; `--unapplied=ignore` serves without what can't be applied"),
            ),
            Unapplied::Ignore => {
                (Severity::Warning, format!("{why}, and it is ignored: nothing is closed"), remedy.to_owned())
            }
        };
        Diagnostic {
            code: UNAPPLIED,
            severity,
            object: about.as_ref().map(|(key, _)| key.to_ref()),
            origin: about.map(|(_, origin)| origin),
            path,
            message,
            hint: Some(hint),
        }
    }
}

/// References, origins and findings.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    refs: BTreeSet<ResourceRef>,
    origins: BTreeSet<Origin>,
    findings: BTreeSet<Diagnostic>,
    chains: Vec<Arc<[Origin]>>,
}

impl Notes {
    /// The resource names this cluster.
    pub(crate) fn cluster(&mut self, r: &mut dyn Read, name: &str) {
        self.refs.insert(ResourceRef { kind: ResourceType::Cluster, name: r.name(name) });
    }

    /// The resource names this one.
    pub(crate) fn reference(&mut self, r: &mut dyn Read, kind: ResourceType, name: &str) {
        self.refs.insert(ResourceRef { kind, name: r.name(name) });
    }

    /// The resource was made from an object read there.
    pub(crate) fn origin(&mut self, origin: &Origin) {
        if !self.origins.contains(origin) {
            self.origins.insert(origin.clone());
        }
    }

    /// The next filter chain of the resource was made from these.
    pub(crate) fn chain(&mut self, origins: Vec<Origin>) {
        self.chains.push(origins.into());
    }

    /// How many findings there are.
    pub(crate) fn count(&self) -> usize {
        self.findings.len()
    }

    /// Something is odd about an object.
    pub(crate) fn warn(&mut self, code: Code, about: Option<(&ObjectKey, &Origin)>, message: String) {
        self.findings.insert(Diagnostic {
            code,
            severity: Severity::Warning,
            object: about.map(|(key, _)| key.to_ref()),
            origin: about.map(|(_, origin)| origin.clone()),
            path: String::new(),
            message,
            hint: None,
        });
    }

    /// A finding.
    pub(crate) fn finding(&mut self, finding: Diagnostic) {
        self.findings.insert(finding);
    }

    /// The compiled message.
    pub(crate) fn compiled(self, message: &impl Message) -> Compiled {
        self.encoded(message.encode_to_vec().into())
    }

    /// The compiled message, already encoded.
    pub(crate) fn encoded(self, bytes: Bytes) -> Compiled {
        Compiled {
            bytes,
            refs: self.refs.into_iter().collect(),
            origins: self.origins.into_iter().collect(),
            findings: self.findings.into_iter().collect(),
            chains: self.chains,
        }
    }
}
