//! The client against servers that behave as agents do on bad days.

#![allow(clippy::unwrap_used, reason = "a test whose server can't run has failed")]

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use lateen_adapter_http::{Ask, Client, HttpError, Place, Query, Settings, TokenFile};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

const PATIENCE: Duration = Duration::from_mins(2);

/// A server that gives each connection's requests these answers, then closes it; and what it was asked.
async fn server(connections: Vec<Vec<&'static str>>) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (seen, asked) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        for answers in connections {
            let (mut stream, _) = listener.accept().await.unwrap();
            for answer in answers {
                let Some(request) = request(&mut stream).await else { break };
                seen.send(request).unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
        std::future::pending::<()>().await;
    });
    (address, asked)
}

async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(request).ok()
}

fn settings(address: SocketAddr) -> Settings {
    Settings::new(Place::parse(&format!("http://{address}"), 80).unwrap())
}

fn get(path: &str) -> Ask {
    Ask::get(path, Query::default(), PATIENCE)
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn a_connection_is_kept_and_replaced_when_it_was_closed() {
    let (address, _asked) = server(vec![vec![OK, OK], vec![OK]]).await;
    let client = Client::new(settings(address)).unwrap();
    for _ in 0..3 {
        assert_eq!(client.ask(get("/")).await.unwrap().body, "ok");
    }
}

#[tokio::test]
async fn the_token_is_read_each_time() {
    let (address, mut asked) = server(vec![vec![OK, OK]]).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let token = TokenFile { header: http::HeaderName::from_static("x-consul-token"), path: path.clone() };
    let client = Client::new(Settings { token: Some(token), ..settings(address) }).unwrap();
    assert!(matches!(client.ask(get("/")).await, Err(HttpError::File { .. })));
    for token in ["one", "two"] {
        std::fs::write(&path, format!(" {token}\n")).unwrap();
        client.ask(get("/a?b=c")).await.unwrap();
        let request = asked.recv().await.unwrap();
        assert!(request.contains(&format!("x-consul-token: {token}\r\n")), "{request}");
    }
    std::fs::write(&path, "to\u{0}ken").unwrap();
    assert!(client.ask(get("/")).await.unwrap_err().is_refusal());
}

#[tokio::test]
async fn a_refusal_is_told_from_a_failure() {
    let (address, _asked) = server(vec![vec![
        "HTTP/1.1 403 Forbidden\r\nContent-Length: 6\r\n\r\ndenied",
        "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 9\r\n\r\nno leader",
        "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 404 Not Found\r\nX-Consul-Index: 5\r\nContent-Length: 0\r\n\r\n",
    ]])
    .await;
    let client = Client::new(settings(address)).unwrap();
    let mut errors = Vec::new();
    for _ in 0..3 {
        errors.push(client.ask(get("/")).await.unwrap().success().unwrap_err());
    }
    assert_eq!(errors.iter().map(HttpError::is_refusal).collect::<Vec<_>>(), [true, false, false]);
    assert_eq!(errors[0].to_string(), "refused with status 403: denied");
    let HttpError::Failing { retry_after, .. } = &errors[2] else { panic!("{errors:?}") };
    assert_eq!(*retry_after, Some(Duration::from_secs(7)));
    assert_eq!(client.ask(get("/")).await.unwrap().header::<u64>("x-consul-index"), Some(5));
}

#[tokio::test]
async fn nobody_there_and_nobody_answering() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = Client::new(settings(address)).unwrap();
    let patience = Duration::from_millis(200);
    let error = client.ask(Ask::get("/", Query::default(), patience)).await.unwrap_err();
    assert!(matches!(error, HttpError::Timeout(time) if time == patience), "{error:?}");
    drop(listener);
    let error = client.ask(get("/")).await.unwrap_err();
    assert!(matches!(error, HttpError::Connect(_)), "{error:?}");
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_not_read() {
    let (address, _asked) = server(vec![vec![OK], vec![OK]]).await;
    let client = Client::new(Settings { body_bytes_max: 1, ..settings(address) }).unwrap();
    assert!(matches!(client.ask(get("/")).await, Err(HttpError::Body(_))));
}

#[tokio::test]
async fn lines_come_whole_and_in_bounds() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let whole = "8\r\n{}\n{\"a\":\r\n6\r\n1}\nhal\r\n0\r\n\r\n";
    let long = "b\r\n0123456789a\r\n";
    let silent = "3\r\n{}\n\r\n";
    let answers = [whole, long].map(|body| vec![&*format!("{head}{body}").leak()]);
    let (address, _asked) = server(answers.to_vec()).await;
    let client = Client::new(settings(address)).unwrap();

    let mut lines = client.lines(get("/"), PATIENCE, 1000).await.unwrap().unwrap();
    assert_eq!(lines.next().await.unwrap().unwrap(), "{}\n");
    assert_eq!(lines.next().await.unwrap().unwrap(), "{\"a\":1}\n");
    assert_eq!(lines.next().await.unwrap(), None, "half a line is no line");

    let mut lines = client.lines(get("/"), PATIENCE, 10).await.unwrap().unwrap();
    assert!(matches!(lines.next().await, Err(HttpError::Line(10))));

    let (address, _asked) = silent_server(head, silent).await;
    let client = Client::new(settings(address)).unwrap();
    let mut lines = client.lines(get("/"), Duration::from_millis(200), 1000).await.unwrap().unwrap();
    assert_eq!(lines.next().await.unwrap().unwrap(), "{}\n");
    assert!(matches!(lines.next().await, Err(HttpError::Timeout(_))));
}

/// A server that says this and then nothing.
async fn silent_server(head: &str, body: &str) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let text = format!("{head}{body}");
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        request(&mut stream).await;
        stream.write_all(text.as_bytes()).await.unwrap();
        std::future::pending::<()>().await;
    });
    (address, task)
}
