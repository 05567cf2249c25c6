//! The sections of the specifications that cases cite.
#![allow(clippy::doc_markdown, reason = "titles stand as they are printed")]

use crate::case::Clause;

macro_rules! clauses {
    ($($name:ident $title:literal $url:expr;)+) => {
        $(
            #[doc = concat!("“", $title, "”.")]
            pub const $name: Clause = Clause { title: $title, url: $url };
        )+
    };
}

macro_rules! xds {
    ($anchor:literal) => {
        concat!("https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#", $anchor)
    };
}

clauses! {
    VARIANTS "Four Variants" xds!("four-variants");
    OVERVIEW "Basic Protocol Overview" xds!("basic-protocol-overview");
    VERSION "ACK/NACK and resource type instance version" xds!("ack-nack-and-resource-type-instance-version");
    ACK "ACK" xds!("ack");
    NACK "NACK" xds!("nack");
    SUMMARY "ACK and NACK semantics summary" xds!("ack-and-nack-semantics-summary");
    WHEN "When to send an update" xds!("when-to-send-an-update");
    NAMES "How the client specifies what resources to return" xds!("how-the-client-specifies-what-resources-to-return");
    GROUPING "Grouping Resources into Responses" xds!("grouping-resources-into-responses");
    DUPLICATES "Duplicate Resource Names" xds!("duplicate-resource-names");
    DELETING "Deleting Resources" xds!("deleting-resources");
    MISSING "Knowing When a Requested Resource Does Not Exist" xds!("knowing-when-a-requested-resource-does-not-exist");
    UNSUBSCRIBING "Unsubscribing From Resources" xds!("unsubscribing-from-resources");
    MANY "Requesting Multiple Resources on a Single Stream" xds!("requesting-multiple-resources-on-a-single-stream");
    UPDATES "Resource updates" xds!("resource-updates");
    WARMING "Resource warming" xds!("resource-warming");
    ORDER "Eventual consistency considerations" xds!("eventual-consistency-considerations");
    TTL "TTL" xds!("ttl");
    SOTW_TTL "SotW TTL" xds!("sotw-ttl");
    ADS "Aggregated Discovery Service" xds!("aggregated-discovery-service");
    DELTA "Incremental xDS" xds!("incremental-xds");
    DELTA_REQUEST "DeltaDiscoveryRequest"
        "https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/discovery/v3/discovery.proto#service-discovery-v3-deltadiscoveryrequest";
    DELTA_RESPONSE "DeltaDiscoveryResponse"
        "https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/discovery/v3/discovery.proto#service-discovery-v3-deltadiscoveryresponse";
    REQUEST "DiscoveryRequest"
        "https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/discovery/v3/discovery.proto#service-discovery-v3-discoveryrequest";
    VHDS "Virtual Host Discovery Service"
        "https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/vhds";
    ODCDS "On-demand filter"
        "https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/on_demand_updates_filter";
    SRDS "Scoped RDS" "https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/http_routing#route-scope";
    ECDS "Extension config discovery"
        "https://www.envoyproxy.io/docs/envoy/latest/configuration/overview/extension#discovery-service";
    SDS "Secret discovery service" "https://www.envoyproxy.io/docs/envoy/latest/configuration/security/secret";
    RTDS "Runtime discovery service"
        "https://www.envoyproxy.io/docs/envoy/latest/configuration/operations/runtime#runtime-discovery-service-rtds";
    TP1 "xRFC TP1: xdstp:// names" "https://github.com/cncf/xds/blob/main/proposals/TP1-xds-transport-next.md";
    TP2 "xRFC TP2: dynamic parameters"
        "https://github.com/cncf/xds/blob/main/proposals/TP2-dynamically-generated-cacheable-xds-resources.md";
    TP3 "xRFC TP3: error propagation" "https://github.com/cncf/xds/blob/main/proposals/TP3-xds-error-propagation.md";
    FLOW "Flow control of gRPC" "https://grpc.io/docs/guides/flow-control/";
    LIMITS "Limits of gRPC messages"
        "https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md#requests";
}
