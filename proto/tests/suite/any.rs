//! Packing, and determinism of encodings.

use std::collections::BTreeMap;
use std::time::Duration as StdDuration;

use lateen_proto::Message as _;
use lateen_proto::any::{AnyError, pack, unpack};
use lateen_proto::envoy::config::cluster::v3::Cluster;
use lateen_proto::envoy::config::core::v3::Metadata;
use lateen_proto::envoy::config::listener::v3::Listener;
use lateen_proto::google::protobuf::{Any, Duration, Struct};
use proptest::prelude::*;

#[test]
fn what_was_packed_is_unpacked() {
    let cluster = Cluster { name: "a".into(), ..Cluster::default() };
    let any = pack(&cluster);
    assert_eq!(any.type_url, "type.googleapis.com/envoy.config.cluster.v3.Cluster");
    assert_eq!(unpack::<Cluster>(&any).unwrap(), cluster);
}

#[test]
fn another_type_and_bad_bytes_are_errors() {
    let any = pack(&Cluster::default());
    assert!(matches!(unpack::<Listener>(&any), Err(AnyError::Type { .. })));
    let bad = Any { value: vec![0xff].into(), ..any };
    assert!(matches!(unpack::<Cluster>(&bad), Err(AnyError::Decode { .. })));
}

#[test]
fn maps_encode_in_key_order() {
    let build = |keys: &[&str]| Metadata {
        filter_metadata: keys
            .iter()
            .map(|key| ((*key).to_owned(), Struct::from_iter([(*key, 1.0)])))
            .collect(),
        typed_filter_metadata: BTreeMap::new(),
    };
    let forward = build(&["a", "b", "c", "d", "e", "f"]);
    let backward = build(&["f", "e", "d", "c", "b", "a"]);
    assert_eq!(forward.encode_to_vec(), backward.encode_to_vec());
}

proptest! {
    #[test]
    fn durations_convert_both_ways(seconds in 0..=i64::MAX.cast_unsigned(), nanos in 0..1_000_000_000_u32) {
        let std = StdDuration::new(seconds, nanos);
        prop_assert_eq!(StdDuration::try_from(Duration::from(std)).unwrap(), std);
    }
}

#[test]
fn negative_and_denormal_durations_have_no_counterpart() {
    for (seconds, nanos) in [(-1, 0), (0, -1), (0, 1_000_000_000)] {
        assert!(StdDuration::try_from(Duration { seconds, nanos }).is_err(), "{seconds} {nanos}");
    }
}
