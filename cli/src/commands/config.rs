//! `lateen config NODE`.

use std::process::ExitCode;

use lateen_xds_server::status::{EndpointConfig, NodeConfig};

use crate::{
    admin,
    args::{Config as Args, Format},
    output,
};

/// Prints what a node is given.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let path = format!("/debug/config?node={}", admin::query_text(&args.node));
    let mut config: NodeConfig = admin::get(&args.server, &path).await?;
    config.resources.retain(|resource| {
        args.kind.as_ref().is_none_or(|kind| resource.kind.eq_ignore_ascii_case(kind))
            && args.name.as_ref().is_none_or(|name| resource.name.contains(name.as_str()))
    });
    match args.output {
        Format::Json => output::json(&config)?,
        Format::Table => print(&config, args.full),
    }
    Ok(ExitCode::SUCCESS)
}

fn print(config: &NodeConfig, full: bool) {
    println!("{}\n", config.node);
    let mut table = output::table(&["TYPE", "NAME", "VERSION", "FROM"]);
    for resource in &config.resources {
        table.add_row([
            resource.kind.clone(),
            resource.name.clone(),
            resource.version.clone(),
            first_of(&resource.origins),
        ]);
    }
    println!("{table}");
    let mut endpoints = output::table(&["ENDPOINT", "LOCALITY", "OF", "FROM"]);
    for resource in &config.resources {
        for EndpointConfig { address, locality, origin } in &resource.endpoints {
            let origin = origin.clone().unwrap_or_default();
            endpoints.add_row([address.clone(), locality.clone(), resource.name.clone(), origin]);
        }
    }
    if endpoints.row_count() > 0 {
        println!("\n{endpoints}");
    }
    if full {
        for resource in &config.resources {
            println!("\n# {} {}\n{:#}", resource.kind, resource.name, resource.body);
        }
    }
}

/// The first object and how many others: JSON has them all.
fn first_of(origins: &[String]) -> String {
    match origins {
        [] => String::new(),
        [one] => one.clone(),
        [first, others @ ..] => format!("{first} and {} more", others.len()),
    }
}
