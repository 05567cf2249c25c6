//! What stands behind `--adapter kubernetes`.

use std::{collections::BTreeSet, path::PathBuf};

use lateen_adapter::{ConfigError, Flag, decoded};

/// Which cluster, and what of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Settings {
    /// The context of the kubeconfig; its current one when none is given.
    pub(crate) context: Option<String>,
    /// The kubeconfig; where there is none, `KUBECONFIG` and `~/.kube/config`, and inside a cluster its own access.
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Only these namespaces; empty for all.
    pub(crate) namespaces: BTreeSet<String>,
    /// Is status written?
    pub(crate) status: bool,
    /// Where the lease of the replica that writes it is; none for the namespace of the access.
    pub(crate) lease_namespace: Option<String>,
}

impl Settings {
    /// Reads `[CONTEXT][?OPTION=VALUE&…]`.
    pub(crate) fn parse(text: &str) -> Result<Self, ConfigError> {
        let mut flag = Flag::parse(text)?;
        let context = decoded(flag.place)?;
        let settings = Self {
            context: (!context.is_empty()).then_some(context),
            kubeconfig: flag.path("kubeconfig")?,
            namespaces: namespaces(flag.any("namespaces"))?,
            status: match flag.any("status").as_deref() {
                None | Some("on") => true,
                Some("off") => false,
                Some(other) => return Err(ConfigError::value("status", other, "not on or off")),
            },
            lease_namespace: match flag.any("lease-namespace") {
                Some(name) if !is_label(&name) => {
                    return Err(ConfigError::value("lease-namespace", name, "not the name of a namespace"));
                }
                name => name,
            },
        };
        flag.finish()?;
        Ok(settings)
    }

    /// The source's name: what tells one cluster, or part of it, from another.
    pub(crate) fn source(&self) -> String {
        let mut text = "kubernetes".to_owned();
        if let Some(context) = &self.context {
            text.push('=');
            text.push_str(context);
        }
        let mut options = Vec::new();
        if let Some(path) = &self.kubeconfig {
            options.push(format!("kubeconfig={}", path.display()));
        }
        if !self.namespaces.is_empty() {
            let names: Vec<&str> = self.namespaces.iter().map(String::as_str).collect();
            options.push(format!("namespaces={}", names.join(",")));
        }
        if !options.is_empty() {
            if self.context.is_none() {
                text.push('=');
            }
            text.push('?');
            text.push_str(&options.join("&"));
        }
        text
    }
}

/// May it be the name of a namespace? It becomes part of paths, so nothing else gets through.
fn is_label(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&name.len()) && name.bytes().all(plain)
}

fn namespaces(value: Option<String>) -> Result<BTreeSet<String>, ConfigError> {
    let Some(value) = value else { return Ok(BTreeSet::new()) };
    let names: BTreeSet<String> = value.split(',').map(|name| name.trim().to_owned()).collect();
    if names.iter().all(|name| is_label(name)) {
        return Ok(names);
    }
    Err(ConfigError::value("namespaces", value, "not names of namespaces, with commas between"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_and_options() {
        let settings = Settings::parse("prod?kubeconfig=%2Fa%20b&namespaces=shop,pay&status=off").unwrap();
        assert_eq!(settings.context.as_deref(), Some("prod"));
        assert_eq!(settings.kubeconfig, Some(PathBuf::from("/a b")));
        assert_eq!(settings.namespaces, BTreeSet::from(["pay".to_owned(), "shop".to_owned()]));
        assert!(!settings.status);
        assert_eq!(settings.source(), "kubernetes=prod?kubeconfig=/a b&namespaces=pay,shop");
    }

    #[test]
    fn nothing_is_the_default_cluster() {
        let settings = Settings::parse("").unwrap();
        assert_eq!((settings.context.clone(), settings.status), (None, true));
        assert_eq!(settings.source(), "kubernetes");
        assert_eq!(Settings::parse("?kubeconfig=k").unwrap().source(), "kubernetes=?kubeconfig=k");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let message = |text| Settings::parse(text).unwrap_err().to_string();
        assert_eq!(
            message("a?colour=red"),
            "there is no option \"colour\"; these are: kubeconfig, namespaces, status, lease-namespace"
        );
        assert_eq!(message("?status=on&status=on"), "option \"status\" is given twice");
        assert!(message("?status=maybe").contains("on or off"));
        for text in
            ["?namespaces=../x", "?namespaces=", "?lease-namespace=a/b", "?kubeconfig=", "%+1", "%4", "%ff"]
        {
            assert!(Settings::parse(text).is_err(), "{text}");
        }
    }
}
