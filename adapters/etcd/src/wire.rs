//! What the values of keys hold: JSON, or YAML.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Deserializer, Serialize};

/// Value of `services/NAMESPACE/NAME`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceSpec {
    /// What clients may call; without any, the ports are those of the instances.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortSpec>,
    /// Labels of the service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Namespaces that see it: names, `.` for its own, `*` for all (the default), `~` for none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub export_to: Vec<String>,
    /// What clients call it, where that is not the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Virtual addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// Outside the mesh.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub external: bool,
    /// How instances are found.
    #[serde(default, skip_serializing_if = "is_static")]
    pub resolution: ResolutionSpec,
    /// Expected names in the certificates of its servers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subject_alt_names: Vec<String>,
}

/// A port of a service.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PortSpec {
    /// Its name; may be missing when there is one port.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// What clients call.
    pub number: u16,
    /// `http`, `http2`, `grpc`, `tcp`, `tls`, …; by default what the name begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Where instances listen that do not say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_port: Option<u16>,
}

/// How instances are found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ResolutionSpec {
    /// They are keys.
    #[default]
    Static,
    /// The proxy resolves their names.
    Dns,
    /// The same, one address at a time.
    DnsRoundRobin,
    /// The connection goes where the client was going.
    None,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_static(resolution: &ResolutionSpec) -> bool {
    *resolution == ResolutionSpec::Static
}

/// Value of `endpoints/NAMESPACE/NAME/INSTANCE`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EndpointSpec {
    /// IP address, name, or `unix:///PATH`.
    pub address: String,
    /// Where it listens, by port name; one number alone is a port without a name.
    #[serde(default, deserialize_with = "ports", skip_serializing_if = "BTreeMap::is_empty")]
    pub ports: BTreeMap<String, u16>,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// `region/zone/subzone`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub locality: String,
    /// Relative weight, at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Does it take traffic?
    #[serde(default, skip_serializing_if = "is_healthy")]
    pub health: HealthSpec,
    /// Whom it runs as.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub service_account: String,
    /// Network, where there are several.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub network: String,
}

/// Health of an instance.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthSpec {
    /// Takes traffic.
    #[default]
    Healthy,
    /// Finishes what it has, takes no new traffic.
    Draining,
    /// Takes no traffic.
    Unhealthy,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_healthy(health: &HealthSpec) -> bool {
    *health == HealthSpec::Healthy
}

fn ports<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, u16>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Ports {
        One(u16),
        Named(BTreeMap<String, u16>),
    }
    Ok(match Ports::deserialize(deserializer)? {
        Ports::One(port) => BTreeMap::from([(String::new(), port)]),
        Ports::Named(ports) => ports,
    })
}

/// Reads a value.
pub(crate) fn parse<T: for<'de> Deserialize<'de>>(value: &[u8]) -> Result<T, String> {
    let text = std::str::from_utf8(value).map_err(|error| format!("it is not UTF-8: {error}"))?;
    // Nearly all is JSON, which is YAML too, but read ten times as fast by its own parser.
    if text.trim_start().starts_with('{')
        && let Ok(parsed) = serde_json::from_str(text)
    {
        return Ok(parsed);
    }
    serde_saphyr::from_str(text).map_err(|error| error.to_string())
}

/// Keeps equal maps and texts of many endpoints once.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    texts: BTreeSet<Arc<str>>,
    labels: BTreeSet<Arc<Labels>>,
    ports: BTreeSet<Arc<Ports>>,
}

pub(crate) type Labels = BTreeMap<Arc<str>, Arc<str>>;
pub(crate) type Ports = BTreeMap<Arc<str>, u16>;

impl Pool {
    pub(crate) fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return known.clone();
        }
        let new: Arc<str> = text.into();
        self.texts.insert(new.clone());
        new
    }

    pub(crate) fn labels(&mut self, labels: &BTreeMap<String, String>) -> Arc<Labels> {
        let labels: Labels = labels.iter().map(|(key, value)| (self.text(key), self.text(value))).collect();
        shared(&mut self.labels, labels)
    }

    pub(crate) fn ports(&mut self, ports: &BTreeMap<String, u16>) -> Arc<Ports> {
        let ports: Ports = ports.iter().map(|(name, port)| (self.text(name), *port)).collect();
        shared(&mut self.ports, ports)
    }

    /// Forgets what nobody else holds any more.
    pub(crate) fn sweep(&mut self) {
        self.labels.retain(|labels| Arc::strong_count(labels) > 1);
        self.ports.retain(|ports| Arc::strong_count(ports) > 1);
        self.texts.retain(|text| Arc::strong_count(text) > 1);
    }
}

fn shared<T: Ord>(set: &mut BTreeSet<Arc<T>>, value: T) -> Arc<T> {
    if let Some(known) = set.get(&value) {
        return known.clone();
    }
    let new = Arc::new(value);
    set.insert(new.clone());
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_and_yaml_say_the_same() {
        let json: EndpointSpec =
            parse(br#"{"address": "10.0.0.1", "ports": {"http": 8080}, "health": "draining"}"#).unwrap();
        let yaml: EndpointSpec =
            parse(b"address: 10.0.0.1\nports:\n  http: 8080\nhealth: draining\n").unwrap();
        assert_eq!(json, yaml);
        let flow: EndpointSpec =
            parse(b"{address: 10.0.0.1, ports: {http: 8080}, health: draining}").unwrap();
        assert_eq!(flow, yaml);
        let one: EndpointSpec = parse(b"{address: h, ports: 80}").unwrap();
        assert_eq!(one.ports, BTreeMap::from([(String::new(), 80)]));
    }

    #[test]
    fn what_is_written_can_be_read_back() {
        let spec: ServiceSpec =
            parse(b"{ports: [{name: grpc, number: 80, targetPort: 81}], exportTo: ['.'], resolution: DNS_ROUND_ROBIN}")
                .unwrap();
        assert_eq!(parse::<ServiceSpec>(&serde_json::to_vec(&spec).unwrap()).unwrap(), spec);
    }

    #[test]
    fn a_misspelt_field_is_named() {
        let error = parse::<EndpointSpec>(br#"{"address": "a", "wieght": 3}"#).unwrap_err();
        assert!(error.contains("wieght"), "{error}");
        assert!(parse::<EndpointSpec>(&[0xff]).unwrap_err().contains("UTF-8"));
        assert!(parse::<EndpointSpec>(b"").is_err());
    }

    #[test]
    fn equal_maps_are_kept_once() {
        let mut pool = Pool::default();
        let labels = BTreeMap::from([("app".to_owned(), "cart".to_owned())]);
        let (one, other) = (pool.labels(&labels), pool.labels(&labels));
        assert!(Arc::ptr_eq(&one, &other));
        drop((one, other));
        pool.sweep();
        assert!(pool.texts.is_empty() && pool.labels.is_empty());
    }
}
