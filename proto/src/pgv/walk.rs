//! Encoded bytes along a plan → violations.

use std::fmt;

use prost_reflect::Kind;

use super::plan::{Element, FieldPlan, MessagePlan, Shape, plans};
use super::rules::Broken;
use super::values::{duration, float, int32, integer, seconds};
use super::wire::{Fields, Malformed, Value};
use super::{VIOLATIONS_MAX, Violation};
use crate::any::type_name;

/// Messages nested deeper than this, counted through every `Any`, are not looked into: Envoy's own decoder
/// gives up at 100 in one message.
const DEPTH_MAX: usize = 200;

pub fn check(full_name: &str, bytes: &[u8]) -> Vec<Violation> {
    let mut walk = Walk { violations: Vec::new() };
    if let Some(plan) = plans().find(full_name) {
        walk.message(plan, bytes, &Path { parent: None, segment: Segment::Root, depth: 0 });
    }
    walk.violations
}

/// Where the walk is: a list on the stack, written out only when there is something to say.
struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    segment: Segment<'a>,
    depth: usize,
}

#[derive(Clone, Copy)]
enum Segment<'a> {
    Root,
    Field(&'a str),
    Index(u64),
    Key(Option<Value<'a>>),
}

impl<'a> Path<'a> {
    fn is_root(&self) -> bool {
        matches!(self.segment, Segment::Root)
    }

    fn then(&'a self, segment: Segment<'a>) -> Path<'a> {
        Path { parent: Some(self), segment, depth: self.depth + 1 }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.segment {
            Segment::Root => Ok(()),
            Segment::Field(name) if self.parent.is_none_or(Path::is_root) => f.write_str(name),
            Segment::Field(name) => write!(f, ".{name}"),
            Segment::Index(index) => write!(f, "[{index}]"),
            Segment::Key(Some(Value::Bytes(key))) => write!(f, "[{:?}]", String::from_utf8_lossy(key)),
            Segment::Key(Some(Value::Varint(key) | Value::Fixed64(key))) => write!(f, "[{key}]"),
            Segment::Key(Some(Value::Fixed32(key))) => write!(f, "[{key}]"),
            Segment::Key(None) => f.write_str("[]"),
        }
    }
}

/// What was met of a field.
#[derive(Clone, Default)]
struct Seen<'a> {
    count: u64,
    /// The values, if they must differ.
    values: Vec<Value<'a>>,
}

struct Walk {
    violations: Vec<Violation>,
}

