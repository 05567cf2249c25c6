//! `ReferenceGrant`. <https://gateway-api.sigs.k8s.io/reference/spec/#referencegrant>

use crate::decode::object;

object! {
    /// Lets objects of other namespaces refer to objects of this one.
    pub struct ReferenceGrant {
        from: Vec<ReferenceGrantFrom> = "from",
        to: Vec<ReferenceGrantTo> = "to",
    }
}

object! {
    /// Who may refer.
    pub struct ReferenceGrantFrom {
        group: String = "group",
        kind: String = "kind",
        namespace: String = "namespace",
    }
}

object! {
    /// What may be referred to.
    pub struct ReferenceGrantTo {
        group: String = "group",
        kind: String = "kind",
        /// None is every object of the kind.
        name: Option<String> = "name",
    }
}
