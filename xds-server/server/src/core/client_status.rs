//! Answers for CSDS: what every client was sent, and what became of it.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/status/v3/csds.proto>

use std::{
    collections::{BTreeMap, HashSet},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use lateen_proto::{
    envoy::{
        admin::v3::{ClientResourceStatus, UpdateFailureState},
        config::core::v3::Node,
        service::status::v3::{
            ClientConfig, ClientStatusResponse, ConfigStatus, client_config::GenericXdsConfig,
        },
    },
    google::protobuf::{Any, Timestamp},
};
use lateen_xds::{HeldResource, HeldState, NameId, Resource, ResourceType, TypeStatus, View};
use prost::Message;
use tonic::Status;

use super::{Core, streams::Attached, tables::Tables};
use crate::csds::{Answer, Question};

/// Bytes of one answer. All resources of all clients of a large mesh are gigabytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// What an entry without contents takes, about.
const ENTRY_BYTES: usize = 64;

impl Core {
    /// The clients that the question is about and that the asker may know of. Streams of one node are one client.
    pub(super) fn client_status(&self, question: &Question) -> Answer {
        let mut clients: BTreeMap<String, ClientConfig> = BTreeMap::new();
        let mut room = ANSWER_BYTES_MAX;
        for attached in self.streams.by_id.values().filter_map(|stream| stream.node.as_ref()) {
            if question.asker.check_namespace(attached.info.namespace.as_str()).is_err() {
                continue;
            }
            // It was encoded here.
            let Ok(node) = Node::decode(&*attached.encoded) else { continue };
            if !question.matchers.matches(&node) {
                continue;
            }
            let of_stream = self.stream_status(attached, question.contents, &mut room)?;
            let client = clients.entry(node.id.clone()).or_default();
            client.node.get_or_insert(node);
            client.generic_xds_configs.extend(of_stream);
        }
        let mut config: Vec<ClientConfig> = clients.into_values().collect();
        for client in &mut config {
            client.generic_xds_configs.sort_by(|a, b| (&a.type_url, &a.name).cmp(&(&b.type_url, &b.name)));
        }
        Ok(ClientStatusResponse { config })
    }

    fn stream_status(
        &self,
        attached: &Attached,
        contents: bool,
        room: &mut usize,
    ) -> Result<Vec<GenericXdsConfig>, Status> {
        let mut configs = Vec::new();
        for status in attached.session.status() {
            let teller = Teller { compiler: &self.compiler, attached, status: &status, contents, core: self };
            for config in teller.all() {
                let bytes = config.xds_config.as_ref().map_or(0, |any| any.value.len());
                let texts = config.name.len() + config.error_state.as_ref().map_or(0, |e| e.details.len());
                *room = room.checked_sub(bytes + texts + ENTRY_BYTES).ok_or_else(|| {
                    Status::resource_exhausted(format!(
                        "the answer exceeds {ANSWER_BYTES_MAX} bytes: name fewer nodes in node_matchers, or set \
                         exclude_resource_contents"
                    ))
                })?;
                configs.push(config);
            }
        }
        Ok(configs)
    }

    /// A time of the core's clock as the wall clock has it.
    fn timestamp(&self, ms: u64) -> Option<Timestamp> {
        let ago = Duration::from_millis(self.now().saturating_sub(ms));
        let since = SystemTime::now().checked_sub(ago)?.duration_since(UNIX_EPOCH).ok()?;
        let nanos = i32::try_from(since.subsec_nanos()).ok()?;
        Some(Timestamp { seconds: i64::try_from(since.as_secs()).ok()?, nanos })
    }
}

/// Tells of one type on one stream.
struct Teller<'a> {
    core: &'a Core,
    compiler: &'a Tables,
    attached: &'a Attached,
    status: &'a TypeStatus,
    contents: bool,
}

