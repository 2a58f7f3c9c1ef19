//! Whether a client is still there, for answers that take a while: as nothing is read meanwhile, nobody would notice.

use std::future::pending;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use tokio::io::Interest;
use tokio::net::TcpStream;

/// A client's line, among the extensions of its requests where [`crate::Serve::WATCHED`] says so.
#[derive(Clone, Debug)]
pub struct Line(Arc<std::net::TcpStream>);

impl Line {
    /// Looks at the same socket, through a descriptor of its own.
    pub(crate) fn of(stream: &TcpStream) -> io::Result<Self> {
        let own = stream.as_fd().try_clone_to_owned()?;
        Ok(Self(Arc::new(own.into())))
    }

    /// Waits until the client has closed its side, or is gone. Nothing is read.
    pub async fn closed(&self) {
        let watched = self.0.try_clone().and_then(TcpStream::from_std);
        let Ok(watched) = watched else {
            return pending().await;
        };
        while let Ok(ready) = watched.ready(Interest::READABLE).await {
            if ready.is_read_closed() {
                return;
            }
            // What it sends is for others to read: this waits for the next thing that happens.
            let not_now = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
            drop(watched.try_io(Interest::READABLE, not_now));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_line_is_closed_when_the_client_is_and_not_when_it_sends() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (mut client, mut here) = (client.unwrap(), accepted.unwrap().0);
        let line = Line::of(&here).unwrap();
        let short = Duration::from_millis(50);
        assert!(timeout(short, line.closed()).await.is_err());
        client.write_all(b"more").await.unwrap();
        assert!(timeout(short, line.closed()).await.is_err());
        let waiting = line.closed();
        let ends = async {
            client.write_all(b"!").await.unwrap();
            client.shutdown().await.unwrap();
        };
        let both = async { tokio::join!(waiting, ends) };
        timeout(Duration::from_secs(10), both).await.unwrap();
        // Also when it had been closed before.
        timeout(Duration::from_secs(10), line.closed())
            .await
            .unwrap();
        let mut read = Vec::new();
        here.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"more!", "nothing was taken away");
    }
}
