//! What stands behind `--adapter etcd=`.

use std::{path::PathBuf, sync::Arc, time::Duration};

use lateen_model::{Host, Namespace, SourceId};

/// The options, for messages.
const OPTIONS: &[&str] = &[
    "prefix",
    "config-prefix",
    "domain",
    "host",
    "user",
    "password-file",
    "ca-file",
    "cert-file",
    "key-file",
    "server-name",
    "silence",
    "reconcile",
];

const PREFIX: &str = "/lateen/";

/// Why a flag is not understood.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    /// An address has no scheme that is known, or no host.
    #[error(
        "{0:?} is no address of an etcd member: http://HOST:PORT or https://HOST:PORT, several with commas"
    )]
    Address(String),
    /// An address holds a name or password.
    #[error("the address holds a user or password; they belong into user and password-file")]
    Secret,
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

/// How to reach etcd, and where things are in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The members, `http://HOST:PORT` or `https://HOST:PORT`; at least one.
    pub(crate) members: Vec<String>,
    pub(crate) source: SourceId,
    /// Of all keys; ends in a slash.
    pub(crate) prefix: Arc<str>,
    /// Of the documents; begins with `prefix`, ends in a slash.
    pub(crate) config_prefix: Arc<str>,
    pub(crate) hosts: Hosts,
    pub(crate) user: Option<String>,
    pub(crate) password_file: Option<PathBuf>,
    pub(crate) tls: TlsFiles,
    /// How long a watch may say nothing until it is asked whether it lives, and how long the answer may take.
    pub(crate) silence: Duration,
    /// How often everything is listed without a reason.
    pub(crate) reconcile: Duration,
}

/// Certificates; all are read at each connection, so that they may be renewed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct TlsFiles {
    pub(crate) ca: Option<PathBuf>,
    pub(crate) cert: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) server_name: Option<String>,
}

/// How a service's host is made where it names none itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Hosts {
    /// With `{name}` and `{namespace}`.
    template: Arc<str>,
    /// Completes short names.
    pub(crate) domain: Arc<str>,
}

impl Hosts {
    /// The host of a service.
    pub(crate) fn of(&self, namespace: &str, name: &str) -> Host {
        let host = self.template.replace("{name}", name).replace("{namespace}", namespace);
        Host::resolve(&host, &Namespace::from(namespace), &self.domain)
    }
}

