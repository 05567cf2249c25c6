//! Plans: what to look at in each message.

use std::collections::HashMap;
use std::sync::OnceLock;

use prost_reflect::{Kind, MessageDescriptor};

use super::compile::Compiler;
use super::rules::{BytesRules, EnumRules, Range, StringRules};
use super::walk;
use crate::reflect;

/// Index of a message's plan.
pub type PlanId = usize;

/// The plans of all messages.
pub struct Plans {
    by_name: HashMap<String, PlanId>,
    by_id: Vec<MessagePlan>,
    /// Rules that are not implemented.
    pub unsupported: Vec<String>,
}

/// What to look at in a message. Without fields there is nothing to find in it, however deep.
#[derive(Default)]
pub struct MessagePlan {
    /// Ascending by number.
    pub fields: Vec<FieldPlan>,
    /// Names of the oneofs of which one alternative must be given.
    pub oneofs: Vec<String>,
    /// Indices of the fields about which something is to be said after the whole message: that they are
    /// absent, or how many there are.
    pub afterwards: Vec<usize>,
}

pub struct FieldPlan {
    pub number: u32,
    pub name: String,
    /// Index in the plan's `oneofs`.
    pub oneof: Option<usize>,
    pub shape: Shape,
}

pub enum Shape {
    Single {
        element: Element,
        /// The rule, such as `message.required`, that the field be given.
        required: Option<&'static str>,
        /// Whether "absent" differs from "default"; if not, the rules hold for an absent field, too.
        presence: bool,
    },
    Repeated {
        element: Element,
        /// How the items may be packed into one value.
        packing: Option<Packing>,
        min_items: u64,
        max_items: Option<u64>,
        unique: bool,
    },
    Map {
        key: Element,
        value: Element,
        min_pairs: u64,
    },
}

/// The encoding of numbers in a packed field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    Varint,
    Fixed32,
    Fixed64,
}

/// What is asked of one value.
pub enum Element {
    /// Nothing.
    Free,
    Message(PlanId),
    Any,
    /// A wrapper message, and what is asked of the value in it.
    Wrapper(Box<Element>),
    /// In nanoseconds.
    Duration(Range<i128>),
    BoolConst(bool),
    Integer {
        kind: Kind,
        name: &'static str,
        rules: Range<i128>,
    },
    Float {
        kind: Kind,
        name: &'static str,
        rules: Range<f64>,
    },
    Enum(EnumRules),
    String(StringRules),
    Bytes(BytesRules),
}

/// Built on first use, from all descriptors.
pub fn plans() -> &'static Plans {
    static PLANS: OnceLock<Plans> = OnceLock::new();
    PLANS.get_or_init(Plans::compile)
}

impl Plans {
    pub fn find(&self, full_name: &str) -> Option<&MessagePlan> {
        self.get(*self.by_name.get(full_name)?)
    }

    pub fn get(&self, id: PlanId) -> Option<&MessagePlan> {
        self.by_id.get(id)
    }

    fn compile() -> Self {
        let messages: Vec<MessageDescriptor> =
            reflect::pool().all_messages().filter(|message| !message.is_map_entry()).collect();
        let names = messages.iter().map(|message| message.full_name().to_owned());
        let by_name = names.enumerate().map(|(id, name)| (name, id)).collect();
        let extension = |name: &str| reflect::pool().get_extension_by_name(name);
        let (Some(rules), Some(required)) = (extension("validate.rules"), extension("validate.required"))
        else {
            return Self {
                by_name,
                by_id: Vec::new(),
                unsupported: vec!["validate.rules is not defined".into()],
            };
        };
        let mut compiler = Compiler { by_name: &by_name, rules, required, unsupported: Vec::new() };
        let mut plans: Vec<_> = messages.iter().map(|message| compiler.message(message)).collect();
        let unsupported = compiler.unsupported;
        drop_fruitless(&mut plans);
        Self { by_name, by_id: plans, unsupported }
    }
}

/// Empties the plans that lead to no rule.
fn drop_fruitless(plans: &mut [MessagePlan]) {
    let mut fruitful: Vec<bool> = plans.iter().map(|plan| !plan.oneofs.is_empty()).collect();
    loop {
        let grown: Vec<bool> = plans
            .iter()
            .zip(&fruitful)
            .map(|(plan, already)| *already || plan.fields.iter().any(|field| field.is_fruitful(&fruitful)))
            .collect();
        if grown == fruitful {
            break;
        }
        fruitful = grown;
    }
    for plan in plans {
        plan.fields.retain(|field| field.oneof.is_some() || field.is_fruitful(&fruitful));
        let indexed = plan.fields.iter().enumerate();
        plan.afterwards =
            indexed.filter(|(_, field)| field.matters_afterwards()).map(|(index, _)| index).collect();
    }
}

impl FieldPlan {
    fn matters_afterwards(&self) -> bool {
        match &self.shape {
            Shape::Single { required: Some(_), .. } => true,
            Shape::Single { element, presence, .. } => !presence && walk::is_broken_by_absence(element),
            Shape::Repeated { min_items, max_items, unique, .. } => {
                *min_items > 0 || max_items.is_some() || *unique
            }
            Shape::Map { min_pairs, .. } => *min_pairs > 0,
        }
    }

    fn is_fruitful(&self, messages: &[bool]) -> bool {
        match &self.shape {
            Shape::Single { element, required, .. } => required.is_some() || element.is_fruitful(messages),
            Shape::Repeated { element, min_items, max_items, unique, packing: _ } => {
                *min_items > 0 || max_items.is_some() || *unique || element.is_fruitful(messages)
            }
            Shape::Map { key, value, min_pairs } => {
                *min_pairs > 0 || key.is_fruitful(messages) || value.is_fruitful(messages)
            }
        }
    }
}

impl Element {
    fn is_fruitful(&self, messages: &[bool]) -> bool {
        match self {
            Self::Free => false,
            Self::Message(id) => messages.get(*id).copied().unwrap_or_default(),
            _ => true,
        }
    }
}
