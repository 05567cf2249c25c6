//! What a route does.

use std::time::Duration;

use lateen_config::istio::{
    ConsistentHash, HttpMatch, HttpRewrite, HttpRoute, MeshConfig, Percent, StringMatch,
};
use lateen_proto::{
    envoy::r#type::matcher::v3::RegexMatchAndSubstitute,
    google::protobuf::{self, UInt32Value},
};

use super::{
    super::{
        ClientProfile, Read,
        notes::Notes,
        read::Routes,
        wire::{
            self,
            rds::{
                self, Route, RouteAction, RouteMatch, WeightedCluster,
                route::Action,
                route_action::{
                    ClusterNotFoundResponseCode, ClusterSpecifier, HashPolicy, HostRewriteSpecifier,
                    MaxStreamDuration, RequestMirrorPolicy,
                    hash_policy::{
                        ConnectionProperties, Cookie, CookieAttribute, Header, PolicySpecifier,
                        QueryParameter,
                    },
                },
                route_match::PathSpecifier,
                weighted_cluster::{ClusterWeight, cluster_weight},
            },
        },
    },
    Context, Place, answer, filters,
    headers::Operations,
    place::resolve,
    retry,
};

/// Everything of a route but its name and match.
pub(super) fn route(
    r: &mut dyn Read,
    notes: &mut Notes,
    context: &Context<'_>,
    from: &Routes,
    http: &HttpRoute,
    wanted: &HttpMatch,
) -> Route {
    let mut operations = Operations::of(http.headers.as_deref());
    let action = if let Some(redirect) = &http.redirect {
        Action::Redirect(answer::redirect(redirect, context.listen_port))
    } else if let Some(direct) = &http.direct_response {
        Action::DirectResponse(answer::direct_response(direct))
    } else {
        Action::Route(forward(r, notes, context, from, http, wanted, &mut operations))
    };
    Route {
        typed_per_filter_config: filters::of(http),
        request_headers_to_add: operations.request_add,
        request_headers_to_remove: operations.request_remove,
        response_headers_to_add: operations.response_add,
        response_headers_to_remove: operations.response_remove,
        action: Some(action),
        ..Default::default()
    }
}

fn forward(
    r: &mut dyn Read,
    notes: &mut Notes,
    context: &Context<'_>,
    from: &Routes,
    http: &HttpRoute,
    wanted: &HttpMatch,
    operations: &mut Operations,
) -> RouteAction {
    let mut action = RouteAction {
        retry_policy: retry::policy(&context.mesh, http.retries.as_deref(), context.profile),
        ..Default::default()
    };
    if http.missing_is_500 {
        action.cluster_not_found_response_code = ClusterNotFoundResponseCode::InternalServerError.into();
    }
    set_timeout(&mut action, http.timeout, context.profile);
    if let Some(rewrite) = &http.rewrite {
        apply_rewrite(&mut action, rewrite, wanted);
    }
    let weighted: Vec<_> = http
        .route
        .iter()
        .filter(|to| http.route.len() == 1 || to.weight.is_some_and(|weight| weight > 0))
        .filter_map(|to| to.destination.as_ref().map(|destination| (to, destination)))
        .collect();
    let mut clusters = Vec::new();
    for (to, destination) in &weighted {
        let place = resolve(r, notes, context, from, destination);
        action.hash_policy.extend(hash_policies(&place));
        let own = Operations::of(to.headers.as_deref());
        if let [_] = weighted.as_slice() {
            *operations = std::mem::take(operations).followed_by(own);
            action.cluster_specifier = Some(ClusterSpecifier::Cluster(place.cluster.to_string()));
        } else {
            clusters.push(cluster_weight(&place, to.weight, own));
        }
    }
    if !clusters.is_empty() {
        let weighted = WeightedCluster { clusters, ..Default::default() };
        action.cluster_specifier = Some(ClusterSpecifier::WeightedClusters(weighted));
    }
    if let Some(authority) = operations.authority.take() {
        action.host_rewrite_specifier = Some(HostRewriteSpecifier::HostRewriteLiteral(authority));
    }
    action.request_mirror_policies = mirrors(r, notes, context, from, http);
    action
}

fn cluster_weight(place: &Place, weight: Option<i32>, own: Operations) -> ClusterWeight {
    ClusterWeight {
        name: place.cluster.to_string(),
        weight: Some(weight.and_then(|w| u32::try_from(w).ok()).map_or_else(|| 0.into(), UInt32Value::from)),
        request_headers_to_add: own.request_add,
        request_headers_to_remove: own.request_remove,
        response_headers_to_add: own.response_add,
        response_headers_to_remove: own.response_remove,
        host_rewrite_specifier: own.authority.map(cluster_weight::HostRewriteSpecifier::HostRewriteLiteral),
        ..Default::default()
    }
}

/// No timeout is no limit in Istio, and 15 s in Envoy.
/// <https://istio.io/latest/docs/concepts/traffic-management/#timeouts>
fn set_timeout(action: &mut RouteAction, timeout: Option<Duration>, profile: ClientProfile) {
    let limit = protobuf::Duration::from(timeout.unwrap_or_default());
    match profile {
        // `max_stream_duration` beside it would switch it off: Envoy takes either the old or the new fields.
        ClientProfile::Envoy(_) | ClientProfile::Lateen => action.timeout = Some(limit),
        // Proxyless clients read only this field.
        // <https://github.com/grpc/proposal/blob/master/A31-xds-timeout-support-and-config-selector.md>
        ClientProfile::Grpc => {
            action.max_stream_duration = timeout
                .filter(|t| !t.is_zero())
                .map(|_| MaxStreamDuration { max_stream_duration: Some(limit), ..Default::default() });
        }
    }
}

