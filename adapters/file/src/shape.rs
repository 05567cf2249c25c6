//! What is remembered of a text, to see that a newer one is it, cut off between two documents.

use std::hash::{DefaultHasher, Hasher};

/// Sums of a text's beginnings. Collisions cost a moment: what looks like a cut text waits.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Shape {
    /// Of what comes before each mark between documents.
    beginnings: Vec<u64>,
    /// Of all of it; none where it says nothing.
    whole: Option<u64>,
}

impl Shape {
    /// Blank lines, ends of lines, and the marks themselves don't count.
    pub(crate) fn of(text: &[u8]) -> Self {
        let mut shape = Self::default();
        let mut sum = DefaultHasher::new();
        for line in text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end) {
            let content = match line.strip_prefix(b"---") {
                Some(rest) if rest.first().is_none_or(u8::is_ascii_whitespace) => {
                    shape.beginnings.extend(shape.whole);
                    rest
                }
                Some(_) | None => line,
            };
            if !content.is_empty() {
                sum.write(content);
                sum.write_u8(b'\n');
                shape.whole = Some(sum.finish());
            }
        }
        shape
    }

    /// Says this only what that text said first, or nothing where that one said something?
    pub(crate) fn is_cut_of(&self, other: &Self) -> bool {
        match self.whole {
            None => other.whole.is_some(),
            whole => whole != other.whole && whole.is_some_and(|sum| other.beginnings.contains(&sum)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cut_between_documents_is_told_from_an_edited_one() {
        let whole = "# mesh\n---\na: 1\n\n---\nb: 2\nc: [\n---\n---x: 3\n";
        let is_cut = |text: &str| Shape::of(text.as_bytes()).is_cut_of(&Shape::of(whole.as_bytes()));
        for cut in
            ["", "\n", "# mesh\n", "# mesh\n---", "# mesh\n---\na: 1\n", "# mesh\r\n---\r\na: 1\n---\n"]
        {
            assert!(is_cut(cut), "{cut:?}");
        }
        for other in [
            whole,
            "a: 1\n",
            "# mesh\n---\na: 2\n",
            "# mesh\n---\na: 1\n---\nb: 3\n",
            // Within a document: what is there is not taken for the whole by who reads it.
            "# mesh\n---\na: 1\n---\nb: 2\n",
            "# mesh\n---\na: 1\n---\nb: 2\nc: [\n---\n---x: 3\n---\nd: 4\n",
        ] {
            assert!(!is_cut(other), "{other:?}");
        }
        assert!(!Shape::of(b"").is_cut_of(&Shape::of(b"\n---\n")), "nothing was said before either");
    }
}
