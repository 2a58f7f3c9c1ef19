//! What the delivery task is told, and what it shows of itself.

use im_order::CommitSeq;
use im_proto_rpc::v1::{LogPage, RelatedDone, RouteItems};
use tokio::sync::{mpsc, watch};

use crate::ids::LinkId;

/// Inputs that may wait for the delivery task; beyond it links are read later.
const INPUTS: usize = 256;

/// What the delivery task works on.
pub(crate) enum Input {
    /// A batch of a route server.
    Items(LinkId, RouteItems),
    /// A route link is gone.
    RouteDown(LinkId),
    /// There is a new link to db-proxy.
    WriterLinked,
    /// A page of the log.
    Page(LogPage),
    /// A page will not come.
    PageFailed,
    /// A page of what sessions that are behind have missed, or none.
    CatchUp(Option<LogPage>),
    /// Who is related.
    Related(RelatedDone),
    /// That will not come.
    RelatedFailed,
}

/// Where the delivery task stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Live messages are delivered.
    pub(crate) is_live: bool,
    /// Up to where the log is delivered, or read.
    pub(crate) reached: CommitSeq,
}

/// The delivery task as everybody else sees it.
#[derive(Clone)]
pub(crate) struct Inbox {
    inputs: mpsc::Sender<Input>,
    /// Newest position of a message stored from here.
    stored: watch::Sender<CommitSeq>,
    progress: watch::Sender<Progress>,
}

/// The delivery task's end.
pub(crate) struct Receiver {
    pub(super) inputs: mpsc::Receiver<Input>,
    pub(super) stored: watch::Receiver<CommitSeq>,
}

/// Both ends.
pub(crate) fn inbox() -> (Inbox, Receiver) {
    let (tx, rx) = mpsc::channel(INPUTS);
    let stored = watch::Sender::new(CommitSeq::START);
    let receiver = Receiver {
        inputs: rx,
        stored: stored.subscribe(),
    };
    let inbox = Inbox {
        inputs: tx,
        stored,
        progress: watch::Sender::new(Progress::default()),
    };
    (inbox, receiver)
}

impl Inbox {
    /// Hands over an input; false when the task has ended.
    pub(crate) async fn send(&self, input: Input) -> bool {
        self.inputs.send(input).await.is_ok()
    }

    /// A message of this server is stored at this position. The task wants to know while live
    /// messages are not delivered.
    pub(crate) fn stored(&self, seq: CommitSeq) {
        if !self.progress.borrow().is_live {
            self.stored.send_if_modified(|newest| {
                let is_newer = seq > *newest;
                *newest = seq.max(*newest);
                is_newer
            });
        }
    }

    /// Where the task stands.
    pub(crate) fn progress(&self) -> Progress {
        *self.progress.borrow()
    }

    /// Shows where the task stands; true when it went live or stopped being so.
    pub(super) fn show(&self, now: Progress) -> bool {
        let mut changed = false;
        self.progress.send_if_modified(|before| {
            changed = before.is_live != now.is_live;
            *before = now;
            changed
        });
        changed
    }
}
