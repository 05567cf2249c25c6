//! Keys become services, endpoints and documents.

use lateen_model::{Health, ObjectKind, Protocol};
use lateen_test_servers::etcd::Etcd;

use crate::mesh::{Mesh, client, delete, put};

#[tokio::test]
async fn services_and_instances_follow_their_keys() {
    let etcd = Etcd::start().await.unwrap();
    let mut writer = client(&etcd.url()).await;
    put(
        &mut writer,
        "services/shop/cart",
        "{ports: [{name: http, number: 80, targetPort: 8080}], labels: {a: b}}",
    )
    .await;
    put(
        &mut writer,
        "endpoints/shop/cart/1",
        r#"{"address": "10.0.0.1", "locality": "eu/a/1", "weight": 3}"#,
    )
    .await;
    let mut mesh = Mesh::synced(&etcd.url()).await;
    let service = mesh.service("shop/cart").unwrap();
    assert_eq!(service.host.as_str(), "cart.shop.svc.cluster.local");
    assert_eq!((service.ports[0].number, service.ports[0].protocol), (80, Protocol::Http));
    let endpoint = &mesh.endpoints("shop/cart")[0];
    assert_eq!((endpoint.weight, endpoint.locality.to_string()), (3, "eu/a/1".to_owned()));
    assert_eq!(endpoint.ports["http"], 8080, "the port of the service, as the instance names none");
    assert_eq!(&*endpoint.origin.location, "/lateen/endpoints/shop/cart/1");

    put(&mut writer, "endpoints/shop/cart/0", r#"{"address": "10.0.0.2", "ports": 9}"#).await;
    mesh.until("the second one", |mesh| mesh.addresses("shop/cart") == ["10.0.0.1", "10.0.0.2"]).await;
    assert_eq!(mesh.endpoints("shop/cart")[1].ports["http"], 9);
    let flip = r#"{"address": "10.0.0.2", "ports": 9, "health": "unhealthy"}"#;
    put(&mut writer, "endpoints/shop/cart/0", flip).await;
    mesh.until("its health", |mesh| mesh.endpoints("shop/cart")[1].health == Health::Unhealthy).await;
    let events = mesh.events;
    // The same again is no change, and tells nothing.
    put(&mut writer, "endpoints/shop/cart/0", flip).await;
    put(&mut writer, "services/shop/cart", "{host: cart.example.com, ports: [{name: http, number: 81}]}")
        .await;
    mesh.until("another host", |mesh| mesh.service("shop/cart").unwrap().host.as_str() == "cart.example.com")
        .await;
    mesh.until("its ports", |mesh| mesh.endpoints("shop/cart")[0].ports["http"] == 81).await;
    assert_eq!(mesh.events - events, 2, "the service and its endpoints");

    delete(&mut writer, "endpoints/shop/cart/1").await;
    mesh.until("one", |mesh| mesh.addresses("shop/cart") == ["10.0.0.2"]).await;
    delete(&mut writer, "endpoints/shop/cart/0").await;
    mesh.until("none", |mesh| mesh.addresses("shop/cart").is_empty()).await;
    assert!(mesh.service("shop/cart").is_some(), "a service that is defined needs no instance");
    delete(&mut writer, "services/shop/cart").await;
    mesh.until("nothing", |mesh| mesh.objects.is_empty()).await;
    assert!(mesh.invalid.is_empty() && mesh.failures == 0);
}

#[tokio::test]
async fn a_service_without_definition_lives_with_its_instances() {
    let etcd = Etcd::start().await.unwrap();
    let mut writer = client(&etcd.url()).await;
    let mut mesh = Mesh::synced(&etcd.url()).await;
    put(&mut writer, "endpoints/shop/cart/1", "{address: 10.0.0.1, ports: {grpc: 90}}").await;
    mesh.until("it", |mesh| mesh.service("shop/cart").is_some()).await;
    let port = mesh.service("shop/cart").unwrap().ports[0].clone();
    assert_eq!((port.number, port.protocol), (90, Protocol::Grpc));
    delete(&mut writer, "endpoints/shop/cart/1").await;
    mesh.until("nothing", |mesh| mesh.objects.is_empty()).await;
}

#[tokio::test]
async fn prefix_and_host_are_options() {
    let etcd = Etcd::start().await.unwrap();
    let mut writer = client(&etcd.url()).await;
    writer.put("/mesh/endpoints/shop/cart/1", "{address: 10.0.0.1, ports: 80}", None).await.unwrap();
    writer.put("/mesh/config/a", "kind: x", None).await.unwrap();
    put(&mut writer, "config/b", "kind: y").await;
    let flag = format!("{}?prefix=/mesh&host=%7Bname%7D.service.consul", etcd.url());
    let mesh = Mesh::synced(&flag).await;
    assert_eq!(mesh.service("shop/cart").unwrap().host.as_str(), "cart.service.consul");
    assert_eq!(mesh.document("/mesh/config/a"), Some("kind: x"));
    assert_eq!(mesh.objects.len(), 3);
}

/// Row 13: what makes no sense is said, and hides nothing else; what it was before stays.
#[tokio::test]
async fn row_13_bad_values_and_keys_hide_nothing() {
    let etcd = Etcd::start().await.unwrap();
    let mut writer = client(&etcd.url()).await;
    put(&mut writer, "endpoints/shop/cart/good", "{address: 10.0.0.1, ports: 80}").await;
    put(&mut writer, "endpoints/shop/cart/bad", "{address: 10.0.0.2, ports: 80}").await;
    put(&mut writer, "services/shop/cart", "{ports: [{name: http, number: 80}]}").await;
    put(&mut writer, "config/large", vec![b'a'; (1 << 20) + 1]).await;
    put(&mut writer, "endpoints/shop/cart/\u{7}", "{address: 10.0.0.9}").await;
    put(&mut writer, &format!("services/shop/{}", "x".repeat(254)), "{}").await;
    writer.put(b"/lateen/endpoints/shop/cart/\xff".as_slice(), "{address: 10.0.0.9}", None).await.unwrap();
    let mut mesh = Mesh::synced(&etcd.url()).await;
    assert_eq!(mesh.addresses("shop/cart"), ["10.0.0.1", "10.0.0.2"]);
    assert!(mesh.finding(ObjectKind::Document, "/lateen/config/large").unwrap().contains("1048577"));
    assert_eq!(mesh.invalid.len(), 4, "{:#?}", mesh.invalid);

    put(&mut writer, "endpoints/shop/cart/bad", "{address: 10.0.0.2, prots: 80}").await;
    put(&mut writer, "services/shop/cart", "{ports: [{name: http, number: 0}]}").await;
    put(&mut writer, "endpoints/shop/cart/good", "{address: 10.0.0.3, ports: 80}").await;
    mesh.until("the good one", |mesh| mesh.addresses("shop/cart") == ["10.0.0.2", "10.0.0.3"]).await;
    let bad = "/lateen/endpoints/shop/cart/bad";
    assert!(mesh.finding(ObjectKind::Endpoints, bad).unwrap().contains("prots"));
    mesh.until("both findings", |mesh| mesh.invalid.len() == 6).await;
    assert_eq!(mesh.service("shop/cart").unwrap().ports[0].number, 80);

    put(&mut writer, "endpoints/shop/cart/bad", "{address: 10.0.0.4, ports: 80}").await;
    delete(&mut writer, "services/shop/cart").await;
    delete(&mut writer, "endpoints/shop/cart/\u{7}").await;
    writer.delete(b"/lateen/endpoints/shop/cart/\xff".as_slice(), None).await.unwrap();
    mesh.until("fewer findings", |mesh| mesh.invalid.len() == 2).await;
    mesh.until("the mended one", |mesh| mesh.addresses("shop/cart") == ["10.0.0.3", "10.0.0.4"]).await;
    crate::mesh::equals_a_fresh_listing(&mut mesh, &etcd.url()).await;
}
