//! The lines of the log that requests of clients leave, as all servers of clients have them ([`requests`]).
//! Heartbeats and receipts ask for nothing and have none.
//!
//! [`requests`]: im_runtime::requests

use im_codec::CommandName;

pub(crate) use im_runtime::requests::Refused;

/// The line of one request.
pub(crate) type Line = im_runtime::requests::Line<CommandName>;
