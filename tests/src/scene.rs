//! The scene of tests under load: requests go through a gateway and then a sidecar, two stock Envoys, to backends.

use std::net::SocketAddr;

use crate::{
    backend::Backend,
    envoy::{Envoy, Release},
    load::Load,
    mesh::{self, APP, EDGE},
    server::Server,
};

/// Requests a second.
pub const RATE: u32 = 500;
/// Connections of the load.
pub const CONNECTIONS: usize = 8;

/// Folder, backends and ports, before any server runs.
#[derive(Debug)]
pub struct Scene {
    /// The folder of configuration.
    pub folder: tempfile::TempDir,
    /// `a-0`, `a-1`, `a-2`: endpoints of service `a`.
    pub a: Vec<Backend>,
    /// The endpoint of service `b`.
    pub b: Backend,
    /// Where the gateway listens.
    pub gateway: SocketAddr,
    /// Where the sidecar listens.
    pub egress: SocketAddr,
}

impl Scene {
    /// Writes the mesh: host `shop-0.example.com` goes from the gateway to the sidecar, and from there to `a`.
    pub fn new() -> anyhow::Result<Self> {
        let local = || SocketAddr::from(([127, 0, 0, 1], mesh::free_port()));
        let scene = Self {
            folder: tempfile::tempdir()?,
            a: (0..3).map(|index| Backend::http(&format!("a-{index}"))).collect::<Result<_, _>>()?,
            b: Backend::http("b-0")?,
            gateway: local(),
            egress: local(),
        };
        let fixed = [
            mesh::gateway(scene.gateway.port()),
            mesh::sidecar("app", scene.egress.port()),
            mesh::service_at("hop.shop.svc.cluster.local", "HTTP", &[(scene.egress.port(), "hop")]),
            mesh::service("b.shop.svc.cluster.local", "HTTP", &[&scene.b]),
        ];
        for (name, text) in [
            ("fixed.yaml", fixed.join("---\n")),
            ("a.yaml", scene.endpoints(0b111)),
            ("host-0.yaml", scene.host(0)),
            ("weights-0.yaml", scene.weights(0, 100)),
        ] {
            std::fs::write(scene.folder.path().join(name), text)?;
        }
        Ok(scene)
    }

    /// Service `a` with those of its endpoints whose bit is set.
    pub fn endpoints(&self, bits: usize) -> String {
        let chosen: Vec<&Backend> = self
            .a
            .iter()
            .enumerate()
            .filter(|(index, _)| bits >> index & 1 == 1)
            .map(|(_, backend)| backend)
            .collect();
        mesh::service("a.shop.svc.cluster.local", "HTTP", &chosen)
    }

    /// Name of a host.
    pub fn host_name(index: usize) -> String {
        format!("shop-{index}.example.com")
    }

    /// A host and its way through the gateway.
    pub fn host(&self, index: usize) -> String {
        let host = Self::host_name(index);
        let gateway =
            mesh::split(&format!("edge-{index}"), "edge", &host, &[("hop.shop.svc.cluster.local", 100)]);
        [mesh::service(&host, "HTTP", &[&self.b]), gateway].join("---\n")
    }

    /// The way of a host from the sidecar: `to_a` percent to `a`, the rest to `b`.
    pub fn weights(&self, index: usize, to_a: u32) -> String {
        let destinations = [("a.shop.svc.cluster.local", to_a), ("b.shop.svc.cluster.local", 100 - to_a)];
        mesh::split(&format!("weights-{index}"), "mesh", &Self::host_name(index), &destinations)
    }

    /// Starts gateway and sidecar, with flags for their streams, and waits until both are in sync.
    pub fn envoys(&self, server: &Server, streams: &str) -> anyhow::Result<[Envoy; 2]> {
        self.envoys_of(Release::Current, server, streams)
    }

    /// The same with a certain release.
    pub fn envoys_of(&self, release: Release, server: &Server, streams: &str) -> anyhow::Result<[Envoy; 2]> {
        let flags = ["--streams", streams];
        let envoys = [
            Envoy::start_release(release, server.xds, &[&APP[..], &flags].concat())?,
            Envoy::start_release(release, server.xds, &[&EDGE[..], &flags].concat())?,
        ];
        for envoy in &envoys {
            envoy.until_ready()?;
        }
        server.until_synced(2)?;
        Ok(envoys)
    }

    /// Starts the load, for the first host.
    pub fn load(&self) -> Load {
        Load::start(self.gateway, &Self::host_name(0), RATE, CONNECTIONS)
    }
}

/// Fails when one of them has rejected an update.
pub fn assert_none_rejected(envoys: &[Envoy]) {
    for envoy in envoys {
        let rejected = envoy.rejected().expect("statistics");
        assert_eq!(rejected, 0, "{}", envoy.rejections());
    }
}
