//! HTTP/1.1 as figures need it: one request after another over a connection that stays, and a receiver of
//! requests that says yes to each.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

/// A connection to an HTTP server.
#[derive(Debug)]
pub(crate) struct Web {
    conn: TcpStream,
    /// Lines of each head, each with its end.
    headers: String,
}

impl Web {
    /// Connects, from this address where one is given.
    pub(crate) async fn connect(at: SocketAddr, from: Option<IpAddr>) -> anyhow::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        if let Some(from) = from {
            socket.bind(SocketAddr::new(from, 0))?;
        }
        let conn = socket.connect(at).await?;
        conn.set_nodelay(true)?;
        let headers = format!("Host: {at}\r\n");
        Ok(Self { conn, headers })
    }

    /// The same with a token of the API.
    #[must_use]
    pub(crate) fn with_token(mut self, token: &str) -> Self {
        self.headers += &format!("Authorization: Bearer {token}\r\n");
        self
    }

    /// Fetches a path; gives the body.
    pub(crate) async fn get(&mut self, path: &str) -> anyhow::Result<Vec<u8>> {
        self.ask("GET", path, "", &[]).await
    }

    /// Puts a body there; gives the body of the answer.
    pub(crate) async fn put(&mut self, path: &str, body: &[u8]) -> anyhow::Result<Vec<u8>> {
        let length = format!("Content-Length: {}\r\n", body.len());
        self.ask("PUT", path, &length, body).await
    }

    async fn ask(
        &mut self,
        method: &str,
        path: &str,
        more: &str,
        body: &[u8],
    ) -> anyhow::Result<Vec<u8>> {
        let headers = &self.headers;
        let head = format!("{method} {path} HTTP/1.1\r\n{headers}{more}\r\n");
        self.conn.write_all(head.as_bytes()).await?;
        self.conn.write_all(body).await?;
        let (head, body) = message(&mut self.conn).await?.context("no answer")?;
        ensure!(head.starts_with("http/1.1 20"), "{head}");
        Ok(body)
    }
}

/// The head in small letters and the body of the next message; nothing where the connection ends before one.
async fn message(conn: &mut TcpStream) -> anyhow::Result<Option<(String, Vec<u8>)>> {
    let mut bytes = Vec::with_capacity(128 << 10);
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if conn.read_buf(&mut bytes).await? == 0 {
            ensure!(bytes.is_empty(), "half a head");
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.context("the length of a body")?.trim().parse()?;
    let mut body = bytes.split_off(end);
    let read = body.len();
    ensure!(read <= length, "more than a message");
    body.resize(length, 0);
    conn.read_exact(body.get_mut(read..).unwrap_or_default())
        .await?;
    Ok(Some((head, body)))
}

/// A receiver of requests, which ends with this.
#[derive(Debug)]
pub(crate) struct Receiver {
    at: SocketAddr,
    state: Arc<State>,
    _taking: JoinSet<()>,
}

#[derive(Debug, Default)]
struct State {
    taken: AtomicU64,
    silent: AtomicBool,
}

impl Receiver {
    /// Listens on loopback, and says yes to what comes.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let at = listener.local_addr()?;
        let state = Arc::<State>::default();
        let mut taking = JoinSet::new();
        let shared = Arc::clone(&state);
        taking.spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((conn, _)) = listener.accept().await {
                open.spawn(take(conn, Arc::clone(&shared)));
                while open.try_join_next().is_some() {}
            }
        });
        Ok(Self {
            at,
            state,
            _taking: taking,
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.at
    }

    /// Requests that it has said yes to.
    pub(crate) fn taken(&self) -> u64 {
        self.state.taken.load(Ordering::Relaxed)
    }

    /// From now on it takes requests and answers none.
    pub(crate) fn fall_silent(&self) {
        self.state.silent.store(true, Ordering::Relaxed);
    }
}

async fn take(mut conn: TcpStream, state: Arc<State>) {
    while let Ok(Some(_)) = message(&mut conn).await {
        if state.silent.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        if conn.write_all(answer).await.is_err() {
            return;
        }
        state.taken.fetch_add(1, Ordering::Relaxed);
    }
}