impl Teller<'_> {
    /// Everything that the client holds, has rejected, or has asked for without being sent it.
    fn all(&self) -> impl Iterator<Item = GenericXdsConfig> {
        let (kind, session) = (self.status.kind, &self.attached.session);
        let mut told: HashSet<NameId> = HashSet::new();
        let mut waiting: Vec<NameId> = Vec::new();
        // Two versions of a name may be rejected.
        let held: Vec<HeldResource> = session.held(kind).filter(|held| told.insert(held.name)).collect();
        let mut unsent = |name| {
            if told.insert(name) {
                waiting.push(name);
            }
        };
        session.subscriptions().filter(|(of, _)| *of == kind).for_each(|(_, name)| unsent(name));
        if self.status.wildcard {
            self.compiler.view(self.attached.handle).members(kind, &mut |name, _| unsent(name));
        }
        let held = held.into_iter().map(|held| self.held(&held));
        held.chain(waiting.into_iter().map(|name| self.not_sent(name)))
    }

    fn held(&self, held: &HeldResource) -> GenericXdsConfig {
        let view = self.compiler.view(self.attached.handle);
        let current = view.get(self.status.kind, held.name);
        let is_current = current.is_some_and(|resource| Some(resource.version) == held.version);
        let (config_status, client_status) = match held.state {
            HeldState::Rejected => (ConfigStatus::Error, ClientResourceStatus::Nacked),
            HeldState::Sent => (ConfigStatus::Stale, ClientResourceStatus::Requested),
            // Something newer, or its removal, waits to be sent.
            HeldState::Accepted if !is_current => (ConfigStatus::Stale, ClientResourceStatus::Acked),
            HeldState::Accepted => (ConfigStatus::Synced, ClientResourceStatus::Acked),
        };
        let mut config = self.entry(held.name, config_status, client_status);
        config.version_info = held.version.map(|version| version.to_string()).unwrap_or_default();
        config.xds_config = current.filter(|_| is_current).and_then(|resource| self.contents(resource));
        if held.state == HeldState::Rejected {
            config.error_state = self.rejection(held.name, current.map(|resource| &**resource));
        }
        config
    }

    /// The newest rejection of a resource, with its contents if they are still the current ones.
    fn rejection(&self, name: NameId, current: Option<&Resource>) -> Option<UpdateFailureState> {
        let of_name = self.status.rejected.iter().filter(|(of, _, _, _)| *of == name);
        let (_, version, message, since_ms) = of_name.max_by_key(|(_, _, _, since_ms)| *since_ms)?;
        Some(UpdateFailureState {
            failed_configuration: current
                .filter(|resource| resource.version == *version)
                .and_then(|resource| self.contents(resource)),
            last_update_attempt: self.core.timestamp(*since_ms),
            details: message.to_string(),
            version_info: version.to_string(),
        })
    }

    fn not_sent(&self, name: NameId) -> GenericXdsConfig {
        let view = self.compiler.view(self.attached.handle);
        let current = view.get(self.status.kind, name);
        let client_status = match current {
            Some(_) => ClientResourceStatus::Requested,
            None => ClientResourceStatus::DoesNotExist,
        };
        let mut config = self.entry(name, ConfigStatus::NotSent, client_status);
        if let Some(resource) = current {
            config.version_info = resource.version.to_string();
            config.xds_config = self.contents(resource);
        }
        config
    }

    fn entry(&self, name: NameId, status: ConfigStatus, client: ClientResourceStatus) -> GenericXdsConfig {
        GenericXdsConfig {
            type_url: self.status.kind.info().url.to_owned(),
            name: self.compiler.names().text(name).to_string(),
            config_status: status.into(),
            client_status: client.into(),
            ..GenericXdsConfig::default()
        }
    }

    /// The resource, if contents are asked for. Secrets are for their client only.
    fn contents(&self, resource: &Resource) -> Option<Any> {
        (self.contents && resource.kind != ResourceType::Secret)
            .then(|| Any { type_url: resource.kind.info().url.to_owned(), value: resource.body.bytes() })
    }
}
