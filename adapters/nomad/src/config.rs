//! What stands behind `--adapter nomad=`.

use std::{path::PathBuf, sync::Arc, time::Duration};

use http::HeaderName;
use lateen_adapter_http::{AddressError, Place, TlsFiles, TokenFile, decoded};
use lateen_model::SourceId;

/// Where Nomad listens unless it is told otherwise.
const PORT: u16 = 4646;

/// The options, for messages.
const OPTIONS: &[&str] = &[
    "namespace",
    "region",
    "domain",
    "host",
    "port",
    "config-prefix",
    "config-namespace",
    "token-file",
    "ca-file",
    "cert-file",
    "key-file",
    "server-name",
    "heartbeat-timeout",
    "reconcile",
];

/// Why a flag is not understood.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    /// The address makes no sense.
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

/// How to reach Nomad, and how to read it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Settings {
    pub(crate) place: Place,
    pub(crate) source: SourceId,
    /// Namespace of the services, `*` for all.
    pub(crate) namespace: String,
    /// Nomad's region, empty for the agent's own.
    pub(crate) region: String,
    pub(crate) hosts: Hosts,
    /// What clients call when no tag says it.
    pub(crate) port: u16,
    /// Path prefix of the Variables that hold configuration; empty for none.
    pub(crate) config_prefix: String,
    /// Their namespace, `*` for all.
    pub(crate) config_namespace: String,
    pub(crate) token: Option<TokenFile>,
    pub(crate) tls: TlsFiles,
    /// How long the event stream may be silent; Nomad sends a heartbeat each 10 s.
    pub(crate) heartbeat_timeout: Duration,
    /// How often everything is read without being told.
    pub(crate) reconcile: Duration,
}

/// How a service's host is made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Hosts {
    /// With `{name}` and `{namespace}`.
    template: Arc<str>,
}

impl Hosts {
    /// The host of a service, in lower case.
    pub(crate) fn of(&self, namespace: &str, name: &str) -> String {
        self.template.replace("{name}", name).replace("{namespace}", namespace).to_ascii_lowercase()
    }
}

impl Settings {
    /// Reads `URL[?option=value&…]`.
    pub(crate) fn parse(value: &str) -> Result<Self, ConfigError> {
        let (address, query) = value.split_once('?').unwrap_or((value, ""));
        let place = Place::parse(address, PORT)?;
        let mut settings = Self {
            source: SourceId(format!("nomad={place}").into()),
            place,
            namespace: "*".to_owned(),
            region: String::new(),
            hosts: Hosts { template: "".into() },
            port: 80,
            config_prefix: "lateen/config/".to_owned(),
            config_namespace: "default".to_owned(),
            token: None,
            tls: TlsFiles::default(),
            heartbeat_timeout: Duration::from_secs(30),
            reconcile: Duration::from_mins(5),
        };
        let (mut domain, mut host) = ("cluster.local".to_owned(), None);
        let (mut certificate, mut key) = (None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (option, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decoded(value);
            match option {
                "namespace" => settings.namespace = name("namespace", value)?,
                "region" => settings.region = name("region", value)?,
                "domain" => domain = name("domain", value)?,
                "host" => host = Some(template(value)?),
                "port" => settings.port = number("port", &value)?,
                "config-prefix" => settings.config_prefix = value,
                "config-namespace" => settings.config_namespace = name("config-namespace", value)?,
                "token-file" => {
                    let header = HeaderName::from_static("x-nomad-token");
                    settings.token = Some(TokenFile { header, path: value.into() });
                }
                "ca-file" => settings.tls.ca = Some(value.into()),
                "cert-file" => certificate = Some(PathBuf::from(value)),
                "key-file" => key = Some(PathBuf::from(value)),
                "server-name" => settings.tls.server_name = Some(value),
                "heartbeat-timeout" => settings.heartbeat_timeout = seconds("heartbeat-timeout", &value)?,
                "reconcile" => settings.reconcile = seconds("reconcile", &value)?,
                _ => return Err(ConfigError::Unknown { option: option.to_owned() }),
            }
        }
        let template = host.unwrap_or_else(|| format!("{{name}}.{{namespace}}.svc.{domain}"));
        settings.hosts = Hosts { template: template.into() };
        settings.source = settings.named();
        settings.tls.identity = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => {
                let why = "a certificate needs its key, and the other way round";
                return Err(ConfigError::Value { option: "cert-file", value: String::new(), why });
            }
        };
        Ok(settings)
    }

    /// The source's name: what tells two sources at one address apart is part of it.
    fn named(&self) -> SourceId {
        let mut text = format!("nomad={}", self.place);
        let mut mark = '?';
        for (option, value, usual) in [("namespace", &self.namespace, "*"), ("region", &self.region, "")] {
            if value != usual {
                text = format!("{text}{mark}{option}={value}");
                mark = '&';
            }
        }
        SourceId(text.into())
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

fn seconds(option: &'static str, value: &str) -> Result<Duration, ConfigError> {
    number(option, value).map(|seconds| Duration::from_secs(seconds.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_alone_is_enough() {
        let settings = Settings::parse("http://127.0.0.1:4646/").unwrap();
        assert_eq!(&*settings.source.0, "nomad=http://127.0.0.1:4646");
        assert_eq!(settings.hosts.of("prod", "Web"), "web.prod.svc.cluster.local");
        assert_eq!((settings.namespace.as_str(), settings.port), ("*", 80));
        assert!(Settings::parse("unix:///run/nomad.sock").is_ok());
    }

    #[test]
    fn options_are_read_and_decoded() {
        let flag = "https://nomad:4646?host=%7Bname%7D.svc.example&token-file=/run/t%20k&namespace=prod&port=8080\
            &heartbeat-timeout=12&cert-file=a&key-file=b";
        let settings = Settings::parse(flag).unwrap();
        assert_eq!(settings.hosts.of("prod", "web"), "web.svc.example");
        assert_eq!(settings.token.unwrap().path, PathBuf::from("/run/t k"));
        assert_eq!((settings.port, settings.heartbeat_timeout), (8080, Duration::from_secs(12)));
        assert_eq!(&*settings.source.0, "nomad=https://nomad:4646?namespace=prod");
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (flag, says) in [
            ("", "is no address"),
            ("127.0.0.1:4646", "is no address"),
            ("ftp://x", "is no address"),
            ("http://", "is no address"),
            ("unix://run/x", "is no address"),
            ("http://a:b@host", "into a file"),
            ("http://x?tokenfile=y", "token-file"),
            ("http://x?port=0", "1 to 65535"),
            ("http://x?port=http", "1 to 65535"),
            ("http://x?host=web", "{name}"),
            ("http://x?domain=a%20b", "no name"),
            ("http://x?cert-file=a", "needs its key"),
        ] {
            let message = Settings::parse(flag).unwrap_err().to_string();
            assert!(message.contains(says), "{flag}: {message}");
        }
    }
}
