//! Why what is saved can't be read or written.

use std::{io, path::PathBuf};

use redb::{DatabaseError, StorageError};

use super::FORMAT;

/// Why nothing can be saved.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The folder can't be made.
    #[error("can't make the folder {path}")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process has the file.
    #[error("{path} is in use by another process")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refuses the file, which stays where it is.
    #[error("can't open {path} to read and write")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is damaged, and can't be moved aside or made anew.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The thread can't be started.
    #[error("can't start the thread that writes")]
    Thread(#[source] io::Error),
}

/// Why a file can't be read, for the log.
#[derive(Debug, thiserror::Error)]
pub(super) enum Damage {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error(transparent)]
    Redb(#[from] redb::Error),
    #[error(transparent)]
    Read(#[from] io::Error),
    #[error("its layout is version {0}, not {FORMAT}")]
    Format(u64),
    #[error("the record of {0} does not fit its checksum")]
    Record(String),
    #[error("reading it panicked")]
    Panicked,
}

impl Damage {
    /// What the operating system said: that is no damage. Errors of redb about what is in the file have no number.
    pub(super) fn refusal(self) -> Result<io::Error, Self> {
        match self {
            Self::Database(DatabaseError::Storage(StorageError::Io(error)))
            | Self::Redb(redb::Error::Io(error))
            | Self::Read(error)
                if error.raw_os_error().is_some() =>
            {
                Ok(error)
            }
            damage => Err(damage),
        }
    }
}
