//! Operations on headers.
//! <https://istio.io/latest/docs/reference/config/networking/virtual-service/#Headers>

use lateen_config::istio::{HeaderOperations, Headers};
use lateen_proto::envoy::config::core::v3::{
    HeaderValue, HeaderValueOption, header_value_option::HeaderAppendAction,
};

/// What is done to the headers of requests and responses.
#[derive(Debug, Default)]
pub(super) struct Operations {
    pub request_add: Vec<HeaderValueOption>,
    pub request_remove: Vec<String>,
    pub response_add: Vec<HeaderValueOption>,
    pub response_remove: Vec<String>,
    /// Setting `Host` is a rewrite in Envoy, which refuses it as a header operation.
    pub authority: Option<String>,
}

impl Operations {
    /// Those of a route or a destination.
    pub(super) fn of(from: Option<&Headers>) -> Self {
        let Some(headers) = from else { return Self::default() };
        let mut all = Self::default();
        if let Some(request) = &headers.request {
            let authority = |(name, _): &(&String, &String)| is_authority(name);
            let mut given = request.set.iter().chain(&request.add);
            all.authority = given.find(authority).map(|(_, value)| value.clone());
            all.request_add = added(request);
            all.request_remove = removed(request);
        }
        if let Some(response) = &headers.response {
            all.response_add = added(response);
            all.response_remove = removed(response);
        }
        all
    }

    /// Those of the only destination of a route follow the route's.
    pub(super) fn followed_by(mut self, next: Self) -> Self {
        self.request_add.extend(next.request_add);
        self.request_remove.extend(next.request_remove);
        self.response_add.extend(next.response_add);
        self.response_remove.extend(next.response_remove);
        self.authority = next.authority.or(self.authority);
        self
    }
}

fn added(from: &HeaderOperations) -> Vec<HeaderValueOption> {
    let of = |action: HeaderAppendAction| {
        move |(name, value): (&String, &String)| HeaderValueOption {
            header: Some(HeaderValue { key: name.clone(), value: value.clone(), ..Default::default() }),
            append_action: action as i32,
            // An empty value is a value: without this Envoy would leave the header out.
            keep_empty_value: value.is_empty(),
            ..Default::default()
        }
    };
    let allowed = |(name, _): &(&String, &String)| !is_own(name);
    let set = from.set.iter().filter(allowed).map(of(HeaderAppendAction::OverwriteIfExistsOrAdd));
    let add = from.add.iter().filter(allowed).map(of(HeaderAppendAction::AppendIfExistsOrAdd));
    set.chain(add).collect()
}

fn removed(from: &HeaderOperations) -> Vec<String> {
    from.remove.iter().filter(|name| !is_own(name)).cloned().collect()
}

fn is_authority(name: &str) -> bool {
    name.eq_ignore_ascii_case("host") || name.eq_ignore_ascii_case(":authority")
}

/// Envoy refuses to touch these.
/// <https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/http/http_conn_man/headers#custom-request-response-headers>
fn is_own(name: &str) -> bool {
    name.starts_with(':') || name.eq_ignore_ascii_case("host")
}
