//! A server on the node, outside of all pods, that takes signed requests.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, ensure};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use im_e2e_kube::layout::NODE_IP;
use im_e2e_kube::wait::LATER;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// What signs.
const SECRET: &str = "a secret of these tests";

/// Longest request that is read, bytes.
const LONGEST: usize = 64 << 10;

/// A Secret of this name with what signs.
pub(crate) fn secret(name: &str) -> String {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name},
        "stringData": {"secret": SECRET},
    });
    secret.to_string()
}

/// A request.
pub(crate) struct Heard {
    pub(crate) headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Heard {
    fn header(&self, name: &str) -> &str {
        let mut headers = self.headers.iter();
        let found = headers.find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value.as_str())
    }

    /// Whether it is signed as Standard Webhooks say.
    pub(crate) fn is_signed(&self) -> bool {
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        let (id, time) = (self.header("webhook-id"), self.header("webhook-timestamp"));
        let signed = [format!("{id}.{time}.").as_bytes(), &self.body].concat();
        let expected = format!("v1,{}", STANDARD.encode(hmac::sign(&key, &signed)));
        !id.is_empty() && self.header("webhook-signature") == expected
    }

    /// The body; null where it is no JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// What is said to a request.
pub(crate) enum Answer {
    NoContent,
    Json(Value),
}

/// A running receiver.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    hearing: mpsc::Receiver<Heard>,
}

impl Receiver {
    pub(crate) async fn start(
        answer: impl Fn(&Heard) -> Answer + Send + Sync + 'static,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((NODE_IP, 0)).await?;
        let address = listener.local_addr()?;
        let (heard, hearing) = mpsc::channel(64);
        let answer = Arc::new(answer);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                match hear(stream, &*answer).await {
                    Ok(request) => {
                        if heard.send(request).await.is_err() {
                            return;
                        }
                    }
                    Err(error) => println!("the receiver did not understand: {error:#}"),
                }
            }
        });
        Ok(Self { address, hearing })
    }

    /// The next request.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Heard> {
        let heard = timeout(LATER, self.hearing.recv()).await?;
        heard.context("the receiver has ended")
    }
}

/// Reads one request and answers it.
async fn hear(stream: TcpStream, answer: &impl Fn(&Heard) -> Answer) -> anyhow::Result<Heard> {
    let mut stream = BufReader::new(stream);
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        ensure!(headers.len() < 100, "too many headers");
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let mut heard = Heard {
        headers,
        body: Vec::new(),
    };
    let length: usize = heard.header("content-length").parse()?;
    ensure!(length <= LONGEST, "{length} bytes");
    heard.body.resize(length, 0);
    stream.read_exact(&mut heard.body).await?;
    let (status, body) = match answer(&heard) {
        Answer::NoContent => ("204 No Content", String::new()),
        Answer::Json(value) => ("200 OK", value.to_string()),
    };
    let length = match body.len() {
        0 => String::new(),
        length => format!("Content-Length: {length}\r\n"),
    };
    let answer = format!("HTTP/1.1 {status}\r\n{length}Connection: close\r\n\r\n{body}");
    stream.get_mut().write_all(answer.as_bytes()).await?;
    Ok(heard)
}
