//! Paths of fields (`spec.http[0].route[1].weight`).

use std::fmt;

/// A path, built on the stack on the way down and written out only for a finding.
#[derive(Clone, Copy, Debug)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

/// One step of a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step<'a> {
    /// A field of an object.
    Field(&'a str),
    /// A key of a map that users choose, such as a label.
    Key(&'a str),
    /// An element of a list.
    Index(usize),
}

impl<'a> Path<'a> {
    /// The path of the whole document.
    pub const ROOT: Path<'static> = Path { parent: None, step: Step::Field("") };

    /// The path of a field in here.
    pub const fn field(&'a self, name: &'a str) -> Path<'a> {
        Path { parent: Some(self), step: Step::Field(name) }
    }

    /// The path of a key's value in here.
    pub const fn key(&'a self, key: &'a str) -> Path<'a> {
        Path { parent: Some(self), step: Step::Key(key) }
    }

    /// The path of an element in here.
    pub const fn index(&'a self, index: usize) -> Path<'a> {
        Path { parent: Some(self), step: Step::Index(index) }
    }

    /// The steps from the document's root to here.
    pub fn steps(&self) -> Vec<Step<'a>> {
        let mut steps = Vec::new();
        let mut here = *self;
        while let Some(parent) = here.parent {
            steps.push(here.step);
            here = *parent;
        }
        steps.reverse();
        steps
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.steps().into_iter().enumerate() {
            match step {
                Step::Field(name) if index == 0 => f.write_str(name)?,
                Step::Field(name) => write!(f, ".{name}")?,
                Step::Key(key) => write!(f, "[{key}]")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}
