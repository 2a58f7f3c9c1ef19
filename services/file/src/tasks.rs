//! What every frame of a task does: pure, without clock, sockets and files.
//!
//! A task is *open* until its file has been passed on, or is stored. Two connections take part in it,
//! each as one side. The receiver asks for blocks, one at a time: of an online task the sender is asked, of
//! a stored file the disk. Of an upload the server itself asks.
//!
//! A connection that breaks a rule is closed ([`Violation`]); that of the other side is closed with it, as
//! the protocol says, and the task waits for both to come again. Where a transfer goes on is the offset
//! that the receiver asks for, or that an upload has reached.
//!
//! Times are milliseconds of one clock that never goes back.

mod ledger;
mod open;
mod stored;

use std::collections::HashMap;

use im_config::FileConfig;
use im_core::UserId;
use im_core::time::UnixSeconds;
use im_proto_teamtalk::base::{ClientFileRole, ClientFileState};

use crate::TaskId;
use crate::id::FileId;
use ledger::Ledger;
use open::Task;
use stored::Stored;
pub(crate) use stored::{File, Found, Search};

/// Names a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ConnId(pub(crate) u64);

/// One end of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Sender,
    Receiver,
}

/// Bounds of all tasks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) tasks: u32,
    pub(crate) tasks_per_user: u32,
    pub(crate) file: u64,
    pub(crate) files: u32,
    pub(crate) files_per_user: u32,
    pub(crate) files_per_pair: u32,
    pub(crate) stored: u64,
    pub(crate) stored_per_user: u64,
    /// Bytes.
    pub(crate) name: usize,
    pub(crate) block: u32,
    pub(crate) list: usize,
    /// Milliseconds.
    pub(crate) block_timeout: u64,
    pub(crate) wait: u64,
    pub(crate) lifetime: u64,
}

impl Bounds {
    pub(crate) fn of(config: &FileConfig) -> Self {
        Self {
            tasks: config.max_tasks,
            tasks_per_user: config.max_tasks_per_user,
            file: config.max_file.as_u64(),
            files: config.max_files,
            files_per_user: config.max_files_per_user,
            files_per_pair: config.max_files_per_pair,
            stored: config.max_stored.as_u64(),
            stored_per_user: config.max_stored_per_user.as_u64(),
            name: config.max_name.as_usize(),
            block: config.max_block.as_u32(),
            list: config.max_list.as_usize(),
            block_timeout: config.block_timeout.as_millis(),
            wait: config.task_wait.as_millis(),
            lifetime: config.task_lifetime.as_millis(),
        }
    }
}

/// What a sender wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) from: UserId,
    pub(crate) to: UserId,
    pub(crate) name: String,
    /// Bytes.
    pub(crate) size: u32,
    pub(crate) offline: bool,
}

/// Why a task was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unopened {
    /// Without a byte, above the largest file, with a name above the longest.
    Offer,
    /// The sender has as much as one person may.
    Person,
    /// This server has as much as it may; another one may take it.
    Full,
}

/// A request for a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pull {
    pub(crate) seq: u16,
    pub(crate) offset: u32,
    pub(crate) size: u32,
}

/// A connection was let to its task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entered {
    /// The other side is not there yet, or the upload is not done.
    Waiting,
    /// Both are there: this receiver is told so, with the sender's number.
    PeerReady { receiver: ConnId, sender: UserId },
    /// An upload, which goes on with this block.
    Upload { next: Pull },
    /// A stored file.
    Download,
}

/// What a request for a block does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// It is passed on; when it asked for more than the longest block, with this size instead.
    Forward { to: ConnId, shortened: Option<u32> },
    /// A block of the stored file. With the last one the download is done.
    Read {
        pull: Pull,
        is_last: bool,
        sender: UserId,
    },
    /// It is answered when the upload is done.
    Parked,
}

/// What a block does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// It is passed on with this sequence number.
    Forward { to: ConnId, seq: u16 },
    /// It is stored.
    Write,
}

/// What comes behind a block that was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Next(Pull),
    Whole,
}

/// What a state that a client sent does; its connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stated {
    /// Who gets the same frame, and is closed behind it.
    pub(crate) tell: Option<ConnId>,
    /// The task that has ended with it.
    pub(crate) ended: Option<TaskId>,
}

/// A rule was broken: the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Violation;

/// What time has ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Expired {
    /// Senders of overdue blocks, to be closed; their tasks stay.
    pub(crate) stalled: Vec<ConnId>,
    /// Tasks that have ended.
    pub(crate) tasks: Vec<TaskId>,
    /// Their connections, to be closed.
    pub(crate) conns: Vec<ConnId>,
}

/// All tasks of a server.
#[derive(Debug)]
pub(crate) struct Tasks {
    bounds: Bounds,
    open: HashMap<TaskId, Task>,
    stored: Stored,
    ledger: Ledger,
    conns: HashMap<ConnId, (TaskId, Side)>,
}

