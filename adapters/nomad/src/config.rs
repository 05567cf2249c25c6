//! What stands behind `--adapter nomad=`.

use std::{sync::Arc, time::Duration};

use http::HeaderName;
use lateen_adapter::{ConfigError, Flag};
use lateen_adapter_http::{Place, TlsFiles, TokenFile};
use lateen_model::SourceId;

/// Where Nomad listens unless it is told otherwise.
const PORT: u16 = 4646;

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
    /// How long the event stream may be silent; Nomad sends a heartbeat each 30 s.
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
        let mut flag = Flag::parse(value)?;
        let place = Place::parse(flag.place, PORT).map_err(|error| ConfigError::Address(error.into()))?;
        let domain = flag.name("domain")?.unwrap_or_else(|| "cluster.local".to_owned());
        let header = HeaderName::from_static("x-nomad-token");
        let mut settings = Self {
            place,
            source: SourceId("".into()),
            namespace: flag.name("namespace")?.unwrap_or_else(|| "*".to_owned()),
            region: flag.name("region")?.unwrap_or_default(),
            hosts: Hosts { template: flag.host_template(&domain)?.into() },
            port: flag.number("port")?.unwrap_or(80),
            config_prefix: flag.any("config-prefix").unwrap_or_else(|| "lateen/config/".to_owned()),
            config_namespace: flag.name("config-namespace")?.unwrap_or_else(|| "default".to_owned()),
            token: flag.path("token-file")?.map(|path| TokenFile { header, path }),
            tls: TlsFiles {
                ca: flag.path("ca-file")?,
                identity: flag.identity()?,
                server_name: flag.text("server-name")?,
            },
            heartbeat_timeout: flag.seconds("heartbeat-timeout")?.unwrap_or(Duration::from_secs(75)),
            reconcile: flag.seconds("reconcile")?.unwrap_or(Duration::from_mins(5)),
        };
        flag.finish()?;
        settings.source = settings.named();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_alone_is_enough() {
        let settings = Settings::parse("http://127.0.0.1:4646/").unwrap();
        assert_eq!(&*settings.source.0, "nomad=http://127.0.0.1:4646");
        assert_eq!(settings.hosts.of("prod", "Web"), "web.prod.svc.cluster.local");
        assert_eq!((settings.namespace.as_str(), settings.port), ("*", 80));
        // Nomad's heartbeat comes each 30 s: one may be late, and one is no silence.
        assert!(settings.heartbeat_timeout > Duration::from_mins(1));
        assert!(Settings::parse("unix:///run/nomad.sock").is_ok());
    }

    #[test]
    fn options_are_read_and_decoded() {
        let flag = "https://nomad:4646?host=%7Bname%7D.svc.example&token-file=/run/t%20k&namespace=prod&port=8080\
            &heartbeat-timeout=12&cert-file=a&key-file=b";
        let settings = Settings::parse(flag).unwrap();
        assert_eq!(settings.hosts.of("prod", "web"), "web.svc.example");
        assert_eq!(settings.token.unwrap().path, std::path::PathBuf::from("/run/t k"));
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
