//! LRS: how much clients send to which cluster, summed up in the metrics.
//! <https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/load_stats/v3/lrs.proto>

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{Router, body::Body};
use http::Request;
use lateen_proto::{
    envoy::{
        config::{core::v3::Node, endpoint::v3::ClusterStats},
        service::load_stats::v3::{LoadStatsRequest, LoadStatsResponse},
    },
    google::protobuf::Duration,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status, Streaming, server::Grpc};
use tonic_prost::ProstCodec;
use tower::service_fn;

use crate::{
    metrics::{LoadLabel, Metrics},
    node::node_info,
    peer::{Identity, identity_of},
    service::Method,
};

/// Name of the service.
pub const SERVICE: &str = "envoy.service.load_stats.v3.LoadReportingService";
/// How often clients report. Each report is a difference, so a server that restarts loses at most this much.
const INTERVAL_SECONDS: i64 = 5;
/// Bytes of one report: some ten thousand clusters.
const REQUEST_BYTES_MAX: usize = 16 << 20;
/// Clusters that are counted one by one; what goes beyond is counted together. Their names come from clients.
const CLUSTERS_MAX: usize = 10_000;
/// Clients that say so can be asked for all their clusters, whatever these are called.
/// <https://www.envoyproxy.io/docs/envoy/latest/api/client_features>
const SEND_ALL_CLUSTERS: &str = "envoy.lrs.supports_send_all_clusters";

/// Sums over all clients.
#[derive(Clone, Debug)]
struct Totals {
    metrics: Metrics,
    clusters: Arc<AtomicUsize>,
}

type Codec = ProstCodec<LoadStatsResponse, LoadStatsRequest>;

/// The route of the service.
pub fn router(metrics: &Metrics) -> Router {
    let totals = Totals { metrics: metrics.clone(), clusters: Arc::default() };
    let stream = service_fn(move |request: Request<Body>| {
        let totals = totals.clone();
        async move {
            let answers = service_fn(move |request: tonic::Request<Streaming<LoadStatsRequest>>| {
                let totals = totals.clone();
                async move {
                    let identity = identity_of(&request)?;
                    // One answer and, perhaps, the end.
                    let (sender, answers) = mpsc::channel(2);
                    tokio::spawn(receive(totals, identity, request.into_inner(), sender));
                    Ok::<_, Status>(Response::new(ReceiverStream::new(answers)))
                }
            });
            let mut grpc =
                Grpc::new(Codec::default()).apply_max_message_size_config(Some(REQUEST_BYTES_MAX), None);
            Ok::<_, Infallible>(grpc.streaming(answers, request).await)
        }
    });
    Router::new().route_service(&format!("/{SERVICE}/StreamLoadStats"), stream)
}

async fn receive(
    totals: Totals,
    identity: Identity,
    mut reports: Streaming<LoadStatsRequest>,
    answers: mpsc::Sender<Result<LoadStatsResponse, Status>>,
) {
    let mut known = false;
    loop {
        let report = tokio::select! {
            report = reports.message() => report,
            () = answers.closed() => return,
        };
        let answer = match report {
            Ok(Some(report)) => {
                let answer = if known { Ok(None) } else { begin(&identity, &report).map(Some) };
                known = true;
                report.cluster_stats.iter().for_each(|stats| totals.add(stats));
                answer
            }
            Ok(None) => return,
            Err(status) => Err(status),
        };
        let failed = answer.is_err();
        if let Some(answer) = answer.transpose()
            && (answers.send(answer).await.is_err() || failed)
        {
            return;
        }
    }
}

