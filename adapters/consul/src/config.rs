//! What stands behind `--adapter consul=`.

use std::{sync::Arc, time::Duration};

use http::HeaderName;
use lateen_adapter_http::{AddressError, Place, Query, TlsFiles, TokenFile, decoded};
use lateen_model::{Namespace, SourceId};

/// The options, for messages.
const OPTIONS: &[&str] = &[
    "namespace",
    "domain",
    "host",
    "port",
    "config-prefix",
    "dc",
    "ns",
    "partition",
    "peer",
    "tagged-address",
    "consistency",
    "wait",
    "watches",
    "token-file",
    "ca-file",
    "cert-file",
    "key-file",
    "server-name",
];

/// Consul's port where the address names none.
const PORT: u16 = 8500;

/// Why a flag is not understood.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    /// The address of the agent.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// There is no such option.
    #[error("there is no option {option:?}; these are: {}", OPTIONS.join(", "))]
    Unknown {
        /// What was given.
        option: String,
    },
    /// An option's value makes no sense.
    #[error("{option}={value:?}: {why}")]
    Value {
        /// The option.
        option: &'static str,
        /// What was given.
        value: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// How sure an answer has to be.
/// <https://developer.hashicorp.com/consul/api-docs/features/consistency>
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Consistency {
    /// By the leader.
    Default,
    /// By a leader that has just asked the others.
    Consistent,
    /// By any server.
    Stale,
}

/// How to reach Consul, and how to read it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Settings {
    pub(crate) http: lateen_adapter_http::Settings,
    pub(crate) source: SourceId,
    /// Of the services: as given, else Consul's own where it has namespaces.
    pub(crate) namespace: Namespace,
    /// Of hosts, with `{name}`, `{namespace}` and `{dc}`.
    pub(crate) host: Arc<str>,
    /// What clients call when the service does not say it.
    pub(crate) port: u16,
    /// Keys of configuration; empty for none.
    pub(crate) config_prefix: String,
    /// Parameters of each request: datacenter, namespace, partition.
    pub(crate) everywhere: Query,
    /// Parameters of requests about services besides.
    pub(crate) peer: Option<String>,
    /// Which of the tagged addresses instances are reached at.
    pub(crate) tagged_address: Option<String>,
    pub(crate) consistency: Consistency,
    /// How long a question may wait for news.
    pub(crate) wait: Duration,
    /// Services that have a question of their own waiting.
    pub(crate) watches: usize,
}

