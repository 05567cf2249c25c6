//! `NodeMatcher`s, made ready: a node matches when one of them does, and one matches when its id and all its
//! metadata conditions do.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-v3/type/matcher/v3/node.proto>

use lateen_proto::{
    envoy::{
        config::core::v3::Node,
        r#type::matcher::v3::{
            NodeMatcher, StringMatcher, StructMatcher, ValueMatcher, double_matcher, list_matcher,
            string_matcher, struct_matcher::path_segment::Segment, value_matcher,
        },
    },
    google::protobuf::{Struct, Value, value::Kind},
};
use regex::Regex;

/// Why matchers can't be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MatcherError {
    /// A required part is missing.
    #[error("{0} is not set")]
    Missing(&'static str),
    /// Extensions of matching are not known here.
    #[error("custom string matchers are not supported: use exact, prefix, suffix, contains or safe_regex")]
    Custom,
    /// A regular expression is none.
    #[error("safe_regex: {0}")]
    Regex(String),
}

/// Matchers of one request; none match every node.
#[derive(Debug, Default)]
pub struct NodeMatchers(Vec<NodeTest>);

#[derive(Debug)]
struct NodeTest {
    id: Option<TextTest>,
    metadata: Vec<PathTest>,
}

#[derive(Debug)]
struct PathTest {
    path: Vec<String>,
    value: ValueTest,
}

#[derive(Debug)]
enum ValueTest {
    Null,
    Exactly(f64),
    Range { start: f64, end: f64 },
    Text(TextTest),
    Bool(bool),
    Present(bool),
    OneOf(Box<ValueTest>),
    Or(Vec<ValueTest>),
}

#[derive(Debug)]
struct TextTest {
    ignore_case: bool,
    pattern: Pattern,
}

#[derive(Debug)]
enum Pattern {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Contains(String),
    Regex(Regex),
}

impl NodeMatchers {
    /// Reads the matchers of a request.
    pub fn compile(matchers: &[NodeMatcher]) -> Result<Self, MatcherError> {
        matchers.iter().map(NodeTest::of).collect::<Result<_, _>>().map(Self)
    }

    /// Is there nothing to match?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Is the node asked for?
    pub fn matches(&self, node: &Node) -> bool {
        self.0.is_empty() || self.0.iter().any(|test| test.matches(node))
    }
}

impl NodeTest {
    fn of(matcher: &NodeMatcher) -> Result<Self, MatcherError> {
        Ok(Self {
            id: matcher.node_id.as_ref().map(TextTest::of).transpose()?,
            metadata: matcher.node_metadatas.iter().map(PathTest::of).collect::<Result<_, _>>()?,
        })
    }

    fn matches(&self, node: &Node) -> bool {
        self.id.as_ref().is_none_or(|test| test.matches(&node.id))
            && self.metadata.iter().all(|test| test.matches(node.metadata.as_ref()))
    }
}

impl PathTest {
    fn of(matcher: &StructMatcher) -> Result<Self, MatcherError> {
        let path = matcher.path.iter().map(|segment| match &segment.segment {
            Some(Segment::Key(key)) => Ok(key.clone()),
            None => Err(MatcherError::Missing("node_metadatas.path.key")),
        });
        let value = matcher.value.as_ref().ok_or(MatcherError::Missing("node_metadatas.value"))?;
        Ok(Self { path: path.collect::<Result<_, _>>()?, value: ValueTest::of(value)? })
    }

    fn matches(&self, metadata: Option<&Struct>) -> bool {
        self.value.matches(self.find(metadata))
    }

    fn find<'a>(&self, metadata: Option<&'a Struct>) -> Option<&'a Kind> {
        let (last, parents) = self.path.split_last()?;
        let mut inside = metadata?;
        for key in parents {
            match inside.fields.get(key)?.kind.as_ref()? {
                Kind::StructValue(inner) => inside = inner,
                _ => return None,
            }
        }
        inside.fields.get(last)?.kind.as_ref()
    }
}

impl ValueTest {
    fn of(matcher: &ValueMatcher) -> Result<Self, MatcherError> {
        use value_matcher::MatchPattern as Is;
        Ok(match matcher.match_pattern.as_ref().ok_or(MatcherError::Missing("match_pattern of a value"))? {
            Is::NullMatch(_) => Self::Null,
            Is::DoubleMatch(double) => match &double.match_pattern {
                Some(double_matcher::MatchPattern::Exact(number)) => Self::Exactly(*number),
                Some(double_matcher::MatchPattern::Range(range)) => {
                    Self::Range { start: range.start, end: range.end }
                }
                None => return Err(MatcherError::Missing("match_pattern of double_match")),
            },
            Is::StringMatch(text) => Self::Text(TextTest::of(text)?),
            Is::BoolMatch(wanted) => Self::Bool(*wanted),
            Is::PresentMatch(wanted) => Self::Present(*wanted),
            Is::ListMatch(list) => match &list.match_pattern {
                Some(list_matcher::MatchPattern::OneOf(element)) => Self::OneOf(Box::new(Self::of(element)?)),
                None => return Err(MatcherError::Missing("match_pattern of list_match")),
            },
            Is::OrMatch(or) => Self::Or(or.value_matchers.iter().map(Self::of).collect::<Result<_, _>>()?),
        })
    }

    fn matches(&self, value: Option<&Kind>) -> bool {
        match (self, value) {
            (Self::Or(tests), _) => tests.iter().any(|test| test.matches(value)),
            (Self::Present(wanted), _) => value.is_some() == *wanted,
            (Self::Null, Some(Kind::NullValue(_))) => true,
            (Self::Exactly(wanted), Some(Kind::NumberValue(number))) => number.total_cmp(wanted).is_eq(),
            (Self::Range { start, end }, Some(Kind::NumberValue(number))) => (start..end).contains(&number),
            (Self::Text(wanted), Some(Kind::StringValue(is))) => wanted.matches(is),
            (Self::Bool(wanted), Some(Kind::BoolValue(is))) => is == wanted,
            (Self::OneOf(test), Some(Kind::ListValue(list))) => {
                list.values.iter().any(|Value { kind }| test.matches(kind.as_ref()))
            }
            _ => false,
        }
    }
}

