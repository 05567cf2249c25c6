//! Traffic policies.

use std::{collections::BTreeSet, time::Duration};

use super::{names, values};
use crate::{
    codes,
    findings::Findings,
    istio::{
        ClientTls, ClientTlsMode, ConnectionPool, ConsistentHash, LoadBalancer, LocalityLb, OutlierDetection,
        SimpleLb, TrafficPolicy,
    },
    path::Path,
};

pub(super) fn check(policy: &TrafficPolicy, at: &Path<'_>, out: &mut Findings) {
    if let Some(settings) = &policy.load_balancer {
        load_balancer(settings, &at.field("loadBalancer"), out);
    }
    if let Some(pool) = &policy.connection_pool {
        connection_pool(pool, &at.field("connectionPool"), out);
    }
    if let Some(detection) = &policy.outlier_detection {
        outlier_detection(detection, &at.field("outlierDetection"), out);
    }
    if let Some(tls) = &policy.tls {
        client_tls(tls, &at.field("tls"), out);
    }
    let mut seen = BTreeSet::new();
    for (index, port) in policy.port_level_settings.iter().enumerate() {
        let parent = at.field("portLevelSettings");
        let at = parent.index(index);
        match &port.port {
            Some(selector) => values::port_selector(Some(selector), &at.field("port"), out),
            None => drop(out.error(codes::MISSING, &at.field("port"), "a port is needed")),
        }
        if !seen.insert(port.port.as_ref().map(|port| port.number)) {
            out.error(codes::DUPLICATE_PART, &at.field("port"), "the port has settings already");
        }
        if let Some(settings) = &port.load_balancer {
            load_balancer(settings, &at.field("loadBalancer"), out);
        }
        if let Some(pool) = &port.connection_pool {
            connection_pool(pool, &at.field("connectionPool"), out);
        }
        if let Some(detection) = &port.outlier_detection {
            outlier_detection(detection, &at.field("outlierDetection"), out);
        }
        if let Some(tls) = &port.tls {
            client_tls(tls, &at.field("tls"), out);
        }
    }
    if let Some(tunnel) = &policy.tunnel {
        let at = at.field("tunnel");
        if !matches!(&*tunnel.protocol, "" | "CONNECT" | "POST") {
            out.error(codes::UNKNOWN_VALUE, &at.field("protocol"), "the protocol is CONNECT or POST");
        }
        if !names::is_host(&tunnel.target_host) && !names::is_ip(&tunnel.target_host) {
            out.error(codes::HOST, &at.field("targetHost"), "a host or an IP address is needed");
        }
        values::port(tunnel.target_port, &at.field("targetPort"), out);
    }
    if let Some(budget) = &policy.retry_budget {
        let at = at.field("retryBudget");
        values::percentage(budget.percent.unwrap_or_default(), &at.field("percent"), out);
        values::at_least_1ms(budget.budget_interval, &at.field("budgetInterval"), out);
    }
}

fn load_balancer(settings: &LoadBalancer, at: &Path<'_>, out: &mut Findings) {
    let given =
        [("simple", settings.simple.is_some()), ("consistentHash", settings.consistent_hash.is_some())];
    values::at_most_one(&given, at, out);
    if settings.simple == Some(SimpleLb::LeastConn) {
        out.warn(codes::DEPRECATED, &at.field("simple"), "LEAST_CONN is deprecated")
            .hint("use LEAST_REQUEST");
    }
    if let Some(hash) = &settings.consistent_hash {
        consistent_hash(hash, &at.field("consistentHash"), out);
        let warmup = settings.warmup.is_some() || settings.warmup_duration_secs.is_some();
        if warmup {
            out.warn(
                codes::NO_EFFECT,
                at,
                "warmup has no effect, because Envoy warms up only with ROUND_ROBIN and LEAST_REQUEST",
            );
        }
    }
    if let Some(locality) = &settings.locality_lb_setting {
        locality_lb(locality, &at.field("localityLbSetting"), out);
    }
    let both = [
        ("localityLbSetting", settings.locality_lb_setting.is_some()),
        ("zoneAwareLbSetting", settings.zone_aware_lb_setting.is_some()),
    ];
    values::at_most_one(&both, at, out);
    if settings.warmup_duration_secs.is_some() {
        values::deprecated("warmupDurationSecs", "warmup.duration", at, out);
    }
    let Some(warmup) = &settings.warmup else { return };
    let at = at.field("warmup");
    match warmup.duration {
        None => drop(out.error(codes::MISSING, &at.field("duration"), "a duration is needed")),
        Some(duration) if duration < Duration::from_secs(1) => {
            out.error(codes::DURATION, &at.field("duration"), "the duration must be at least 1s");
        }
        Some(_) => {}
    }
    values::percentage(warmup.minimum_percent.unwrap_or_default(), &at.field("minimumPercent"), out);
    if warmup.aggression.is_some_and(|aggression| aggression < 1.0) {
        out.error(codes::RANGE, &at.field("aggression"), "the aggression must be at least 1.0");
    }
}