impl Settings {
    /// Reads `URL[,URL…][?option=value&…]`.
    pub fn parse(value: &str) -> Result<Self, ConfigError> {
        let (addresses, query) = value.split_once('?').unwrap_or((value, ""));
        let members = addresses.split(',').map(member).collect::<Result<Vec<_>, _>>()?;
        let mut settings = Self {
            source: SourceId("".into()),
            prefix: PREFIX.into(),
            config_prefix: "".into(),
            hosts: Hosts { template: "".into(), domain: "cluster.local".into() },
            user: None,
            password_file: None,
            tls: TlsFiles::default(),
            silence: Duration::from_secs(3),
            reconcile: Duration::from_mins(5),
            members,
        };
        let (mut host, mut config_prefix) = (None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (option, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decoded(value);
            match option {
                "prefix" => settings.prefix = folder("prefix", value)?,
                "config-prefix" => config_prefix = Some(value),
                "domain" => settings.hosts.domain = not_empty("domain", value)?.into(),
                "host" => host = Some(template(value)?),
                "user" => settings.user = Some(not_empty("user", value)?),
                "password-file" => settings.password_file = Some(not_empty("password-file", value)?.into()),
                "ca-file" => settings.tls.ca = Some(not_empty("ca-file", value)?.into()),
                "cert-file" => settings.tls.cert = Some(not_empty("cert-file", value)?.into()),
                "key-file" => settings.tls.key = Some(not_empty("key-file", value)?.into()),
                "server-name" => settings.tls.server_name = Some(not_empty("server-name", value)?),
                "silence" => settings.silence = seconds("silence", value)?,
                "reconcile" => settings.reconcile = seconds("reconcile", value)?,
                _ => return Err(ConfigError::Unknown { option: option.to_owned() }),
            }
        }
        settings.hosts.template =
            host.unwrap_or_else(|| format!("{{name}}.{{namespace}}.svc.{}", settings.hosts.domain)).into();
        settings.config_prefix = match config_prefix {
            None => format!("{}config/", settings.prefix).into(),
            Some(value) => folder("config-prefix", value)?,
        };
        settings.check()?;
        settings.source = SourceId(settings.named().into());
        Ok(settings)
    }

    /// The source's name: what tells two sources at the same members apart is part of it.
    fn named(&self) -> String {
        let members = self.members.join(",");
        if *self.prefix == *PREFIX {
            format!("etcd={members}")
        } else {
            format!("etcd={members}?prefix={}", self.prefix)
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        let wrong =
            |option, value: &str, why| Err(ConfigError::Value { option, value: value.to_owned(), why });
        if !self.config_prefix.starts_with(&*self.prefix) || self.config_prefix == self.prefix {
            return wrong(
                "config-prefix",
                &self.config_prefix,
                "it must be below the prefix (option prefix)",
            );
        }
        if self.tls.cert.is_some() != self.tls.key.is_some() {
            return wrong("cert-file", "", "a certificate needs its key, and the other way round");
        }
        if self.user.is_some() != self.password_file.is_some() {
            return wrong("user", "", "a user needs a password-file, and the other way round");
        }
        let secure = self.members.iter().filter(|member| member.starts_with("https://")).count();
        if self.tls != TlsFiles::default() && secure < self.members.len() {
            return wrong("ca-file", "", "certificates are for https:// addresses");
        }
        if secure > 0 && self.tls.ca.is_none() {
            return wrong("ca-file", "", "an https:// address needs the roots of its certificate");
        }
        Ok(())
    }
}

fn member(text: &str) -> Result<String, ConfigError> {
    let text = text.trim().trim_end_matches('/');
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    if rest.contains('@') {
        // Not repeated: it may end in a log.
        return Err(ConfigError::Secret);
    }
    let (host, port) = rest.rsplit_once(':').unwrap_or((rest, "2379"));
    let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
    let is_host =
        !host.is_empty() && !host.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control());
    if !matches!(scheme, "http" | "https") || !is_host || !is_port {
        return Err(ConfigError::Address(text.to_owned()));
    }
    Ok(format!("{scheme}://{host}:{port}"))
}

fn not_empty(option: &'static str, value: String) -> Result<String, ConfigError> {
    if value.is_empty() { Err(ConfigError::Value { option, value, why: "it is empty" }) } else { Ok(value) }
}

fn folder(option: &'static str, value: String) -> Result<Arc<str>, ConfigError> {
    let value = not_empty(option, value)?;
    Ok(format!("{}/", value.trim_end_matches('/')).into())
}

fn template(value: String) -> Result<String, ConfigError> {
    if value.contains("{name}") {
        Ok(value)
    } else {
        Err(ConfigError::Value { option: "host", value, why: "it needs {name}, and may have {namespace}" })
    }
}

fn seconds(option: &'static str, value: String) -> Result<Duration, ConfigError> {
    let parsed: Option<f64> = value.trim_end_matches('s').parse().ok();
    let duration = parsed.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    duration.filter(|duration| *duration >= Duration::from_millis(100)).ok_or(ConfigError::Value {
        option,
        value,
        why: "it is no number of seconds, or less than 0.1",
    })
}

/// Percent-decodes; what is no escape stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escape = after.get(..2).filter(|_| *first == b'%');
        let escape = escape.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(escape.unwrap_or(*first));
        rest = if escape.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_names_members_and_options() {
        let settings = Settings::parse(
            "https://a:1,https://b,https://[::1]:3/?ca-file=x&prefix=%2fmesh&domain=x.y&silence=0.5s",
        )
        .unwrap();
        assert_eq!(settings.members, ["https://a:1", "https://b:2379", "https://[::1]:3"]);
        assert_eq!(&*settings.prefix, "/mesh/");
        assert_eq!(&*settings.config_prefix, "/mesh/config/");
        assert_eq!(settings.silence, Duration::from_millis(500));
        assert_eq!(settings.hosts.of("shop", "Cart").as_str(), "cart.shop.svc.x.y");
        assert_eq!(&*settings.source.0, "etcd=https://a:1,https://b:2379,https://[::1]:3?prefix=/mesh/");
    }

    #[test]
    fn a_template_makes_hosts() {
        let settings = Settings::parse("a:1?host={name}.service.consul").unwrap();
        assert_eq!(settings.hosts.of("shop", "cart").as_str(), "cart.service.consul");
        assert_eq!(&*settings.source.0, "etcd=http://a:1");
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_words() {
        let message = |flag| Settings::parse(flag).unwrap_err().to_string();
        assert!(message("a:1?prefx=/x").contains("config-prefix"));
        assert!(message("ftp://a:1").contains("ftp"));
        assert!(message("").contains("no address"));
        assert!(message("a:0").contains("no address"));
        assert!(!message("http://joe:secret@a:1").contains("secret@"));
        assert!(message("a:1?config-prefix=/other").contains("below the prefix"));
        assert!(message("a:1?user=joe").contains("password-file"));
        assert!(message("https://a:1?cert-file=x").contains("key"));
        assert!(message("a:1?ca-file=x").contains("https"));
        assert!(message("https://a:1").contains("roots"));
        assert!(message("a:1?silence=0").contains("seconds"));
        assert!(message("a:1?host=x").contains("{name}"));
    }
}
