//! The ledger: whatever it is told, it says again.

use std::sync::Arc;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::App;

/// Says once which instance it is, then echoes.
pub async fn echo(app: Arc<App>, mut stream: TcpStream) {
    app.receive(None);
    let mut buffer = vec![0; 16 << 10];
    if stream.write_all(format!("{}\n", app.instance).as_bytes()).await.is_err() {
        return;
    }
    loop {
        // Either side may end at any time; there is nobody to tell.
        let Ok(length @ 1..) = stream.read(&mut buffer).await else { return };
        let Some(said) = buffer.get(..length) else { return };
        if stream.write_all(said).await.is_err() {
            return;
        }
    }
}