fn consistent_hash(hash: &ConsistentHash, at: &Path<'_>, out: &mut Findings) {
    let keys = [
        ("httpHeaderName", hash.http_header_name.is_some()),
        ("httpCookie", hash.http_cookie.is_some()),
        ("useSourceIp", hash.use_source_ip == Some(true)),
        ("httpQueryParameterName", hash.http_query_parameter_name.is_some()),
    ];
    values::at_most_one(&keys, at, out);
    if keys.iter().all(|(_, is)| !is) {
        out.error(codes::MISSING, at, "a key to hash is needed")
            .hint("give one of httpHeaderName, httpCookie, useSourceIp, httpQueryParameterName");
    }
    if let Some(name) = &hash.http_header_name {
        names::header_name(name, &at.field("httpHeaderName"), out);
    }
    if hash.http_query_parameter_name.as_deref() == Some("") {
        out.error(codes::NAME, &at.field("httpQueryParameterName"), "a name is needed");
    }
    if let Some(cookie) = &hash.http_cookie
        && !names::is_token(&cookie.name)
    {
        out.error(codes::NAME, &at.field("httpCookie").field("name"), "the cookie needs a name");
    }
    values::at_most_one(
        &[("ringHash", hash.ring_hash.is_some()), ("maglev", hash.maglev.is_some())],
        at,
        out,
    );
    if hash.minimum_ring_size.is_some() {
        values::deprecated("minimumRingSize", "ringHash.minimumRingSize", at, out);
    }
    let ring = hash.ring_hash.as_ref().and_then(|ring| ring.minimum_ring_size).or(hash.minimum_ring_size);
    // Envoy's bounds: https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/cluster/v3/cluster.proto
    if ring.is_some_and(|size| size > 8 << 20) {
        out.error(codes::RANGE, &at.field("ringHash"), "a ring has at most 8388608 entries");
    }
    let Some(size) = hash.maglev.as_ref().and_then(|maglev| maglev.table_size) else { return };
    if size > 5_000_011 || !is_prime(size) {
        out.error(
            codes::RANGE,
            &at.field("maglev").field("tableSize"),
            "the size must be a prime up to 5000011",
        );
    }
}

fn is_prime(number: u64) -> bool {
    number > 1 && (2..=number.isqrt()).all(|divisor| !number.is_multiple_of(divisor))
}

pub(super) fn locality_lb(settings: &LocalityLb, at: &Path<'_>, out: &mut Findings) {
    let given =
        [("distribute", !settings.distribute.is_empty()), ("failover", !settings.failover.is_empty())];
    values::at_most_one(&given, at, out);
    let given = [
        ("distribute", !settings.distribute.is_empty()),
        ("failoverPriority", !settings.failover_priority.is_empty()),
    ];
    values::at_most_one(&given, at, out);
    for (index, rule) in settings.distribute.iter().enumerate() {
        let parent = at.field("distribute");
        let at = parent.index(index);
        let locality = |text: &str| {
            let parts: Vec<_> = text.split('/').collect();
            parts.len() <= 3 && parts.iter().all(|part| !part.is_empty())
        };
        for text in std::iter::once(&rule.from).chain(rule.to.keys()).filter(|text| !locality(text)) {
            let message = format!("\"{}\" is not region/zone/subzone", names::shorten(text));
            out.error(codes::NAME, &at, message);
        }
        let sum: u64 = rule.to.values().map(|share| u64::from(*share)).sum();
        if sum != 100 {
            out.error(codes::WEIGHTS, &at.field("to"), format!("the shares sum up to {sum}, not to 100"));
        }
    }
    for (index, rule) in settings.failover.iter().enumerate() {
        let parent = at.field("failover");
        let at = parent.index(index);
        if rule.from.is_empty() || rule.to.is_empty() || rule.from == rule.to {
            out.error(codes::COMBINATION, &at, "from and to must be two regions");
        }
        if rule.from.contains(['/', '*']) || rule.to.contains(['/', '*']) {
            out.error(codes::NAME, &at, "failover is between regions, without zones and wildcards");
        }
    }
}

