//! The chat: HTTP that is upgraded to WebSocket, where every message comes back.
//! <https://www.rfc-editor.org/rfc/rfc6455#section-4.2>

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http_body_util::Full;
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, handshake::derive_accept_key, protocol::Role},
};

use super::{App, http};

/// Serves a connection.
pub async fn serve(app: Arc<App>, stream: TcpStream) {
    let service = service_fn(move |request| {
        let app = app.clone();
        async move { Ok::<_, Infallible>(answer(app, request).await) }
    });
    // How a connection ends is the client's affair.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
}

async fn answer(app: Arc<App>, mut request: Request<Incoming>) -> Response<Full<Bytes>> {
    let Some(key) = upgrade_key(&request) else { return http::answer(&app, &request).await };
    app.receive(None);
    let upgrade = hyper::upgrade::on(&mut request);
    // Ends with the connection, which ends with the application.
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        while let Some(Ok(message)) = socket.next().await {
            let reply = match message {
                Message::Text(text) => Message::text(format!("{}: {text}", app.instance)),
                Message::Binary(bytes) => Message::Binary(bytes),
                // Pings are answered by the library, which also ends the stream after a close.
                Message::Ping(_) | Message::Pong(_) | Message::Close(_) | Message::Frame(_) => continue,
            };
            if socket.send(reply).await.is_err() {
                return;
            }
        }
    });
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, key);
    response
}

/// What an upgrade is accepted with; `None` where none is asked for.
fn upgrade_key(request: &Request<Incoming>) -> Option<HeaderValue> {
    let wanted = request.headers().get(UPGRADE)?.to_str().ok()?;
    if !wanted.eq_ignore_ascii_case("websocket") {
        return None;
    }
    let key = request.headers().get(SEC_WEBSOCKET_KEY)?;
    HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok()
}
