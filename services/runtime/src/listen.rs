//! Listening sockets for clients and for the admin port.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream, lookup_host};

/// Why an address cannot be listened on. Names the address, and so the port.
#[derive(Debug, thiserror::Error)]
#[error("listen on {address}")]
pub struct ListenError {
    /// The address as configured.
    pub address: String,
    /// Cause: the port is occupied, the address is not ours, …
    #[source]
    pub source: io::Error,
}

/// Binds `host:port` (port 0 lets the kernel choose) with this backlog.
pub async fn tcp(address: &str, backlog: i32) -> Result<TcpListener, ListenError> {
    let failed = |source| ListenError {
        address: address.to_owned(),
        source,
    };
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for resolved in lookup_host(address).await.map_err(failed)? {
        match bind(resolved, backlog) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

fn bind(address: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // A restarted server must not wait for the old connections' last timers.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    TcpListener::from_std(socket.into())
}

/// Sends small frames at once, and notices a peer that vanished without a word within minutes.
pub fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_keepalive(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_occupied_port_is_named_in_the_error() {
        let first = tcp("127.0.0.1:0", 16).await.unwrap();
        let address = first.local_addr().unwrap().to_string();
        let error = tcp(&address, 16).await.unwrap_err();
        assert_eq!(error.to_string(), format!("listen on {address}"));
        assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn host_names_are_resolved() {
        let listener = tcp("localhost:0", 16).await.unwrap();
        assert!(listener.local_addr().unwrap().ip().is_loopback());
    }
}