pub(super) fn connection_pool(pool: &ConnectionPool, at: &Path<'_>, out: &mut Findings) {
    if let Some(tcp) = &pool.tcp {
        let at = at.field("tcp");
        values::not_negative(tcp.max_connections, &at.field("maxConnections"), out);
        values::at_least_1ms(tcp.connect_timeout, &at.field("connectTimeout"), out);
        values::timeout(tcp.max_connection_duration, &at.field("maxConnectionDuration"), out);
        values::timeout(tcp.idle_timeout, &at.field("idleTimeout"), out);
        if let Some(keepalive) = &tcp.tcp_keepalive {
            super::mesh_config::keepalive(keepalive, &at.field("tcpKeepalive"), out);
        }
    }
    if let Some(http) = &pool.http {
        let at = at.field("http");
        let counts = [
            ("http1MaxPendingRequests", http.http1_max_pending_requests),
            ("http2MaxRequests", http.http2_max_requests),
            ("maxRequestsPerConnection", http.max_requests_per_connection),
            ("maxRetries", http.max_retries),
            ("maxConcurrentStreams", http.max_concurrent_streams),
        ];
        for (field, count) in counts {
            values::not_negative(count, &at.field(field), out);
        }
        values::timeout(http.idle_timeout, &at.field("idleTimeout"), out);
        if http.use_client_protocol && http.h2_upgrade_policy == crate::istio::H2UpgradePolicy::Upgrade {
            out.error(codes::EXCLUSIVE, &at.field("useClientProtocol"), "h2UpgradePolicy already upgrades");
        }
        if let Some(keepalive) = &http.http2_keep_alive {
            let at = at.field("http2KeepAlive");
            values::at_least_1ms(keepalive.interval, &at.field("interval"), out);
            values::at_least_1ms(keepalive.timeout, &at.field("timeout"), out);
        }
    }
}

pub(super) fn outlier_detection(detection: &OutlierDetection, at: &Path<'_>, out: &mut Findings) {
    values::at_least_1ms(detection.interval, &at.field("interval"), out);
    values::at_least_1ms(detection.base_ejection_time, &at.field("baseEjectionTime"), out);
    values::whole_percentage(detection.max_ejection_percent, &at.field("maxEjectionPercent"), out);
    values::whole_percentage(detection.min_health_percent, &at.field("minHealthPercent"), out);
    if detection.consecutive_errors.is_some() {
        values::deprecated("consecutiveErrors", "consecutiveGatewayErrors", at, out);
    }
    if detection.consecutive_local_origin_failures.is_some() && !detection.split_external_local_origin_errors
    {
        out.error(
            codes::COMBINATION,
            &at.field("consecutiveLocalOriginFailures"),
            "this counts only with splitExternalLocalOriginErrors: true",
        );
    }
    for (index, code) in detection.outlier_detection_http_error_codes.iter().enumerate() {
        if !(100..=599).contains(code) {
            let message = format!("{code} is not a status of HTTP");
            out.error(codes::RANGE, &at.field("outlierDetectionHttpErrorCodes").index(index), message);
        }
    }
}

pub(crate) fn client_tls(tls: &ClientTls, at: &Path<'_>, out: &mut Findings) {
    let files = [
        ("clientCertificate", &tls.client_certificate),
        ("privateKey", &tls.private_key),
        ("caCertificates", &tls.ca_certificates),
        ("caCrl", &tls.ca_crl),
    ];
    let given = files.iter().find(|(_, value)| !value.is_empty()).map(|(name, _)| *name);
    match tls.mode {
        ClientTlsMode::Mutual if tls.credential_name.is_empty() => {
            for (name, value) in files.iter().take(2).filter(|(_, value)| value.is_empty()) {
                let message = format!("MUTUAL needs {name}, or a credentialName");
                out.error(codes::MISSING, &at.field(name), message);
                let _ = value;
            }
        }
        ClientTlsMode::IstioMutual => {
            let named = (!tls.credential_name.is_empty()).then_some("credentialName");
            if let Some(name) = given.or(named) {
                let message = format!("ISTIO_MUTUAL brings its own certificates: {name} has no place here");
                out.error(codes::COMBINATION, &at.field(name), message);
            }
        }
        ClientTlsMode::Mutual | ClientTlsMode::Simple | ClientTlsMode::Disable => {}
    }
    if let (false, Some(name)) = (tls.credential_name.is_empty(), given)
        && tls.mode != ClientTlsMode::IstioMutual
    {
        let message = format!("{name} and credentialName exclude each other");
        out.error(codes::EXCLUSIVE, &at.field(name), message);
    }
    if tls.insecure_skip_verify == Some(true) && !tls.ca_certificates.is_empty() {
        let message = "caCertificates are not used with insecureSkipVerify";
        out.error(codes::EXCLUSIVE, &at.field("insecureSkipVerify"), message);
    }
    if !tls.sni.is_empty() && !names::is_host(&tls.sni) {
        out.error(codes::HOST, &at.field("sni"), "the SNI must be a host without wildcard");
    }
}