impl TextTest {
    fn of(matcher: &StringMatcher) -> Result<Self, MatcherError> {
        use string_matcher::MatchPattern as Is;
        let ignore_case = matcher.ignore_case;
        let text = |text: &String| if ignore_case { text.to_ascii_lowercase() } else { text.clone() };
        let pattern = match matcher.match_pattern.as_ref() {
            None => return Err(MatcherError::Missing("match_pattern of a string")),
            Some(Is::Exact(whole)) => Pattern::Exact(text(whole)),
            Some(Is::Prefix(start)) => Pattern::Prefix(text(start)),
            Some(Is::Suffix(end)) => Pattern::Suffix(text(end)),
            Some(Is::Contains(part)) => Pattern::Contains(text(part)),
            // The whole text must match: https://www.envoyproxy.io/docs/envoy/latest/api-v3/type/matcher/v3/regex.proto
            Some(Is::SafeRegex(regex)) => Regex::new(&format!("^(?:{})$", regex.regex))
                .map(Pattern::Regex)
                .map_err(|error| MatcherError::Regex(error.to_string()))?,
            Some(Is::Custom(_)) => return Err(MatcherError::Custom),
        };
        Ok(Self { ignore_case, pattern })
    }

    fn matches(&self, text: &str) -> bool {
        let lower = if self.ignore_case { text.to_ascii_lowercase() } else { String::new() };
        let folded = if self.ignore_case { &lower } else { text };
        match &self.pattern {
            Pattern::Exact(whole) => folded == whole,
            Pattern::Prefix(start) => folded.starts_with(start),
            Pattern::Suffix(end) => folded.ends_with(end),
            Pattern::Contains(part) => folded.contains(part),
            // `ignore_case` has no effect on regular expressions.
            Pattern::Regex(regex) => regex.is_match(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use lateen_proto::json::yaml_to_message;

    use super::*;

    fn matchers(yaml: &[&str]) -> Result<NodeMatchers, MatcherError> {
        let all: Vec<NodeMatcher> = yaml.iter().map(|text| yaml_to_message(text).unwrap()).collect();
        NodeMatchers::compile(&all)
    }

    fn node() -> Node {
        yaml_to_message(
            "id: sidecar~10.0.0.1~cart-1.shop~x\n\
             metadata: {NAMESPACE: shop, weight: 3, nothing: null, LABELS: {app: cart}, tags: [a, b], enabled: true}\n",
        )
        .unwrap()
    }

    #[test]
    fn one_of_several_matchers_is_enough_and_all_parts_of_one_are_needed() {
        let matches = |yaml: &[&str]| matchers(yaml).unwrap().matches(&node());
        assert!(matches(&[]));
        assert!(matches(&["node_id: {exact: other}", "node_id: {contains: cart-1}"]));
        assert!(!matches(&["node_id: {exact: other}"]));
        let namespace = "node_metadatas: [{path: [{key: NAMESPACE}], value: {string_match: {exact: shop}}}]";
        assert!(matches(&[namespace]));
        assert!(!matches(&[&format!("node_id: {{prefix: router}}\n{namespace}")]));
        assert!(matches(&[&format!("node_id: {{prefix: sidecar~}}\n{namespace}")]));
    }

    #[test]
    fn texts_are_matched_whole_and_perhaps_without_case() {
        let matches = |yaml: &str| matchers(&[yaml]).unwrap().matches(&node());
        assert!(matches("node_id: {suffix: SHOP~X, ignore_case: true}"));
        assert!(!matches("node_id: {suffix: SHOP~X}"));
        assert!(matches(r"node_id: {safe_regex: {regex: 'sidecar~.*\.shop~x'}}"));
        assert!(!matches(r"node_id: {safe_regex: {regex: 'cart-\d'}}"));
    }

    #[test]
    fn values_are_found_by_path() {
        let matches = |path: &str, value: &str| {
            let path: Vec<_> = path.split('.').map(|key| format!("{{key: {key}}}")).collect();
            let yaml = format!("node_metadatas: [{{path: [{}], value: {value}}}]", path.join(", "));
            matchers(&[&yaml]).unwrap().matches(&node())
        };
        assert!(matches("LABELS.app", "{string_match: {exact: cart}}"));
        assert!(!matches("LABELS.app.deeper", "{present_match: true}"));
        assert!(matches("LABELS.missing", "{present_match: false}"));
        assert!(matches("nothing", "{null_match: {}}"));
        assert!(matches("weight", "{double_match: {range: {start: 3, end: 4}}}"));
        assert!(!matches("weight", "{double_match: {range: {start: 2, end: 3}}}"));
        assert!(matches("weight", "{double_match: {exact: 3}}"));
        assert!(matches("enabled", "{bool_match: true}"));
        assert!(matches("tags", "{list_match: {one_of: {string_match: {exact: b}}}}"));
        assert!(matches(
            "weight",
            "{or_match: {value_matchers: [{bool_match: true}, {double_match: {exact: 3}}]}}"
        ));
    }

    #[test]
    fn what_can_not_be_matched_is_refused() {
        assert!(matches!(matchers(&["node_id: {safe_regex: {regex: '('}}"]), Err(MatcherError::Regex(_))));
        assert!(matches!(matchers(&["node_id: {}"]), Err(MatcherError::Missing(_))));
    }
}
