//! Events whose documents were read beforehand.

use lateen_config::{Parsed, parse, re2};
use lateen_model::{SourceEvent, SourceId, event::Object};

/// An event of a source, perhaps with its document read already. Reading needs nothing of the registry and takes as
/// long as the document is large, so it can be done elsewhere, while the registry takes over what others say.
#[derive(Debug)]
pub struct Prepared {
    pub(crate) event: SourceEvent,
    /// What the document says; `None` if it is still to be read.
    pub(crate) parsed: Option<Parsed>,
}

impl Prepared {
    /// Reads the document of an event of this source, if it has one.
    pub fn read(source: &SourceId, event: SourceEvent) -> Self {
        let parsed = match &event {
            SourceEvent::Upsert { id, object: Object::Document(document) } => {
                Some(parse(&document.body, &source.0, &id.name))
            }
            _ => None,
        };
        Self { event, parsed }
    }

    /// How often what would be read names regular expressions, which cost more than their length.
    pub fn expressions(event: &SourceEvent) -> usize {
        match event {
            SourceEvent::Upsert { object: Object::Document(document), .. } => re2::mentions(&document.body),
            _ => 0,
        }
    }

    /// Length of what would be read, in bytes; 0 if there is no document.
    pub fn document_bytes(event: &SourceEvent) -> usize {
        match event {
            SourceEvent::Upsert { object: Object::Document(document), .. } => document.body.len(),
            _ => 0,
        }
    }
}

impl From<SourceEvent> for Prepared {
    fn from(event: SourceEvent) -> Self {
        Self { event, parsed: None }
    }
}