impl Walk {
    fn report(&mut self, path: &Path<'_>, Broken { rule, value }: Broken) {
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(Violation { path: path.to_string(), rule, value });
        }
    }

    fn message(&mut self, plan: &MessagePlan, bytes: &[u8], path: &Path<'_>) {
        if plan.fields.is_empty() || path.depth > DEPTH_MAX || self.violations.len() >= VIOLATIONS_MAX {
            return;
        }
        let mut seen = vec![Seen::default(); plan.fields.len()];
        if self.fields(plan, bytes, path, &mut seen).is_err() {
            self.report(path, Broken::new("encoding", format!("{} malformed bytes", bytes.len())));
            return;
        }
        for (field, seen) in plan.fields.iter().zip(&seen) {
            self.whole_field(field, seen, &path.then(Segment::Field(&field.name)));
        }
        for (index, oneof) in plan.oneofs.iter().enumerate() {
            let mut members = plan.fields.iter().zip(&seen).filter(|(field, _)| field.oneof == Some(index));
            if members.all(|(_, seen)| seen.count == 0) {
                self.report(&path.then(Segment::Field(oneof)), Broken::new("oneof.required", "absent"));
            }
        }
    }

    fn fields<'a>(
        &mut self,
        plan: &MessagePlan,
        bytes: &'a [u8],
        path: &Path<'_>,
        seen: &mut [Seen<'a>],
    ) -> Result<(), Malformed> {
        let mut fields = Fields::new(bytes);
        while let Some((number, value)) = fields.next()? {
            let Ok(index) = plan.fields.binary_search_by_key(&number, |field| field.number) else { continue };
            let (Some(field), Some(seen)) = (plan.fields.get(index), seen.get_mut(index)) else { continue };
            let path = path.then(Segment::Field(&field.name));
            match &field.shape {
                Shape::Single { element, .. } => {
                    seen.count += 1;
                    self.element(element, value, &path)?;
                }
                Shape::Repeated { element, packing, unique, .. } => {
                    let mut item = |item: Value<'a>| {
                        let path = path.then(Segment::Index(seen.count));
                        seen.count += 1;
                        if *unique {
                            seen.values.push(item);
                        }
                        self.element(element, item, &path)
                    };
                    match (packing, value) {
                        (Some(packing), Value::Bytes(packed)) => {
                            let mut packed = Fields::new(packed);
                            while !packed.is_empty() {
                                item(packed.packed(*packing)?)?;
                            }
                        }
                        _ => item(value)?,
                    }
                }
                Shape::Map { key, value: element, .. } => {
                    seen.count += 1;
                    self.map_entry(key, element, value, &path)?;
                }
            }
        }
        Ok(())
    }

    fn map_entry(
        &mut self,
        key: &Element,
        element: &Element,
        entry: Value<'_>,
        path: &Path<'_>,
    ) -> Result<(), Malformed> {
        let Value::Bytes(entry) = entry else { return Err(Malformed) };
        let entry = Fields::new(entry);
        let (found_key, found_value) = (entry.find(1)?, entry.find(2)?);
        let path = path.then(Segment::Key(found_key));
        for (element, found) in [(key, found_key), (element, found_value)] {
            match found {
                Some(value) => self.element(element, value, &path)?,
                None => self.absent(element, &path),
            }
        }
        Ok(())
    }

    /// What can be said of a field only after the whole message.
    fn whole_field(&mut self, field: &FieldPlan, seen: &Seen<'_>, path: &Path<'_>) {
        match &field.shape {
            Shape::Single { required: Some(rule), .. } if seen.count == 0 => {
                self.report(path, Broken::new(*rule, "absent"));
            }
            Shape::Single { element, presence: false, .. } if seen.count == 0 => self.absent(element, path),
            Shape::Repeated { min_items, max_items, unique, .. } => {
                let (count, items) = (seen.count, format!("{} items", seen.count));
                if count < *min_items {
                    self.report(path, Broken::new(format!("repeated.min_items: {min_items}"), items));
                } else if let Some(max) = max_items.filter(|max| count > *max) {
                    self.report(path, Broken::new(format!("repeated.max_items: {max}"), items));
                }
                if *unique && has_duplicate(&seen.values) {
                    self.report(path, Broken::new("repeated.unique", "a duplicate"));
                }
            }
            Shape::Map { min_pairs, .. } if seen.count < *min_pairs => {
                let pairs = format!("{} pairs", seen.count);
                self.report(path, Broken::new(format!("map.min_pairs: {min_pairs}"), pairs));
            }
            Shape::Single { .. } | Shape::Map { .. } => {}
        }
    }

    /// A value that is not encoded because it is the default.
    fn absent(&mut self, element: &Element, path: &Path<'_>) {
        let default = match element {
            Element::Float { kind: Kind::Double, .. } => Value::Fixed64(0),
            Element::Float { .. } => Value::Fixed32(0),
            Element::Integer { kind, .. } => match kind {
                Kind::Fixed32 | Kind::Sfixed32 => Value::Fixed32(0),
                Kind::Fixed64 | Kind::Sfixed64 => Value::Fixed64(0),
                _ => Value::Varint(0),
            },
            Element::BoolConst(_) | Element::Enum(_) => Value::Varint(0),
            Element::Free
            | Element::Message(_)
            | Element::Any
            | Element::Wrapper(_)
            | Element::Duration(_)
            | Element::String(_)
            | Element::Bytes(_) => Value::Bytes(&[]),
        };
        if self.element(element, default, path).is_err() {
            self.report(path, Broken::new("encoding", "absent"));
        }
    }

    fn element(&mut self, element: &Element, value: Value<'_>, path: &Path<'_>) -> Result<(), Malformed> {
        let broken = match (element, value) {
            (Element::Free, _) => Ok(()),
            (Element::Message(id), Value::Bytes(bytes)) => {
                if let Some(plan) = plans().get(*id) {
                    self.message(plan, bytes, path);
                }
                Ok(())
            }
            (Element::Any, Value::Bytes(bytes)) => {
                self.any(bytes, path)?;
                Ok(())
            }
            (Element::Wrapper(inner), Value::Bytes(bytes)) => {
                match Fields::new(bytes).find(1)? {
                    Some(value) => self.element(inner, value, path)?,
                    None => self.absent(inner, path),
                }
                Ok(())
            }
            (Element::Duration(range), Value::Bytes(bytes)) => {
                let nanoseconds = duration(bytes)?;
                in_range("duration", range.broken_by(nanoseconds), &nanoseconds, seconds)
            }
            (Element::BoolConst(expected), Value::Varint(value)) => {
                if (value != 0) == *expected {
                    Ok(())
                } else {
                    Err(Broken::new(format!("bool.const: {expected}"), (value != 0).to_string()))
                }
            }
            (Element::Integer { kind, name, rules }, value) => {
                let number = integer(kind, value)?;
                in_range(name, rules.broken_by(number), &number, i128::to_string)
            }
            (Element::Float { kind, name, rules }, value) => {
                let number = float(kind, value)?;
                in_range(name, rules.broken_by(number), &number, f64::to_string)
            }
            (Element::Enum(rules), Value::Varint(value)) => rules.check(int32(value)),
            (Element::String(rules), Value::Bytes(bytes)) => rules.check(bytes),
            (Element::Bytes(rules), Value::Bytes(bytes)) => rules.check(bytes),
            _ => return Err(Malformed),
        };
        if let Err(broken) = broken {
            self.report(path, broken);
        }
        Ok(())
    }

    fn any(&mut self, bytes: &[u8], path: &Path<'_>) -> Result<(), Malformed> {
        let fields = Fields::new(bytes);
        let Some(Value::Bytes(type_url)) = fields.find(1)? else { return Ok(()) };
        let value = match fields.find(2)? {
            Some(Value::Bytes(value)) => value,
            Some(_) => return Err(Malformed),
            None => &[],
        };
        let known = std::str::from_utf8(type_url).ok().and_then(|type_url| plans().find(type_name(type_url)));
        if let Some(plan) = known {
            let path = Path { parent: path.parent, segment: path.segment, depth: path.depth + 1 };
            self.message(plan, value, &path);
        }
        Ok(())
    }
}

fn in_range<T>(
    kind: &str,
    broken: Option<(&'static str, T)>,
    value: &T,
    format: fn(&T) -> String,
) -> Result<(), Broken> {
    match broken {
        Some((rule, bound)) => Err(Broken::new(format!("{kind}.{rule}: {}", format(&bound)), format(value))),
        None => Ok(()),
    }
}

fn has_duplicate(values: &[Value<'_>]) -> bool {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.windows(2).any(|pair| matches!(pair, [one, other] if one == other))
}
