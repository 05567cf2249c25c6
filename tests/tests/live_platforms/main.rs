//! A change on each platform, on its way to stock Envoy: how long it takes until it is acknowledged, and that no
//! request fails while every instance of a service is replaced.
//!
//! `LATEEN_LAG_MS_MAX` is the most that the 99th of 100 changes may take from the platform's notification to Envoy's
//! acknowledgement; without it the figures are printed only.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its functions too")]
#![allow(clippy::print_stdout, reason = "what was measured is in the output")]

mod consul;
mod etcd;
mod file;
mod kubernetes;
mod nomad;
mod platform;
mod scene;
mod watch;

use lateen_tests::{backend::RUNTIME, netns};

use crate::{platform::Platform, scene::Scene};

/// All that is shown, on one platform.
fn shows<P: Platform>(platform: impl Future<Output = anyhow::Result<P>>) {
    RUNTIME
        .block_on(async {
            let mut scene = Scene::start(platform.await?).await?;
            scene.measures_a_hundred_changes().await?;
            scene.replaces_every_instance_and_loses_one().await
        })
        .unwrap();
}

#[test]
fn file_changes_reach_envoy_and_no_request_fails() {
    shows(async { file::Files::new() });
}

#[test]
fn etcd_changes_reach_envoy_and_no_request_fails() {
    shows(etcd::OnEtcd::start());
}

#[test]
fn consul_changes_reach_envoy_and_no_request_fails() {
    shows(consul::OnConsul::start());
}

#[test]
fn nomad_changes_reach_envoy_and_no_request_fails() {
    shows(nomad::OnNomad::start());
}

#[test]
fn kubernetes_changes_reach_envoy_and_no_request_fails() {
    // The API server takes no loopback addresses for pods.
    netns::run("kubernetes_changes_reach_envoy_and_no_request_fails", || {
        shows(kubernetes::OnKubernetes::start());
    })
    .unwrap();
}
