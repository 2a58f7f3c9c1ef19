//! A connection that costs the load generator as little as possible: no task per direction, no
//! buffer while idle, reads through one shared scratch buffer, writes gathered.
//!
//! Single-threaded: everything lives on the thread of the load.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use anyhow::{Context as _, bail, ensure};
use bytes::{Buf as _, BytesMut};
use im_client::codec::{
    Command, DEFAULT_MAX_FROM_SERVER, FrameRef, TeamtalkMessage, append, decode_checked,
    split_frame,
};
use im_client::proto::base::UserStatType;
use im_client::proto::login::{ImLoginReq, ImLoginRes};
use im_core::ClientType;
use tokio::net::{TcpSocket, TcpStream};

use crate::people;

/// One read of a socket.
const SCRATCH: usize = 64 * 1024;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH]);
}

/// A logged-in connection.
#[derive(Debug)]
pub(crate) struct Lean {
    stream: TcpStream,
    /// The user's id.
    pub(crate) user: u32,
    /// The beginning of a frame that has not arrived completely.
    partial: RefCell<BytesMut>,
    /// What the socket did not take yet.
    out: RefCell<BytesMut>,
    seq: Cell<u16>,
}

impl Lean {
    /// Connects and logs in.
    pub(crate) async fn login(
        address: SocketAddr,
        local: Option<IpAddr>,
        id: u32,
        client_type: ClientType,
    ) -> anyhow::Result<Rc<Self>> {
        let stream = connect(address, local)
            .await
            .with_context(|| format!("connect to {address}"))?;
        let connection = Self {
            stream,
            user: id,
            partial: RefCell::default(),
            out: RefCell::default(),
            seq: Cell::new(0),
        };
        let request = ImLoginReq {
            user_name: people::name(id),
            password: people::password().as_wire().to_owned(),
            online_status: UserStatType::UserStatusOnline as i32,
            client_type: i32::try_from(client_type.to_wire()).unwrap_or_default(),
            client_version: Some("im-load".to_owned()),
            ..ImLoginReq::default()
        };
        let answer: ImLoginRes = connection
            .ask(Command::LoginReq, &request)
            .await
            .with_context(|| format!("log in u{id}"))?;
        ensure!(
            answer.result_code == 0,
            "login of u{id} refused with result {}: {}",
            answer.result_code,
            answer.result_string.unwrap_or_default()
        );
        Ok(Rc::new(connection))
    }

    /// The next sequence number; never 0, and unlike the previous 65,533.
    pub(crate) fn next_seq(&self) -> u16 {
        let seq = match self.seq.get() {
            0xfffe => 1,
            seq => seq + 1,
        };
        self.seq.set(seq);
        seq
    }

    /// Queues frames that `write` appends.
    pub(crate) fn queue<T>(&self, write: impl FnOnce(&mut BytesMut) -> T) -> T {
        write(&mut self.out.borrow_mut())
    }

