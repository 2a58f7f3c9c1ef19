//! The handle of one terminal.

mod requests;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use im_codec::text::TextCipher;
use im_codec::{Command, TeamtalkMessage, decode_checked};
use im_core::{Peer, SessionType};
use im_proto_teamtalk::base::{MsgType, UserInfo};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::ClientConfig;
use crate::driver::{self, Outgoing, Reply, Request, State};
use crate::error::Error;
use crate::event::Events;

pub use requests::FileOffer;

/// One logged-in terminal. Clones share it; it ends with [`Client::close`], or when the last
/// clone is dropped.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Arc<ClientConfig>,
    cipher: TextCipher,
    user_id: u32,
    requests: mpsc::Sender<Request>,
    sends: mpsc::Sender<Outgoing>,
    state: watch::Receiver<State>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// The server stored a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendAck {
    /// Its id in the conversation.
    pub msg_id: u32,
    /// The conversation's id, as the server says.
    pub session_id: u32,
    /// The conversation's kind (`SessionType`), as the server says.
    pub session_type: i32,
}

/// A message that is on its way; resolves to its ack. Dropping it gives the message up: it is not
/// sent again, but may have been stored.
#[derive(Debug)]
#[must_use = "dropping it gives the message up"]
pub struct Sending {
    reply: Pin<Box<tokio::time::Timeout<oneshot::Receiver<Reply<SendAck>>>>>,
}

impl std::future::Future for Sending {
    type Output = Result<SendAck, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.reply.as_mut().poll(cx).map(|outcome| match outcome {
            Ok(Ok(reply)) => reply,
            Ok(Err(_)) => Err(Error::Closed),
            Err(_) => Err(Error::Unacknowledged),
        })
    }
}

impl Client {
    /// Finds a msg server, connects and logs in. Any failure of this first attempt is returned;
    /// later losses of the connection are repaired as the configuration says.
    ///
    /// # Errors
    /// No msg server is found or reached, or it refuses the login.
    pub async fn connect(config: ClientConfig) -> Result<(Self, Events), Error> {
        let config = Arc::new(config);
        let stop = CancellationToken::new();
        let start = driver::start(Arc::clone(&config), stop.clone()).await?;
        let tasks = TaskTracker::new();
        tasks.spawn(start.driver);
        tasks.close();
        let inner = Inner {
            cipher: TextCipher::new(&config.text_key),
            config,
            user_id: start.user_id,
            requests: start.requests,
            sends: start.sends,
            state: start.state,
            stop,
            tasks,
        };
        Ok((
            Self {
                inner: Arc::new(inner),
            },
            start.events,
        ))
    }

    /// The id of the logged-in user.
    pub fn user_id(&self) -> u32 {
        self.inner.user_id
    }

    /// The user's own record as of the last login.
    pub fn user(&self) -> UserInfo {
        self.inner.state.borrow().user.clone()
    }

    /// The msg server of the present or last connection.
    pub fn server_address(&self) -> String {
        self.inner.state.borrow().address.clone()
    }

    /// How it was configured.
    pub fn config(&self) -> &ClientConfig {
        &self.inner.config
    }

    /// The cipher of its text messages.
    pub fn cipher(&self) -> &TextCipher {
        &self.inner.cipher
    }

    /// Whether it is logged in right now.
    pub fn is_connected(&self) -> bool {
        self.inner.state.borrow().connected
    }

