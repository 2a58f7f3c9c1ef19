//! A bare connection: frames and bytes as the caller says, no behaviour of its own.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use im_codec::{
    Command, DEFAULT_MAX_FROM_SERVER, DecodeError, Frame, FrameError, FrameLimit, TeamtalkMessage,
    decode_checked, encode, next_frame,
};
use im_core::ClientType;
use im_proto_teamtalk::base::{ResultType, UserStatType};
use im_proto_teamtalk::login::{ImLoginReq, ImLoginRes};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::config::Password;
use crate::dispatch;

/// Room for one read.
const READ_STEP: usize = 16 * 1024;

/// Why a frame did not come, or could not be sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RawError {
    /// The socket failed.
    #[error("use connection")]
    Io(#[from] io::Error),
    /// The server closed the connection.
    #[error("connection closed by the server")]
    Closed,
    /// Nothing came in time.
    #[error("no frame in time")]
    Timeout,
    /// What came is no frame.
    #[error("read frame")]
    Frame(#[from] FrameError),
    /// The frame's body is not what its command says.
    #[error("decode frame")]
    Decode(#[from] DecodeError),
    /// Another frame came than was expected.
    #[error("got command {got:#06x} instead of {expected:?}")]
    Unexpected {
        /// What should have come.
        expected: Command,
        /// What came.
        got: u16,
    },
    /// The server refused the login.
    #[error("login refused with result {0}")]
    Refused(i32),
}

/// One TCP connection to any server of the protocol.
#[derive(Debug)]
pub struct RawConn {
    stream: TcpStream,
    buffer: BytesMut,
    limit: FrameLimit,
}

impl RawConn {
    /// Connects to `host:port`.
    ///
    /// # Errors
    /// Nobody takes the connection.
    pub async fn connect(address: &str) -> Result<Self, RawError> {
        Ok(Self::new(dispatch::connect(address, None).await?))
    }

    /// Connects from a certain local address, such as 127.0.0.5.
    ///
    /// # Errors
    /// As [`RawConn::connect`], or the local address is none of this machine.
    pub async fn connect_from(address: &str, local: IpAddr) -> Result<Self, RawError> {
        Ok(Self::new(dispatch::connect(address, Some(local)).await?))
    }

    /// Takes over a connected stream.
    pub fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
            limit: DEFAULT_MAX_FROM_SERVER,
        }
    }

    /// Accepts frames up to this length.
    #[must_use]
    pub fn with_limit(mut self, limit: FrameLimit) -> Self {
        self.limit = limit;
        self
    }

    /// The server's address.
    ///
    /// # Errors
    /// The socket does not tell.
    pub fn peer_addr(&self) -> Result<SocketAddr, RawError> {
        Ok(self.stream.peer_addr()?)
    }

    /// The own address.
    ///
    /// # Errors
    /// The socket does not tell.
    pub fn local_addr(&self) -> Result<SocketAddr, RawError> {
        Ok(self.stream.local_addr()?)
    }

    /// The stream below, for socket options.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// The stream and what was read from it but not yet taken.
    pub fn into_parts(self) -> (TcpStream, BytesMut) {
        (self.stream, self.buffer)
    }

    /// Sends bytes as they are: a frame, several, or a piece of one.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), RawError> {
        Ok(self.stream.write_all(bytes).await?)
    }

    /// Sends a message with the header of our own client.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn send<M: TeamtalkMessage>(
        &mut self,
        command: Command,
        seq: u16,
        message: &M,
    ) -> Result<(), RawError> {
        self.send_bytes(&encode(command, seq, message)).await
    }

    /// The next frame, if it comes within `wait`. Cancellation-safe.
    ///
    /// # Errors
    /// As [`RawConn::recv_until`].
    pub async fn recv(&mut self, wait: Duration) -> Result<Frame, RawError> {
        self.recv_until(Instant::now() + wait).await
    }

    /// The next frame, if it comes until then. Cancellation-safe.
    ///
    /// # Errors
    /// The time is over, the connection ends, or what comes is no frame.
    pub async fn recv_until(&mut self, deadline: Instant) -> Result<Frame, RawError> {
        loop {
            if let Some(frame) = next_frame(&mut self.buffer, self.limit)? {
                return Ok(frame);
            }
            self.buffer.reserve(READ_STEP);
            let read = timeout_at(deadline, self.stream.read_buf(&mut self.buffer))
                .await
                .map_err(|_| RawError::Timeout)??;
            if read == 0 {
                return Err(RawError::Closed);
            }
        }
    }

    /// The next frame, which must be this command; its body decoded.
    ///
    /// # Errors
    /// As [`RawConn::recv`], another command comes, or its body breaks the protocol.
    pub async fn expect<M: TeamtalkMessage>(
        &mut self,
        command: Command,
        wait: Duration,
    ) -> Result<M, RawError> {
        let frame = self.recv(wait).await?;
        if frame.header.command_id != command.id() {
            return Err(RawError::Unexpected {
                expected: command,
                got: frame.header.command_id,
            });
        }
        Ok(decode_checked(frame.body)?)
    }

    /// The next frame with this command; others before it are dropped.
    ///
    /// # Errors
    /// As [`RawConn::recv`].
    pub async fn wait_for(&mut self, command: Command, wait: Duration) -> Result<Frame, RawError> {
        let deadline = Instant::now() + wait;
        loop {
            let frame = self.recv_until(deadline).await?;
            if frame.header.command_id == command.id() {
                return Ok(frame);
            }
        }
    }

    /// Logs in with sequence number 1; the answer must come first of all frames and be a success.
    ///
    /// # Errors
    /// As [`RawConn::expect`], or the server refuses.
    pub async fn login(
        &mut self,
        user: &str,
        password: &Password,
        client_type: ClientType,
        wait: Duration,
    ) -> Result<ImLoginRes, RawError> {
        let request = login_request(user, password, client_type, "raw");
        self.send(Command::LoginReq, 1, &request).await?;
        let answer: ImLoginRes = self.expect(Command::LoginRes, wait).await?;
        match answer.result_code {
            code if code == ResultType::RefuseReasonNone as i32 => Ok(answer),
            code => Err(RawError::Refused(code)),
        }
    }

    /// Ends the own direction; the server may still send.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn half_close(&mut self) -> Result<(), RawError> {
        Ok(self.stream.shutdown().await?)
    }

    /// Waits until the server closes, and returns the frames that came before.
    ///
    /// # Errors
    /// The connection is still open when the time is over, or what comes is no frame.
    pub async fn wait_closed(&mut self, wait: Duration) -> Result<Vec<Frame>, RawError> {
        let deadline = Instant::now() + wait;
        let mut frames = Vec::new();
        loop {
            match self.recv_until(deadline).await {
                Ok(frame) => frames.push(frame),
                Err(RawError::Closed) => return Ok(frames),
                Err(RawError::Io(error)) if is_reset(&error) => return Ok(frames),
                Err(error) => return Err(error),
            }
        }
    }

    /// The frames that come during this time; the connection must stay open.
    ///
    /// # Errors
    /// The connection ends, or what comes is no frame.
    pub async fn collect(&mut self, time: Duration) -> Result<Vec<Frame>, RawError> {
        let deadline = Instant::now() + time;
        let mut frames = Vec::new();
        loop {
            match self.recv_until(deadline).await {
                Ok(frame) => frames.push(frame),
                Err(RawError::Timeout) => return Ok(frames),
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends a heartbeat and waits for its echo: afterwards the server has handled everything that
    /// was sent before. Frames before the echo are returned.
    ///
    /// # Errors
    /// As [`RawConn::recv`].
    pub async fn settle(&mut self, seq: u16, wait: Duration) -> Result<Vec<Frame>, RawError> {
        self.send_bytes(&im_codec::heartbeat(seq)).await?;
        let deadline = Instant::now() + wait;
        let mut frames = Vec::new();
        loop {
            let frame = self.recv_until(deadline).await?;
            if frame.header.command_id == Command::HeartBeat.id() && frame.header.seq == seq {
                return Ok(frames);
            }
            frames.push(frame);
        }
    }

    /// Bytes that were received but are no complete frame yet.
    pub fn pending(&self) -> Bytes {
        Bytes::copy_from_slice(&self.buffer)
    }
}

/// A login request.
pub(crate) fn login_request(
    user: &str,
    password: &Password,
    client_type: ClientType,
    version: &str,
) -> ImLoginReq {
    ImLoginReq {
        user_name: user.to_owned(),
        password: password.as_wire().to_owned(),
        online_status: UserStatType::UserStatusOnline as i32,
        client_type: i32::try_from(client_type.to_wire()).unwrap_or_default(),
        client_version: Some(version.to_owned()),
        ..ImLoginReq::default()
    }
}

fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}
