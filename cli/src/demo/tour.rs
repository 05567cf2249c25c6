//! What the demo tells its reader to try.

use super::{Running, plan::SHOP};

/// Where everything is, and what to change.
pub fn text(running: &Running) -> String {
    let gateway = running.gateway();
    let folder = running.folder.display();
    let egress = format!("{}:{}", SHOP.egress(), running.ports.http);
    let app = |name: &str| {
        let found = running.apps.iter().find(|(workload, _, _)| workload.name == name);
        found.map_or_else(|| "-".to_owned(), |(_, _, address)| address.to_string())
    };
    let envoys: Vec<String> = running
        .envoys
        .iter()
        .map(|envoy| format!("    {:<11} http://{}/", envoy.name, envoy.admin))
        .collect();
    let server = running.admin.as_ref().map_or_else(String::new, |admin| {
        let lateen = std::env::args().next().unwrap_or_else(|| "lateen".to_owned());
        format!("  {lateen} status --server {admin}\n  {lateen} config shop --server {admin}\n")
    });
    format!(
        "
Try (a call through the gateway, then calls as the shop makes them, through its sidecar):
  curl http://{gateway}/
  curl http://{gateway}/catalog/books
  curl -H 'x-demo-user: tester' http://{gateway}/catalog/books        # always v2
  curl -H 'Host: outside.example' http://{egress}/                  # a host that is known by DNS
  curl -i -H 'Host: nobody.example' http://{egress}/                # 502: nobody knows it
Edit while the load below runs; what you save is in effect at once:
  {folder}/catalog.yaml    weights 90/10: try 50/50, a `timeout: 0.2s`, a `fault`, a `mirror`
  {folder}/flaky.yaml      retries and outlier detection; without the retries the load shows failures
  {folder}/reviews.yaml    a circuit breaker: `http2MaxRequests: 1`
  {folder}/ingress.yaml    the gateway's routes: a redirect, a rewrite, CORS
Break an instance, see it ejected, mend it:
  curl -X POST http://{flaky}/_break
  curl -X POST http://{flaky}/_mend
Look at the control plane and the Envoys:
{server}{envoys}
Ctrl-C ends it all; only {folder} stays.
",
        flaky = app("flaky-2"),
        envoys = envoys.join("\n"),
    )
}