/// <https://istio.io/latest/docs/reference/config/networking/virtual-service/#HTTPRewrite>
fn apply_rewrite(action: &mut RouteAction, rewrite: &HttpRewrite, wanted: &HttpMatch) {
    let HttpRewrite { uri, authority, uri_regex_rewrite, .. } = rewrite;
    if let Some(regex) = uri_regex_rewrite {
        action.regex_rewrite = Some(RegexMatchAndSubstitute {
            pattern: Some(wire::regex(&regex.pattern)),
            substitution: regex.rewrite.clone(),
        });
    } else if let (Some(StringMatch::Regex(pattern)), false) = (&wanted.uri, uri.is_empty()) {
        action.regex_rewrite =
            Some(RegexMatchAndSubstitute { pattern: Some(wire::regex(pattern)), substitution: uri.clone() });
    } else {
        action.prefix_rewrite.clone_from(uri);
    }
    if !authority.is_empty() {
        action.host_rewrite_specifier = Some(HostRewriteSpecifier::HostRewriteLiteral(authority.clone()));
    }
}

fn mirrors(
    r: &mut dyn Read,
    notes: &mut Notes,
    context: &Context<'_>,
    from: &Routes,
    http: &HttpRoute,
) -> Vec<RequestMirrorPolicy> {
    let share = |percent: Option<&Percent>| percent.map_or(100.0, |p| p.value);
    let old = http.mirror.iter().map(|to| {
        let percent = match (&http.mirror_percentage, http.mirror_percent) {
            (None, Some(percent)) => f64::from(percent),
            (percentage, _) => share(percentage.as_ref()),
        };
        (to, percent)
    });
    let new = http
        .mirrors
        .iter()
        .filter_map(|mirror| mirror.destination.as_ref().map(|to| (to, share(mirror.percentage.as_ref()))));
    let mut policies = Vec::new();
    for (to, percent) in old.chain(new).filter(|(_, percent)| *percent > 0.0) {
        let place = resolve(r, notes, context, from, to);
        policies.push(RequestMirrorPolicy {
            cluster: place.cluster.to_string(),
            runtime_fraction: Some(wire::runtime_percent(percent)),
            // The copy is not a request of its own in a trace.
            trace_sampled: Some(false.into()),
            ..Default::default()
        });
    }
    policies
}

/// The keys of a consistent hash.
/// <https://istio.io/latest/docs/reference/config/networking/destination-rule/#LoadBalancerSettings-ConsistentHashLB>
fn hash_policies(place: &Place) -> Option<HashPolicy> {
    let hash = place.policy().load_balancer.and_then(|lb| lb.consistent_hash.as_ref())?;
    let ConsistentHash { http_header_name, http_cookie, use_source_ip, http_query_parameter_name, .. } = hash;
    let specifier = if let Some(name) = http_header_name {
        PolicySpecifier::Header(Header { header_name: name.clone(), ..Default::default() })
    } else if let Some(cookie) = http_cookie {
        let attribute = |from: &lateen_config::istio::CookieAttribute| CookieAttribute {
            name: from.name.clone(),
            value: from.value.clone(),
        };
        PolicySpecifier::Cookie(Cookie {
            name: cookie.name.clone(),
            ttl: wire::duration(cookie.ttl),
            path: cookie.path.clone(),
            attributes: cookie.attributes.iter().map(attribute).collect(),
        })
    } else if let Some(name) = http_query_parameter_name {
        PolicySpecifier::QueryParameter(QueryParameter { name: name.clone() })
    } else if *use_source_ip == Some(true) {
        PolicySpecifier::ConnectionProperties(ConnectionProperties { source_ip: true })
    } else {
        return None;
    };
    Some(HashPolicy { policy_specifier: Some(specifier), ..Default::default() })
}

/// Everything to a service that has no routes of its own.
pub(crate) fn default_route(mesh: &MeshConfig, profile: ClientProfile, place: &Place) -> Route {
    let mut action = RouteAction {
        retry_policy: retry::policy(mesh, None, profile),
        hash_policy: hash_policies(place).into_iter().collect(),
        cluster_specifier: Some(ClusterSpecifier::Cluster(place.cluster.to_string())),
        ..Default::default()
    };
    set_timeout(&mut action, None, profile);
    everything("default", Action::Route(action))
}

/// Everything to a cluster, without retries.
pub(crate) fn to_cluster(name: &str, cluster: &str) -> Route {
    let mut action = RouteAction {
        cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_owned())),
        ..Default::default()
    };
    set_timeout(&mut action, None, ClientProfile::Envoy(lateen_model::Streams::Aggregated));
    everything(name, Action::Route(action))
}

/// A route that every request takes.
pub(crate) fn everything(name: &str, action: rds::route::Action) -> Route {
    Route {
        name: name.to_owned(),
        r#match: Some(RouteMatch {
            path_specifier: Some(PathSpecifier::Prefix("/".into())),
            ..Default::default()
        }),
        action: Some(action),
        ..Default::default()
    }
}
