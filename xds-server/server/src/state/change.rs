//! What is to be written of an object: of a document several texts, where newer ones have faulty objects that are in
//! force as older ones have them.

use lateen_model::{ObjectId, ObjectKind, SourceId, event::Object};
use redb::{ReadableTable, Table};

use super::{number_of, record};

/// Texts of one document that are kept, at most: one that can be read, and newer ones in which some objects can't.
/// When there are more, the one after the first goes, and what only that one said is not restored.
pub(super) const FORMS_MAX: usize = 4;
/// Numbers of the second form of a document and of those after it, where others have the number of their kind.
pub(super) const LATER_FORMS: std::ops::Range<u8> = 16..19;

/// What is to be written of an object.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Change {
    /// Instead of what was saved before, or on top of it?
    pub(super) replaces: bool,
    /// From old to new; none when it is gone.
    pub(super) forms: Vec<Object>,
}

impl Change {
    /// Both, this one first.
    pub(super) fn then(&mut self, mut later: Self) {
        if later.replaces {
            *self = later;
        } else {
            self.forms.append(&mut later.forms);
            limit(&mut self.forms);
        }
    }

    /// Forms of an object, each under a number of its own, from old to new.
    pub(super) fn write(
        &self,
        objects: &mut Table<'_, (&'static str, u8, &'static str), &'static [u8]>,
        source: &SourceId,
        id: &ObjectId,
    ) -> Result<(), redb::Error> {
        let later = LATER_FORMS.take(if id.kind == ObjectKind::Document { FORMS_MAX - 1 } else { 0 });
        let numbers: Vec<u8> = std::iter::once(number_of(id.kind)).chain(later).collect();
        let mut forms = Vec::new();
        if !self.replaces {
            for number in &numbers {
                forms
                    .extend(objects.get((&*source.0, *number, &*id.name))?.map(|form| form.value().to_vec()));
            }
        }
        forms.extend(self.forms.iter().filter_map(|object| record::encode(&id.name, object)));
        limit(&mut forms);
        let mut forms = forms.iter();
        for number in numbers {
            let key = (&*source.0, number, &*id.name);
            match forms.next() {
                Some(form) => drop(objects.insert(key, form.as_slice())?),
                None => drop(objects.remove(key)?),
            }
        }
        Ok(())
    }
}

pub(super) fn limit<T>(forms: &mut Vec<T>) {
    while forms.len() > FORMS_MAX {
        forms.remove(1);
    }
}
