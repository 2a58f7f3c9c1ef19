//! The socket: reads through the thread's buffer, writes of many pieces, and its end.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::net::Shutdown;

use socket2::SockRef;
use tokio::net::TcpStream;

use super::Stack;

/// Size of the shared buffer: one read takes at most this much of one connection.
const SCRATCH: usize = 64 << 10;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH]);
}

/// What one read brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received<R> {
    /// Bytes, and what was made of them.
    Bytes(R),
    /// Nothing yet.
    Nothing,
    /// The end of the stream, or of the connection.
    End,
}

/// The socket of one connection with the layers on it.
pub(crate) struct Transport {
    sock: TcpStream,
    stack: Stack,
}

impl Transport {
    pub(crate) fn new(sock: TcpStream) -> Self {
        Self {
            sock,
            stack: Stack::Plain,
        }
    }

    /// Waits until there is something to read; false when the socket is of no use any more.
    pub(crate) async fn readable(&self) -> bool {
        self.sock.readable().await.is_ok()
    }

    /// Waits until the socket takes more; false when it is of no use any more.
    pub(crate) async fn writable(&self) -> bool {
        self.sock.writable().await.is_ok()
    }

    /// Reads once and hands on what was read. `above` must not read any connection.
    pub(crate) fn receive<R>(&self, above: impl FnOnce(&[u8]) -> R) -> Received<R> {
        BUFFER.with_borrow_mut(|buffer| match self.sock.try_read(buffer) {
            Ok(0) => Received::End,
            Ok(n) => {
                let bytes = buffer.get(..n).unwrap_or_default();
                Received::Bytes(self.stack.open(bytes, above))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Received::Nothing,
            Err(_) => Received::End,
        })
    }

    /// Writes pieces, as far as the socket takes them; says how many bytes it took.
    ///
    /// # Errors
    /// `WouldBlock` when the socket takes nothing now; anything else ends the connection.
    pub(crate) fn send(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.stack.seal(pieces, |pieces| match pieces {
            [only] => self.sock.try_write(only),
            _ => self.sock.try_write_vectored(pieces),
        })
    }

    /// The client sees the end of the stream behind the last byte written.
    pub(crate) fn finish(&self) {
        // The peer may be gone already; then there is nothing to tell.
        SockRef::from(&self.sock).shutdown(Shutdown::Write).ok();
    }

    /// Ends both directions at once.
    pub(crate) fn cut(&self) {
        // An error means that it is closed already.
        SockRef::from(&self.sock).shutdown(Shutdown::Both).ok();
    }
}
