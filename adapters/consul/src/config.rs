//! What stands behind `--adapter consul=`.

use std::{sync::Arc, time::Duration};

use http::HeaderName;
use lateen_adapter::{ConfigError, Flag};
use lateen_adapter_http::{Place, Query, TlsFiles, TokenFile};
use lateen_model::{Namespace, SourceId};

/// Consul's port where the address names none.
const PORT: u16 = 8500;

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
        let mut flag = Flag::parse(value)?;
        let address = flag.place;
        let address = if address.starts_with("unix:") { address } else { address.trim_end_matches('/') };
        let place = Place::parse(address, PORT).map_err(|error| ConfigError::Address(error.into()))?;
        let mut http = lateen_adapter_http::Settings::new(place);
        let header = HeaderName::from_static("x-consul-token");
        http.token = flag.path("token-file")?.map(|path| TokenFile { header, path });
        http.tls = TlsFiles {
            ca: flag.path("ca-file")?,
            identity: flag.identity()?,
            server_name: flag.text("server-name")?,
        };
        let mut scopes = Vec::new();
        for scope in ["dc", "ns", "partition"] {
            scopes.extend(flag.name(scope)?.map(|value| (scope, value)));
        }
        let ns = scopes.iter().find(|(scope, _)| *scope == "ns").map_or("default", |(_, ns)| ns.as_str());
        let namespace = flag.name("namespace")?;
        let domain = flag.name("domain")?.unwrap_or_else(|| "cluster.local".to_owned());
        let mut settings = Self {
            http,
            source: SourceId("".into()),
            namespace: Namespace::from(namespace.as_deref().unwrap_or(ns)),
            host: flag.host_template(&domain)?.into(),
            port: flag.number("port")?.unwrap_or(80),
            config_prefix: flag.any("config-prefix").unwrap_or_else(|| "lateen/config/".to_owned()),
            everywhere: Query::default(),
            peer: flag.name("peer")?,
            tagged_address: flag.name("tagged-address")?,
            consistency: consistency(flag.any("consistency").as_deref())?,
            wait: Duration::from_secs(flag.number("wait")?.unwrap_or(30).into()),
            watches: flag.number("watches")?.unwrap_or(128).into(),
        };
        flag.finish()?;
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

fn consistency(value: Option<&str>) -> Result<Consistency, ConfigError> {
    match value {
        None | Some("default") => Ok(Consistency::Default),
        Some("consistent") => Ok(Consistency::Consistent),
        Some("stale") => Ok(Consistency::Stale),
        Some(other) => Err(ConfigError::value("consistency", other, "not default, consistent or stale")),
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
