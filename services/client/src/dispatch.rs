//! Asking the login server which msg server to use: over HTTP as every original client does, or
//! over the binary port.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use im_codec::Command;
use im_core::{Classify, ErrorKind};
use im_proto_teamtalk::base::ResultType;
use im_proto_teamtalk::login::{ImMsgServReq, ImMsgServRsp};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout;

use crate::raw::{RawConn, RawError};

/// Longest accepted answer; the original's is below 1 KiB.
const MAX_ANSWER: u64 = 64 * 1024;

/// What the dispatcher knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Address to connect to.
    pub host: String,
    /// Second address.
    pub backup: String,
    /// TCP port.
    pub port: u16,
    /// Where pictures are, if told.
    pub files: Option<String>,
}

impl Endpoint {
    /// `host:port`.
    pub fn address(&self) -> String {
        join(&self.host, self.port)
    }
}

/// Why the dispatcher gave no address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DispatchError {
    /// The URL is not `http://host[:port][/path]`.
    #[error("url is not of the form http://host:port")]
    Url,
    /// It cannot be reached, or ended early.
    #[error("ask dispatcher")]
    Io(#[from] io::Error),
    /// It did not answer in time.
    #[error("dispatcher did not answer in time")]
    Timeout,
    /// Its answer is not HTTP.
    #[error("read http answer")]
    Http(#[from] httparse::Error),
    /// It answered with an error status.
    #[error("dispatcher answered with status {0}")]
    Status(u16),
    /// The answer's body is not what it should be.
    #[error("dispatcher answered without an address")]
    Body,
    /// There is no msg server (1), or all are full (2).
    #[error("no msg server is available (code {code})")]
    NoServer {
        /// The dispatcher's code.
        code: i64,
    },
    /// The binary port failed.
    #[error("ask binary dispatcher")]
    Binary(#[from] RawError),
}

impl Classify for DispatchError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Url => ErrorKind::Invalid,
            // An answer that is cut short or comes from something in between passes, too.
            Self::Io(_)
            | Self::Http(_)
            | Self::Body
            | Self::Timeout
            | Self::Status(_)
            | Self::NoServer { .. }
            | Self::Binary(_) => ErrorKind::Unavailable,
        }
    }
}

/// Asks over HTTP: `GET /msg_server`.
///
/// # Errors
/// The text is no URL, there is no answer in time, or none that names a msg server.
pub async fn lookup(
    url: &str,
    local: Option<IpAddr>,
    wait: Duration,
) -> Result<Endpoint, DispatchError> {
    let target = Target::parse(url)?;
    timeout(wait, ask(&target, local))
        .await
        .map_err(|_| DispatchError::Timeout)?
}

/// Asks over the binary port: 0x0101.
///
/// # Errors
/// There is no answer in time, or none that names a msg server.
pub async fn lookup_binary(address: &str, wait: Duration) -> Result<Endpoint, DispatchError> {
    let exchange = async {
        let mut connection = RawConn::connect(address).await?;
        connection
            .send(Command::MsgServReq, 1, &ImMsgServReq {})
            .await?;
        let answer: ImMsgServRsp = connection.expect(Command::MsgServRsp, wait).await?;
        if answer.result_code != ResultType::RefuseReasonNone as i32 {
            return Err(DispatchError::NoServer {
                code: answer.result_code.into(),
            });
        }
        let port = answer.port.and_then(|port| u16::try_from(port).ok());
        match (answer.prior_ip, port) {
            (Some(host), Some(port)) => Ok(Endpoint {
                backup: answer.backip_ip.unwrap_or_else(|| host.clone()),
                host,
                port,
                files: None,
            }),
            _ => Err(DispatchError::Body),
        }
    };
    timeout(wait, exchange)
        .await
        .map_err(|_| DispatchError::Timeout)?
}

