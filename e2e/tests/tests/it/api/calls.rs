//! Calls of the API, one connection each.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::pictures::web::{Answer, send};
use crate::support::WAIT;

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl Call {
    pub(crate) fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: None,
        }
    }

    pub(crate) fn token(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn key(self, key: &str) -> Self {
        self.header("Idempotency-Key", key)
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.raw("application/json", body.to_string().as_bytes())
    }

    pub(crate) fn raw(self, kind: &str, body: &[u8]) -> Self {
        let mut this = self.header("Content-Type", kind);
        this.body = Some(body.to_vec());
        this
    }

    /// The bytes of the request.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let Self { method, path, .. } = self;
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: api\r\nConnection: close\r\n");
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        let body = self.body.clone().unwrap_or_default();
        if self.body.is_some() {
            text.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        [text.as_bytes(), b"\r\n", &body].concat()
    }

    pub(crate) async fn send(&self, to: SocketAddr) -> Answer {
        send(to, &self.bytes()).await
    }

    /// Sends to a server that may be away, or end before it answers.
    pub(crate) async fn try_send(&self, to: SocketAddr) -> Option<Answer> {
        let asked = async {
            let mut stream = TcpStream::connect(to).await.ok()?;
            stream.write_all(&self.bytes()).await.ok()?;
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).await.ok()?;
            (!bytes.is_empty()).then(|| Answer::parse(&bytes))
        };
        timeout(WAIT, asked).await.ok().flatten()
    }

    /// Sends, and expects this status.
    pub(crate) async fn expect(&self, to: SocketAddr, status: u16) -> Answer {
        let answer = self.send(to).await;
        let body = String::from_utf8_lossy(&answer.body);
        assert_eq!(answer.status, status, "{self:?}: {body}");
        answer
    }
}

pub(crate) fn get(path: &str) -> Call {
    Call::new("GET", path)
}

pub(crate) fn post(path: &str, body: &Value) -> Call {
    Call::new("POST", path).json(body)
}

/// The kind of a problem, which its head and body must agree on.
pub(crate) fn problem(answer: &Answer) -> String {
    let kind = answer.header("content-type");
    assert_eq!(kind, Some("application/problem+json"), "{answer:?}");
    let json = answer.json();
    assert_eq!(json["status"], answer.status, "{json}");
    assert_eq!(json["request_id"].as_str(), answer.header("x-request-id"));
    let kind = json["type"].as_str().unwrap();
    kind.strip_prefix("urn:imcluster:problem:")
        .unwrap()
        .to_owned()
}
