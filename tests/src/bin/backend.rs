//! A backend as a process, for platforms that start workloads themselves: `backend NAME ADDRESS:PORT`.

use std::net::SocketAddr;

use anyhow::Context;
use lateen_tests::backend::Backend;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().context("a name")?;
    let at: SocketAddr = arguments.next().context("an address and port")?.parse()?;
    let _backend = Backend::http_at(&name, at)?;
    loop {
        std::thread::park();
    }
}