/// Connects, from a certain address if asked.
pub(crate) async fn connect(address: &str, local: Option<IpAddr>) -> io::Result<TcpStream> {
    let Some(local) = local else {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        return Ok(stream);
    };
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "no address of this family");
    for target in lookup_host(address).await? {
        let socket = match (local, target) {
            (IpAddr::V4(_), SocketAddr::V4(_)) => TcpSocket::new_v4()?,
            (IpAddr::V6(_), SocketAddr::V6(_)) => TcpSocket::new_v6()?,
            _ => continue,
        };
        socket.bind(SocketAddr::new(local, 0))?;
        match socket.connect(target).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

fn join(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// The parts of a URL.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    /// As in the `Host` header.
    authority: String,
    /// `host:port`.
    address: String,
    path: String,
}

impl Target {
    fn parse(url: &str) -> Result<Self, DispatchError> {
        let rest = url.strip_prefix("http://").ok_or(DispatchError::Url)?;
        let (authority, path) = match rest.split_once('/') {
            Some((authority, path)) => (authority, path.trim_end_matches('/')),
            None => (rest, ""),
        };
        if authority.is_empty() || url.chars().any(|c| c.is_control() || c == ' ') {
            return Err(DispatchError::Url);
        }
        let has_port = authority
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        Ok(Self {
            authority: authority.to_owned(),
            address: if has_port {
                authority.to_owned()
            } else {
                format!("{authority}:80")
            },
            path: if path.is_empty() {
                "/msg_server".to_owned()
            } else {
                format!("/{path}")
            },
        })
    }
}

async fn ask(target: &Target, local: Option<IpAddr>) -> Result<Endpoint, DispatchError> {
    let mut stream = connect(&target.address, local).await?;
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        target.path, target.authority
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    read_answer(&answer)
}

/// Reads an HTTP answer that ends with the connection.
fn read_answer(answer: &[u8]) -> Result<Endpoint, DispatchError> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(body_at) = response.parse(answer)? else {
        return Err(DispatchError::Body);
    };
    let status = response.code.unwrap_or_default();
    let body = answer.get(body_at..).ok_or(DispatchError::Body)?;
    // The dispatcher may say "no server" with an error status too; its code tells more.
    let json: Result<serde_json::Value, _> = serde_json::from_slice(body);
    let json = match json {
        Ok(json) => json,
        Err(_) if status != 200 => return Err(DispatchError::Status(status)),
        Err(_) => return Err(DispatchError::Body),
    };
    let text = |key: &str| json.get(key).and_then(serde_json::Value::as_str);
    match json.get("code").and_then(serde_json::Value::as_i64) {
        Some(0) if status == 200 => {}
        Some(0) => return Err(DispatchError::Status(status)),
        Some(code) => return Err(DispatchError::NoServer { code }),
        None => return Err(DispatchError::Body),
    }
    let port = text("port").and_then(|port| port.parse().ok());
    match (text("priorIP"), port) {
        (Some(host), Some(port)) => Ok(Endpoint {
            host: host.to_owned(),
            backup: text("backupIP").unwrap_or(host).to_owned(),
            port,
            files: text("msfsPrior").map(str::to_owned),
        }),
        _ => Err(DispatchError::Body),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_port_and_path_gets_the_usual_ones() {
        let target = Target::parse("http://chat.example").unwrap();
        assert_eq!(target.address, "chat.example:80");
        assert_eq!(target.path, "/msg_server");
        let target = Target::parse("http://[::1]:8080/").unwrap();
        assert_eq!(target.address, "[::1]:8080");
        let target = Target::parse("http://a:1/msg_server?x=1").unwrap();
        assert_eq!(target.path, "/msg_server?x=1");
        for bad in ["https://a", "http://", "a:80", "http://a b/"] {
            assert!(Target::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_answer_of_the_original_is_understood() {
        let answer = concat!(
            "HTTP/1.1 200 OK\r\nConnection:close\r\nContent-Length:248\r\n",
            "Content-Type:text/html;charset=utf-8\r\n\r\n",
            "{\n   \"backupIP\" : \"10.0.0.12\",\n   \"code\" : 0,\n   \"msfsPrior\" : \"http://f/\",",
            "\n   \"msg\" : \"\",\n   \"port\" : \"8000\",\n   \"priorIP\" : \"10.0.0.11\"\n}\n"
        );
        let endpoint = read_answer(answer.as_bytes()).unwrap();
        assert_eq!(endpoint.address(), "10.0.0.11:8000");
        assert_eq!(endpoint.backup, "10.0.0.12");
        assert_eq!(endpoint.files.as_deref(), Some("http://f/"));
    }

    #[test]
    fn refusals_and_rubbish_are_told_apart() {
        let none = b"HTTP/1.1 200 OK\r\n\r\n{\"code\":1,\"msg\":\"\"}";
        assert!(matches!(
            read_answer(none),
            Err(DispatchError::NoServer { code: 1 })
        ));
        let status = b"HTTP/1.1 503 Busy\r\n\r\nsorry";
        assert!(matches!(
            read_answer(status),
            Err(DispatchError::Status(503))
        ));
        for bad in [
            b"HTTP/1.1 200 OK\r\n\r\n{\"code\":0}".as_slice(),
            b"HTTP/1.1 200 OK\r\n\r\n[]",
            b"HTTP/1.1 200",
            b"",
        ] {
            assert!(matches!(read_answer(bad), Err(DispatchError::Body)));
        }
    }
}
