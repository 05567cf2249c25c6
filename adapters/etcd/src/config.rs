//! What stands behind `--adapter etcd=`.

use std::{path::PathBuf, sync::Arc, time::Duration};

use lateen_adapter::{ConfigError, Flag};
use lateen_model::{Host, Namespace, SourceId};

const PREFIX: &str = "/lateen/";

/// An address has no scheme that is known, or no host.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no address of an etcd member: http://HOST:PORT or https://HOST:PORT, several with commas")]
struct NoMember(String);

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
    /// The client's certificate and its key.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
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
        let mut flag = Flag::parse(value)?;
        let members = flag.place.split(',').map(member).collect::<Result<Vec<_>, _>>()?;
        let domain = flag.text("domain")?.unwrap_or_else(|| "cluster.local".to_owned());
        let prefix = flag.text("prefix")?.map_or_else(|| PREFIX.into(), |value| folder(&value));
        let config_prefix = flag.text("config-prefix")?;
        let mut settings = Self {
            source: SourceId("".into()),
            config_prefix: config_prefix
                .map_or_else(|| format!("{prefix}config/").into(), |value| folder(&value)),
            prefix,
            hosts: Hosts { template: flag.host_template(&domain)?.into(), domain: domain.into() },
            user: flag.text("user")?,
            password_file: flag.path("password-file")?,
            tls: TlsFiles {
                ca: flag.path("ca-file")?,
                identity: flag.identity()?,
                server_name: flag.text("server-name")?,
            },
            silence: flag.seconds("silence")?.unwrap_or(Duration::from_secs(3)),
            reconcile: flag.seconds("reconcile")?.unwrap_or(Duration::from_mins(5)),
            members,
        };
        flag.finish()?;
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
        let wrong = |option, value: &str, why| Err(ConfigError::value(option, value, why));
        if !self.config_prefix.starts_with(&*self.prefix) || self.config_prefix == self.prefix {
            return wrong(
                "config-prefix",
                &self.config_prefix,
                "it must be below the prefix (option prefix)",
            );
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
        return Err(ConfigError::Address(NoMember(text.to_owned()).into()));
    }
    Ok(format!("{scheme}://{host}:{port}"))
}

fn folder(value: &str) -> Arc<str> {
    format!("{}/", value.trim_end_matches('/')).into()
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
