//! Encoded bytes along a plan → violations.

use std::fmt;

use prost_reflect::Kind;

use super::plan::{Element, FieldPlan, MessagePlan, Packing, Shape, plans};
use super::rules::Broken;
use super::values::{duration, float, int32, integer, seconds};
use super::wire::{Fields, Malformed, Value};
use super::{VIOLATIONS_MAX, Violation};
use crate::any::type_name;

/// Messages nested deeper than this, counted through every `Any`, are not looked into: Envoy's own decoder
/// gives up at 100 in one message.
const DEPTH_MAX: usize = 200;

/// Whether a rule forbids the default value. For elements that are not messages.
pub fn is_broken_by_absence(element: &Element) -> bool {
    let mut walk = Walk { violations: Vec::new(), counts: Vec::new() };
    walk.absent(element, &Path { parent: None, segment: Segment::Root, depth: 0 });
    !walk.violations.is_empty()
}

pub fn check(full_name: &str, bytes: &[u8]) -> Vec<Violation> {
    let mut walk = Walk { violations: Vec::new(), counts: Vec::new() };
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

struct Walk {
    violations: Vec<Violation>,
    /// How often each field of the plan was met, for every message on the way to the current one: a stack,
    /// so that messages need no allocation of their own.
    counts: Vec<u64>,
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
        let base = self.counts.len();
        self.counts.resize(base + plan.fields.len(), 0);
        if self.fields(plan, bytes, path, base).is_ok() {
            self.whole_message(plan, bytes, path, base);
        } else {
            self.report(path, Broken::new("encoding", format!("{} malformed bytes", bytes.len())));
        }
        self.counts.truncate(base);
    }

    /// Counts one more of a field; how many there were before.
    fn count(&mut self, index: usize) -> u64 {
        let Some(count) = self.counts.get_mut(index) else { return 0 };
        *count += 1;
        *count - 1
    }

    fn counted(&self, index: usize) -> u64 {
        self.counts.get(index).copied().unwrap_or_default()
    }

    fn fields(
        &mut self,
        plan: &MessagePlan,
        bytes: &[u8],
        path: &Path<'_>,
        base: usize,
    ) -> Result<(), Malformed> {
        let mut fields = Fields::new(bytes);
        while let Some((number, value)) = fields.next()? {
            let Ok(index) = plan.fields.binary_search_by_key(&number, |field| field.number) else { continue };
            let Some(field) = plan.fields.get(index) else { continue };
            let (path, index) = (path.then(Segment::Field(&field.name)), base + index);
            match &field.shape {
                Shape::Single { element, .. } => {
                    self.count(index);
                    self.element(element, value, &path)?;
                }
                Shape::Repeated { element, packing, .. } => {
                    for_each_item(*packing, value, |item| {
                        let nth = self.count(index);
                        self.element(element, item, &path.then(Segment::Index(nth)))
                    })?;
                }
                Shape::Map { key, value: element, .. } => {
                    self.count(index);
                    self.map_entry(key, element, value, &path)?;
                }
            }
        }
        Ok(())
    }

    /// What can be said only after all fields of a message.
    fn whole_message(&mut self, plan: &MessagePlan, bytes: &[u8], path: &Path<'_>, base: usize) {
        for index in &plan.afterwards {
            let Some(field) = plan.fields.get(*index) else { continue };
            self.whole_field(
                field,
                bytes,
                self.counted(base + index),
                &path.then(Segment::Field(&field.name)),
            );
        }
        for (oneof_index, oneof) in plan.oneofs.iter().enumerate() {
            let is_given = plan
                .fields
                .iter()
                .enumerate()
                .any(|(index, field)| field.oneof == Some(oneof_index) && self.counted(base + index) > 0);
            if !is_given {
                self.report(&path.then(Segment::Field(oneof)), Broken::new("oneof.required", "absent"));
            }
        }
    }

    fn whole_field(&mut self, field: &FieldPlan, message: &[u8], count: u64, path: &Path<'_>) {
        match &field.shape {
            Shape::Single { required: Some(rule), .. } if count == 0 => {
                self.report(path, Broken::new(*rule, "absent"));
            }
            Shape::Single { element, presence: false, .. } if count == 0 => self.absent(element, path),
            Shape::Repeated { packing, min_items, max_items, unique, .. } => {
                if count < *min_items {
                    let rule = format!("repeated.min_items: {min_items}");
                    self.report(path, Broken::new(rule, format!("{count} items")));
                }
                if let Some(max) = max_items.filter(|max| count > *max) {
                    let rule = format!("repeated.max_items: {max}");
                    self.report(path, Broken::new(rule, format!("{count} items")));
                }
                if *unique && has_duplicate(message, field.number, *packing) {
                    self.report(path, Broken::new("repeated.unique", "a duplicate"));
                }
            }
            Shape::Map { min_pairs, .. } if count < *min_pairs => {
                let rule = format!("map.min_pairs: {min_pairs}");
                self.report(path, Broken::new(rule, format!("{count} pairs")));
            }
            Shape::Single { .. } | Shape::Map { .. } => {}
        }
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

/// The items in one encoded value of a repeated field.
fn for_each_item<'a>(
    packing: Option<Packing>,
    value: Value<'a>,
    mut act: impl FnMut(Value<'a>) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let (Some(packing), Value::Bytes(packed)) = (packing, value) else { return act(value) };
    let mut packed = Fields::new(packed);
    while !packed.is_empty() {
        act(packed.packed(packing)?)?;
    }
    Ok(())
}

/// Whether two items of a repeated field are equal. Only a well-formed message gets here.
fn has_duplicate(message: &[u8], field: u32, packing: Option<Packing>) -> bool {
    let mut items = Vec::new();
    let mut fields = Fields::new(message);
    while let Ok(Some((number, value))) = fields.next() {
        if number == field {
            let _ = for_each_item(packing, value, |item| {
                items.push(item);
                Ok(())
            });
        }
    }
    items.sort_unstable();
    items.windows(2).any(|pair| matches!(pair, [one, other] if one == other))
}
