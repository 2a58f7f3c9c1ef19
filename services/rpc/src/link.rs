//! The seam between roles: a pair of bounded channels of batch messages.
//!
//! A role never sees tonic: it gets and gives [`Link`]s. Over the network two tasks couple a link to
//! a gRPC stream; inside one process the two ends are joined directly and nothing is encoded.
//!
//! Closing, the same for both kinds:
//! - *Dropping* the link (both channels) closes it in order: what was queued before still reaches
//!   the peer, whose `rx` then ends.
//! - *Cancelling* `closed` cuts it: what is queued may be lost. Drop the channels too.
//! - However it ends, `closed` fires at both ends. What had arrived by then can still be received.

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// One end of a connection between two roles: sends `Out`, receives `In`.
///
/// The link is gone when `rx` ends or `tx` fails; `closed` fires then too. Cancelling `closed` (or
/// dropping both channels) closes the link from this end.
#[derive(Debug)]
pub struct Link<Out, In> {
    /// Bounded; a full channel means that the peer or the network is slower than this end.
    pub tx: mpsc::Sender<Out>,
    /// Ends when the peer is gone.
    pub rx: mpsc::Receiver<In>,
    /// Who is at the other end, for logs: an address or a name.
    pub peer: String,
    /// Fires when either end has closed the link.
    pub closed: CancellationToken,
}

/// Server side of a link kind: takes over each link that a peer opens.
///
/// `Out` and `In` are as this side sees them. Called from a runtime thread; must not block, and
/// spawns what serves the link.
pub trait Accept<Out, In>: Send + Sync + 'static {
    /// Takes over a link.
    fn accept(&self, link: Link<Out, In>);
}

/// A function serves as well, for tests and small roles.
impl<Out, In, F> Accept<Out, In> for F
where
    F: Fn(Link<Out, In>) + Send + Sync + 'static,
{
    fn accept(&self, link: Link<Out, In>) {
        self(link);
    }
}

/// Client side of a link kind: opens links to one peer.
#[async_trait]
pub trait Dial<Out, In>: Send + Sync + 'static {
    /// The peer's stable name (its address, or its role in one process): the key of the ring.
    fn peer(&self) -> &str;

    /// Opens a link, one attempt.
    ///
    /// # Errors
    /// When the peer is not reachable or refuses the credential.
    async fn dial(&self) -> Result<Link<Out, In>, DialError>;
}

/// Why a link could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// No connection, or it ended at once.
    #[error("reach {peer}")]
    Unreachable {
        /// Whom.
        peer: String,
        /// Cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The peer refused the installation's secret.
    #[error("present a valid secret to {peer}")]
    Refused {
        /// Whom.
        peer: String,
    },
}

/// Makes the two ends of a link inside one process. Needs a tokio runtime.
pub fn pair<A, B>(left: &str, right: &str, queue: usize) -> (Link<A, B>, Link<B, A>)
where
    A: Send + 'static,
    B: Send + 'static,
{
    let (a_tx, a_rx) = mpsc::channel(queue);
    let (b_tx, b_rx) = mpsc::channel(queue);
    let closed = CancellationToken::new();
    tokio::spawn(watch_ends(a_tx.clone(), b_tx.clone(), closed.clone()));
    (
        Link {
            tx: a_tx,
            rx: b_rx,
            peer: right.to_owned(),
            closed: closed.clone(),
        },
        Link {
            tx: b_tx,
            rx: a_rx,
            peer: left.to_owned(),
            closed,
        },
    )
}

/// Fires `closed` when either receiver is gone. The senders held here go with this task, so that the
/// other receiver ends as well.
async fn watch_ends<A, B>(a: mpsc::Sender<A>, b: mpsc::Sender<B>, closed: CancellationToken) {
    tokio::select! {
        () = a.closed() => {}
        () = b.closed() => {}
        () = closed.cancelled() => {}
    }
    closed.cancel();
}
