//! What route servers are told.

use std::sync::Arc;

use im_core::UserId;
use im_proto_rpc::v1;

use crate::members::Members;

/// What goes to route servers besides messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Publication {
    /// A push that is not kept.
    Event(v1::Event),
    /// An end of sessions.
    Kick(v1::Kick),
}

/// A committed message; its `recipients` are filled in per shard.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) message: v1::LiveMessage,
    pub(crate) recipients: Recipients,
}

/// Who gets a message.
#[derive(Clone, Debug)]
pub(crate) enum Recipients {
    Pair(UserId, UserId),
    Group(Arc<Members>),
}
