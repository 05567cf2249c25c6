//! Client of a server's admin port.

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde::de::DeserializeOwned;

use crate::args::Server;

/// GETs `path` and reads the JSON answer.
pub async fn get<T: DeserializeOwned>(server: &Server, path: &str) -> anyhow::Result<T> {
    let request = Request::get(format!("http://{}{path}", server.address)).body(Full::default())?;
    send(server, request).await
}

/// POSTs JSON to `path` and reads the JSON answer.
pub async fn post<T: DeserializeOwned>(
    server: &Server,
    path: &str,
    body: &impl serde::Serialize,
) -> anyhow::Result<T> {
    let request = Request::post(format!("http://{}{path}", server.address))
        .header("content-type", "application/json")
        .body(Full::from(serde_json::to_vec(body)?))?;
    send(server, request).await
}

async fn send<T: DeserializeOwned>(server: &Server, request: Request<Full<Bytes>>) -> anyhow::Result<T> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let response = client.request(request).await.with_context(|| {
        format!(
            "no server answers at {} (is `lateen serve` running? --server ADDR names another)",
            server.address
        )
    })?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    if !status.is_success() {
        bail!("{}", String::from_utf8_lossy(&body).trim_end());
    }
    serde_json::from_slice(&body)
        .context("the server's answer is not understood; are client and server of one version?")
}

/// A text as part of a query string.
pub fn query_text(text: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            // Writing to a String can't fail.
            _ => drop(write!(encoded, "%{byte:02X}")),
        }
    }
    encoded
}
