//! `lateen analyze`.

use std::{process::ExitCode, sync::Arc};

use lateen_compile::translate::unapplied;
use lateen_config::{ParsedObject, analysis, codes, parse};
use lateen_model::{Diagnostic, Severity, SourceId};
use lateen_registry::Registry;
use serde_json::{Value, json};

use super::files;
use crate::{
    args::{Analyze as Args, FailOn, Format},
    output,
};

/// Prints what is wrong with the files; fails from the chosen severity on.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let source: Arc<str> = "file".into();
    let mut objects: Vec<ParsedObject> = Vec::new();
    let (files, mut findings) = files::read(&args.files)?;
    let mut texts: Vec<(Arc<str>, Arc<[u8]>)> = Vec::new();
    for file in files {
        let location: Arc<str> = file.location.into();
        let parsed = parse(&file.body, &source, &location);
        texts.push((location, file.body.into()));
        objects.extend(parsed.objects);
        findings.extend(parsed.diagnostics);
    }
    findings.extend(analysis::analyze(&objects));
    let (registry, _) = Registry::new(&[]).proposed(&SourceId(source), &texts);
    findings.extend(unapplied(registry.world(), args.unapplied));
    // The analysis has said so of hosts, and of wildcards too.
    findings.extend(registry.contested().filter(|found| found.code != codes::FOREIGN_HOST).cloned());
    findings.retain(|finding| !args.ignore.iter().any(|code| code == finding.code.0));
    sort(&mut findings);
    match args.output {
        Format::Json => output::json(&findings.iter().map(as_json).collect::<Vec<_>>())?,
        Format::Table => print(&findings, objects.len()),
    }
    let limit = match args.fail_on {
        FailOn::Error => Severity::Error,
        FailOn::Warning => Severity::Warning,
        FailOn::Info => Severity::Info,
    };
    let failed = findings.iter().any(|finding| finding.severity <= limit);
    Ok(if failed { ExitCode::from(output::EXIT_FINDINGS) } else { ExitCode::SUCCESS })
}

/// By place, the worst first, each once.
fn sort(findings: &mut Vec<Diagnostic>) {
    findings.sort_by(|a, b| (&a.origin, a.severity, a.code, a).cmp(&(&b.origin, b.severity, b.code, b)));
    findings.dedup();
}

fn print(findings: &[Diagnostic], objects: usize) {
    for finding in findings {
        println!("{finding}");
    }
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    println!("{objects} objects, {errors} errors, {warnings} warnings, {} notes", count(Severity::Info));
}

fn as_json(finding: &Diagnostic) -> Value {
    json!({
        "code": finding.code.0,
        "severity": format!("{:?}", finding.severity).to_lowercase(),
        "object": finding.object.as_ref().map(|o| json!({ "kind": &*o.kind, "namespace": &*o.namespace, "name": &*o.name })),
        "file": finding.origin.as_ref().map(|o| o.location.to_string()),
        "line": finding.origin.as_ref().map(|o| o.line),
        "column": finding.origin.as_ref().map(|o| o.column),
        "path": finding.path,
        "message": finding.message,
        "hint": finding.hint,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_errors_at_one_place_are_told_once_each() {
        let text = b"apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: a}\n\
            spec: {egress: [{hosts: [\"x\"], bind: y}], ingress: [{}]}\n";
        let parsed = parse(text, &"file".into(), &"a.yaml".into());
        let told = |paths: &[&str]| -> Vec<Diagnostic> {
            let of = |path: &&str| Diagnostic { path: (*path).to_owned(), ..parsed.diagnostics[0].clone() };
            paths.iter().map(of).collect()
        };
        let mut findings = told(&["b", "a", "b"]);
        sort(&mut findings);
        assert_eq!(findings, told(&["a", "b"]));
        let invalid = &parsed.invalid[0].diagnostic;
        assert!(parsed.diagnostics.contains(invalid), "it is told as one of the findings");
    }
}
