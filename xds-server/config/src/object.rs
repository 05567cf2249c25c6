//! Objects as they come out of parsing.

use std::{collections::BTreeMap, sync::Arc};

use lateen_model::diagnostic::{Diagnostic, Origin};

use crate::{
    analysis::Analyse,
    check::{self, Check},
    decode::Decode,
    findings::Findings,
    gateway_api, istio,
    kind::{Kind, ObjectKey, table},
    kubernetes,
    path::Path,
    yaml::{Node, SpanTable},
};

/// What a text holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    /// The objects without errors.
    pub objects: Vec<ParsedObject>,
    /// The objects with errors, as far as it is known which they are: their last good state stays.
    pub invalid: Vec<Invalid>,
    /// All findings, of good and of bad objects, in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
}

/// An object that is there, and can't be applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Invalid {
    /// Which; `None` where it could not be told, or where no object could be read at all.
    pub key: Option<ObjectKey>,
    /// Its first error.
    pub diagnostic: Diagnostic,
    /// What is in force in its place as long as it was never readable: for a policy that may refuse something an object
    /// that selects what this one may select, and what else that one says means nothing; for what asks for TLS, and for
    /// the mesh's configuration, an object with the settings that must not get lost.
    pub stand_in: Option<Box<ParsedObject>>,
}

/// An object without errors.
#[derive(Clone, Debug, PartialEq)]
pub struct ParsedObject {
    /// Which.
    pub key: ObjectKey,
    /// Its metadata.
    pub meta: Metadata,
    /// Where it begins.
    pub origin: Origin,
    /// Where its fields are. Empty for kinds that platforms make ([`Kind::is_data`]).
    pub spans: Arc<SpanTable>,
    /// What it says. Its parts hold their own positions (`span`), which take part in comparison: an object
    /// that moved in its file is another one, so that what refers to its lines stays right.
    pub spec: ConfigObject,
}

/// What is read of an object's metadata.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    /// Name.
    pub name: String,
    /// Namespace; `default` where none is given, empty for kinds without namespaces.
    pub namespace: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// Seconds since 1970, in UTC: where objects conflict the oldest wins.
    pub creation_timestamp: Option<i64>,
    /// Identity beyond the name.
    pub uid: String,
    /// The platform's version of the object.
    pub resource_version: String,
    /// Counts changes of the specification.
    pub generation: Option<i64>,
}

macro_rules! objects {
    ($($(#[$meta:meta])* $variant:ident($type:ty) =
        $group:literal, $kind:literal, $plural:literal, $scope:ident, $form:ident, $role:ident;)*) => {
        /// What an object says.
        #[derive(Clone, Debug, PartialEq)]
        pub enum ConfigObject {
            $($(#[$meta])* $variant(Arc<$type>),)*
        }

        impl ConfigObject {
            /// The kind.
            pub const fn kind(&self) -> Kind {
                match self { $(Self::$variant(_) => Kind::$variant),* }
            }

            /// Reads and checks what an object of the kind says at `at`. `None` says that a finding was added; a
            /// finding may be added beside an object too.
            pub(crate) fn read(
                kind: Kind,
                meta: &Metadata,
                node: &Node,
                at: &Path<'_>,
                out: &mut Findings,
            ) -> Option<Self> {
                match kind { $(Kind::$variant => typed::<$type>(meta, node, at, out)),* }
            }

            /// The checks of the object among others.
            pub(crate) fn analyse(&self) -> &dyn Analyse {
                match self { $(Self::$variant(spec) => &**spec),* }
            }
        }

        $(impl From<$type> for ConfigObject {
            fn from(object: $type) -> Self {
                Self::$variant(Arc::new(object))
            }
        })*
    };
}

table!(objects);

fn typed<T: Decode + Check + Into<ConfigObject>>(
    meta: &Metadata,
    node: &Node,
    at: &Path<'_>,
    out: &mut Findings,
) -> Option<ConfigObject> {
    let object = T::decode(node, at, out)?;
    if out.errors() == 0 && !check::is_off() {
        object.check(meta, at, out);
    }
    Some(object.into())
}
