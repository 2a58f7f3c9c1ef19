//! A proxy between a store and its server that knows where a message of MySQL's protocol ends: it can lose the answer to a COMMIT,
//! or hold the COMMIT itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;

/// What happens to the next message that ends with COMMIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Fault {
    /// Nothing.
    None = 0,
    /// The server gets it, its answer is lost, and the connection ends.
    LoseAnswer = 1,
    /// The client's connection ends at once; the server gets it when it is let go.
    HoldCommit = 2,
}

#[derive(Default)]
struct State {
    fault: AtomicU8,
    /// A fault has happened.
    happened: Notify,
    /// What is held may go on.
    released: Notify,
    /// What was held has reached the server, and was answered.
    answered: Notify,
}

pub(crate) struct Proxy {
    dir: tempfile::TempDir,
    state: Arc<State>,
}

impl Proxy {
    /// Stands in front of a server's socket.
    pub(crate) fn start(server: PathBuf) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("proxy")).unwrap();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = UnixStream::connect(&server).await else {
                    continue;
                };
                tokio::spawn(serve(client, server, Arc::clone(&shared)));
            }
        });
        Self { dir, state }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        Path::new(self.dir.path()).join("proxy")
    }

    /// Arranges what happens to the next COMMIT.
    pub(crate) fn arrange(&self, fault: Fault) {
        self.state.fault.store(fault as u8, Ordering::SeqCst);
    }

    /// Waits until it has happened.
    pub(crate) async fn happened(&self) {
        self.state.happened.notified().await;
    }

    /// Lets go what is held, and waits until the server has answered it.
    pub(crate) async fn release(&self) {
        self.state.released.notify_one();
        self.state.answered.notified().await;
    }
}

/// One end of a connection, and what of it is not yet a whole message.
struct End {
    stream: UnixStream,
    buffer: Vec<u8>,
}

impl End {
    fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// Reads some; whether there was something.
    async fn fill(&mut self) -> bool {
        self.stream
            .read_buf(&mut self.buffer)
            .await
            .is_ok_and(|bytes| bytes > 0)
    }

    /// Takes a whole message out, with its head of three bytes of length and a number.
    fn take(&mut self) -> Option<Vec<u8>> {
        let head = self.buffer.get(..3)?;
        let length = usize::from(head[0]) | usize::from(head[1]) << 8 | usize::from(head[2]) << 16;
        let whole = length + 4;
        (self.buffer.len() >= whole).then(|| self.buffer.drain(..whole).collect())
    }
}

/// Carries one connection until one of its ends goes.
async fn serve(client: UnixStream, server: UnixStream, state: Arc<State>) {
    let (mut client, mut server) = (End::new(client), End::new(server));
    loop {
        tokio::select! {
            more = client.fill() => if !more { return },
            more = server.fill() => {
                let said = std::mem::take(&mut server.buffer);
                if !more || client.stream.write_all(&said).await.is_err() {
                    return;
                }
            }
        }
        while let Some(message) = client.take() {
            let fault = if message.ends_with(b"COMMIT") {
                state.fault.swap(Fault::None as u8, Ordering::SeqCst)
            } else {
                Fault::None as u8
            };
            if fault == Fault::HoldCommit as u8 {
                drop(client);
                state.happened.notify_one();
                state.released.notified().await;
                if server.stream.write_all(&message).await.is_ok() {
                    while !has_ended(&mut server) && server.fill().await {}
                }
                state.answered.notify_one();
                return;
            }
            if server.stream.write_all(&message).await.is_err() {
                return;
            }
            if fault == Fault::LoseAnswer as u8 {
                while !has_ended(&mut server) && server.fill().await {}
                state.happened.notify_one();
                return;
            }
        }
    }
}

/// Whether the server's answer to several statements is whole: the last of them says that no more follow.
fn has_ended(server: &mut End) -> bool {
    const MORE: u8 = 8;
    while let Some(answer) = server.take() {
        let payload = &answer[4..];
        // An error ends it. Otherwise two numbers of one byte each, or of more behind a mark, and the status.
        let mut at = 1;
        for _ in 0..2 {
            at += match payload.get(at) {
                Some(0xfc) => 3,
                Some(0xfd) => 4,
                Some(0xfe) => 9,
                _ => 1,
            };
        }
        let has_more = payload.get(at).is_some_and(|status| status & MORE != 0);
        if payload.first() == Some(&0xff) || !has_more {
            return true;
        }
    }
    false
}
