use super::*;

fn settings(options: &str) -> Settings {
    Settings::parse(&format!("http://consul?{options}")).unwrap()
}

fn translated(options: &str, instances: &str) -> Translated {
    let instances: Vec<Instance> = serde_json::from_str(instances).unwrap();
    service(&settings(options), "web", &instances).unwrap().unwrap()
}

/// An instance with these fields of its service and these checks.
fn instance(service: &str, checks: &str) -> String {
    format!(
        r#"{{"Node":{{"Node":"n1","Address":"10.0.0.9","Datacenter":"dc1","Meta":null,"TaggedAddresses":null}},
            "Service":{{"ID":"web1","Service":"web","Port":8080,{service}}},"Checks":[{checks}]}}"#
    )
}

fn only(service: &str, checks: &str) -> (Service, Endpoint) {
    let mut all = translated("", &format!("[{}]", instance(service, checks)));
    assert_eq!(all.endpoints.len(), 1);
    (all.service, all.endpoints.remove(0))
}

fn check(id: &str, status: &str) -> String {
    format!(r#"{{"CheckID":"{id}","Status":"{status}"}}"#)
}

#[test]
fn a_service_is_called_as_on_every_platform() {
    let (service, endpoint) = only(r#""Address":"10.0.0.1""#, "");
    assert_eq!(service.host.as_str(), "web.default.svc.cluster.local");
    assert_eq!((service.namespace.as_str(), &*service.name), ("default", "web"));
    assert_eq!(
        service.ports,
        [Port { number: 80, name: "".into(), protocol: Protocol::Unknown, target: None }]
    );
    assert_eq!(endpoint.address, Address::Ip("10.0.0.1".parse().unwrap()));
    assert_eq!(endpoint.ports.get("").copied(), Some(8080));
    assert_eq!((endpoint.weight, endpoint.health), (1, Health::Healthy));
    assert_eq!(endpoint.locality.to_string(), "dc1//");
    assert_eq!(&*endpoint.origin.location, "n1/web1");
}

#[test]
fn without_an_address_it_is_its_node_s() {
    let (_, endpoint) =
        only(r#""Address":"","Tags":null,"Meta":null,"Ports":null,"TaggedAddresses":null"#, "");
    assert_eq!(endpoint.address, Address::Ip("10.0.0.9".parse().unwrap()));
}

#[test]
fn the_worst_check_decides() {
    let health = |checks: &[(&str, &str)]| {
        let checks: Vec<_> = checks.iter().map(|(id, status)| check(id, status)).collect();
        let (_, endpoint) = only(r#""Weights":{"Passing":5,"Warning":2}"#, &checks.join(","));
        (endpoint.health, endpoint.weight)
    };
    assert_eq!(health(&[("serfHealth", "passing"), ("c", "passing")]), (Health::Healthy, 5));
    assert_eq!(health(&[("c", "warning")]), (Health::Healthy, 2));
    assert_eq!(health(&[("c", "passing"), ("d", "critical")]), (Health::Unhealthy, 5));
    assert_eq!(health(&[("serfHealth", "critical"), ("c", "passing")]).0, Health::Unhealthy);
    assert_eq!(health(&[("_node_maintenance", "critical")]).0, Health::Draining);
    assert_eq!(health(&[("_service_maintenance:web1", "critical"), ("c", "critical")]).0, Health::Draining);
    let (_, endpoint) = only(r#""Weights":{"Passing":5,"Warning":0}"#, &check("c", "warning"));
    assert_eq!(endpoint.health, Health::Draining);
}

#[test]
fn metadata_and_tags_are_labels_and_metadata_wins() {
    let (service, endpoint) = only(
        r#""Tags":["version=v1","canary","track=stable","grpc"],"Meta":{"version":"v2","lateen-network":"n2",
            "lateen-service-account":"sa","lateen-port":"90","lateen-sub-zone":"rack1"}"#,
        "",
    );
    let labels: Vec<_> = endpoint.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(labels, ["canary=", "grpc=", "track=stable", "version=v2"]);
    assert_eq!((&*endpoint.network, &*endpoint.service_account), ("n2", "sa"));
    assert_eq!((service.ports[0].number, service.ports[0].protocol), (90, Protocol::Grpc));
    assert_eq!(&*endpoint.locality.sub_zone, "rack1");
}

#[test]
fn locality_is_the_service_s_then_the_node_s_then_the_datacenter() {
    let (_, endpoint) = only(r#""Locality":{"Region":"eu","Zone":"a"}"#, "");
    assert_eq!(endpoint.locality.to_string(), "eu/a/");
    let text = r#"[{"Node":{"Node":"n","Address":"1.1.1.1","Datacenter":"dc1","Meta":{"zone":"z"}},
        "Service":{"ID":"a","Port":1},"Checks":[]}]"#;
    assert_eq!(translated("", text).endpoints[0].locality.to_string(), "dc1/z/");
}

#[test]
fn ports_with_names_are_ports_of_the_service() {
    let (service, endpoint) = only(
        r#""Ports":[{"Name":"http","Port":8080,"Default":true},{"Name":"grpc-api","Port":9000}],
            "Meta":{"lateen-port-grpc-api":"9001"}"#,
        "",
    );
    let ports: Vec<_> = service.ports.iter().map(|port| (port.number, &*port.name, port.protocol)).collect();
    assert_eq!(ports, [(80, "http", Protocol::Http), (9001, "grpc-api", Protocol::Grpc)]);
    assert_eq!(
        endpoint.ports.iter().map(|(name, port)| (&**name, *port)).collect::<Vec<_>>(),
        [("grpc-api", 9000), ("http", 8080)]
    );
}

#[test]
fn tagged_and_virtual_addresses() {
    let fields = r#""Address":"10.0.0.1","TaggedAddresses":{"wan":{"Address":"1.2.3.4","Port":4000},
        "consul-virtual":{"Address":"240.0.0.1","Port":8080}}"#;
    let both = translated("tagged-address=wan", &format!("[{}]", instance(fields, "")));
    assert_eq!(both.endpoints[0].address.to_string(), "1.2.3.4");
    assert_eq!(both.endpoints[0].ports.get("").copied(), Some(4000));
    assert_eq!(both.service.addresses, [Arc::from("240.0.0.1")]);
}

#[test]
fn order_does_not_depend_on_the_listing() {
    let one = |node: &str, address: &str| {
        format!(
            r#"{{"Node":{{"Node":"{node}","Address":"{address}","Datacenter":"dc1"}},
                "Service":{{"ID":"web","Port":80,"Meta":{{"protocol":"http","lateen-host":"{node}.example"}}}}}}"#
        )
    };
    let (a, b) = (one("a", "10.0.0.2"), one("b", "10.0.0.1"));
    let forth = translated("", &format!("[{a},{b}]"));
    assert_eq!(forth, translated("", &format!("[{b},{a}]")));
    assert_eq!(forth.endpoints[0].address.to_string(), "10.0.0.1");
    assert_eq!(forth.service.host.as_str(), "a.example");
}

