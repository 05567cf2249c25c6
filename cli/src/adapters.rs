//! Which adapter a flag names.

use std::path::PathBuf;

use anyhow::{Context, bail};
use lateen_adapter::Adapter;
use lateen_adapter_consul::ConsulAdapter;
use lateen_adapter_etcd::EtcdAdapter;
use lateen_adapter_file::FileAdapter;
use lateen_adapter_kubernetes::KubernetesAdapter;
use lateen_adapter_nomad::NomadAdapter;

use crate::output::Usage;

/// The forms that a flag may have, for messages.
const FORMS: &str = "file=DIR, kubernetes[=CONTEXT], consul=URL, nomad=URL, etcd=URLS";

/// Makes the adapter that `KIND=WHERE` names.
pub fn from_flag(spec: &str) -> anyhow::Result<Box<dyn Adapter>> {
    let (kind, value) = spec.split_once('=').unwrap_or((spec, ""));
    let wrong = || format!("in --adapter {kind}=…");
    Ok(match kind {
        "file" if value.is_empty() => bail!(Usage("--adapter file=DIR: the folder is missing".to_owned())),
        "file" => Box::new(FileAdapter::new(PathBuf::from(value))),
        "kubernetes" => Box::new(KubernetesAdapter::from_flag(value).with_context(wrong)?),
        "consul" => Box::new(ConsulAdapter::from_flag(value).with_context(wrong)?),
        "nomad" => Box::new(NomadAdapter::from_flag(value).with_context(wrong)?),
        "etcd" => Box::new(EtcdAdapter::from_flag(value).with_context(wrong)?),
        _ => bail!(Usage(format!("--adapter {spec:?} names no adapter; these do: {FORMS}"))),
    })
}

/// Does the flag name a source that is on this machine's disk, so that what it said needs no saving?
pub fn is_local(spec: &str) -> bool {
    spec.starts_with("file=")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_adapter_is_refused_with_the_known_ones() {
        for bad in ["zookeeper=x", "file", "file=", ""] {
            let message = from_flag(bad).err().unwrap().to_string();
            assert!(message.contains("file=DIR"), "{message}");
        }
    }

    #[test]
    fn an_unknown_option_is_refused_with_the_known_ones() {
        for (kind, known) in [
            ("kubernetes", "kubeconfig"),
            ("consul", "config-prefix"),
            ("nomad", "config-prefix"),
            ("etcd", "config-prefix"),
        ] {
            let error = from_flag(&format!("{kind}=http://127.0.0.1:1?never-heard-of=1")).err().unwrap();
            let message = format!("{error:#}");
            assert!(message.contains("never-heard-of") && message.contains(known), "{kind}: {message}");
        }
    }

    #[test]
    fn only_files_are_local() {
        assert!(is_local("file=mesh"));
        assert!(!is_local("consul=http://127.0.0.1:8500") && !is_local("kubernetes"));
    }
}
