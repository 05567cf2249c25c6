//! Reading the files that a command was given.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::Context;
use lateen_adapter_file::UNREADABLE;
use lateen_model::{Diagnostic, Severity};

/// A file with the name it is reported by.
#[derive(Debug)]
pub struct InputFile {
    /// As given, or below a folder that was given.
    pub location: String,
    /// Its bytes.
    pub body: Vec<u8>,
}

/// What was read, and what of it could not be.
pub type Input = (Vec<InputFile>, Vec<Diagnostic>);

/// Reads files; folders are searched for YAML and JSON, `-` is standard input. A file of a folder that can't be read
/// is a finding, as it is when the folder is served, and takes no other with it.
pub fn read(paths: &[PathBuf]) -> anyhow::Result<Input> {
    let (mut files, mut findings) = Input::default();
    for path in paths {
        if path.as_os_str() == "-" {
            let mut body = Vec::new();
            std::io::stdin().read_to_end(&mut body).context("can't read standard input")?;
            files.push(InputFile { location: "-".to_owned(), body });
        } else if path.is_dir() {
            read_folder(path, &mut files, &mut findings)?;
        } else {
            files.push(read_file(path)?);
        }
    }
    Ok((files, findings))
}

fn read_folder(
    folder: &Path,
    files: &mut Vec<InputFile>,
    findings: &mut Vec<Diagnostic>,
) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("can't read {}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    paths.sort();
    for path in paths {
        // What `serve` reads of a folder is what is looked at.
        let hidden = path.file_name().is_some_and(lateen_adapter_file::is_ignored);
        let known = lateen_adapter_file::is_document(&path);
        if path.is_dir() && !hidden && !path.is_symlink() {
            read_folder(&path, files, findings)?;
        } else if known && !hidden {
            match path.metadata().map(|found| found.is_file()) {
                // Pipes and devices say nothing, when they are served, too.
                Ok(false) => {}
                Ok(true) | Err(_) => match read_file(&path) {
                    Ok(file) => files.push(file),
                    Err(error) => findings.push(unreadable(&path, &error)),
                },
            }
        }
    }
    Ok(())
}

fn unreadable(path: &Path, error: &anyhow::Error) -> Diagnostic {
    Diagnostic {
        code: UNREADABLE,
        severity: Severity::Error,
        object: None,
        origin: None,
        path: path.display().to_string(),
        message: format!("{error:#}"),
        hint: None,
    }
}

fn read_file(path: &Path) -> anyhow::Result<InputFile> {
    let body = std::fs::read(path).with_context(|| format!("can't read {}", path.display()))?;
    Ok(InputFile { location: path.display().to_string(), body })
}
