//! A TCP proxy inside the test process: the cable between two roles, which the test may cut.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What the cable does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cable {
    /// Passes everything.
    Whole,
    /// Refuses new connections and resets the open ones.
    Cut,
    /// Keeps connections open and passes nothing: a black hole.
    Silent,
}

/// Listens on loopback and passes connections on to one target.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: watch::Sender<Cable>,
    stop: CancellationToken,
}

impl Proxy {
    /// Starts a proxy to `target`.
    pub async fn start(target: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (state, watched) = watch::channel(Cable::Whole);
        let stop = CancellationToken::new();
        tokio::spawn(accept(listener, target, watched, stop.clone()));
        Ok(Self {
            address,
            state,
            stop,
        })
    }

    /// Where to connect instead of the target.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what the cable does, for open connections too.
    pub fn set(&self, cable: Cable) {
        self.state.send_replace(cable);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    state: watch::Receiver<Cable>,
    stop: CancellationToken,
) {
    let tasks = TaskTracker::new();
    while let Some(Ok((inner, _))) = stop.run_until_cancelled(listener.accept()).await {
        if *state.borrow() == Cable::Cut {
            continue;
        }
        let (state, stop) = (state.clone(), stop.clone());
        tasks.spawn(async move {
            if let Ok(outer) = TcpStream::connect(target).await {
                stop.run_until_cancelled(pass(inner, outer, state)).await;
            }
        });
    }
}

async fn pass(inner: TcpStream, outer: TcpStream, state: watch::Receiver<Cable>) {
    let (mut inner_read, mut inner_write) = inner.into_split();
    let (mut outer_read, mut outer_write) = outer.into_split();
    let mut watched = state.clone();
    let cut = async move {
        // An error means that the proxy is gone: the connection ends as well.
        let _ended = watched.wait_for(|cable| *cable == Cable::Cut).await;
    };
    tokio::select! {
        // What a silent cable held back does not slip through when it is cut.
        biased;
        () = cut => {}
        () = one_way(&mut inner_read, &mut outer_write, state.clone()) => {}
        () = one_way(&mut outer_read, &mut inner_write, state) => {}
    }
}

async fn one_way(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    mut state: watch::Receiver<Cable>,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        if !passes(&mut state).await {
            return;
        }
        let Ok(count @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        if !passes(&mut state).await {
            return;
        }
        let Some(bytes) = buffer.get(..count) else {
            return;
        };
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}

/// Waits while the cable is silent; false when what was held is lost, since it was cut meanwhile.
async fn passes(state: &mut watch::Receiver<Cable>) -> bool {
    let after = state.wait_for(|cable| *cable != Cable::Silent).await;
    after.is_ok_and(|cable| *cable == Cable::Whole)
}
