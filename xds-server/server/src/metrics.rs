//! Metrics of the control plane. The names of Istio's that dashboards know are kept where they mean the same.

use std::sync::atomic::AtomicU64;

use lateen_xds::ResourceType;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// A label for the resource type.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub struct TypeLabel {
    /// `cds`, `eds`, …
    pub r#type: &'static str,
}

/// A label for the source.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub struct SourceLabel {
    /// Name of the source.
    pub source: String,
}

/// Labels of what clients report to have sent.
#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
pub struct LoadLabel {
    /// To which cluster.
    pub cluster: String,
    /// `issued`, `successful`, `error`, `dropped`.
    pub result: &'static str,
}

/// All metrics; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Open xDS streams.
    pub streams: Gauge,
    /// Responses sent, and their bytes.
    pushes: Pushes,
    /// Resources that clients rejected.
    pub rejects: Family<TypeLabel, Counter>,
    /// Requests refused for what they ask or claim.
    pub refusals: Counter,
    /// Bytes composed and not yet written.
    pub in_flight_bytes: Gauge,
    /// Turns of the core: a quiet mesh has next to none.
    pub turns: Counter,
    /// Resource names that are served, or asked for.
    pub names: Gauge,
    /// 1 while a source is stale.
    pub stale: Family<SourceLabel, Gauge>,
    /// Seconds since 1970 at which a source that is stale became so; 0 for one that is not.
    pub stale_since: Family<SourceLabel, Gauge>,
    /// Removals of a source that are held until confirmed.
    pub held_removals: Family<SourceLabel, Gauge>,
    /// 1 while what is served of a source was saved by an earlier run.
    pub from_saved: Family<SourceLabel, Gauge>,
    /// Objects of a source.
    pub objects: Family<SourceLabel, Gauge>,
    /// Seconds from the arrival of a change to the compiled result.
    pub compile_seconds: HistogramMetric,
    /// Seconds from a response to its acknowledgement.
    pub ack_seconds: HistogramMetric,
    /// Requests that clients report to have sent (LRS).
    pub loads: Family<LoadLabel, Counter>,
    /// Is every source listed?
    pub ready: Gauge<f64, AtomicU64>,
}

/// A histogram with buckets from 100 µs to about 26 s.
#[derive(Clone, Debug)]
pub struct HistogramMetric(pub Histogram);

impl Default for HistogramMetric {
    fn default() -> Self {
        Self(Histogram::new(prometheus_client::metrics::histogram::exponential_buckets(0.0001, 4.0, 10)))
    }
}

/// What was sent of each type: looked up by its index, as this is counted for every response.
#[derive(Clone, Debug)]
struct Pushes([(Counter, Counter); ResourceType::COUNT]);

impl Default for Pushes {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Default::default()))
    }
}

impl TypeLabel {
    /// The label of a type.
    pub fn of(kind: ResourceType) -> Self {
        Self {
            r#type: match kind {
                ResourceType::Cluster => "cds",
                ResourceType::Endpoints => "eds",
                ResourceType::Secret => "sds",
                ResourceType::ExtensionConfig => "ecds",
                ResourceType::Listener => "lds",
                ResourceType::RouteConfiguration => "rds",
                ResourceType::ScopedRoute => "srds",
                ResourceType::VirtualHost => "vhds",
                ResourceType::Runtime => "rtds",
            },
        }
    }
}

impl Metrics {
    /// A response was sent.
    pub fn pushed(&self, kind: ResourceType, bytes: usize) {
        if let Some((count, sum)) = self.pushes.0.get(kind.index()) {
            count.inc();
            sum.inc_by(bytes as u64);
        }
    }

    /// Everything in the Prometheus text format.
    pub fn render(&self) -> String {
        let mut registry = Registry::default();
        let Self {
            streams,
            pushes,
            rejects,
            refusals,
            in_flight_bytes,
            turns,
            names,
            stale,
            stale_since,
            held_removals,
            from_saved,
            objects,
            compile_seconds,
            ack_seconds,
            loads,
            ready,
        } = self.clone();
        registry.register("pilot_xds", "Open xDS streams", streams);
        let (counts, bytes) = <(Family<TypeLabel, Counter>, Family<TypeLabel, Counter>)>::default();
        for (kind, (count, sum)) in ResourceType::ALL.into_iter().zip(&pushes.0) {
            counts.get_or_create(&TypeLabel::of(kind)).inc_by(count.get());
            bytes.get_or_create(&TypeLabel::of(kind)).inc_by(sum.get());
        }
        registry.register("pilot_xds_pushes", "xDS responses sent", counts);
        registry.register("lateen_xds_push_bytes", "Bytes of xDS responses sent", bytes);
        registry.register("lateen_xds_rejects", "Resources rejected by clients", rejects);
        registry.register("lateen_xds_refusals", "Requests refused", refusals);
        registry.register(
            "lateen_xds_in_flight_bytes",
            "Bytes composed and not yet written",
            in_flight_bytes,
        );
        registry.register("lateen_core_turns", "Turns of the core", turns);
        registry.register("lateen_xds_names", "Resource names served or asked for", names);
        registry.register("lateen_source_stale", "1 while a source can't be reached", stale);
        registry.register(
            "lateen_source_stale_since_seconds",
            "When a source became stale, as seconds since 1970; 0 when it is not",
            stale_since,
        );
        registry.register(
            "lateen_source_held_removals",
            "Removals of a source that are held until confirmed",
            held_removals,
        );
        registry.register(
            "lateen_source_from_saved_state",
            "1 while what is served of a source was saved by an earlier run",
            from_saved,
        );
        registry.register("lateen_source_objects", "Objects of a source", objects);
        registry.register("lateen_compile_seconds", "Change to compiled result", compile_seconds.0);
        registry.register("lateen_xds_ack_seconds", "Response to acknowledgement", ack_seconds.0);
        registry.register("lateen_load_requests", "Requests that clients report to have sent", loads);
        registry.register("lateen_ready", "1 when every source was listed", ready);
        let mut text = String::new();
        // Writing to a String can't fail.
        let _ = encode(&mut text, &registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_are_counted_by_type() {
        let metrics = Metrics::default();
        metrics.rejects.get_or_create(&TypeLabel::of(ResourceType::Cluster)).inc();
        assert!(metrics.render().contains("lateen_xds_rejects_total{type=\"cds\"} 1"));
    }
}
