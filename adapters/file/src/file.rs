//! One file, read as a whole or not at all.

use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
    sync::Arc,
};

use lateen_model::diagnostic::Code;

use crate::{FILE_BYTES_MAX, codes};

/// Which state of a file was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(crate) fn of(found: &Metadata) -> Self {
        Self {
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }
}

/// What reading a file gave.
pub(crate) enum FileRead {
    Content(Arc<[u8]>, Stamp),
    Fault(Code, String),
    /// It changed while it was read.
    Moving,
    /// It is not there, or is no file.
    Gone,
}

/// Reads a regular file. Nothing else is waited for: a pipe put in a file's place would hold up everything.
pub(crate) fn read(path: &Path) -> FileRead {
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => FileRead::Gone,
        _ => FileRead::Fault(codes::UNREADABLE, format!("the file can't be read: {error}")),
    };
    match opened.and_then(|mut file| read_open(&mut file)) {
        Ok(read) => read,
        Err(error) => unreadable(error),
    }
}

fn read_open(file: &mut File) -> io::Result<FileRead> {
    let before = file.metadata()?;
    if !before.is_file() {
        return Ok(FileRead::Gone);
    }
    if before.len() > FILE_BYTES_MAX {
        return Ok(too_large(before.len()));
    }
    let mut body = Vec::with_capacity(usize::try_from(before.len()).unwrap_or_default());
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut body)?;
    let length = u64::try_from(body.len()).unwrap_or(u64::MAX);
    if length > FILE_BYTES_MAX {
        return Ok(too_large(length));
    }
    let after = Stamp::of(&file.metadata()?);
    let before = Stamp::of(&before);
    if (before.size, before.modified) != (after.size, after.modified) || length != after.size {
        return Ok(FileRead::Moving);
    }
    Ok(FileRead::Content(body.into(), after))
}

fn too_large(length: u64) -> FileRead {
    let max = FILE_BYTES_MAX >> 20;
    FileRead::Fault(
        codes::TOO_LARGE,
        format!("the file has {} MiB; files of up to {max} MiB are read", length >> 20),
    )
}