    /// Gives the socket what it takes; the rest follows when more is written or read.
    pub(crate) fn flush(&self) -> io::Result<()> {
        let mut out = self.out.borrow_mut();
        while !out.is_empty() {
            match self.stream.try_write(&out) {
                Ok(written) => out.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends a request and waits for the answer to it; other frames before it are dropped.
    pub(crate) async fn ask<Req: TeamtalkMessage, Rsp: TeamtalkMessage>(
        &self,
        command: Command,
        request: &Req,
    ) -> anyhow::Result<Rsp> {
        let answer = command.answer().context("command has an answer")?;
        let seq = self.next_seq();
        self.queue(|out| append(out, command, seq, request));
        self.flush()?;
        let mut found = None;
        while found.is_none() {
            self.ready().await?;
            let open = self.take_input(|frame| {
                if frame.header.command_id == answer.id() && frame.header.seq == seq {
                    found = Some(frame.to_frame().body);
                }
            })?;
            if !open && found.is_none() {
                bail!("the server closed the connection");
            }
        }
        Ok(decode_checked(found.unwrap_or_default())?)
    }

    /// Hands every frame to `take` until the server closes; flushes after each read.
    pub(crate) async fn run(
        &self,
        mut take: impl FnMut(&Self, FrameRef<'_>),
    ) -> anyhow::Result<()> {
        loop {
            self.ready().await?;
            let open = self.take_input(|frame| take(self, frame))?;
            self.flush()?;
            if !open {
                bail!("the server closed the connection of u{}", self.user);
            }
        }
    }

    /// Sends a message and waits until the socket has taken it. What comes meanwhile is not read.
    pub(crate) async fn send<M: TeamtalkMessage>(
        &self,
        command: Command,
        message: &M,
    ) -> anyhow::Result<()> {
        let seq = self.next_seq();
        self.queue(|out| append(out, command, seq, message));
        self.flush()?;
        while !self.out.borrow().is_empty() {
            self.stream.writable().await?;
            self.flush()?;
        }
        Ok(())
    }

    /// Waits until the server has reset the connection, without reading anything.
    pub(crate) async fn reset(&self) -> anyhow::Result<()> {
        self.stream.ready(tokio::io::Interest::ERROR).await?;
        Ok(())
    }

    /// Writes the same again and again, and reads whatever comes.
    pub(crate) async fn flood(&self, chunk: &[u8]) -> anyhow::Result<()> {
        loop {
            if self.out.borrow().is_empty() {
                self.queue(|out| out.extend_from_slice(chunk));
            }
            self.ready().await?;
            if !self.take_input(|_| {})? {
                bail!("the server closed the connection of u{}", self.user);
            }
        }
    }

    /// Waits until there is something to do. Cancellation-safe.
    async fn ready(&self) -> io::Result<()> {
        let writing = !self.out.borrow().is_empty();
        let interest = if writing {
            tokio::io::Interest::READABLE | tokio::io::Interest::WRITABLE
        } else {
            tokio::io::Interest::READABLE
        };
        let ready = self.stream.ready(interest).await?;
        if ready.is_writable() {
            self.flush()?;
        }
        Ok(())
    }

    /// Reads what is there and hands over each complete frame; `false` at the end of the stream.
    fn take_input(&self, mut take: impl FnMut(FrameRef<'_>)) -> anyhow::Result<bool> {
        BUFFER.with_borrow_mut(|buffer| {
            loop {
                let read = match self.stream.try_read(buffer) {
                    Ok(0) => return Ok(false),
                    Ok(read) => read,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                    Err(error) => return Err(error.into()),
                };
                let bytes = buffer.get(..read).unwrap_or_default();
                let mut partial = self.partial.borrow_mut();
                if partial.is_empty() {
                    let rest = cut(bytes, &mut take)?;
                    partial.extend_from_slice(rest);
                } else {
                    partial.extend_from_slice(bytes);
                    let whole = partial.split();
                    let rest = cut(&whole, &mut take)?;
                    partial.extend_from_slice(rest);
                }
                if read < SCRATCH {
                    return Ok(true);
                }
            }
        })
    }
}

/// Hands over the complete frames and returns the rest.
fn cut<'a>(mut bytes: &'a [u8], take: &mut impl FnMut(FrameRef<'_>)) -> anyhow::Result<&'a [u8]> {
    while let Some((frame, rest)) = split_frame(bytes, DEFAULT_MAX_FROM_SERVER)? {
        take(frame);
        bytes = rest;
    }
    Ok(bytes)
}

/// Connects, from this address where one is given.
pub(crate) async fn connect(address: SocketAddr, local: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if let Some(local) = local {
        socket.bind(SocketAddr::new(local, 0))?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use im_client::RawConn;
    use im_client::codec::{Header, heartbeat};
    use im_client::proto::base::UserInfo;
    use im_client::proto::message::{ImClientTimeReq, ImClientTimeRsp};
    use std::time::Duration;
    use tokio::net::TcpListener;

    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    async fn pair() -> (Rc<Lean>, RawConn) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = async {
            let mut server = RawConn::new(listener.accept().await.unwrap().0);
            let frame = server.recv(SOON).await.unwrap();
            let answer = ImLoginRes {
                server_time: 1,
                result_code: 0,
                user_info: Some(UserInfo::default()),
                ..ImLoginRes::default()
            };
            server
                .send(Command::LoginRes, frame.header.seq, &answer)
                .await
                .unwrap();
            server
        };
        let (lean, server) =
            tokio::join!(Lean::login(address, None, 3, ClientType::Windows), server);
        (lean.unwrap(), server)
    }

    #[tokio::test]
    async fn frames_are_cut_whatever_the_pieces() {
        let (lean, mut server) = pair().await;
        let seen = RefCell::new(Vec::new());
        let peer = async {
            let two = [heartbeat(1).as_ref(), heartbeat(2).as_ref()].concat();
            for byte in two {
                server.send_bytes(&[byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
            drop(server);
        };
        let reading = lean.run(|_, frame| seen.borrow_mut().push(frame.header.seq));
        let (ended, ()) = tokio::join!(reading, peer);
        assert!(ended.is_err());
        assert_eq!(*seen.borrow(), [1, 2]);
    }

    #[tokio::test]
    async fn an_answer_is_found_among_other_frames() {
        let (lean, mut server) = pair().await;
        let peer = async {
            let frame = server.recv(SOON).await.unwrap();
            server.send_bytes(&heartbeat(7)).await.unwrap();
            let answer = ImClientTimeRsp { server_time: 9 };
            server
                .send(Command::ClientTimeRsp, frame.header.seq, &answer)
                .await
                .unwrap();
            server
        };
        let asking = lean.ask::<_, ImClientTimeRsp>(Command::ClientTimeReq, &ImClientTimeReq {});
        let (answer, _server) = tokio::join!(asking, peer);
        assert_eq!(answer.unwrap().server_time, 9);
    }

    #[tokio::test]
    async fn what_the_socket_does_not_take_is_written_later() {
        let (lean, mut server) = pair().await;
        let count = 1_000_000_u32;
        lean.queue(|out| {
            for _ in 0..count {
                out.extend_from_slice(&Header::new(Command::HeartBeat, 1, 0).to_bytes());
            }
        });
        lean.flush().unwrap();
        assert!(
            !lean.out.borrow().is_empty(),
            "the socket buffer is smaller"
        );
        let peer = async {
            for _ in 0..count {
                server.recv(SOON).await.unwrap();
            }
            drop(server);
        };
        let (_, ()) = tokio::join!(lean.run(|_, _| {}), peer);
        assert!(lean.out.borrow().is_empty());
    }
}
