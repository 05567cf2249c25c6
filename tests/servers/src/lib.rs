//! Real servers for tests: etcd, Consul, Nomad, Kubernetes, each built once into the cache by `make servers` and
//! started on free ports. A server that was not built fails the test that needs it; nothing is skipped.

pub mod consul;
pub mod etcd;
pub mod kubernetes;
pub mod nomad;
mod process;
mod relay;

pub use process::{Running, free_ports};
pub use relay::Relay;

use std::path::PathBuf;

use anyhow::ensure;

/// A server's binary, in `LATEEN_SERVERS` or in the cache.
pub fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let folder =
        std::env::var_os("LATEEN_SERVERS").map_or_else(|| cache().join("servers/bin"), PathBuf::from);
    let path = folder.join(name);
    ensure!(path.is_file(), "{} is missing: `make servers` builds it", path.display());
    Ok(path)
}

/// A client that `tests/clients/build.sh` puts into the cache, or into `LATEEN_CLIENTS`.
pub fn client(name: &str) -> anyhow::Result<PathBuf> {
    let folder = std::env::var_os("LATEEN_CLIENTS").map_or_else(|| cache().join("clients"), PathBuf::from);
    let path = folder.join(name);
    ensure!(path.is_file(), "{} is missing: tests/clients/build.sh makes it", path.display());
    Ok(path)
}

fn cache() -> PathBuf {
    let of = |name: &str| std::env::var_os(name).map(PathBuf::from);
    of("LATEEN_CACHE")
        .or_else(|| of("XDG_CACHE_HOME").map(|cache| cache.join("lateen")))
        .or_else(|| of("HOME").map(|home| home.join(".cache/lateen")))
        .unwrap_or_default()
}
