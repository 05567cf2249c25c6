//! Files: who writes is who knows.

use std::{collections::BTreeMap, net::SocketAddr, path::Path, time::Instant};

use anyhow::Context;
use lateen_tests::{backend::Backend, bench::world::replace, mesh};

use crate::{
    platform::{Change, Platform, WEB},
    watch::{Seen, Watch},
};

/// A folder and what it names.
pub struct Files {
    folder: tempfile::TempDir,
    instances: BTreeMap<String, Instance>,
}

struct Instance {
    backend: Backend,
    listed: bool,
    changed: Instant,
}

impl Files {
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self { folder: tempfile::tempdir()?, instances: BTreeMap::new() })
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn write(&mut self, name: &str) -> anyhow::Result<()> {
        let listed: Vec<&Backend> = self
            .instances
            .values()
            .filter(|instance| instance.listed)
            .map(|instance| &instance.backend)
            .collect();
        replace(self.folder(), "web-service.yaml", &mesh::service(WEB, "HTTP", &listed))?;
        // The kernel has told it when the new file is in its place.
        self.instances.get_mut(name).context("an instance")?.changed = Instant::now();
        Ok(())
    }
}

impl Platform for Files {
    const NAME: &'static str = "file";

    fn adapter(&self) -> String {
        format!("file={}", self.folder().display())
    }

    async fn configure(&mut self, name: &str, document: &str) -> anyhow::Result<()> {
        Ok(replace(self.folder(), &format!("{name}.yaml"), document)?)
    }

    async fn watch(&self) -> anyhow::Result<Watch> {
        Ok(Watch::default())
    }

    async fn start(&mut self, name: &str) -> anyhow::Result<()> {
        let backend = Backend::http(name)?;
        let instance = Instance { backend, listed: true, changed: Instant::now() };
        self.instances.insert(name.to_owned(), instance);
        self.write(name)
    }

    async fn drain(&mut self, name: &str) -> anyhow::Result<()> {
        self.instances.get_mut(name).context("an instance")?.listed = false;
        self.write(name)
    }

    async fn end(&mut self, name: &str) -> anyhow::Result<()> {
        self.instances.remove(name);
        Ok(())
    }

    async fn fail(&mut self, name: &str) -> anyhow::Result<()> {
        self.drain(name).await
    }

    fn told(&self, name: &str, _change: Change, _since: &[Seen]) -> Option<Instant> {
        self.instances.get(name).map(|instance| instance.changed)
    }

    fn address(&self, name: &str, _seen: &[Seen]) -> Option<SocketAddr> {
        self.instances.get(name).map(|instance| instance.backend.address)
    }
}
