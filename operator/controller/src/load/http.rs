//! The one request that the operator makes to a pod: a GET in plain HTTP/1.0, bounded in size and
//! time.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest time for a whole answer.
const LIMIT: Duration = Duration::from_secs(3);
/// Largest answer: 10,000 msg servers of 400 bytes each.
const MAX_BYTES: u64 = 4 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum GetError {
    /// The connection failed.
    #[error("connection: {0}")]
    Io(#[from] io::Error),
    /// It took longer than 3 s.
    #[error("no answer within 3 s")]
    Late,
    /// More than 4 MiB.
    #[error("answer larger than 4 MiB")]
    Large,
    /// The answer is no HTTP, or another status than 200.
    #[error("answered {0:?}")]
    Status(String),
}

/// The body of `GET http://<address><path>`.
pub(super) async fn get(address: SocketAddr, path: &str) -> Result<Vec<u8>, GetError> {
    timeout(LIMIT, exchange(address, path))
        .await
        .unwrap_or(Err(GetError::Late))
}

async fn exchange(address: SocketAddr, path: &str) -> Result<Vec<u8>, GetError> {
    let mut stream = TcpStream::connect(address).await?;
    // In HTTP/1.0 the body ends with the connection and is never chunked.
    let request =
        format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nAccept: application/json\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_BYTES + 1).read_to_end(&mut answer).await?;
    if u64::try_from(answer.len()).unwrap_or(u64::MAX) > MAX_BYTES {
        return Err(GetError::Large);
    }
    body(answer)
}

fn body(mut answer: Vec<u8>) -> Result<Vec<u8>, GetError> {
    let head_end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let first_line: Vec<u8> = answer
        .iter()
        .copied()
        .take_while(|byte| *byte != b'\r')
        .take(80)
        .collect();
    let first_line = String::from_utf8_lossy(&first_line).into_owned();
    match head_end {
        Some(end) if first_line.split(' ').nth(1) == Some("200") => Ok(answer.split_off(end + 4)),
        _ => Err(GetError::Status(first_line)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn answered(answer: &'static [u8]) -> Result<Vec<u8>, GetError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 1024];
            let length = stream.read(&mut request).await.unwrap();
            stream.write_all(answer).await.unwrap();
            String::from_utf8(request[..length].to_vec()).unwrap()
        });
        let body = get(address, "/debug/dump").await;
        let request = server.await.unwrap();
        assert!(
            request.starts_with("GET /debug/dump HTTP/1.0\r\n"),
            "{request}"
        );
        body
    }

    #[tokio::test]
    async fn a_body_is_what_follows_the_head_of_a_good_answer() {
        let body = answered(b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
        assert_eq!(body.unwrap(), b"{}");
        let refused = answered(b"HTTP/1.0 503 Service Unavailable\r\n\r\nno").await;
        assert_eq!(
            refused.unwrap_err().to_string(),
            "answered \"HTTP/1.0 503 Service Unavailable\""
        );
        assert!(answered(b"SSH-2.0").await.is_err());
    }
}
