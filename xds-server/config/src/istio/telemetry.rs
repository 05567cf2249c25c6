//! `Telemetry`. <https://istio.io/latest/docs/reference/config/telemetry/>

use std::{collections::BTreeMap, time::Duration};

use super::{
    common::{PolicySelector, PolicyTarget},
    security::ProviderRef,
};
use crate::decode::{choice, object};

object! {
    /// What workloads tell about their traffic.
    pub struct Telemetry {
        selector: Option<PolicySelector> = "selector",
        target_ref: Option<PolicyTarget> = "targetRef",
        target_refs: Vec<PolicyTarget> = "targetRefs",
        tracing: Vec<Tracing> = "tracing",
        metrics: Vec<Metrics> = "metrics",
        access_logging: Vec<AccessLogging> = "accessLogging",
    }
}

object! {
    /// Spans.
    pub struct Tracing {
        matches: Option<SideMatch> = "match",
        providers: Vec<ProviderRef> = "providers",
        random_sampling_percentage: Option<f64> = "randomSamplingPercentage",
        disable_span_reporting: Option<bool> = "disableSpanReporting",
        custom_tags: BTreeMap<String, CustomTag> = "customTags",
        use_request_id_for_trace_sampling: Option<bool> = "useRequestIdForTraceSampling",
        enable_istio_tags: Option<bool> = "enableIstioTags",
        disable_context_propagation: Option<bool> = "disableContextPropagation",
    }
}

object! {
    /// Which side of a connection.
    pub struct SideMatch {
        mode: SideMode = "mode",
    }
}

choice! {
    /// Client, server, or both.
    pub enum SideMode { Both = "CLIENT_AND_SERVER", Client = "CLIENT", Server = "SERVER" }
}

object! {
    /// A tag of spans.
    pub struct CustomTag {
        literal: Option<TagValue> = "literal",
        environment: Option<NamedTag> = "environment",
        header: Option<NamedTag> = "header",
        formatter: Option<TagValue> = "formatter",
    }
}

object! {
    /// A tag's value.
    pub struct TagValue {
        value: String = "value",
    }
}

object! {
    /// Where a tag's value is found.
    pub struct NamedTag {
        name: String = "name",
        default_value: String = "defaultValue",
    }
}

object! {
    /// Counters and histograms.
    pub struct Metrics {
        providers: Vec<ProviderRef> = "providers",
        overrides: Vec<MetricsOverride> = "overrides",
        reporting_interval: Option<Duration> = "reportingInterval",
    }
}

object! {
    /// What a metric has otherwise.
    pub struct MetricsOverride {
        matches: Option<MetricMatch> = "match",
        disabled: Option<bool> = "disabled",
        tag_overrides: BTreeMap<String, TagOverride> = "tagOverrides",
    }
}

object! {
    /// Which metric.
    pub struct MetricMatch {
        metric: IstioMetric = "metric",
        custom_metric: String = "customMetric",
        mode: SideMode = "mode",
    }
}

choice! {
    /// Istio's own metrics.
    pub enum IstioMetric {
        All = "ALL_METRICS",
        RequestCount = "REQUEST_COUNT",
        RequestDuration = "REQUEST_DURATION",
        RequestSize = "REQUEST_SIZE",
        ResponseSize = "RESPONSE_SIZE",
        TcpOpenedConnections = "TCP_OPENED_CONNECTIONS",
        TcpClosedConnections = "TCP_CLOSED_CONNECTIONS",
        TcpSentBytes = "TCP_SENT_BYTES",
        TcpReceivedBytes = "TCP_RECEIVED_BYTES",
        GrpcRequestMessages = "GRPC_REQUEST_MESSAGES",
        GrpcResponseMessages = "GRPC_RESPONSE_MESSAGES",
    }
}

object! {
    /// What a tag of a metric is instead.
    pub struct TagOverride {
        operation: TagOperation = "operation",
        value: String = "value",
    }
}

choice! {
    /// Set or removed.
    pub enum TagOperation { Upsert = "UPSERT", Remove = "REMOVE" }
}

object! {
    /// Access logs.
    pub struct AccessLogging {
        matches: Option<SideMatch> = "match",
        providers: Vec<ProviderRef> = "providers",
        disabled: Option<bool> = "disabled",
        filter: Option<LogFilter> = "filter",
    }
}

object! {
    /// Which requests are logged.
    pub struct LogFilter {
        /// In CEL.
        expression: String = "expression",
    }
}
