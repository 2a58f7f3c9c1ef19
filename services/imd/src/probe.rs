//! What answers at an address: for whoever has the wrong port or URL, and for `imd doctor`.

use std::time::Duration;

use im_client::codec::Command;
use im_client::proto::base::UserStatType;
use im_client::proto::login::{ImLoginReq, ImLoginRes, ImMsgServReq, ImMsgServRsp};
use im_client::{RawConn, RawError};
use im_core::ClientType;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest wait for a connection, and for an answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of an answer that are looked at to know who gave it.
const MOST_BYTES: usize = 4 << 10;
/// Longer than a login name can be: whoever asks so costs no hash and locks nobody.
const NO_NAME_BYTES: usize = 2_000;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nobody listens, or nobody can be reached.
    Nobody(String),
    /// `GET /msg_server` is answered.
    LoginServer,
    /// Dispatch in frames.
    BinaryDispatch,
    /// Takes logins; seconds by which its clock is ahead of ours.
    MsgServer(i64),
    /// `/livez` of one of our processes.
    Metrics,
    /// An internal port, or that of administrators.
    Grpc,
    /// Another web server.
    Http,
    /// It accepts, and does not answer in a way that is known.
    Unknown,
}

impl Found {
    /// What it is, and what it is for.
    pub(crate) fn says(&self, address: &str) -> String {
        match self {
            Self::Nobody(why) => format!("nobody answers at {address} ({why})"),
            Self::LoginServer => {
                format!("a login server answers at {address}: for clients that is http://{address}")
            }
            Self::BinaryDispatch => format!(
                "{address} is the binary dispatch port of a login server: its HTTP port is 8080 unless \
                 login.http_listen says otherwise"
            ),
            Self::MsgServer(_) => format!(
                "a msg server answers at {address}: as a server that is {address} without http://"
            ),
            Self::Metrics => {
                format!("{address} is the port for probes and metrics of a server (admin.listen)")
            }
            Self::Grpc => format!(
                "{address} is an internal port (gRPC): clients use http://HOST:8080, administrators port \
                 10601 of db-proxy"
            ),
            Self::Http => format!("{address} is a web server, and not one of ours"),
            Self::Unknown => {
                format!("{address} accepts connections and answers nothing that is known")
            }
        }
    }
}

/// Asks `host:port` in every language that our servers speak.
pub(crate) async fn probe(address: &str) -> Found {
    let answer = match http(address, "/msg_server", MOST_BYTES).await {
        Ok(answer) => answer,
        Err(why) => return Found::Nobody(why),
    };
    if answer.starts_with(b"HTTP/") {
        let text = String::from_utf8_lossy(&answer);
        if text.contains("\"code\"") && text.contains("\"msg\"") {
            return Found::LoginServer;
        }
        let alive = http(address, "/livez", MOST_BYTES)
            .await
            .unwrap_or_default();
        let is_ours = alive.starts_with(b"HTTP/1.1 200");
        return if is_ours { Found::Metrics } else { Found::Http };
    }
    // Frames of HTTP/2: their type is the fourth byte, SETTINGS or GOAWAY.
    if matches!(answer.get(3), Some(4 | 7)) {
        return Found::Grpc;
    }
    if dispatches(address).await.is_ok() {
        return Found::BinaryDispatch;
    }
    match takes_logins(address).await {
        Ok(ahead) => Found::MsgServer(ahead),
        Err(_) => Found::Unknown,
    }
}

/// What is wrong with a server that somebody gave for clients; `None` when it is what they mean, or when
/// nobody answers there yet.
pub(crate) async fn misdirected(server: &str) -> Option<String> {
    let address = address_of(server);
    let found = probe(&address).await;
    let is_url = server.starts_with("http://");
    match &found {
        Found::LoginServer if is_url => None,
        Found::MsgServer(_) if !is_url => None,
        Found::Nobody(_) => None,
        _ => Some(found.says(&address)),
    }
}

/// `host:port` of what somebody gave as a server: a URL or an address.
pub(crate) fn address_of(server: &str) -> String {
    let rest = server
        .strip_prefix("http://")
        .or_else(|| server.strip_prefix("https://"));
    let authority = rest.unwrap_or(server);
    let authority = authority.split('/').next().unwrap_or(authority);
    let has_port = authority
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if has_port {
        authority.to_owned()
    } else {
        format!("{authority}:80")
    }
}

/// Head and body of an HTTP answer: what came within two seconds, and at least so many bytes of it if there are
/// more.
pub(crate) async fn http(address: &str, path: &str, most: usize) -> Result<Vec<u8>, String> {
    let connected = timeout(PATIENCE, TcpStream::connect(address)).await;
    let mut stream = connected
        .map_err(|_| "no connection within 2 s".to_owned())?
        .map_err(|error| error.to_string())?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    let mut answer = Vec::new();
    let exchange = async {
        stream.write_all(request.as_bytes()).await?;
        while answer.len() < most && stream.read_buf(&mut answer).await? > 0 {}
        Ok::<_, std::io::Error>(())
    };
    // Whatever came until then is the answer.
    drop(timeout(PATIENCE, exchange).await);
    Ok(answer)
}

async fn dispatches(address: &str) -> Result<(), RawError> {
    let mut connection = connect(address).await?;
    connection
        .send(Command::MsgServReq, 1, &ImMsgServReq {})
        .await?;
    let _: ImMsgServRsp = connection.expect(Command::MsgServRsp, PATIENCE).await?;
    Ok(())
}

/// How far the clock of a msg server is ahead, seconds, by its refusal of a name that nobody can have.
async fn takes_logins(address: &str) -> Result<i64, RawError> {
    let mut connection = connect(address).await?;
    let request = ImLoginReq {
        user_name: "?".repeat(NO_NAME_BYTES),
        password: String::new(),
        online_status: UserStatType::UserStatusOnline.into(),
        client_type: ClientType::Mac.to_wire().cast_signed(),
        client_version: Some("imd doctor".to_owned()),
        ..ImLoginReq::default()
    };
    connection.send(Command::LoginReq, 1, &request).await?;
    let answer: ImLoginRes = connection.expect(Command::LoginRes, PATIENCE).await?;
    let now = im_core::time::UnixSeconds::now().get();
    Ok(i64::from(answer.server_time) - i64::from(now))
}

async fn connect(address: &str) -> Result<RawConn, RawError> {
    timeout(PATIENCE, RawConn::connect(address))
        .await
        .map_err(|_| RawError::Timeout)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_server_is_found_in_what_was_given() {
        for (given, address) in [
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("http://chat.example.com/msg_server", "chat.example.com:80"),
            ("https://chat.example.com", "chat.example.com:80"),
            ("127.0.0.1:8000", "127.0.0.1:8000"),
            ("http://[::1]:8080/", "[::1]:8080"),
        ] {
            assert_eq!(address_of(given), address);
        }
    }
}