#[test]
fn consul_s_own_proxies_are_no_instances() {
    let proxy = instance(r#""Kind":"connect-proxy""#, "");
    let instances: Vec<Instance> = serde_json::from_str(&format!("[{proxy}]")).unwrap();
    assert_eq!(service(&settings(""), "web-sidecar-proxy", &instances).unwrap(), None);
}

#[test]
fn a_name_that_is_no_host_is_a_finding() {
    let instances: Vec<Instance> =
        serde_json::from_str(&format!("[{}]", instance(r#""Address":"""#, ""))).unwrap();
    for name in ["a b", "x\u{7}", "ünï", "", &"x".repeat(64)] {
        let finding = service(&settings(""), name, &instances).unwrap_err();
        assert_eq!(finding.code, BAD_NAME, "{name}");
    }
    assert!(service(&settings("host=%7Bname%7D.service.consul"), "my_app", &instances).is_ok());
}

#[test]
fn sockets_and_addresses_that_are_none() {
    let (_, endpoint) = only(r#""SocketPath":"/run/web.sock""#, "");
    assert_eq!(endpoint.address, Address::Unix("/run/web.sock".into()));
    // The registry leaves out what can't be reached, and says so; here nothing is dropped in silence.
    for (address, fault) in
        [("not an address", true), ("[fd00::6]", true), ("0.0.0.0", true), ("db.example.com", false)]
    {
        let (service, endpoint) = only(&format!(r#""Address":"{address}""#), "");
        assert_eq!(endpoint.address.to_string(), address);
        assert_eq!((endpoint.address.fault().is_some(), service.ports.len()), (fault, 1), "{address}");
    }
    for port in ["0", "-1", "65536"] {
        let text = instance(r#""Address":"10.0.0.1""#, "").replace("8080", port);
        let all = translated("", &format!("[{text}]"));
        assert_eq!(all.endpoints[0].ports.get("").copied(), Some(0), "{port}");
        assert_eq!(all.service.ports[0].number, 80);
    }
}
