//! The lines of the log that requests of clients leave.
//!
//! A request for a block is done when it was answered, or passed on to the other client; answers, heartbeats and
//! what is ignored have no line. A connection that this server ends has one where no request of it is at work.

use std::fmt;

use im_codec::{Command, CommandName};
use im_runtime::requests;

/// What a line is about.
#[derive(Debug)]
pub(super) enum About {
    Request(CommandName),
    /// A connection that the server ends.
    Connection,
}

/// The line of one request.
pub(super) type Line = requests::Line<About>;

impl About {
    /// A request, if that is what the command is to somebody who takes part in a task, or does not yet.
    pub(super) fn request(command: Option<Command>, takes_part: bool) -> Option<Self> {
        let command = command.filter(|command| match command {
            Command::FileLoginReq => true,
            Command::FilePullDataReq | Command::FileState => takes_part,
            _ => false,
        })?;
        Some(Self::Request(CommandName(command.id())))
    }
}

impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(command) => command.fmt(f),
            Self::Connection => f.write_str("connection"),
        }
    }
}
