//! Access logs.
//! <https://istio.io/latest/docs/tasks/observability/logs/access-log/>

use lateen_config::istio::{AccessLogEncoding, MeshConfig};
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
    google::protobuf::Struct,
};

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

/// The mesh's access log; none where no file is named.
pub(crate) fn of(mesh: &MeshConfig) -> Vec<AccessLog> {
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
        AccessLogEncoding::Json => Format::JsonFormat(default_json()),
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

fn default_json() -> Struct {
    let bare =
        |value: &str| value.split(' ').next().unwrap_or_default().trim_matches(['"', '[', ']']).to_owned();
    let fields = FIELDS.iter().map(|(name, value)| (*name, bare(value)));
    fields.chain(std::iter::once(("route_name", "%ROUTE_NAME%".to_owned()))).collect()
}
