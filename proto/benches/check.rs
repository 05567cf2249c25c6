//! What it costs to check one resource before it is sent. Prints microseconds; asserts nothing.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a bench prints its result")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use lateen_proto::any::{pack, unpack};
use lateen_proto::envoy::config::cluster::v3::Cluster;
use lateen_proto::envoy::config::route::v3::{RouteConfiguration, VirtualHost};
use lateen_proto::google::protobuf::Any;
use lateen_proto::json::{any_to_json, json_to_any, yaml_to_any, yaml_to_message};
use lateen_proto::{pgv, reflect};

const CLUSTER: &str = "
name: outbound|80|v1|reviews.default.svc.cluster.local
type: EDS
eds_cluster_config: { eds_config: { ads: {}, resource_api_version: V3 }, service_name: 'outbound|80|v1|reviews' }
connect_timeout: 10s
circuit_breakers: { thresholds: [{ max_connections: 100, max_pending_requests: 10, max_retries: 3 }] }
outlier_detection: { consecutive_5xx: 5, interval: 10s, base_ejection_time: 30s, max_ejection_percent: 50 }
metadata: { filter_metadata: { lateen: { host: reviews.default.svc.cluster.local, subset: v1 } } }
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    '@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config: { http2_protocol_options: {} }
";

const HOST: &str = "
name: reviews.default.svc.cluster.local:80
domains: [reviews, reviews.default, reviews.default.svc, reviews.default.svc.cluster.local, 10.0.0.1]
routes:
- name: one
  match: { prefix: /api, headers: [{ name: x-user, string_match: { exact: jason } }] }
  route:
    weighted_clusters: { clusters: [{ name: a, weight: 90 }, { name: b, weight: 10 }] }
    timeout: 5s
    retry_policy: { retry_on: '5xx,connect-failure', num_retries: 2, per_try_timeout: 1s }
  request_headers_to_add: [{ header: { key: x-via, value: lateen } }]
  typed_per_filter_config:
    envoy.filters.http.fault:
      '@type': type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault
      delay: { fixed_delay: 1s, percentage: { numerator: 1 } }
";

fn main() {
    let start = Instant::now();
    black_box(reflect::pool());
    println!("descriptor pool: {} ms", start.elapsed().as_millis());
    let start = Instant::now();
    black_box(pgv::unsupported_rules());
    println!("plans of all messages: {} ms", start.elapsed().as_millis());

    let cluster: Cluster = yaml_to_message(CLUSTER).unwrap();
    let mut host: VirtualHost = yaml_to_message(HOST).unwrap();
    host.routes = vec![host.routes.remove(0); 10];
    let routes =
        RouteConfiguration { name: "80".into(), virtual_hosts: vec![host], ..RouteConfiguration::default() };
    report("cluster", &pack(&cluster));
    report("10 routes", &pack(&routes));
    assert_eq!(unpack::<Cluster>(&pack(&cluster)).unwrap(), cluster);
    let text = format!("'@type': x/envoy.config.cluster.v3.Cluster{CLUSTER}");
    println!("cluster from YAML: {:.1} µs", microseconds(|| drop(black_box(yaml_to_any(&text)))));
}

fn report(name: &str, any: &Any) {
    assert_eq!(pgv::check(any), []);
    let json = any_to_json(any);
    println!(
        "{name} ({} bytes): check {:.2} µs, to JSON {:.1} µs, from JSON {:.1} µs",
        any.value.len(),
        microseconds(|| drop(black_box(pgv::check(black_box(any))))),
        microseconds(|| drop(black_box(any_to_json(any)))),
        microseconds(|| drop(black_box(json_to_any(&json)))),
    );
}

/// The quickest of many batches, per call.
fn microseconds(call: impl Fn()) -> f64 {
    let batch = || {
        let start = Instant::now();
        (0..200).for_each(|_| call());
        start.elapsed() / 200
    };
    let best = (0..50).map(|_| batch()).min().unwrap_or(Duration::ZERO);
    best.as_secs_f64() * 1e6
}
