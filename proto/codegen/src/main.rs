//! Writes the Rust types of `lateen-proto` from the checked-in descriptor set.
//!
//! Run by `proto/regenerate/run.sh`; reads and writes only under `proto/`. It is a program and not a build
//! script so that a build neither needs prost-build nor generates the same code again on every machine.

mod prune;
mod roots;

use std::path::Path;

use anyhow::Context as _;
use prost::Message as _;
use prost_types::FileDescriptorSet;

fn main() -> anyhow::Result<()> {
    let proto =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the codegen crate has no parent folder")?;
    let input = proto.join("descriptors/envoy.binpb");
    let output = proto.join("src/generated");

    let bytes = std::fs::read(&input).with_context(|| format!("reading {}", input.display()))?;
    let all = FileDescriptorSet::decode(bytes.as_slice()).context("decoding the descriptor set")?;
    let pruned = prune::prune(all, roots::PACKAGES, roots::MESSAGES)?;

    // Files of packages that are no longer generated must not stay behind.
    if output.exists() {
        std::fs::remove_dir_all(&output).with_context(|| format!("emptying {}", output.display()))?;
    }
    std::fs::create_dir_all(&output).with_context(|| format!("creating {}", output.display()))?;

    let mut config = prost_build::Config::new();
    config
        .out_dir(&output)
        .include_file("mod.rs")
        // Encoding must be deterministic: a resource's version is the hash of its bytes.
        .btree_map(["."])
        // `Any.value` is shared by reference count, not copied at each clone.
        .bytes(["."])
        .enable_type_names()
        .type_name_domain(["."], "type.googleapis.com")
        // prost-types' own well-known types have a HashMap in Struct and a Vec in Any.
        .compile_well_known_types()
        .disable_comments(["."]);
    config.compile_fds(pruned).context("generating")?;
    Ok(())
}