impl Tasks {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            open: HashMap::new(),
            stored: Stored::default(),
            ledger: Ledger::default(),
            conns: HashMap::new(),
        }
    }

    /// Open tasks.
    pub(crate) fn open(&self) -> u32 {
        u32::try_from(self.open.len()).unwrap_or(u32::MAX)
    }

    /// Connections with a task.
    pub(crate) fn taking_part(&self) -> usize {
        self.conns.len()
    }

    /// Files that wait, and bytes of all files, those on their way here included.
    pub(crate) fn stored(&self) -> (usize, u64) {
        (self.stored.len(), self.ledger.bytes())
    }

    /// Opens a task under this name.
    ///
    /// # Errors
    /// A bound is reached.
    pub(crate) fn create(&mut self, task: TaskId, offer: Offer, now: u64) -> Result<(), Unopened> {
        let bounds = &self.bounds;
        let is_too_large = offer.offline && u64::from(offer.size) > bounds.file;
        let is_name = (1..=bounds.name).contains(&offer.name.len());
        if offer.size == 0 || is_too_large || !is_name || offer.from == offer.to {
            return Err(Unopened::Offer);
        }
        if self.open.contains_key(&task) || self.stored.get(task).is_some() {
            return Err(Unopened::Full);
        }
        self.ledger.open(&offer, bounds)?;
        self.open
            .insert(task, Task::new(offer, now, bounds.lifetime));
        Ok(())
    }

    /// A file that is stored already, as after a start.
    pub(crate) fn restore(&mut self, task: TaskId, file: File) {
        self.ledger.restore(&file);
        self.stored.insert(task, file);
    }

    /// A connection wants to take part; nothing when it may not, or when its side is there already.
    pub(crate) fn enter(
        &mut self,
        conn: ConnId,
        task: TaskId,
        user: UserId,
        role: ClientFileRole,
        now: u64,
    ) -> Option<Entered> {
        let (side, offline) = match role {
            ClientFileRole::ClientRealtimeSender => (Side::Sender, false),
            ClientFileRole::ClientRealtimeRecver => (Side::Receiver, false),
            ClientFileRole::ClientOfflineUpload => (Side::Sender, true),
            ClientFileRole::ClientOfflineDownload => (Side::Receiver, true),
        };
        let entered = match self.open.get_mut(&task) {
            Some(open) => open.enter(conn, side, offline, user, now)?,
            None if side == Side::Receiver && offline => self.stored.enter(conn, task, user)?,
            None => return None,
        };
        self.conns.insert(conn, (task, side));
        Some(entered)
    }

    /// What is known of an open task.
    pub(crate) fn offer(&self, task: TaskId) -> Option<&Offer> {
        self.open.get(&task).map(Task::offer)
    }

    /// A client asks for a block.
    ///
    /// # Errors
    /// It is not the receiver of this task, a block that it asked for has not come yet, nobody is there who
    /// could be asked, or the file has no such block.
    pub(crate) fn pull(
        &mut self,
        conn: ConnId,
        said: (TaskId, UserId),
        pull: Pull,
        now: u64,
    ) -> Result<Asked, Violation> {
        let (task, side) = self.said(conn, said.0)?;
        if side != Side::Receiver {
            return Err(Violation);
        }
        match self.open.get_mut(&task) {
            Some(open) => open.pull(said.1, pull, self.bounds.block, now),
            None => self.stored.pull(task, said.1, pull),
        }
    }

    /// A block came from a client: `length` bytes of the file from `offset` on.
    ///
    /// # Errors
    /// It is not the sender of this task, nobody asked for this block, or it has not the length that it
    /// must have.
    pub(crate) fn block(
        &mut self,
        conn: ConnId,
        said: (TaskId, UserId),
        result: u32,
        offset: u32,
        length: usize,
        now: u64,
    ) -> Result<Came, Violation> {
        let (task, side) = self.said(conn, said.0)?;
        if side != Side::Sender {
            return Err(Violation);
        }
        let open = self.open.get_mut(&task).ok_or(Violation)?;
        open.block(said.1, result, offset, length, now)
    }

    /// The block that came last is stored; nothing when the task has ended meanwhile.
    pub(crate) fn written(&mut self, conn: ConnId, length: u32, now: u64) -> Option<Written> {
        let (task, _) = self.conns.get(&conn)?;
        let open = self.open.get_mut(task)?;
        Some(open.written(length, now))
    }

    /// The upload of a connection is stored. Gives the request of a receiver who waited for it.
    ///
    /// # Errors
    /// The task has ended meanwhile, and nobody knows of the file.
    pub(crate) fn uploaded(
        &mut self,
        conn: ConnId,
        stored: UnixSeconds,
    ) -> Result<(TaskId, Option<(ConnId, Pull)>), Violation> {
        let (task, _) = self.conns.remove(&conn).ok_or(Violation)?;
        let open = self.open.remove(&task).ok_or(Violation)?;
        self.ledger.close_task(open.offer());
        let (file, parked) = open.into_stored(stored);
        self.stored.insert(task, file);
        Ok((task, parked))
    }

    /// An upload cannot be stored: its task ends. Gives the connections to be closed.
    pub(crate) fn fail(&mut self, conn: ConnId) -> Expired {
        let mut expired = Expired::default();
        if let Some((task, _)) = self.conns.get(&conn).copied() {
            self.end(task, &mut expired);
        }
        expired
    }

    /// A client says what becomes of the transfer.
    ///
    /// # Errors
    /// It names another task or person, or a state that is not a client's to say.
    pub(crate) fn state(
        &mut self,
        conn: ConnId,
        said: (TaskId, UserId),
        state: ClientFileState,
    ) -> Result<Stated, Violation> {
        let (task, side) = self.said(conn, said.0)?;
        if state == ClientFileState::ClientFilePeerReady {
            return Err(Violation);
        }
        let Some(open) = self.open.get(&task) else {
            // Of a stored file its receiver says by way of the msg server that it is no longer wanted.
            let is_receiver = self.stored.get(task).is_none_or(|file| file.to == said.1);
            let nothing = Stated {
                tell: None,
                ended: None,
            };
            return is_receiver.then_some(nothing).ok_or(Violation);
        };
        if open.user(side) != said.1 {
            return Err(Violation);
        }
        if open.offer().offline && state == ClientFileState::ClientFileDone {
            // An upload is done when this server says so.
            return Err(Violation);
        }
        let tell = open.other(side);
        let mut expired = Expired::default();
        self.end(task, &mut expired);
        Ok(Stated {
            tell,
            ended: Some(task),
        })
    }

    /// A connection is gone. Gives the one that is closed with it, and whether an upload may go on later.
    pub(crate) fn closed(&mut self, conn: ConnId, now: u64) -> (Option<ConnId>, Option<TaskId>) {
        let Some((task, side)) = self.conns.remove(&conn) else {
            return (None, None);
        };
        self.stored.left(conn, task);
        let Some(open) = self.open.get_mut(&task) else {
            return (None, None);
        };
        let other = open.left(side, now);
        if let Some(other) = other {
            self.conns.remove(&other);
        }
        (other, Some(task))
    }

    /// Ends what has lasted too long.
    pub(crate) fn tick(&mut self, now: u64) -> Expired {
        let mut expired = Expired::default();
        let mut ended = Vec::new();
        for (task, open) in &self.open {
            if open.is_over(now, self.bounds.wait) {
                ended.push(*task);
            } else if let Some(stalled) = open.stalled(now, self.bounds.block_timeout) {
                expired.stalled.push(stalled);
            }
        }
        for task in ended {
            self.end(task, &mut expired);
        }
        expired
    }

    /// Files that wait for a user, oldest first, as many as fit into a list.
    pub(crate) fn waiting(&self, user: UserId) -> Vec<(TaskId, &File)> {
        self.stored.waiting(user, self.bounds.list)
    }

    /// The stored file of a task.
    pub(crate) fn file(&self, task: TaskId) -> Option<&File> {
        self.stored.get(task)
    }

    /// The stored file of a task that this user has sent.
    pub(crate) fn confirm(&self, from: UserId, task: TaskId) -> Option<&File> {
        self.file(task).filter(|file| file.from == from)
    }

    /// Forgets a stored file for this user, for whom it is. A download of it is over with that.
    pub(crate) fn delete(&mut self, to: UserId, task: TaskId) -> bool {
        let is_theirs = self.stored.get(task).is_some_and(|file| file.to == to);
        is_theirs && self.forget(task)
    }

    /// Forgets a stored file: true if there was one.
    pub(crate) fn forget(&mut self, task: TaskId) -> bool {
        let Some(file) = self.stored.remove(task) else {
            return false;
        };
        self.ledger.close_file(file.from, file.to, file.size);
        true
    }

    /// The task of a stored file, and the file.
    pub(crate) fn by_id(&self, id: FileId) -> Option<(TaskId, &File)> {
        let task = self.stored.by_id(id)?;
        Some((task, self.file(task)?))
    }

    /// Stored files, as administrators look for them.
    pub(crate) fn search(&self, search: &Search) -> Found<'_> {
        self.stored.search(search)
    }

    /// Files that were stored before this time and that nobody is fetching.
    pub(crate) fn older_than(&self, time: UnixSeconds) -> Vec<TaskId> {
        self.stored.older_than(time)
    }

    /// The task of a connection, which must be the one that it names.
    fn said(&self, conn: ConnId, task: TaskId) -> Result<(TaskId, Side), Violation> {
        let own = self.conns.get(&conn).copied();
        own.filter(|(own, _)| *own == task).ok_or(Violation)
    }

    /// Takes an open task away with all that it holds.
    fn end(&mut self, task: TaskId, expired: &mut Expired) {
        let Some(open) = self.open.remove(&task) else {
            return;
        };
        let offer = open.offer();
        self.ledger.close_task(offer);
        if offer.offline {
            self.ledger.close_file(offer.from, offer.to, offer.size);
        }
        for conn in open.conns() {
            self.conns.remove(&conn);
            expired.conns.push(conn);
        }
        expired.tasks.push(task);
    }
}

#[cfg(test)]
mod tests;
