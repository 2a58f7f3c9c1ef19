//! HTTP by hand: every byte that a client sends is the test's.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::support::WAIT;

/// Longest wait for an answer: on a busy machine a large picture takes a while to be scaled.
const LIMIT: std::time::Duration = WAIT.saturating_mul(6);

/// An answer of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// Reads a whole answer, as far as it came.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|it| it == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(bytes)));
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_lowercase(), value.trim().to_owned())
        });
        Self {
            status: status.parse().unwrap(),
            headers: headers.collect(),
            body: bytes[end + 4..].to_vec(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// One connection.
pub(crate) struct Connection(TcpStream);

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    /// The same from an address of one's own.
    pub(crate) async fn open_from(address: SocketAddr, from: IpAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        Self(socket.connect(address).await.unwrap())
    }

    /// With little room for what comes in.
    pub(crate) async fn open_small(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        Self(socket.connect(address).await.unwrap())
    }

    /// Sends, as far as the server takes it.
    pub(crate) async fn try_write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        timeout(LIMIT, self.0.write_all(bytes))
            .await
            .expect("the server takes it")
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.try_write(bytes).await.unwrap();
    }

    /// What there is next; nothing when the server has closed.
    pub(crate) async fn read_some(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; 16_384];
        let read = timeout(LIMIT, self.0.read(&mut bytes)).await;
        let read = read.expect("something comes").unwrap_or(0);
        bytes.truncate(read);
        bytes
    }

    /// Everything until the server closes.
    pub(crate) async fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let read = timeout(LIMIT, self.0.read_to_end(&mut bytes)).await;
        // A server that cuts a connection may reset it.
        drop(read.expect("the server closes"));
        bytes
    }

    /// One request after the other on this connection: reads as much as the answer says it has.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> Answer {
        self.write(request).await;
        let mut bytes = Vec::new();
        loop {
            let some = self.read_some().await;
            assert!(!some.is_empty(), "closed after {bytes:?}");
            bytes.extend(some);
            if bytes.windows(4).any(|it| it == b"\r\n\r\n") {
                let answer = Answer::parse(&bytes);
                let length = answer.header("content-length").unwrap_or("0");
                if answer.body.len() >= length.parse().unwrap() {
                    return answer;
                }
            }
        }
    }
}

/// Sends a request and reads the answer to the end of the connection.
pub(crate) async fn send(address: SocketAddr, request: &[u8]) -> Answer {
    send_on(Connection::open(address).await, request).await
}

/// The same from an address of one's own.
pub(crate) async fn send_from(address: SocketAddr, from: IpAddr, request: &[u8]) -> Answer {
    send_on(Connection::open_from(address, from).await, request).await
}

async fn send_on(mut connection: Connection, request: &[u8]) -> Answer {
    // The server may answer before it has all.
    drop(connection.try_write(request).await);
    Answer::parse(&connection.read_to_end().await)
}

/// Asks for a path.
pub(crate) async fn get(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Answer {
    ask("GET", address, path, headers).await
}

/// Asks by any method.
pub(crate) async fn ask(
    method: &str,
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
) -> Answer {
    let mut request =
        format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    send(address, request.as_bytes()).await
}

/// A request that uploads by a form, as Android does.
pub(crate) fn form(name: &str, content: &[u8]) -> Vec<u8> {
    form_with(name, content, 0)
}

/// The same with a part before it that is so long.
pub(crate) fn form_with(name: &str, content: &[u8], other: usize) -> Vec<u8> {
    const BOUNDARY: &str = "7cd4a6d158c";
    let other = match other {
        0 => String::new(),
        length => format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"type\"\r\n\r\n{}\r\n",
            "o".repeat(length)
        ),
    };
    let before = format!(
        "{other}--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
         Content-Type: image/jpg\r\n\r\n"
    );
    let body = [
        before.as_bytes(),
        content,
        format!("\r\n--{BOUNDARY}--\r\n").as_bytes(),
    ]
    .concat();
    upload(
        "/",
        &format!("multipart/form-data; boundary={BOUNDARY}"),
        &body,
    )
}

/// A POST of this body.
pub(crate) fn upload(path: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: pictures.invalid:1\r\nContent-Type: {content_type}\r\n\
         Content-Length: {}\r\nConnection: Keep-Alive\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// A PUT of this body.
pub(crate) fn put(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "PUT {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}
