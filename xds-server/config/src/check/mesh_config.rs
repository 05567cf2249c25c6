//! `MeshConfig`.

use super::{Check, http_route, names, traffic_policy, values};
use crate::{
    Metadata, codes,
    findings::Findings,
    istio::{AccessLogEncoding, MeshConfig, MeshOutboundMode, TcpKeepalive},
    path::Path,
};

impl Check for MeshConfig {
    fn check(&self, _: &Metadata, at: &Path<'_>, out: &mut Findings) {
        values::maybe_port(self.proxy_listen_port, &at.field("proxyListenPort"), out);
        values::maybe_port(self.proxy_inbound_listen_port, &at.field("proxyInboundListenPort"), out);
        values::at_least_1ms(self.connect_timeout, &at.field("connectTimeout"), out);
        values::timeout(self.protocol_detection_timeout, &at.field("protocolDetectionTimeout"), out);
        values::at_least_1ms(self.dns_refresh_rate, &at.field("dnsRefreshRate"), out);
        if let Some(settings) = &self.tcp_keepalive {
            keepalive(settings, &at.field("tcpKeepalive"), out);
        }
        let domains = self.trust_domain_aliases.iter().enumerate();
        let trust_domain = |domain: &str, at: &Path<'_>, out: &mut Findings| {
            // https://spiffe.io/docs/latest/spiffe-specs/spiffe-id/#21-trust-domain
            let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b);
            if domain.is_empty() || domain.len() > 255 || !domain.bytes().all(good) {
                let message = format!("\"{}\" is not a trust domain", names::shorten(domain));
                out.error(codes::NAME, at, message);
            }
        };
        if !self.trust_domain.is_empty() {
            trust_domain(&self.trust_domain, &at.field("trustDomain"), out);
        }
        for (index, alias) in domains {
            trust_domain(alias, &at.field("trustDomainAliases").index(index), out);
        }
        let exports = [
            ("defaultServiceExportTo", &self.default_service_export_to),
            ("defaultVirtualServiceExportTo", &self.default_virtual_service_export_to),
            ("defaultDestinationRuleExportTo", &self.default_destination_rule_export_to),
        ];
        for (field, list) in exports {
            names::export_to(list, names::ExportOf::Services, &at.field(field), out);
        }
        if !self.root_namespace.is_empty() && !names::is_dns_label(&self.root_namespace) {
            out.error(codes::NAME, &at.field("rootNamespace"), "this is not a namespace");
        }
        if let Some(settings) = &self.locality_lb_setting {
            traffic_policy::locality_lb(settings, &at.field("localityLbSetting"), out);
        }
        if let Some(policy) = &self.default_http_retry_policy {
            http_route::retries(policy, &at.field("defaultHttpRetryPolicy"), out);
        }
        if let Some(policy) = &self.default_traffic_policy {
            let at = at.field("defaultTrafficPolicy");
            if let Some(pool) = &policy.connection_pool {
                traffic_policy::connection_pool(pool, &at.field("connectionPool"), out);
            }
            if let Some(detection) = &policy.outlier_detection {
                traffic_policy::outlier_detection(detection, &at.field("outlierDetection"), out);
            }
        }
        if let Some(tls) = self.outbound_traffic_policy.as_ref().and_then(|policy| policy.tls.as_ref()) {
            traffic_policy::client_tls(tls, &at.field("outboundTrafficPolicy").field("tls"), out);
        }
        if self.outbound_traffic_policy.as_ref().and_then(|policy| policy.mode)
            == Some(MeshOutboundMode::AllowAnyDynamicDns)
        {
            let message = "ALLOW_ANY_DYNAMIC_DNS has no effect beyond ALLOW_ANY, because names are not resolved for \
                           clients: what goes to unknown hosts goes to the address that the client chose";
            out.warn(codes::NO_EFFECT, &at.field("outboundTrafficPolicy").field("mode"), message);
        }
        if self.access_log_encoding == AccessLogEncoding::Json && !self.access_log_format.is_empty() {
            let message = "accessLogFormat has no effect, because with accessLogEncoding JSON the fields of Istio's default are logged";
            out.warn(codes::NO_EFFECT, &at.field("accessLogFormat"), message);
        }
        if let Some(config) = &self.default_config {
            let at = at.field("defaultConfig");
            values::maybe_port(config.proxy_admin_port, &at.field("proxyAdminPort"), out);
            values::maybe_port(config.status_port, &at.field("statusPort"), out);
            values::not_negative(config.concurrency, &at.field("concurrency"), out);
            values::timeout(config.drain_duration, &at.field("drainDuration"), out);
        }
    }
}

pub(super) fn keepalive(settings: &TcpKeepalive, at: &Path<'_>, out: &mut Findings) {
    for (field, duration) in [("time", settings.time), ("interval", settings.interval)] {
        // The kernel counts these in seconds.
        if duration.is_some_and(|duration| duration.as_secs() == 0) {
            out.error(codes::DURATION, &at.field(field), "the duration must be at least 1s");
        }
    }
}
