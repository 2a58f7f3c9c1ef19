//! Accepting connections: bounded in number, strangers apart from peers, unshaken by a shortage of
//! descriptors, and all cut at once when the time to stop is over.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::{Stream, stream};
use im_config::LinkConfig;
use im_core::{AcceptBackoff, Chain};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::Connected;
use tracing::warn;

use super::gate::Gate;
use super::standing::{Caller, Doors, Standing};
use crate::metrics::LinkMetrics;

pub(super) struct Incoming {
    listener: TcpListener,
    doors: Doors,
    metrics: LinkMetrics,
    cut: CancellationToken,
    gate: Gate,
    changes: watch::Receiver<bool>,
    /// Cuts what came since the gate was opened.
    let_in: CancellationToken,
    backoff: AcceptBackoff,
    opened: Instant,
}

impl Incoming {
    pub(super) fn new(
        listener: TcpListener,
        config: &LinkConfig,
        metrics: LinkMetrics,
        cut: CancellationToken,
        gate: Gate,
    ) -> Self {
        Self {
            listener,
            doors: Doors::new(config),
            metrics,
            let_in: cut.child_token(),
            cut,
            changes: gate.watch(),
            gate,
            backoff: AcceptBackoff::default(),
            opened: Instant::now(),
        }
    }

    pub(super) fn stream(self) -> impl Stream<Item = io::Result<Socket>> {
        stream::unfold(self, |mut this| async move {
            let socket = this.next().await;
            Some((Ok(socket), this))
        })
    }

    async fn next(&mut self) -> Socket {
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                _ = self.changes.changed() => {
                    self.follow_gate();
                    continue;
                }
            };
            match accepted {
                Ok((stream, peer)) => {
                    self.backoff.succeeded();
                    // It may have changed since it was looked at.
                    self.follow_gate();
                    if self.let_in.is_cancelled() {
                        continue;
                    }
                    if let Err(error) = stream.set_nodelay(true) {
                        warn!(error = %Chain(&error), "set no delay failed");
                    }
                    let cut = self.let_in.child_token();
                    let Some((standing, evicted)) = self.doors.enter(peer.ip(), &cut) else {
                        self.metrics.refused_strangers().inc();
                        continue;
                    };
                    if let Some(evicted) = evicted {
                        self.metrics.refused_strangers().inc();
                        evicted.cancel();
                    }
                    return Socket {
                        stream,
                        cut: Box::pin(cut.cancelled_owned()),
                        patience: Some(Box::pin(sleep(self.doors.patience))),
                        standing,
                        metrics: self.metrics.clone(),
                    };
                }
                Err(error) => {
                    let (wait, log) = self.backoff.failed(self.opened.elapsed());
                    if log {
                        warn!(error = %Chain(&error), "accept failed");
                    }
                    sleep(wait).await;
                }
            }
        }
    }

    fn follow_gate(&mut self) {
        if !self.gate.is_open() {
            self.let_in.cancel();
        } else if self.let_in.is_cancelled() {
            self.let_in = self.cut.child_token();
        }
    }
}

/// A connection that counts while it lives and fails when it is cut, or when its peer does not show in
/// time who it is.
pub(super) struct Socket {
    stream: TcpStream,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    /// What is left of a stranger's time; `None` for a peer.
    patience: Option<Pin<Box<Sleep>>>,
    standing: Arc<Standing>,
    metrics: LinkMetrics,
}

impl Socket {
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.cut.as_mut().poll(cx).is_ready() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let Some(patience) = &mut self.patience else {
            return Ok(());
        };
        if self.standing.is_known() {
            self.patience = None;
        } else if patience.as_mut().poll(cx).is_ready() {
            self.metrics.refused_strangers().inc();
            self.patience = None;
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.standing.leave();
    }
}

impl Connected for Socket {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        Caller {
            tcp: self.stream.connect_info(),
            standing: Arc::clone(&self.standing),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
