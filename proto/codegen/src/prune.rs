//! Reduces a descriptor set to what some roots reach through their fields.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, ensure};
use prost_types::{DescriptorProto, FileDescriptorProto, FileDescriptorSet};

/// Keeps the packages and messages named, and everything their fields refer to.
///
/// The unit is a message or enum at the top level of a file: nested ones stay or go with it. Services,
/// extensions and imports of files that became empty are dropped.
pub fn prune(
    set: FileDescriptorSet,
    packages: &[&str],
    messages: &[&str],
) -> anyhow::Result<FileDescriptorSet> {
    let index = Index::of(&set);
    let mut pending = Vec::new();
    for package in packages {
        let found = index.in_package.get(*package).with_context(|| format!("no package {package}"))?;
        pending.extend(found.iter().cloned());
    }
    for message in messages {
        ensure!(index.references.contains_key(*message), "no message {message}");
        pending.push((*message).to_owned());
    }

    let mut keep = BTreeSet::new();
    while let Some(name) = pending.pop() {
        if let Some(references) = index.references.get(&name)
            && keep.insert(name)
        {
            pending.extend(references.iter().map(|type_name| index.top_level(type_name)));
        }
    }
    Ok(FileDescriptorSet { file: set.file.into_iter().filter_map(|file| prune_file(file, &keep)).collect() })
}

struct Index {
    /// Package → its top-level messages and enums, by full name.
    in_package: BTreeMap<String, Vec<String>>,
    /// Top-level message or enum → full names of the types that its fields, also nested, have.
    references: BTreeMap<String, BTreeSet<String>>,
}

impl Index {
    fn of(set: &FileDescriptorSet) -> Self {
        let mut index = Self { in_package: BTreeMap::new(), references: BTreeMap::new() };
        for file in &set.file {
            let in_package = index.in_package.entry(file.package().to_owned()).or_default();
            for message in &file.message_type {
                let name = full_name(file, message.name());
                let mut references = BTreeSet::new();
                collect_references(message, &mut references);
                in_package.push(name.clone());
                index.references.insert(name, references);
            }
            for enumeration in &file.enum_type {
                let name = full_name(file, enumeration.name());
                in_package.push(name.clone());
                index.references.insert(name, BTreeSet::new());
            }
        }
        index
    }

    /// The top-level type that holds `type_name`, which may be nested in it.
    fn top_level(&self, type_name: &str) -> String {
        let mut name = type_name;
        while !self.references.contains_key(name) {
            match name.rsplit_once('.') {
                Some((outer, _)) => name = outer,
                None => return type_name.to_owned(),
            }
        }
        name.to_owned()
    }
}

fn full_name(file: &FileDescriptorProto, name: &str) -> String {
    format!("{}.{name}", file.package())
}

fn collect_references(message: &DescriptorProto, into: &mut BTreeSet<String>) {
    for field in &message.field {
        if let Some(type_name) = &field.type_name {
            into.insert(type_name.trim_start_matches('.').to_owned());
        }
    }
    for nested in &message.nested_type {
        collect_references(nested, into);
    }
}

fn prune_file(mut file: FileDescriptorProto, keep: &BTreeSet<String>) -> Option<FileDescriptorProto> {
    let package = file.package().to_owned();
    let kept = |name: &str| keep.contains(&format!("{package}.{name}"));
    file.message_type.retain(|message| kept(message.name()));
    file.enum_type.retain(|enumeration| kept(enumeration.name()));
    file.service.clear();
    file.extension.clear();
    // prost-build resolves names over the whole set and does not look at imports.
    file.dependency.clear();
    file.public_dependency.clear();
    file.weak_dependency.clear();
    (!file.message_type.is_empty() || !file.enum_type.is_empty()).then_some(file)
}
