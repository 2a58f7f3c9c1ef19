//! The socket: reads through the thread's buffer, writes of many pieces, and its end.

use std::cell::RefCell;
use std::io::{self, IoSlice, Read as _};
use std::net::{IpAddr, Shutdown};

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::Stack;

/// Size of the shared buffer: one read takes at most this much of one connection.
const SCRATCH: usize = 64 << 10;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH]);
}

/// What one read brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<R> {
    /// Bytes, and what was made of them.
    Bytes(R),
    /// Nothing yet.
    Nothing,
    /// The end of the stream, or of the connection.
    End,
}

/// The socket of one connection with the layers on it.
#[derive(Debug)]
pub struct Transport {
    sock: TcpStream,
    stack: Stack,
}

impl Transport {
    /// The first byte that comes belongs to the client's frames.
    pub fn new(sock: TcpStream) -> Self {
        Self {
            sock,
            stack: Stack::Plain,
        }
    }

    /// The own address, to which the client came; nothing when the socket is of no use any more.
    pub fn local_ip(&self) -> Option<IpAddr> {
        let local = self.sock.local_addr().ok()?;
        Some(local.ip().to_canonical())
    }

    /// Waits until there is something to read; false when the socket is of no use any more.
    pub async fn readable(&self) -> bool {
        self.sock.readable().await.is_ok()
    }

    /// Waits until the socket takes more; false when it is of no use any more.
    pub async fn writable(&self) -> bool {
        self.sock.writable().await.is_ok()
    }

    /// Reads once and hands on what was read. `above` must not read any connection.
    pub fn receive<R>(&self, above: impl FnOnce(&[u8]) -> R) -> Received<R> {
        BUFFER.with_borrow_mut(|buffer| match self.read(buffer) {
            Ok(0) => Received::End,
            Ok(n) => {
                let bytes = buffer.get(..n).unwrap_or_default();
                Received::Bytes(self.stack.open(bytes, above))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Received::Nothing,
            Err(_) => Received::End,
        })
    }

    /// Reads once. A read that did not fill the buffer has emptied the socket: the next one waits for
    /// word of more, instead of asking the system for nothing.
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut part = 0;
        let whole = self.sock.try_io(Interest::READABLE, || {
            let n = (&*SockRef::from(&self.sock)).read(buffer)?;
            if n == 0 || n == buffer.len() {
                return Ok(n);
            }
            part = n;
            // Takes back that there is something, unless word of more has come since.
            Err(io::ErrorKind::WouldBlock.into())
        });
        match whole {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && part > 0 => Ok(part),
            whole => whole,
        }
    }

    /// Writes pieces, as far as the socket takes them; says how many bytes it took.
    ///
    /// # Errors
    /// `WouldBlock` when the socket takes nothing now; anything else ends the connection.
    pub fn send(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.stack.seal(pieces, |pieces| match pieces {
            [only] => self.sock.try_write(only),
            _ => self.sock.try_write_vectored(pieces),
        })
    }

    /// The client sees the end of the stream behind the last byte written.
    pub fn finish(&self) {
        // The peer may be gone already; then there is nothing to tell.
        SockRef::from(&self.sock).shutdown(Shutdown::Write).ok();
    }

    /// Ends both directions at once.
    pub fn cut(&self) {
        // An error means that it is closed already.
        SockRef::from(&self.sock).shutdown(Shutdown::Both).ok();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    async fn connected() -> (Transport, std::net::TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (sock, _) = listener.accept().await.unwrap();
        (Transport::new(sock), peer)
    }

    fn received(transport: &Transport) -> Received<usize> {
        transport.receive(<[u8]>::len)
    }

    #[tokio::test]
    async fn a_socket_that_was_emptied_is_not_asked_again_before_word_of_more() {
        let (transport, mut peer) = connected().await;
        peer.write_all(b"one").unwrap();
        assert!(transport.readable().await);
        assert_eq!(received(&transport), Received::Bytes(3));
        // It is there, but nobody has looked for word of it: this test never gave its thread away.
        peer.write_all(b"more").unwrap();
        assert_eq!(received(&transport), Received::Nothing);
        assert!(transport.readable().await);
        assert_eq!(received(&transport), Received::Bytes(4));
    }

    #[tokio::test]
    async fn the_end_behind_the_last_bytes_is_seen() {
        let (transport, mut peer) = connected().await;
        peer.write_all(b"last").unwrap();
        drop(peer);
        assert!(transport.readable().await);
        assert_eq!(received(&transport), Received::Bytes(4));
        assert!(transport.readable().await);
        assert_eq!(received(&transport), Received::End);
    }

    #[tokio::test]
    async fn a_full_buffer_is_followed_by_another_read_at_once() {
        let (transport, mut peer) = connected().await;
        let writing = std::thread::spawn(move || {
            peer.write_all(&vec![1; 3 * SCRATCH]).unwrap();
            peer
        });
        let mut all = 0;
        while all < 3 * SCRATCH {
            assert!(transport.readable().await);
            while let Received::Bytes(n) = received(&transport) {
                all += n;
            }
        }
        assert_eq!(all, 3 * SCRATCH);
        drop(writing.join());
    }
}
