//! What a connection is after its account was verified.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use im_core::{ClientType, TerminalClass, UserId};
use im_order::CommitSeq;
use im_proto_rpc::v1::SessionInfo;

use crate::ids::LinkId;

/// One login of one terminal.
pub(crate) struct Session {
    pub(crate) user: UserId,
    /// Names this login, unique over all servers and restarts.
    pub(crate) epoch: u64,
    pub(crate) client: ClientType,
    /// The presence that was asked for.
    pub(crate) status: u8,
    /// When the login was accepted, Unix milliseconds.
    pub(crate) login_ms: u64,
    pub(crate) version: Arc<str>,
    /// Newest position of the log that was pushed, or that need not be.
    cursor: AtomicU64,
    /// The route link on which this user's messages come.
    owner: AtomicU32,
    /// Server milliseconds of the last request, heartbeats aside.
    active: AtomicU32,
    /// It was counted and shown to others.
    online: AtomicBool,
    /// It has ended for the rest of the server.
    left: AtomicBool,
    /// Its connection was full: it gets what it missed from the log. Only the delivery task writes
    /// this.
    behind: AtomicBool,
}

impl Session {
    pub(crate) fn new(
        user: UserId,
        epoch: u64,
        client: ClientType,
        status: u8,
        login_ms: u64,
        version: Arc<str>,
    ) -> Self {
        Self {
            user,
            epoch,
            client,
            status,
            login_ms,
            version,
            cursor: AtomicU64::new(CommitSeq::NEVER.to_wire()),
            owner: AtomicU32::new(LinkId::NONE.0),
            active: AtomicU32::new(0),
            online: AtomicBool::new(false),
            left: AtomicBool::new(false),
            behind: AtomicBool::new(false),
        }
    }

    pub(crate) fn class(&self) -> TerminalClass {
        self.client.class()
    }

    /// As route servers know it.
    pub(crate) fn info(&self, server: &str, address: String) -> SessionInfo {
        SessionInfo {
            user: self.user.get(),
            epoch: self.epoch,
            client_type: self.client.to_wire(),
            status: u32::from(self.status),
            login_ms: self.login_ms,
            server: server.to_owned(),
            address,
            client_version: self.version.as_ref().to_owned(),
        }
    }

    /// Moves the cursor to this position; false when it is there or beyond. Only the delivery task
    /// calls this.
    pub(crate) fn advance(&self, seq: CommitSeq) -> bool {
        if seq <= self.cursor() {
            return false;
        }
        self.cursor.store(seq.to_wire(), Ordering::Relaxed);
        true
    }

    pub(crate) fn cursor(&self) -> CommitSeq {
        CommitSeq::from_wire(self.cursor.load(Ordering::Relaxed))
    }

    pub(crate) fn is_behind(&self) -> bool {
        self.behind.load(Ordering::Relaxed)
    }

    pub(crate) fn set_behind(&self, behind: bool) {
        self.behind.store(behind, Ordering::Relaxed);
    }

    pub(crate) fn start_at(&self, cursor: CommitSeq) {
        self.cursor.store(cursor.to_wire(), Ordering::Relaxed);
    }

    pub(crate) fn owner(&self) -> LinkId {
        LinkId(self.owner.load(Ordering::Relaxed))
    }

    pub(crate) fn set_owner(&self, link: LinkId) {
        self.owner.store(link.0, Ordering::Relaxed);
    }

    /// The client has asked for something at this time of the server's clock.
    pub(crate) fn acted(&self, now: u32) {
        self.active.store(now, Ordering::Relaxed);
    }

    /// When the client has asked for something last; the login counts, heartbeats do not.
    pub(crate) fn active(&self) -> u32 {
        self.active.load(Ordering::Relaxed)
    }

    pub(crate) fn set_online(&self) {
        self.online.store(true, Ordering::Release);
    }

    pub(crate) fn is_online(&self) -> bool {
        self.online.load(Ordering::Acquire)
    }

    /// Marks the end; true for the first caller.
    pub(crate) fn leave(&self) -> bool {
        !self.left.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn has_left(&self) -> bool {
        self.left.load(Ordering::Acquire)
    }
}
