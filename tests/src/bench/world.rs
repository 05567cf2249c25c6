//! A mesh of any size as a folder of YAML: services with endpoints, spread over namespaces, with a
//! `VirtualService` and a `DestinationRule` for each tenth.

use std::{fmt::Write as _, fs, io, path::Path};

/// How large.
#[derive(Clone, Copy, Debug)]
pub struct World {
    /// Services.
    pub services: usize,
    /// Endpoints of each.
    pub endpoints: usize,
    /// Namespaces.
    pub namespaces: usize,
}

impl World {
    /// Namespace of a service or a client.
    pub fn namespace(&self, index: usize) -> String {
        format!("ns-{}", index % self.namespaces)
    }

    /// Writes the folder: a file for each service, so that one change touches one file.
    pub fn write(&self, folder: &Path, mesh: &str) -> io::Result<()> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join("mesh.yaml"), mesh)?;
        for index in 0..self.services {
            fs::write(folder.join(format!("service-{index}.yaml")), self.service(index))?;
            self.write_endpoints(folder, index, 0)?;
            if index % 10 == 0 {
                self.write_route(folder, index, 1)?;
                fs::write(folder.join(format!("rule-{index}.yaml")), self.rule(index))?;
            }
        }
        Ok(())
    }

    /// Writes the endpoints of a service; `generation` moves the last one to another address.
    pub fn write_endpoints(&self, folder: &Path, index: usize, generation: usize) -> io::Result<()> {
        let mut text = format!(
            "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: svc-{index}-a\n  namespace: {}\n  \
             labels: {{kubernetes.io/service-name: svc-{index}}}\naddressType: IPv4\nports:\n- {{name: http, port: 8080, protocol: TCP}}\nendpoints:\n",
            self.namespace(index)
        );
        for endpoint in 0..self.endpoints {
            let last = if endpoint + 1 == self.endpoints { 100 + generation % 100 } else { endpoint };
            let address = format!("10.{}.{}.{}", index / 250, index % 250, last + 1);
            let _ = writeln!(text, "- {{addresses: [{address}], conditions: {{ready: true}}}}");
        }
        replace(folder, &format!("endpoints-{index}.yaml"), &text)
    }

    /// Writes the `VirtualService` of a service; `generation` shows in a header.
    pub fn write_route(&self, folder: &Path, index: usize, generation: usize) -> io::Result<()> {
        self.write_exported_route(folder, index, generation, None)
    }

    /// As [`World::write_route`], visible to `namespace` only.
    pub fn write_exported_route(
        &self,
        folder: &Path,
        index: usize,
        generation: usize,
        namespace: Option<&str>,
    ) -> io::Result<()> {
        let host = self.host(index);
        let export = namespace.map(|only| format!("  exportTo: [\"{only}\"]\n")).unwrap_or_default();
        let text = format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: svc-{index}, namespace: {}}}\nspec:\n{export}  \
             hosts: [{host}]\n  http:\n  - match: [{{uri: {{prefix: /v1}}}}]\n    route: [{{destination: {{host: {host}}}}}]\n    \
             headers: {{request: {{set: {{x-generation: \"{generation}\"}}}}}}\n  - route: [{{destination: {{host: {host}}}}}]\n    timeout: 5s\n",
            self.namespace(index)
        );
        replace(folder, &format!("route-{index}.yaml"), &text)
    }

    fn host(&self, index: usize) -> String {
        format!("svc-{index}.{}.svc.cluster.local", self.namespace(index))
    }

    fn service(&self, index: usize) -> String {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: svc-{index}, namespace: {}}}\nspec:\n  clusterIP: 10.{}.{}.250\n  \
             ports: [{{name: http, port: 80, targetPort: 8080}}]\n",
            self.namespace(index),
            100 + index / 250,
            index % 250
        )
    }

    fn rule(&self, index: usize) -> String {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: svc-{index}, namespace: {}}}\nspec:\n  \
             host: {}\n  trafficPolicy: {{connectionPool: {{tcp: {{connectTimeout: 3s}}}}}}\n",
            self.namespace(index),
            self.host(index)
        )
    }
}

/// Replaces a file in one step, as editors and deployment tools do.
pub fn replace(folder: &Path, name: &str, text: &str) -> io::Result<()> {
    let temporary = folder.join(format!(".{name}.new"));
    fs::write(&temporary, text)?;
    fs::rename(temporary, folder.join(name))
}
