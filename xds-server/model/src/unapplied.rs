//! What happens to settings that protect something and can't be applied.

use std::{fmt, str::FromStr};

/// What happens to what a setting would protect when the setting can't be applied (yet).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub enum Unapplied {
    /// It is closed: nothing gets through that the setting might have refused.
    #[default]
    Close,
    /// It stays as if the setting were not there, and a finding says so.
    Ignore,
}

impl fmt::Display for Unapplied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Close => "close",
            Self::Ignore => "ignore",
        })
    }
}

/// The text is neither `close` nor `ignore`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownUnapplied(String);

impl fmt::Display for UnknownUnapplied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is neither close nor ignore", self.0)
    }
}

impl std::error::Error for UnknownUnapplied {}

impl FromStr for Unapplied {
    type Err = UnknownUnapplied;

    fn from_str(text: &str) -> Result<Self, UnknownUnapplied> {
        match text {
            "close" => Ok(Self::Close),
            "ignore" => Ok(Self::Ignore),
            other => Err(UnknownUnapplied(other.to_owned())),
        }
    }
}
