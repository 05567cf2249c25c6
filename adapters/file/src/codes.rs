//! Codes of findings about files.

use lateen_model::diagnostic::Code;

/// The file or folder can't be read.
pub const UNREADABLE: Code = Code("LAT3501");
/// The file is larger than what is read.
pub(crate) const TOO_LARGE: Code = Code("LAT3502");
/// The folder holds more, or is deeper, than what is followed.
pub(crate) const TOO_MANY: Code = Code("LAT3503");
