//! Listening sockets.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream, lookup_host};

/// Backlog of a port for other servers: connections that are not accepted yet.
pub const LINKS: i32 = 1_024;

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
///
/// `[::]` takes connections of IPv4 and IPv6, whatever the kernel's default is; where it has no IPv6, those
/// of IPv4.
///
/// # Errors
/// The address is taken, not ours, or no address.
pub async fn tcp(address: &str, backlog: i32) -> Result<TcpListener, ListenError> {
    with_kernel(address, backlog, socket).await
}

/// Makes a socket for an address.
type MakeSocket = fn(SocketAddr) -> io::Result<Socket>;

async fn with_kernel(
    address: &str,
    backlog: i32,
    socket: MakeSocket,
) -> Result<TcpListener, ListenError> {
    let failed = |source| ListenError {
        address: address.to_owned(),
        source,
    };
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for resolved in lookup_host(address).await.map_err(failed)? {
        let bound = bind(resolved, backlog, socket);
        let bound = match bound {
            Err(error) if resolved.ip() == Ipv6Addr::UNSPECIFIED && lacks_ipv6(&error) => {
                let ipv4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, resolved.port()));
                bind(ipv4, backlog, socket)
            }
            bound => bound,
        };
        match bound {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

/// Linux: there is no such family of addresses.
const EAFNOSUPPORT: i32 = 97;

/// Linux: no interface has the address, as where IPv6 is switched off.
const EADDRNOTAVAIL: i32 = 99;

/// The kernel knows no IPv6, or was told to use none.
fn lacks_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(EAFNOSUPPORT | EADDRNOTAVAIL))
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let domain = Domain::for_address(address);
    Socket::new(domain, Type::STREAM, Some(Protocol::TCP))
}

fn bind(address: SocketAddr, backlog: i32, socket: MakeSocket) -> io::Result<TcpListener> {
    let socket = socket(address)?;
    if address.ip() == Ipv6Addr::UNSPECIFIED {
        socket.set_only_v6(false)?;
    }
    // A restarted server must not wait for the old connections' last timers.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    TcpListener::from_std(socket.into())
}

/// Sends small frames at once, and notices a peer that vanished without a word within minutes.
///
/// # Errors
/// The socket is gone.
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

    async fn reaches(to: SocketAddr) -> bool {
        TcpStream::connect(to).await.is_ok()
    }

    #[tokio::test]
    async fn all_addresses_are_those_of_both_families() {
        let listener = tcp("[::]:0", 16).await.unwrap();
        let local = listener.local_addr().unwrap();
        assert!(reaches((Ipv4Addr::LOCALHOST, local.port()).into()).await);
        if local.is_ipv4() {
            return; // This kernel has no IPv6.
        }
        let ipv6 = SocketAddr::from((Ipv6Addr::LOCALHOST, local.port()));
        match TcpStream::connect(ipv6).await {
            Ok(_) => {}
            // Its loopback interface has no such address.
            Err(error) => assert!(lacks_ipv6(&error), "{error}"),
        }
    }

    #[tokio::test]
    async fn without_ipv6_all_addresses_are_those_of_ipv4() {
        let kernel: [MakeSocket; 2] = [
            |address| match address {
                SocketAddr::V4(_) => socket(address),
                SocketAddr::V6(_) => Err(io::Error::from_raw_os_error(EAFNOSUPPORT)),
            },
            |address| match address {
                SocketAddr::V4(_) => socket(address),
                SocketAddr::V6(_) => Err(io::Error::from_raw_os_error(EADDRNOTAVAIL)),
            },
        ];
        for without in kernel {
            let listener = with_kernel("[::]:0", 16, without).await.unwrap();
            let local = listener.local_addr().unwrap();
            assert_eq!(local.ip(), Ipv4Addr::UNSPECIFIED);
            assert!(reaches((Ipv4Addr::LOCALHOST, local.port()).into()).await);
            // The port asked for, and no other address than all of them.
            let port = local.port();
            drop(listener);
            let again = with_kernel(&format!("[::]:{port}"), 16, without).await;
            assert_eq!(again.unwrap().local_addr().unwrap().port(), port);
            assert!(with_kernel("[::1]:0", 16, without).await.is_err());
        }
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_no_reason_to_fall_back() {
        let first = tcp("[::]:0", 16).await.unwrap();
        let address = format!("[::]:{}", first.local_addr().unwrap().port());
        let error = tcp(&address, 16).await.unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn host_names_are_resolved() {
        let listener = tcp("localhost:0", 16).await.unwrap();
        assert!(listener.local_addr().unwrap().ip().is_loopback());
    }
}