/// The first report says who it is from, and is answered with what is to be reported.
fn begin(identity: &Identity, report: &LoadStatsRequest) -> Result<LoadStatsResponse, Status> {
    let node = report.node.as_ref().filter(|node| !node.id.is_empty()).ok_or_else(|| {
        Status::invalid_argument("the first report of a stream must carry a node with an id")
    })?;
    identity
        .check_namespace(node_info(node, Method { delta: false, only: None }).namespace.as_str())
        .map_err(|error| Status::permission_denied(error.to_string()))?;
    let all = supports_all(node);
    // Others report what they are asked for: what they know to have.
    let known = || report.cluster_stats.iter().map(|stats| stats.cluster_name.clone()).collect();
    Ok(LoadStatsResponse {
        clusters: if all { Vec::new() } else { known() },
        send_all_clusters: all,
        load_reporting_interval: Some(Duration { seconds: INTERVAL_SECONDS, nanos: 0 }),
        report_endpoint_granularity: false,
    })
}

fn supports_all(node: &Node) -> bool {
    node.client_features.iter().any(|feature| feature == SEND_ALL_CLUSTERS)
}

impl Totals {
    /// Each report tells what was new since the one before it.
    fn add(&self, stats: &ClusterStats) {
        let all = &stats.upstream_locality_stats;
        let sum = |of: fn(&_) -> u64| all.iter().map(of).fold(0, u64::saturating_add);
        let figures = [
            ("issued", sum(|locality| locality.total_issued_requests)),
            ("successful", sum(|locality| locality.total_successful_requests)),
            ("error", sum(|locality| locality.total_error_requests)),
            ("dropped", stats.total_dropped_requests),
        ];
        for (result, count) in figures.into_iter().filter(|(_, count)| *count > 0) {
            let label = |cluster: &str| LoadLabel { cluster: cluster.to_owned(), result };
            let loads = &self.metrics.loads;
            if let Some(known) = loads.get(&label(&stats.cluster_name)) {
                known.inc_by(count);
                continue;
            }
            let room = self.clusters.fetch_add(1, Ordering::Relaxed) < CLUSTERS_MAX;
            let cluster = if room { stats.cluster_name.as_str() } else { "other" };
            loads.get_or_create(&label(cluster)).inc_by(count);
        }
    }
}

#[cfg(test)]
mod tests {
    use lateen_proto::json::yaml_to_message;

    use super::*;

    fn report(yaml: &str) -> LoadStatsRequest {
        yaml_to_message(yaml).unwrap()
    }

    #[test]
    fn clients_that_can_are_asked_for_all_their_clusters() {
        let identity = Identity::Local { uid: None };
        let answer = |yaml: &str| begin(&identity, &report(yaml));
        let all = answer(&format!("node: {{id: a, clientFeatures: [{SEND_ALL_CLUSTERS}]}}")).unwrap();
        assert!(all.send_all_clusters && all.clusters.is_empty());
        let some = answer("{node: {id: a}, clusterStats: [{clusterName: c}]}").unwrap();
        assert_eq!((some.send_all_clusters, some.clusters), (false, vec!["c".to_owned()]));
        assert_eq!(
            answer("clusterStats: [{clusterName: c}]").unwrap_err().code(),
            tonic::Code::InvalidArgument
        );
    }

    #[test]
    fn loads_add_up_and_the_number_of_names_is_bounded() {
        let totals = Totals { metrics: Metrics::default(), clusters: Arc::default() };
        let of = |cluster: &str| {
            report(&format!(
                "clusterStats: [{{clusterName: {cluster}, totalDroppedRequests: 1, upstreamLocalityStats: \
                 [{{totalSuccessfulRequests: 3, totalIssuedRequests: 4}}, {{totalIssuedRequests: 18446744073709551615}}]}}]"
            ))
        };
        for _ in 0..2 {
            totals.add(&of("c").cluster_stats[0]);
        }
        let text = totals.metrics.render();
        assert!(text.contains("lateen_load_requests_total{cluster=\"c\",result=\"successful\"} 6"), "{text}");
        assert!(text.contains("{cluster=\"c\",result=\"dropped\"} 2"), "{text}");
        for index in 0..CLUSTERS_MAX {
            totals.add(&of(&format!("made-up-{index}")).cluster_stats[0]);
        }
        let text = totals.metrics.render();
        assert!(text.lines().filter(|line| line.starts_with("lateen_load")).count() <= CLUSTERS_MAX + 4);
        assert!(text.contains("cluster=\"other\""));
    }
}
