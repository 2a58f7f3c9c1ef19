//! The filter of the tests: an HTTP server that notes what it is asked, and answers as the test says, byte by
//! byte where that is wanted.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::push::provider::Heard;
use crate::support::WAIT;

/// What a request is answered with.
#[derive(Clone, Debug)]
pub(super) enum Say {
    /// 200 and this.
    Verdicts(Value),
    /// The same after a while, as a slow filter does.
    Later(Duration, Value),
    /// The same once the test lets it.
    Once(watch::Receiver<bool>, Value),
    /// A status and a text.
    Status(u16, String),
    /// Nothing, ever.
    Hang,
    /// The beginning of an answer, and nothing more.
    Slow,
    /// The beginning of an answer, and the end of the connection.
    Cut,
    /// The connection is reset.
    Reset,
}

type Says = Box<dyn FnMut(&Value) -> Say + Send>;

struct Shared {
    heard: watch::Sender<Vec<Heard>>,
    says: Mutex<Says>,
}

/// A running filter; it ends with this.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<DropGuard>,
}

impl Server {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut server = Self {
            address: listener.local_addr().unwrap(),
            shared: Arc::new(Shared {
                heard: watch::Sender::new(Vec::new()),
                says: Mutex::new(Box::new(allow)),
            }),
            stop: None,
        };
        server.serve(listener);
        server
    }

    fn serve(&mut self, listener: TcpListener) {
        let stop = CancellationToken::new();
        let (shared, stopping) = (Arc::clone(&self.shared), stop.clone());
        self.stop = Some(stop.drop_guard());
        tokio::spawn(async move {
            while let Some(accepted) = stopping.run_until_cancelled(listener.accept()).await {
                let (shared, stopping) = (Arc::clone(&shared), stopping.clone());
                let sock = accepted.unwrap().0;
                tokio::spawn(async move {
                    stopping.run_until_cancelled(talk(shared, sock)).await;
                });
            }
        });
    }

    /// Closes the port and every connection.
    pub(super) fn stop(&mut self) {
        self.stop = None;
    }

    /// Listens again where it did before.
    pub(super) async fn start_again(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.serve(listener);
    }

    /// Answers so from now on.
    pub(super) fn says(&self, says: impl FnMut(&Value) -> Say + Send + 'static) {
        *self.shared.says.lock().unwrap() = Box::new(says);
    }

    /// What it was asked so far.
    pub(super) fn heard(&self) -> Vec<Heard> {
        self.shared.heard.borrow().clone()
    }

    /// Waits until it was asked so often.
    pub(super) async fn asked(&self, count: usize) -> Vec<Heard> {
        let mut heard = self.shared.heard.subscribe();
        let waiting = heard.wait_for(|heard| heard.len() >= count);
        let Ok(heard) = tokio::time::timeout(WAIT, waiting).await else {
            panic!("waited in vain for {count}, heard {:#?}", self.heard());
        };
        heard.unwrap().clone()
    }
}

/// The verdicts on all messages of a request.
pub(super) fn verdicts(asked: &Value, verdict: impl Fn(&Value) -> Value) -> Value {
    let messages = asked["messages"].as_array().unwrap();
    let verdicts = messages.iter().map(|message| {
        let mut said = verdict(message);
        said["id"] = message["id"].clone();
        said
    });
    json!({"verdicts": verdicts.collect::<Vec<_>>()})
}

pub(super) fn allowed(asked: &Value) -> Value {
    verdicts(asked, |_| json!({"verdict": "allow"}))
}

pub(super) fn allow(asked: &Value) -> Say {
    Say::Verdicts(allowed(asked))
}

pub(super) fn deny(asked: &Value) -> Say {
    Say::Verdicts(verdicts(asked, |_| json!({"verdict": "deny"})))
}

/// Answers the requests of one connection; it ends where either side ends it.
async fn talk(shared: Arc<Shared>, sock: TcpStream) {
    let mut sock = BufStream::new(sock);
    while let Some(heard) = request(&mut sock).await {
        let say = shared.says.lock().unwrap()(&heard.json());
        shared.heard.send_modify(|all| all.push(heard));
        let (status, body) = match say {
            Say::Verdicts(value) => (200, value.to_string()),
            Say::Later(pause, value) => {
                tokio::time::sleep(pause).await;
                (200, value.to_string())
            }
            Say::Once(mut may, value) => {
                // A test that has ended lets nothing go any more.
                if may.wait_for(|may| *may).await.is_err() {
                    return;
                }
                (200, value.to_string())
            }
            Say::Status(status, text) => (status, text),
            Say::Hang => return std::future::pending().await,
            Say::Slow | Say::Cut => {
                let begun = "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"verdicts\"";
                if !send(&mut sock, begun).await || matches!(say, Say::Cut) {
                    return;
                }
                return std::future::pending().await;
            }
            Say::Reset => {
                sock.get_ref().set_zero_linger().unwrap();
                return;
            }
        };
        let length = body.len();
        let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n{body}");
        if !send(&mut sock, &answer).await {
            return;
        }
    }
}

/// Whether it has gone.
async fn send(sock: &mut BufStream<TcpStream>, text: &str) -> bool {
    sock.write_all(text.as_bytes()).await.is_ok() && sock.flush().await.is_ok()
}

/// The next request; `None` where there is none any more.
async fn request(sock: &mut BufStream<TcpStream>) -> Option<Heard> {
    let mut line = String::new();
    sock.read_line(&mut line).await.ok()?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut headers = std::collections::HashMap::new();
    loop {
        let mut line = String::new();
        sock.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length")?.parse().ok()?;
    let mut body = vec![0; length];
    sock.read_exact(&mut body).await.ok()?;
    Some(Heard {
        version: hyper::Version::HTTP_11,
        path,
        headers,
        body,
        connection: 0,
    })
}
