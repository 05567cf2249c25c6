//! What stands behind `--adapter kubernetes`.

use std::{collections::BTreeSet, path::PathBuf};

/// What may follow the question mark.
const KNOWN: &str = "kubeconfig, lease-namespace, namespaces, status";

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

/// What is wrong with the text.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// An option that does not exist.
    #[error("there is no option {0}; known are {KNOWN}")]
    UnknownOption(String),
    /// An option that stands there twice.
    #[error("option {0} is given twice")]
    Twice(String),
    /// A value that an option does not take.
    #[error("option {option} does not take \"{value}\": {takes}")]
    Value {
        /// The option.
        option: &'static str,
        /// The value.
        value: String,
        /// What it takes.
        takes: &'static str,
    },
    /// A percent sign that two hexadecimal digits of UTF-8 do not follow.
    #[error("\"{0}\" is not percent-encoded text")]
    Encoding(String),
}

impl Settings {
    /// Reads `[CONTEXT][?OPTION=VALUE&…]`.
    pub(crate) fn parse(text: &str) -> Result<Self, ConfigError> {
        let (context, options) = text.split_once('?').unwrap_or((text, ""));
        let context = decoded(context)?;
        let mut settings = Self {
            context: (!context.is_empty()).then_some(context),
            kubeconfig: None,
            namespaces: BTreeSet::new(),
            status: true,
            lease_namespace: None,
        };
        let mut given = BTreeSet::new();
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            if !given.insert(name) {
                return Err(ConfigError::Twice(name.to_owned()));
            }
            settings.set(name, decoded(value)?)?;
        }
        Ok(settings)
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), ConfigError> {
        match name {
            "kubeconfig" if value.is_empty() => {
                return Err(ConfigError::Value { option: "kubeconfig", value, takes: "a path" });
            }
            "kubeconfig" => self.kubeconfig = Some(value.into()),
            "namespaces" => {
                let names: BTreeSet<String> = value.split(',').map(|name| name.trim().to_owned()).collect();
                if !names.iter().all(|name| is_label(name)) {
                    let takes = "names of namespaces, with commas between";
                    return Err(ConfigError::Value { option: "namespaces", value, takes });
                }
                self.namespaces = names;
            }
            "lease-namespace" if !is_label(&value) => {
                let takes = "the name of a namespace";
                return Err(ConfigError::Value { option: "lease-namespace", value, takes });
            }
            "lease-namespace" => self.lease_namespace = Some(value),
            "status" => {
                self.status = match &*value {
                    "on" => true,
                    "off" => false,
                    _ => return Err(ConfigError::Value { option: "status", value, takes: "on or off" }),
                }
            }
            other => return Err(ConfigError::UnknownOption(other.to_owned())),
        }
        Ok(())
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

fn decoded(text: &str) -> Result<String, ConfigError> {
    let wrong = || ConfigError::Encoding(text.to_owned());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2).ok_or_else(wrong)?;
        let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
        // The parser of numbers would take a sign too.
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
        rest = after;
    }
    String::from_utf8(bytes).map_err(|_| wrong())
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
            "there is no option colour; known are kubeconfig, lease-namespace, namespaces, status"
        );
        assert_eq!(message("?status=on&status=on"), "option status is given twice");
        assert!(message("?status=maybe").contains("on or off"));
        for text in
            ["?namespaces=../x", "?namespaces=", "?lease-namespace=a/b", "?kubeconfig=", "%+1", "%4", "%ff"]
        {
            assert!(Settings::parse(text).is_err(), "{text}");
        }
    }
}
