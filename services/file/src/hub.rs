//! Tasks and connections together: carries out what `tasks` decides.
//!
//! There is one lock. Under it frames are queued only, so that everybody sees them in the order of the
//! decisions; they are written when it is free again. Nothing waits under it.

mod files;
mod untold;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use im_blob::{BlobStore, BlobWriter};
use im_codec::{Command, Frame, HEADER_LEN, Header, encode};
use im_config::FileConfig;
use im_core::UserId;
use im_core::time::UnixSeconds;
use im_proto_rpc::v1::FileAddress;
use im_proto_teamtalk::base::{ClientFileRole, ClientFileState, TransferFileType};
use im_proto_teamtalk::file::{ImFileLoginRsp, ImFilePullDataReq, ImFileState};
use im_runtime::requests::Refused;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use self::untold::Untold;
use crate::TaskId;
use crate::conn::Conn;
use crate::metrics::{Metrics, Refusal, Way};
use crate::tasks::{
    Asked, Bounds, Came, ConnId, Entered, Expired, Offer, Pull, Tasks, Unopened, Violation, Written,
};

/// How full a server is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) tasks: u32,
    pub(crate) draining: bool,
}

/// What one file server holds.
pub(crate) struct Hub {
    pub(crate) config: FileConfig,
    pub(crate) metrics: Metrics,
    /// Which refused requests have a line in the log.
    pub(crate) refused: Refused,
    pub(crate) blobs: Arc<dyn BlobStore>,
    pub(crate) tasks: TaskTracker,
    /// Where clients reach it.
    pub(crate) addresses: Vec<FileAddress>,
    pub(crate) load: watch::Sender<Load>,
    /// Changes when there is a file to tell of.
    kept: watch::Sender<()>,
    state: Mutex<State>,
    started: Instant,
    /// What the clock of the system showed then.
    began: UnixSeconds,
    last_conn: AtomicU64,
}

struct State {
    tasks: Tasks,
    conns: HashMap<ConnId, Arc<Conn>>,
    /// Uploads whose clients are away.
    uploads: HashMap<TaskId, Box<dyn BlobWriter>>,
    /// Files that could not be deleted when nobody wanted them any more.
    doomed: Vec<TaskId>,
    untold: Untold,
}

/// A client that was let to its task.
#[derive(Debug)]
pub(crate) enum Admitted {
    /// An online task, or a receiver who waits for an upload.
    Relay,
    /// An upload, with what is stored of it if it was begun before.
    Upload {
        next: Pull,
        begun: Option<Box<dyn BlobWriter>>,
    },
    /// A stored file.
    Download(TaskId),
}

