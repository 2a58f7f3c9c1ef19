//! Connections of clients that mean no good: bytes as fast as they are taken, answers read or not.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use im_client::{Password, RawConn};
use im_core::ClientType;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::people;
use crate::terminal::WAIT;

/// Whether an attacker takes what the server sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ears {
    /// Reads everything at once.
    Open,
    /// Never reads, and has a small receive buffer.
    Closed,
}

/// Bytes that went each way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Exchanged {
    /// To the server.
    pub sent: u64,
    /// From it.
    pub heard: u64,
}

/// One such connection.
#[derive(Debug)]
pub struct Attacker {
    stream: TcpStream,
    ears: Ears,
}

impl Attacker {
    /// Connects from an address of its own.
    pub async fn connect(to: SocketAddr, from: Ipv4Addr, ears: Ears) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        if ears == Ears::Closed {
            socket.set_recv_buffer_size(4_096)?;
        }
        socket.bind(SocketAddr::new(IpAddr::V4(from), 0))?;
        let stream = timeout(WAIT, socket.connect(to)).await??;
        stream.set_nodelay(true)?;
        Ok(Self { stream, ears })
    }

    /// Connects and logs a test person in.
    ///
    /// # Panics
    /// When that fails.
    pub async fn login(
        to: SocketAddr,
        from: Ipv4Addr,
        user: u32,
        kind: ClientType,
        ears: Ears,
    ) -> Self {
        let this = Self::connect(to, from, ears).await.expect("connect");
        let mut conn = RawConn::new(this.stream);
        let password = Password::clear(people::PASSWORD);
        conn.login(&people::name(user), &password, kind, WAIT)
            .await
            .expect("an attacker logs in");
        let (stream, _) = conn.into_parts();
        Self { stream, ears }
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Whether the server has closed the connection.
    pub fn is_cut(&self) -> bool {
        let mut sink = [0; 8 << 10];
        loop {
            match self.stream.try_read(&mut sink) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
            }
        }
    }

    /// Repeats these bytes as fast as they are taken, until the time is over or the server closes.
    pub async fn flood(&mut self, bytes: &[u8], time: Duration) -> Exchanged {
        let mut exchanged = Exchanged::default();
        let Exchanged { sent, heard } = &mut exchanged;
        let (mut from, mut to) = self.stream.split();
        let speaking = async {
            while let Ok(()) = to.write_all(bytes).await {
                *sent += bytes.len() as u64;
            }
        };
        let ears = self.ears;
        let hearing = async {
            if ears == Ears::Closed {
                return std::future::pending().await;
            }
            let mut sink = vec![0; 64 << 10];
            while let Ok(count @ 1..) = from.read(&mut sink).await {
                *heard += count as u64;
            }
        };
        let either = async {
            tokio::select! {
                () = speaking => {}
                () = hearing => {}
            }
        };
        // Over in time is what is wanted.
        drop(timeout(time, either).await);
        exchanged
    }

    /// Reads for a while, and tells how many bytes came.
    pub async fn listen(&mut self, time: Duration) -> u64 {
        let mut heard = 0;
        let mut sink = vec![0; 64 << 10];
        let listening = async {
            while let Ok(count @ 1..) = self.stream.read(&mut sink).await {
                heard += count as u64;
            }
        };
        drop(timeout(time, listening).await);
        heard
    }

    /// Reads once, and tells whether something came in time.
    pub async fn listen_once(&mut self, time: Duration) -> bool {
        let mut sink = vec![0; 4 << 10];
        let read = timeout(time, self.stream.read(&mut sink)).await;
        matches!(read, Ok(Ok(1..)))
    }

    /// The same at most so many bytes per second.
    pub async fn hear(&mut self, time: Duration, per_second: u32) -> u64 {
        const TICKS: u32 = 100;
        let mut heard = 0;
        let mut sink = vec![0; (per_second / TICKS) as usize];
        let listening = async {
            let mut tick = tokio::time::interval(Duration::from_secs(1) / TICKS);
            loop {
                tick.tick().await;
                match self.stream.read(&mut sink).await {
                    Ok(count @ 1..) => heard += count as u64,
                    _ => return,
                }
            }
        };
        drop(timeout(time, listening).await);
        heard
    }

    /// Sends nothing more, and reads until the server closes or the time is over.
    pub async fn finish(mut self, time: Duration) {
        drop(self.stream.shutdown().await);
        self.listen(time).await;
    }
}