impl Settings {
    /// Reads `URL[?option=value&…]`.
    pub(crate) fn parse(value: &str) -> Result<Self, ConfigError> {
        let (address, options) = value.split_once('?').unwrap_or((value, ""));
        let address = if address.starts_with("unix:") { address } else { address.trim_end_matches('/') };
        let mut settings = Self {
            http: lateen_adapter_http::Settings::new(Place::parse(address, PORT)?),
            source: SourceId(format!("consul={address}").into()),
            namespace: Namespace::from(""),
            host: "".into(),
            port: 80,
            config_prefix: "lateen/config/".to_owned(),
            everywhere: Query::default(),
            peer: None,
            tagged_address: None,
            consistency: Consistency::Default,
            wait: Duration::from_secs(30),
            watches: 128,
        };
        let mut scopes = Vec::new();
        let (mut domain, mut host) = ("cluster.local".to_owned(), None);
        let (mut certificate, mut key) = (None, None);
        let TlsFiles { ca, identity, server_name } = &mut settings.http.tls;
        for pair in options.split('&').filter(|pair| !pair.is_empty()) {
            let (option, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decoded(value);
            match option {
                "namespace" => settings.namespace = Namespace::from(name("namespace", value)?),
                "domain" => domain = name("domain", value)?,
                "host" => host = Some(template(value)?),
                "port" => settings.port = number("port", &value)?,
                "config-prefix" => settings.config_prefix = value,
                "dc" => scopes.push(("dc", name("dc", value)?)),
                "ns" => scopes.push(("ns", name("ns", value)?)),
                "partition" => scopes.push(("partition", name("partition", value)?)),
                "peer" => settings.peer = Some(name("peer", value)?),
                "tagged-address" => settings.tagged_address = Some(name("tagged-address", value)?),
                "consistency" => settings.consistency = consistency(value)?,
                "wait" => settings.wait = Duration::from_secs(number("wait", &value)?.into()),
                "watches" => settings.watches = number("watches", &value)?.into(),
                "token-file" => {
                    let header = HeaderName::from_static("x-consul-token");
                    settings.http.token = Some(TokenFile { header, path: value.into() });
                }
                "ca-file" => *ca = Some(value.into()),
                "cert-file" => certificate = Some(value.into()),
                "key-file" => key = Some(value.into()),
                "server-name" => *server_name = Some(value),
                _ => return Err(ConfigError::Unknown { option: option.to_owned() }),
            }
        }
        if certificate.is_some() != key.is_some() {
            let why = "a certificate needs its key, and the other way round";
            return Err(ConfigError::Value { option: "cert-file", value: String::new(), why });
        }
        *identity = certificate.zip(key);
        let usual = || format!("{{name}}.{{namespace}}.svc.{domain}");
        settings.host = host.unwrap_or_else(usual).into();
        if settings.namespace.as_str().is_empty() {
            let ns = scopes.iter().find(|(parameter, _)| *parameter == "ns");
            settings.namespace = Namespace::from(ns.map_or("default", |(_, ns)| ns.as_str()));
        }
        settings.set_scopes(address, scopes);
        Ok(settings)
    }

    /// What tells two sources at one address apart is part of the source's name.
    fn set_scopes(&mut self, address: &str, mut scopes: Vec<(&'static str, String)>) {
        scopes.sort_unstable();
        for (parameter, value) in &scopes {
            self.everywhere = std::mem::take(&mut self.everywhere).with(parameter, value);
        }
        let peer = self.peer.iter().map(|peer| ("peer", peer.clone()));
        let named = scopes.into_iter().chain(peer).fold(Query::default(), |query, (k, v)| query.with(k, &v));
        self.source = SourceId(format!("consul={address}{named}").into());
    }
}

fn name(option: &'static str, value: String) -> Result<String, ConfigError> {
    if value.is_empty() || value.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/') {
        return Err(ConfigError::Value { option, value, why: "no name" });
    }
    Ok(value)
}

fn template(value: String) -> Result<String, ConfigError> {
    if value.contains("{name}") {
        return Ok(value);
    }
    Err(ConfigError::Value { option: "host", value, why: "without {name} all services would be one" })
}

fn number(option: &'static str, value: &str) -> Result<u16, ConfigError> {
    let wrong =
        || ConfigError::Value { option, value: value.to_owned(), why: "not a number from 1 to 65535" };
    value.parse().ok().filter(|number| *number != 0).ok_or_else(wrong)
}

fn consistency(value: String) -> Result<Consistency, ConfigError> {
    match value.as_str() {
        "default" => Ok(Consistency::Default),
        "consistent" => Ok(Consistency::Consistent),
        "stale" => Ok(Consistency::Stale),
        _ => {
            Err(ConfigError::Value { option: "consistency", value, why: "not default, consistent or stale" })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_alone_is_enough() {
        let settings = Settings::parse("http://127.0.0.1:8500/").unwrap();
        assert_eq!(&*settings.source.0, "consul=http://127.0.0.1:8500");
        assert_eq!(&*settings.host, "{name}.{namespace}.svc.cluster.local");
        assert_eq!(settings.namespace.as_str(), "default");
        assert_eq!((settings.port, settings.config_prefix.as_str()), (80, "lateen/config/"));
        assert!(Settings::parse("unix:///run/consul.sock").is_ok());
    }

    #[test]
    fn options_are_read_and_decoded() {
        let flag = "https://consul?host=%7Bname%7D.service.consul&token-file=/run/t%20k&ns=team&dc=dc2&port=8080\
            &cert-file=a&key-file=b&consistency=stale&wait=5&peer=west";
        let settings = Settings::parse(flag).unwrap();
        assert_eq!(&*settings.source.0, "consul=https://consul?dc=dc2&ns=team&peer=west");
        assert_eq!(settings.everywhere.to_string(), "?dc=dc2&ns=team");
        assert_eq!(settings.namespace.as_str(), "team");
        assert_eq!(&*settings.host, "{name}.service.consul");
        assert_eq!(settings.http.token.unwrap().path, std::path::Path::new("/run/t k"));
        assert_eq!(settings.http.tls.identity, Some(("a".into(), "b".into())));
        assert_eq!((settings.consistency, settings.wait), (Consistency::Stale, Duration::from_secs(5)));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (flag, says) in [
            ("", "is no address"),
            ("127.0.0.1:8500", "is no address"),
            ("http://a:b@host", "into a file"),
            ("http://x?tokenfile=y", "token-file"),
            ("http://x?port=0", "1 to 65535"),
            ("http://x?host=web", "{name}"),
            ("http://x?domain=a%20b", "no name"),
            ("http://x?cert-file=a", "needs its key"),
            ("http://x?consistency=x", "not default"),
        ] {
            let message = Settings::parse(flag).unwrap_err().to_string();
            assert!(message.contains(says), "{flag}: {message}");
        }
    }
}
