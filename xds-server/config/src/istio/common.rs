//! What several kinds share.

use std::collections::BTreeMap;

use lateen_model::diagnostic::Severity;

use crate::{
    codes,
    decode::{Decode, object},
    findings::Findings,
    path::Path,
    yaml::{Node, Value},
};

/// Labels of workloads.
pub type Labels = BTreeMap<String, String>;

/// How a text must look.
/// <https://istio.io/latest/docs/reference/config/networking/virtual-service/#StringMatch>
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StringMatch {
    /// It is this.
    Exact(String),
    /// It begins so.
    Prefix(String),
    /// All of it matches this RE2 expression.
    Regex(String),
    /// It is there: the empty object, which headers and query parameters allow.
    Present,
}

impl Decode for StringMatch {
    fn decode(node: &Node, at: &Path<'_>, out: &mut Findings) -> Option<Self> {
        object! {
            /// The three forms before exactly one of them is chosen.
            pub struct Forms {
                exact: Option<String> = "exact",
                prefix: Option<String> = "prefix",
                regex: Option<String> = "regex",
            }
        }
        let forms = Forms::decode(node, at, out)?;
        match (forms.exact, forms.prefix, forms.regex) {
            (Some(text), None, None) => Some(Self::Exact(text)),
            (None, Some(text), None) => Some(Self::Prefix(text)),
            (None, None, Some(text)) => Some(Self::Regex(text)),
            (None, None, None) => match &node.value {
                Value::Map(entries) if entries.is_empty() => Some(Self::Present),
                // An unknown field or a wrong type was reported already.
                _ => None,
            },
            _ => {
                let message = "more than one of exact, prefix, regex".to_owned();
                out.at(Severity::Error, codes::EXCLUSIVE, at, node.span, message);
                None
            }
        }
    }
}

object! {
    /// A port by number.
    pub struct PortSelector {
        number: u32 = "number",
    }
}

object! {
    /// A service, a subset of it, a port of it.
    /// <https://istio.io/latest/docs/reference/config/networking/virtual-service/#Destination>
    pub struct Destination {
        host: String = "host",
        subset: String = "subset",
        port: Option<PortSelector> = "port",
    }
}

object! {
    /// <https://istio.io/latest/docs/reference/config/networking/virtual-service/#Percent>
    pub struct Percent {
        /// From 0.0 to 100.0.
        value: f64 = "value",
    }
}

object! {
    /// <https://istio.io/latest/docs/reference/config/networking/virtual-service/#Headers>
    pub struct Headers {
        request: Option<HeaderOperations> = "request",
        response: Option<HeaderOperations> = "response",
    }
}

object! {
    /// <https://istio.io/latest/docs/reference/config/networking/virtual-service/#Headers-HeaderOperations>
    pub struct HeaderOperations {
        set: BTreeMap<String, String> = "set",
        add: BTreeMap<String, String> = "add",
        remove: Vec<String> = "remove",
    }
}

object! {
    /// <https://istio.io/latest/docs/reference/config/networking/sidecar/#WorkloadSelector>
    pub struct WorkloadSelector {
        labels: Labels = "labels",
    }
}

object! {
    /// <https://istio.io/latest/docs/reference/config/type/workload-selector/#WorkloadSelector>
    pub struct PolicySelector {
        match_labels: Labels = "matchLabels",
    }
}

object! {
    /// What a policy is attached to instead of selecting workloads: a `Gateway` or a `Service` of its namespace.
    /// <https://istio.io/latest/docs/reference/config/type/workload-selector/#PolicyTargetReference>
    pub struct PolicyTarget {
        group: String = "group",
        kind: String = "kind",
        name: String = "name",
        namespace: String = "namespace",
    }
}

impl PolicyTarget {
    /// Is it a `Gateway` of the Gateway API?
    pub fn is_gateway(&self) -> bool {
        self.group == "gateway.networking.k8s.io" && self.kind == "Gateway"
    }
}

object! {
    /// <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/label-selector/>
    pub struct LabelSelector {
        match_labels: Labels = "matchLabels",
        match_expressions: Vec<LabelSelectorRequirement> = "matchExpressions",
    }
}

object! {
    /// One requirement of a [`LabelSelector`].
    pub struct LabelSelectorRequirement {
        key: String = "key",
        operator: LabelSelectorOperator = "operator",
        values: Vec<String> = "values",
    }
}

crate::decode::choice! {
    /// How the label and the values of a [`LabelSelectorRequirement`] relate.
    pub enum LabelSelectorOperator {
        In = "In",
        NotIn = "NotIn",
        Exists = "Exists",
        DoesNotExist = "DoesNotExist",
    }
}

impl LabelSelector {
    /// Do the labels satisfy all requirements?
    pub fn matches(&self, labels: &Labels) -> bool {
        let equal = |(key, value): (&String, &String)| labels.get(key) == Some(value);
        self.match_labels.iter().all(equal)
            && self.match_expressions.iter().all(|wanted| {
                let value = labels.get(&wanted.key);
                let listed = value.is_some_and(|value| wanted.values.contains(value));
                match wanted.operator {
                    LabelSelectorOperator::In => listed,
                    LabelSelectorOperator::NotIn => !listed,
                    LabelSelectorOperator::Exists => value.is_some(),
                    LabelSelectorOperator::DoesNotExist => value.is_none(),
                }
            })
    }
}
