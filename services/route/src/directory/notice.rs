//! What goes into the directory and what comes out.

use super::ServerId;

/// How a session is made known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announced {
    /// Someone has just logged in.
    Login,
    /// It existed before, this directory may not have known.
    Again,
}

/// What became of an announced session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Up {
    /// It is in the directory.
    Registered,
    /// A later login of the user holds its place; its msg server is told to end it.
    Outdone,
    /// Not valid, or the directory is full.
    Refused,
}

/// What a msg server must be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Whom.
    pub server: ServerId,
    /// The user concerned.
    pub user: u32,
    /// What.
    pub kind: NoticeKind,
}

/// Kinds of notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    /// End this session with this reason.
    Kick {
        /// The session.
        epoch: u64,
        /// `IM.BaseDefine.KickReasonType`.
        reason: u32,
    },
    /// A PC of the user came or went: tell his phone.
    PcStatus {
        /// Whether a PC is online.
        online: bool,
    },
}