impl Hub {
    pub(crate) fn new(
        config: FileConfig,
        metrics: Metrics,
        blobs: Arc<dyn BlobStore>,
        addresses: Vec<FileAddress>,
    ) -> Self {
        let tasks = Tasks::new(Bounds::of(&config));
        Self {
            config,
            metrics,
            refused: Refused::default(),
            blobs,
            tasks: TaskTracker::new(),
            addresses,
            load: watch::Sender::default(),
            kept: watch::Sender::default(),
            state: Mutex::new(State {
                tasks,
                conns: HashMap::new(),
                uploads: HashMap::new(),
                doomed: Vec::new(),
                untold: Untold::default(),
            }),
            started: Instant::now(),
            began: UnixSeconds::now(),
            last_conn: AtomicU64::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The time, by which files are kept: it goes on evenly, so that a clock that is put ahead deletes nothing.
    fn wall(&self) -> UnixSeconds {
        let passed = self.started.elapsed().as_secs();
        self.began
            .saturating_add(u32::try_from(passed).unwrap_or(u32::MAX))
    }

    /// A number for a connection.
    pub(crate) fn next_conn(&self) -> ConnId {
        ConnId(self.last_conn.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Tells msg servers and metrics how much there is.
    fn show(&self, state: &State) {
        let open = state.tasks.open();
        self.load.send_if_modified(|load| {
            let is_new = load.tasks != open;
            load.tasks = open;
            is_new
        });
        let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let (files, bytes) = state.tasks.stored();
        self.metrics.tasks.set(i64::from(open));
        self.metrics
            .transfers
            .set(number(state.tasks.taking_part()));
        self.metrics.files.set(number(files));
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.metrics.stored_bytes.set(bytes);
    }

    /// What a dump shows.
    pub(crate) fn dump(&self) -> serde_json::Value {
        let state = self.state();
        let (files, bytes) = state.tasks.stored();
        serde_json::json!({
            "draining": self.load.borrow().draining,
            "tasks": state.tasks.open(),
            "transfers": state.tasks.taking_part(),
            "uploads_away": state.uploads.len(),
            "waiting_files": files,
            "stored_bytes": bytes,
            "undeleted_files": state.doomed.len(),
        })
    }

    /// No new tasks from now on.
    pub(crate) fn drain(&self) {
        self.load.send_modify(|load| load.draining = true);
    }

    /// Connections that take part in a task.
    pub(crate) fn taking_part(&self) -> usize {
        self.state().tasks.taking_part()
    }

    /// Opens a task.
    ///
    /// # Errors
    /// A bound is reached, or this server is about to go.
    pub(crate) fn create(&self, offer: Offer) -> Result<TaskId, Unopened> {
        let task = TaskId::random();
        if self.load.borrow().draining {
            return Err(Unopened::Full);
        }
        let mut state = self.state();
        state
            .tasks
            .create(task, offer, self.now())
            .inspect_err(|why| {
                self.metrics.refused((*why).into());
            })?;
        self.metrics.opened.inc();
        self.show(&state);
        Ok(task)
    }

    /// A client comes with a task; nothing when it may not. The answer to a sender or receiver of an online
    /// task is queued, and what its receiver is told.
    pub(crate) fn enter(
        &self,
        conn: &Arc<Conn>,
        seq: u16,
        task: TaskId,
        user: UserId,
        role: ClientFileRole,
    ) -> Option<Admitted> {
        let mut told = None;
        let admitted = {
            let mut state = self.state();
            let entered = state.tasks.enter(conn.id, task, user, role, self.now())?;
            state.conns.insert(conn.id, Arc::clone(conn));
            self.show(&state);
            match entered {
                Entered::Waiting => {
                    conn.push([entered_frame(seq, task)]);
                    Admitted::Relay
                }
                Entered::PeerReady { receiver, sender } => {
                    conn.push([entered_frame(seq, task)]);
                    told = state.conns.get(&receiver).cloned();
                    if let Some(receiver) = &told {
                        let ready = ClientFileState::ClientFilePeerReady;
                        receiver.push([state_frame(ready, task, sender)]);
                    }
                    Admitted::Relay
                }
                Entered::Upload { next } => Admitted::Upload {
                    next,
                    begun: state.uploads.remove(&task),
                },
                Entered::Download => Admitted::Download(task),
            }
        };
        if let Some(receiver) = told {
            receiver.flush();
        }
        Some(admitted)
    }

    /// What is known of an open task.
    pub(crate) fn offer(&self, task: TaskId) -> Option<Offer> {
        self.state().tasks.offer(task).cloned()
    }

    /// What a receiver who waited for the end of an upload asked for.
    ///
    /// # Errors
    /// See [`Tasks::pull`].
    pub(crate) fn unparked(
        &self,
        conn: &Conn,
        about: (TaskId, UserId),
        pull: Pull,
    ) -> Result<Asked, Violation> {
        self.state().tasks.pull(conn.id, about, pull, self.now())
    }

    /// A client asks for a block: of another client, or of what its own task has to read.
    ///
    /// # Errors
    /// See [`Tasks::pull`].
    pub(crate) fn pull(
        &self,
        conn: &Conn,
        frame: &Frame,
        asked: ImFilePullDataReq,
    ) -> Result<Asked, Violation> {
        let said = said(&asked.task_id, asked.user_id)?;
        let pull = Pull {
            seq: frame.header.seq,
            offset: asked.offset,
            size: asked.data_size,
        };
        let (what, to) = {
            let mut state = self.state();
            let what = state.tasks.pull(conn.id, said, pull, self.now())?;
            match what {
                Asked::Forward { to, shortened } => {
                    let to = state.conns.get(&to).cloned().ok_or(Violation)?;
                    match shortened {
                        None => to.push(pieces(frame, frame.header.seq)),
                        Some(data_size) => {
                            let asked = ImFilePullDataReq { data_size, ..asked };
                            let seq = frame.header.seq;
                            to.push([encode(Command::FilePullDataReq, seq, &asked)]);
                        }
                    }
                    (what, to)
                }
                Asked::Parked | Asked::Read { .. } => return Ok(what),
            }
        };
        to.flush();
        Ok(what)
    }

    /// A block came from a client: it is passed on, or to be stored.
    ///
    /// # Errors
    /// See [`Tasks::block`].
    pub(crate) fn block(
        &self,
        conn: &Conn,
        frame: &Frame,
        head: &BlockHead<'_>,
    ) -> Result<Came, Violation> {
        let said = said(head.task, head.user)?;
        let (came, to) = {
            let mut state = self.state();
            let (result, offset, length) = (head.result, head.offset, head.length);
            let came = state
                .tasks
                .block(conn.id, said, result, offset, length, self.now())?;
            match came {
                Came::Forward { to, seq } => {
                    let to = state.conns.get(&to).cloned().ok_or(Violation)?;
                    to.push(pieces(frame, seq));
                    (came, Some(to))
                }
                Came::Write => (came, None),
            }
        };
        if let Some(to) = to {
            self.metrics.moved(Way::Relayed, head.length);
            to.flush();
        }
        Ok(came)
    }

    /// A client says what becomes of the transfer.
    ///
    /// # Errors
    /// See [`Tasks::state`].
    pub(crate) fn state_of(
        &self,
        conn: &Conn,
        frame: &Frame,
        said_state: &ImFileState,
    ) -> Result<(), Violation> {
        let about = said(&said_state.task_id, said_state.user_id)?;
        let to = {
            let mut state = self.state();
            let stated = state.tasks.state(conn.id, about, said_state.state())?;
            if let Some(task) = stated.ended {
                drop(state.uploads.remove(&task));
            }
            self.show(&state);
            let to = stated.tell.and_then(|to| state.conns.get(&to).cloned());
            if let Some(to) = &to {
                to.push(pieces(frame, frame.header.seq));
                to.end();
            }
            to
        };
        if let Some(to) = to {
            to.flush();
        }
        Ok(())
    }

    /// What comes behind a block that is stored; nothing when the task has ended.
    pub(crate) fn written(&self, conn: &Conn, length: usize) -> Option<Written> {
        self.metrics.moved(Way::Uploaded, length);
        let length = u32::try_from(length).ok()?;
        self.state().tasks.written(conn.id, length, self.now())
    }

    /// An upload cannot be stored: its task ends.
    pub(crate) fn fail(&self, conn: &Conn) {
        let mut expired = self.state().tasks.fail(conn.id);
        // That of the uploader is told why before it is closed.
        expired.conns.retain(|other| *other != conn.id);
        self.end(&expired);
    }

    /// A connection is gone; an upload may go on later with what is stored of it.
    pub(crate) fn left(&self, conn: &Conn, upload: Option<Box<dyn BlobWriter>>) {
        let (other, given_up) = {
            let mut state = self.state();
            state.conns.remove(&conn.id);
            let (other, task) = state.tasks.closed(conn.id, self.now());
            let given_up = match (task, upload) {
                (Some(task), Some(upload)) => state.uploads.insert(task, upload),
                (None, upload) => upload,
                (Some(_), None) => None,
            };
            self.show(&state);
            (
                other.and_then(|other| state.conns.get(&other).cloned()),
                given_up,
            )
        };
        drop(given_up);
        if let Some(other) = other {
            // What it was sent before still reaches it.
            other.end();
        }
    }

    /// Ends what has lasted too long.
    pub(crate) fn sweep(&self) {
        let expired = self.state().tasks.tick(self.now());
        for _ in &expired.tasks {
            self.metrics.refused(Refusal::Expired);
        }
        for _ in &expired.stalled {
            self.metrics.refused(Refusal::Stalled);
        }
        self.end(&expired);
    }

    /// Closes connections and forgets uploads.
    fn end(&self, expired: &Expired) {
        if *expired == Expired::default() {
            return;
        }
        let (conns, uploads): (Vec<_>, Vec<_>) = {
            let mut state = self.state();
            let ended = expired.tasks.iter();
            let uploads = ended
                .filter_map(|task| state.uploads.remove(task))
                .collect();
            let conns = expired.conns.iter().chain(&expired.stalled);
            let conns = conns
                .filter_map(|conn| state.conns.get(conn).cloned())
                .collect();
            self.show(&state);
            (conns, uploads)
        };
        drop(uploads);
        for conn in conns {
            conn.cut.cancel();
        }
    }
}

/// What a block says of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockHead<'a> {
    pub(crate) task: &'a str,
    pub(crate) user: u32,
    pub(crate) result: u32,
    pub(crate) offset: u32,
    /// Bytes.
    pub(crate) length: usize,
}

fn said(task: &str, user: u32) -> Result<(TaskId, UserId), Violation> {
    let task = task.parse().map_err(|_| Violation)?;
    Ok((task, UserId::from_wire(user).ok_or(Violation)?))
}

/// A frame as it came, with another sequence number; its body is shared.
fn pieces(frame: &Frame, seq: u16) -> [Bytes; 2] {
    let header = Header {
        seq,
        ..frame.header
    };
    let head: [u8; HEADER_LEN] = header.to_bytes();
    [Bytes::copy_from_slice(&head), frame.body.clone()]
}

/// Lets a client to its task.
pub(crate) fn entered_frame(seq: u16, task: TaskId) -> Bytes {
    let answer = ImFileLoginRsp {
        result_code: 0,
        task_id: task.to_string(),
    };
    encode(Command::FileLoginRsp, seq, &answer)
}

/// Tells a client a state, with the number of whoever caused it.
pub(crate) fn state_frame(state: ClientFileState, task: TaskId, user: UserId) -> Bytes {
    let state = ImFileState {
        state: state as i32,
        task_id: task.to_string(),
        user_id: user.get(),
    };
    encode(Command::FileState, 0, &state)
}

/// Asks an uploader for a block.
pub(crate) fn pull_frame(task: TaskId, user: UserId, pull: Pull) -> Bytes {
    let pull = ImFilePullDataReq {
        task_id: task.to_string(),
        user_id: user.get(),
        trans_mode: TransferFileType::FileTypeOffline as i32,
        offset: pull.offset,
        data_size: pull.size,
    };
    encode(Command::FilePullDataReq, 0, &pull)
}
