//! Access logs.
//! <https://istio.io/latest/docs/tasks/observability/logs/access-log/>

use lateen_config::istio::AccessLogEncoding;
use lateen_proto::{
    any::pack,
    envoy::{
        config::{
            accesslog::v3::{AccessLog, access_log},
            core::v3::{
                DataSource, SubstitutionFormatString, data_source, substitution_format_string::Format,
            },
        },
        extensions::access_loggers::file::v3::{FileAccessLog, file_access_log::AccessLogFormat},
    },
    google::protobuf::{Struct, Value, value::Kind},
};
use serde_json::Value as Json;

use super::Site;

/// What a line says, in order, and its name in JSON: the fields of Istio's default format, without those of
/// filters that stock Envoy has not.
const FIELDS: [(&str, &str); 23] = [
    ("start_time", "[%START_TIME%]"),
    ("method", "\"%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%\""),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    ("connection_termination_details", "%CONNECTION_TERMINATION_DETAILS%"),
    ("upstream_transport_failure_reason", "\"%UPSTREAM_TRANSPORT_FAILURE_REASON%\""),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("duration", "%DURATION%"),
    ("upstream_service_time", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"),
    ("x_forwarded_for", "\"%REQ(X-FORWARDED-FOR)%\""),
    ("user_agent", "\"%REQ(USER-AGENT)%\""),
    ("request_id", "\"%REQ(X-REQUEST-ID)%\""),
    ("authority", "\"%REQ(:AUTHORITY)%\""),
    ("upstream_host", "\"%UPSTREAM_HOST%\""),
    ("upstream_cluster", "%UPSTREAM_CLUSTER_RAW%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("requested_server_name", "%REQUESTED_SERVER_NAME% %ROUTE_NAME%"),
];

/// The access log of a site; none if the mesh names no file.
pub(super) fn of(site: &Site<'_>) -> Vec<AccessLog> {
    let mesh = site.mesh;
    if mesh.access_log_file.is_empty() {
        return Vec::new();
    }
    let given = mesh.access_log_format.as_str();
    let format = match mesh.access_log_encoding {
        AccessLogEncoding::Text => {
            let text = if given.is_empty() { default_text() } else { given.to_owned() };
            Format::TextFormatSource(DataSource {
                specifier: Some(data_source::Specifier::InlineString(text)),
                ..Default::default()
            })
        }
        AccessLogEncoding::Json => Format::JsonFormat(given_json(given).unwrap_or_else(default_json)),
    };
    let file = FileAccessLog {
        path: mesh.access_log_file.clone(),
        access_log_format: Some(AccessLogFormat::LogFormat(SubstitutionFormatString {
            format: Some(format),
            ..Default::default()
        })),
    };
    vec![AccessLog {
        name: "envoy.access_loggers.file".into(),
        config_type: Some(access_log::ConfigType::TypedConfig(pack(&file))),
        ..Default::default()
    }]
}

fn default_text() -> String {
    let values: Vec<&str> = FIELDS.iter().map(|(_, value)| *value).collect();
    format!("{}\n", values.join(" "))
}

/// `None` if the text is not a JSON object, which is a finding of the mesh's configuration; as in Istio the default
/// is used then.
/// <https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig-access_log_format>
fn given_json(text: &str) -> Option<Struct> {
    match serde_json::from_str(text) {
        Ok(Json::Object(fields)) => {
            Some(fields.iter().map(|(name, value)| (name.clone(), json(value))).collect())
        }
        Ok(_) | Err(_) => None,
    }
}

fn json(from: &Json) -> Value {
    let kind = match from {
        Json::Null => Kind::NullValue(0),
        Json::Bool(value) => Kind::BoolValue(*value),
        Json::Number(value) => Kind::NumberValue(value.as_f64().unwrap_or_default()),
        Json::String(text) => Kind::StringValue(text.clone()),
        Json::Array(items) => Kind::ListValue(lateen_proto::google::protobuf::ListValue {
            values: items.iter().map(json).collect(),
        }),
        Json::Object(fields) => {
            Kind::StructValue(fields.iter().map(|(name, value)| (name.clone(), json(value))).collect())
        }
    };
    Value { kind: Some(kind) }
}

fn default_json() -> Struct {
    let bare =
        |value: &str| value.split(' ').next().unwrap_or_default().trim_matches(['"', '[', ']']).to_owned();
    let fields = FIELDS.iter().map(|(name, value)| (*name, bare(value)));
    fields.chain(std::iter::once(("route_name", "%ROUTE_NAME%".to_owned()))).collect()
}
