//! Every golden case of the compiler, served by a real server to a live Envoy: nothing is rejected, and what
//! Envoy has is what was meant. (`envoy --mode validate` sees static configuration only.)
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its functions too")]
#![allow(clippy::print_stdout, reason = "which case was served is in the output")]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use lateen_tests::{backend::Backend, envoy::Envoy, expected, netns, server::Server, view};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

/// Where the cases say that certificates are.
const CERTIFICATES: &str = "/etc/certs";

/// A node as the first lines of a case say it: `# node: ID LABELS`, with `@locality` and `@agent`.
struct Node {
    id: String,
    flags: Vec<String>,
    /// The user agent, when it is not Envoy.
    agent: Option<String>,
}

/// The cases name ports and addresses of their own, so all runs in a namespace where those are free.
#[test]
fn envoy_accepts_every_golden_case_and_has_what_was_meant() {
    netns::run("envoy_accepts_every_golden_case_and_has_what_was_meant", cases).unwrap();
}

fn cases() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../xds-server/compile/cases"));
    let mut inputs: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().join("input.yaml"))
        .filter(|path| path.exists())
        .collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "no cases in {}", folder.display());
    let (mut served, mut failures) = (0, BTreeMap::new());
    for input in inputs {
        let case = input.parent().and_then(Path::file_name).unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&input).unwrap();
        for node in nodes(&text) {
            if let Some(agent) = node.agent {
                println!("{case} {}: for {agent}, not for Envoy", node.id);
                continue;
            }
            match serve(&text, &node) {
                Ok(resources) => println!("{case} {}: {resources} resources", node.id),
                Err(error) => drop(failures.insert(format!("{case} {}", node.id), format!("{error:#}"))),
            }
            served += 1;
        }
    }
    println!("{served} nodes served, {} failed", failures.len());
    for (case, failure) in &failures {
        println!("FAILED {case}:\n  {failure}");
    }
    assert!(failures.is_empty() && served > 0);
}

/// Where the back end of the cases that say what requests get is.
const BACKEND: &str = "127.0.0.1:31901";

/// Serves a case to one node; the number of resources that its Envoy has. Requests get what the case says.
fn serve(case: &str, node: &Node) -> anyhow::Result<usize> {
    let folder = tempfile::tempdir()?;
    let certificates = tempfile::tempdir()?;
    write_certificates(certificates.path(), case)?;
    let text = case.replace(CERTIFICATES, &certificates.path().display().to_string());
    std::fs::write(folder.path().join("input.yaml"), text)?;
    let server = Server::start(folder.path())?;
    let flags: Vec<&str> = node.flags.iter().map(String::as_str).collect();
    ensure!(view::node_id(&flags) == node.id, "{} is not what the flags make", node.id);
    let envoy = Envoy::start(server.xds, &flags)?;
    // Ready is an Envoy that has been answered on all that it has asked for.
    let ready = envoy.until_ready();
    let equal = view::until_equal(&server, &envoy, &node.id);
    ensure!(envoy.rejected()? == 0, "rejected: {}", envoy.rejections());
    ready.and(equal)?;
    let different = view::different(&view::meant(&server, &node.id)?, &view::held(&envoy)?, true);
    ensure!(different.is_empty(), "not as meant: {different:#?}");
    let expected = expected::of(case)?;
    let _backend = if expected.is_empty() { None } else { Some(Backend::http_at("a", BACKEND.parse()?)?) };
    for one in expected {
        one.check()?;
    }
    Ok(view::held(&envoy)?.len())
}

fn nodes(text: &str) -> Vec<Node> {
    text.lines().map_while(|line| line.strip_prefix("# node: ")).filter_map(|line| node(line).ok()).collect()
}

fn node(line: &str) -> anyhow::Result<Node> {
    let (id, pairs) = line.split_once(' ').unwrap_or((line, ""));
    let parts: Vec<&str> = id.split('~').collect();
    let [role, ip, workload, domain] = parts[..] else { anyhow::bail!("{id} is no node id") };
    let (name, namespace) = workload.rsplit_once('.').context("a workload NAME.NAMESPACE")?;
    let domain =
        domain.strip_prefix(&format!("{namespace}.svc.")).context("a domain NAMESPACE.svc.DOMAIN")?;
    let mut flags: Vec<String> =
        ["--ip", ip, "--name", name, "--namespace", namespace, "--domain", domain].map(str::to_owned).into();
    if role == "router" {
        flags.push("--gateway".to_owned());
    }
    let mut agent = None;
    // The value of `@agent` may hold a blank, none holds a comma.
    for pair in pairs.split(',').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=').context("KEY=VALUE")? {
            ("@locality", value) => flags.extend(["--locality".to_owned(), value.to_owned()]),
            ("@agent", value) => agent = Some(value.to_owned()),
            _ => flags.extend(["--label".to_owned(), pair.to_owned()]),
        }
    }
    Ok(Node { id: id.to_owned(), flags, agent })
}

/// Writes every file under [`CERTIFICATES`] that the case names: a key, or a certificate that fits it.
fn write_certificates(folder: &Path, text: &str) -> anyhow::Result<()> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec!["shop.example.com".to_owned()])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key)?.pem();
    for rest in text.split(&format!("{CERTIFICATES}/")).skip(1) {
        let name = rest
            .split(|letter: char| !letter.is_alphanumeric() && !"-_.".contains(letter))
            .next()
            .unwrap_or("");
        let contents = if name.contains("key") { key.serialize_pem() } else { certificate.clone() };
        std::fs::write(folder.join(name), contents)?;
    }
    Ok(())
}
