//! Worlds for an istiod beside ours, and its answers as cases: `istiod worlds COUNT DIR` writes the worlds,
//! `istiod record DIR` prints the answers in the JSON that `tests/istio-oracle` wrote there.

#![allow(clippy::print_stdout, reason = "a program for the terminal")]

#[path = "istiod/answers.rs"]
mod answers;
#[path = "istiod/world.rs"]
mod world;

use std::{error::Error, fs, path::Path};

use serde_json::Value;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["worlds", count, folder] => {
            for number in 0..count.parse::<u64>()? {
                fs::write(Path::new(folder).join(format!("{number:04}.yaml")), world::world(number))?;
            }
            Ok(())
        }
        ["record", folder] => record(Path::new(folder)),
        _ => Err("istiod worlds COUNT DIR | istiod record DIR".into()),
    }
}

fn record(folder: &Path) -> Result<(), Box<dyn Error>> {
    let mut files: Vec<_> = fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    files.sort_by_key(fs::DirEntry::file_name);
    for file in files {
        println!("# world {}", file.path().file_stem().unwrap_or_default().to_string_lossy());
        let all: Value = serde_json::from_slice(&fs::read(file.path())?)?;
        for (client, told) in all.as_object().into_iter().flatten() {
            let of = |key: &str| told[key].as_array().cloned().unwrap_or_default();
            let resources = answers::Resources {
                routes: of("routes"),
                clusters: of("clusters"),
                endpoints: of("endpoints"),
            };
            for line in &answers::lines(client, &resources) {
                println!("{line}");
            }
        }
    }
    Ok(())
}
