use lateen_xds::ResourceType::{Cluster, Endpoints, Listener, RouteConfiguration};

use super::EndpointView;
use super::cold::{compile, view, with_sidecar, world};

#[test]
fn dump() {
    let Ok(folder) = std::env::var("LATEEN_DUMP") else { return };
    let text = std::fs::read_to_string(format!("{folder}/input.yaml")).unwrap();
    let world = world(&text);
    let mut view = view(&std::env::var("NS").unwrap_or("default".into()));
    if let Ok(name) = std::env::var("SIDECAR") {
        view = with_sidecar(view, &name);
    }
    let from = EndpointView { locality: lateen_model::Locality::parse("r1/z1/s1"), ..Default::default() };
    let all = compile(&world, &view, &from);
    for f in &all.findings {
        eprintln!("{f}");
    }
    eprintln!("dangling: {:?}", all.dangling);
    for (kind, short) in
        [(Cluster, "cds"), (Endpoints, "eds"), (Listener, "lds"), (RouteConfiguration, "rds")]
    {
        let resources: Vec<_> = all.names(kind).into_iter().map(|name| all.json(kind, name)).collect();
        let response = serde_json::json!({"version_info": "1", "resources": resources});
        std::fs::write(format!("{folder}/{short}.json"), serde_json::to_string_pretty(&response).unwrap())
            .unwrap();
    }
}