    /// Waits until it is logged in (or not), forever if need be; fails when the client ends first.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn wait_connected(&self, connected: bool) -> Result<(), Error> {
        let mut state = self.inner.state.clone();
        state
            .wait_for(|state| state.connected == connected)
            .await
            .map(drop)
            .map_err(|_| Error::Closed)
    }

    /// Encrypts and sends a text; returns when the server has stored it.
    ///
    /// # Errors
    /// As [`Client::post_text`], or the message is not acknowledged in time.
    pub async fn send_text(&self, peer: Peer, text: &str) -> Result<SendAck, Error> {
        self.post_text(peer, text).await?.await
    }

    /// Sends a voice message of so many seconds.
    ///
    /// # Errors
    /// As [`Client::send_raw`].
    pub async fn send_voice(
        &self,
        peer: Peer,
        seconds: u32,
        sound: &[u8],
    ) -> Result<SendAck, Error> {
        let kind = match peer.session_type() {
            SessionType::Single => MsgType::SingleAudio,
            SessionType::Group => MsgType::GroupAudio,
        };
        let data = [&seconds.to_be_bytes(), sound].concat();
        self.send_raw(peer, kind, Bytes::from(data)).await
    }

    /// Sends a message with this type and content, whatever they are.
    ///
    /// # Errors
    /// As [`Client::post_raw`], or the message is not acknowledged in time.
    pub async fn send_raw(&self, peer: Peer, kind: MsgType, data: Bytes) -> Result<SendAck, Error> {
        self.post_raw(peer, kind, data).await?.await
    }

    /// Encrypts and queues a text; the returned future resolves to its ack. Texts leave in the
    /// order of these calls.
    ///
    /// # Errors
    /// The text cannot be encrypted, or the client ends first.
    pub async fn post_text(&self, peer: Peer, text: &str) -> Result<Sending, Error> {
        let kind = match peer.session_type() {
            SessionType::Single => MsgType::SingleText,
            SessionType::Group => MsgType::GroupText,
        };
        let data = self.inner.cipher.encrypt(text.as_bytes())?;
        self.post_raw(peer, kind, Bytes::from(data)).await
    }

    /// Queues a message; the returned future resolves to its ack. Waits while the queue is full.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn post_raw(&self, peer: Peer, kind: MsgType, data: Bytes) -> Result<Sending, Error> {
        let (reply, answer) = oneshot::channel();
        let outgoing = Outgoing {
            to_session_id: peer.session_id(),
            msg_type: kind as i32,
            data,
            client_msg_id: self
                .inner
                .config
                .sending
                .client_msg_id
                .then(rand::random::<[u8; 16]>),
            reply,
        };
        self.inner
            .sends
            .send(outgoing)
            .await
            .map_err(|_| Error::Closed)?;
        Ok(Sending {
            reply: Box::pin(timeout(self.inner.config.sending.deadline, answer)),
        })
    }

    /// Sends any request and waits for its answer. While the connection is being replaced the
    /// request waits, too.
    ///
    /// # Errors
    /// The command has no such answer, there is none in time, it breaks the protocol, or the client ends.
    pub async fn request<Req: TeamtalkMessage, Rsp: TeamtalkMessage>(
        &self,
        command: Command,
        request: &Req,
    ) -> Result<Rsp, Error> {
        self.request_seq(command, None, request).await
    }

    /// The same under a sequence number of the caller's choice, such as the Windows client's tags
    /// of history requests.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn request_seq<Req: TeamtalkMessage, Rsp: TeamtalkMessage>(
        &self,
        command: Command,
        seq: Option<u16>,
        request: &Req,
    ) -> Result<Rsp, Error> {
        let answer = command.answer().ok_or(Error::WrongCommand)?;
        if command.message() != Req::KIND || answer.message() != Rsp::KIND {
            return Err(Error::WrongCommand);
        }
        let (reply, waiter) = oneshot::channel();
        let request = Request::Ask {
            command,
            answer,
            seq,
            body: Bytes::from(request.encode_to_vec()),
            reply,
        };
        let exchange = async {
            self.inner
                .requests
                .send(request)
                .await
                .map_err(|_| Error::Closed)?;
            waiter.await.map_err(|_| Error::Closed)?
        };
        let body = timeout(self.inner.config.request_timeout, exchange)
            .await
            .map_err(|_| Error::Timeout)??;
        Ok(decode_checked(body)?)
    }

    /// Sends something that has no answer.
    ///
    /// # Errors
    /// The command does not carry this message, or the client ends.
    pub async fn notify<M: TeamtalkMessage>(
        &self,
        command: Command,
        message: &M,
    ) -> Result<(), Error> {
        if command.message() != M::KIND {
            return Err(Error::WrongCommand);
        }
        let request = Request::Tell {
            command,
            body: Bytes::from(message.encode_to_vec()),
        };
        timeout(
            self.inner.config.request_timeout,
            self.inner.requests.send(request),
        )
        .await
        .map_err(|_| Error::Timeout)?
        .map_err(|_| Error::Closed)
    }

    /// Drops the connection without a word, as a lost network does; the client reconnects as
    /// configured.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub async fn break_connection(&self) -> Result<(), Error> {
        self.inner
            .requests
            .send(Request::Break)
            .await
            .map_err(|_| Error::Closed)
    }

    /// Writes what is queued, closes the connection and waits until everything has ended.
    pub async fn close(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.wait().await;
    }

    /// Waits until the client has ended by itself: kicked, refused, or lost without reconnect.
    pub async fn ended(&self) {
        self.inner.tasks.wait().await;
    }

    /// The user id that this client puts into its requests; servers ignore it.
    fn named(&self) -> u32 {
        if self.inner.config.profile.names_itself() {
            self.inner.user_id
        } else {
            0
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
