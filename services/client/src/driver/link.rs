//! A new connection: find the address, connect, log in.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use im_codec::{Command, Frame, decode_checked};
use im_proto_teamtalk::TeamtalkMessage as _;
use im_proto_teamtalk::base::{ResultType, UserInfo};
use im_proto_teamtalk::login::{ImLoginReq, ImLoginRes};
use prost::Message as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::config::{ClientConfig, Server};
use crate::dispatch;
use crate::error::Error;
use crate::profile::Seqs;
use crate::raw::{RawConn, RawError};

/// A logged-in connection.
pub(super) struct Link {
    pub(super) stream: TcpStream,
    /// Bytes behind the login answer.
    pub(super) buffer: BytesMut,
    pub(super) user: UserInfo,
    pub(super) address: String,
    /// Frames that came before the login answer; there should be none.
    pub(super) early: Vec<Frame>,
}

/// Knows the address, or where to ask for it.
pub(super) struct Finder {
    server: Server,
    known: Option<String>,
}

impl Finder {
    pub(super) fn new(server: &Server) -> Self {
        Self {
            server: server.clone(),
            known: None,
        }
    }

    /// Asks again at the next attempt.
    pub(super) fn forget(&mut self) {
        self.known = None;
    }

    async fn address(&mut self, config: &ClientConfig) -> Result<String, Error> {
        let url = match (&self.server, &self.known) {
            (Server::Fixed(address), _) | (Server::Dispatcher(_), Some(address)) => {
                return Ok(address.clone());
            }
            (Server::Dispatcher(url), None) => url,
        };
        let endpoint = dispatch::lookup(url, config.local_address, config.connect_timeout).await?;
        let address = endpoint.address();
        self.known = Some(address.clone());
        Ok(address)
    }
}

/// Frames before the login answer that are kept; more of them end the attempt.
const MAX_EARLY: usize = 64;

pub(super) async fn open(
    config: &ClientConfig,
    finder: &mut Finder,
    seqs: &mut Seqs,
    in_use: impl Fn(u16) -> bool,
) -> Result<Link, Error> {
    let address = finder.address(config).await?;
    let connecting = dispatch::connect(&address, config.local_address);
    let failed = |source| Error::Connect {
        address: address.clone(),
        source,
    };
    let stream = timeout(config.connect_timeout, connecting)
        .await
        .map_err(|elapsed| failed(elapsed.into()))?
        .map_err(failed)?;

    let mut connection = RawConn::new(stream).with_limit(config.max_frame);
    let seq = seqs.login(in_use);
    let frame = config
        .profile
        .frame(Command::LoginReq, seq, &login_body(config));
    let (answer, early) = log_in(&mut connection, config, frame).await?;
    if let Some(millis) = answer.retry_after_ms {
        return Err(Error::Busy {
            retry_after: Duration::from_millis(millis.into()),
        });
    }
    if answer.result_code != ResultType::RefuseReasonNone as i32 {
        return Err(Error::Refused {
            code: answer.result_code,
            text: answer.result_string.unwrap_or_default(),
        });
    }
    let (stream, buffer) = connection.into_parts();
    Ok(Link {
        stream,
        buffer,
        user: answer.user_info.ok_or_else(|| Error::Refused {
            code: answer.result_code,
            text: "no user record in the answer".to_owned(),
        })?,
        address,
        early,
    })
}

async fn log_in(
    connection: &mut RawConn,
    config: &ClientConfig,
    frame: Bytes,
) -> Result<(ImLoginRes, Vec<Frame>), Error> {
    let deadline = Instant::now() + config.login_timeout;
    connection.send_bytes(&frame).await.map_err(lost)?;
    let mut early = Vec::new();
    while early.len() < MAX_EARLY {
        let frame = connection.recv_until(deadline).await.map_err(lost)?;
        if frame.header.command_id == Command::LoginRes.id() {
            return Ok((decode_checked(frame.body)?, early));
        }
        early.push(frame);
    }
    Err(Error::Timeout)
}

/// Bit of a login's `features`: this client understands a time to wait.
const RETRY_AFTER: u32 = 1;

fn login_body(config: &ClientConfig) -> Vec<u8> {
    debug_assert_eq!(Command::LoginReq.message(), ImLoginReq::KIND);
    ImLoginReq {
        user_name: config.user.clone(),
        password: config.password.as_wire().to_owned(),
        online_status: config.online_status as i32,
        client_type: i32::try_from(config.client_type.to_wire()).unwrap_or_default(),
        client_version: Some(config.client_version.clone()),
        features: Some(RETRY_AFTER),
    }
    .encode_to_vec()
}

/// What a failure on the way to the login answer means.
fn lost(error: RawError) -> Error {
    match error {
        RawError::Timeout => Error::Timeout,
        RawError::Frame(error) => Error::Frame(error),
        RawError::Decode(error) => Error::Decode(error),
        RawError::Io(_) | RawError::Closed | RawError::Unexpected { .. } | RawError::Refused(_) => {
            Error::Disconnected
        }
    }
}
