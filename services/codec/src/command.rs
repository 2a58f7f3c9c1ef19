//! The table of all commands, and what a frame from a client means.
//!
//! A variant is named after its message without the `IM`: [`Command::LoginReq`] carries
//! `IMLoginReq`. Every message belongs to exactly one command.

mod table;

pub use table::Command;

use std::fmt;

use crate::header::Header;

/// A command by its name, or its number where it has none, as logs show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandName(pub u16);

impl fmt::Display for CommandName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Command::from_id(self.0) {
            Some(command) => write!(f, "{command:?}"),
            None => write!(f, "{:#06x}", self.0),
        }
    }
}

/// Services, header bytes 8 and 9.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Service {
    /// Dispatch, login, kick, push settings.
    Login = 1,
    /// Conversations, directory, presence.
    BuddyList = 2,
    /// Messages.
    Msg = 3,
    /// Groups.
    Group = 4,
    /// Files.
    File = 5,
    /// Signals from client to client.
    SwitchService = 6,
    /// Heartbeats, and everything between original servers.
    Other = 7,
}

/// Between whom a command travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Client to login server's binary port.
    ClientToLogin,
    /// Login server to client, the answer.
    LoginToClient,
    /// Client to msg server.
    ClientToMsg,
    /// Msg server to client, with the request's sequence number.
    Answer,
    /// Msg server to client, unsolicited, sequence number 0.
    Push,
    /// Client and msg server, both ways.
    ClientAndMsg,
    /// Client and file server.
    ClientAndFile,
    /// Between original servers; never to or from a client.
    Servers,
}

/// What a msg server does with a command that a client sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Handler {
    /// The dispatch of the login server; ignored elsewhere.
    Dispatch,
    /// Checks the account and opens the session.
    Login,
    /// Ends the session.
    Logout,
    /// Remembers or forgets the push token.
    DeviceToken,
    /// Ends the session on the user's PC.
    KickPc,
    /// Sends the frame back.
    Heartbeat,
    /// Answers with the time.
    Time,
    /// Stores and delivers a message.
    Store,
    /// A receiver says that a message arrived.
    Receipt,
    /// Moves the read position and tells the user's other terminals.
    ReadAck,
    /// Asks the db-proxy and passes its answer on.
    Query,
    /// Has the db-proxy change something, passes its answer on, and may tell others.
    Change,
    /// Asks for the presence of users.
    Presence,
    /// Passes a signal on to another user; nothing is stored.
    Signal,
    /// Files, as far as the msg server takes part.
    File,
    /// Spoken with the file server; ignored elsewhere.
    FileServer,
    /// An answer: servers send it, clients do not.
    Answer,
    /// Unsolicited: servers send it, clients do not.
    Push,
    /// Between original servers; a client has no business with it.
    Internal,
}

impl Command {
    /// Whether it has an effect before login.
    #[inline]
    pub const fn allowed_before_login(self) -> bool {
        matches!(
            self.handler(),
            Handler::Dispatch | Handler::Login | Handler::Heartbeat
        )
    }

    /// Whether a client may send it to a msg server. The rest is ignored, and the connection
    /// stays.
    #[inline]
    pub const fn is_client_request(self) -> bool {
        matches!(
            self.direction(),
            Direction::ClientToMsg | Direction::ClientAndMsg
        )
    }

    /// What a frame from a client means.
    pub fn from_client(header: &Header) -> ClientCommand {
        let id = header.command_id;
        match Self::from_id(id) {
            // The iOS client asks with the number of the answer.
            Some(Self::RemoveSessionRsp) => ClientCommand::Request(Self::RemoveSessionReq),
            Some(command) if command.is_client_request() => ClientCommand::Request(command),
            Some(command) => ClientCommand::NotForClients(command),
            None => match Odd::find(header.service_id, id) {
                Some(odd) => ClientCommand::Odd(odd),
                None => ClientCommand::Unknown(id),
            },
        }
    }
}

/// What a frame from a client means to a msg server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCommand {
    /// A request. For `RemoveSessionReq` the frame may have carried 0x0207, the answer's number,
    /// with the request's body; it is answered with 0x0207 either way.
    Request(Command),
    /// A known command that no client may send here: ignore it, keep the connection.
    NotForClients(Command),
    /// A stray of an original client: ignore it, keep the connection.
    Odd(Odd),
    /// Nobody knows it: ignore it, keep the connection.
    Unknown(u16),
}

/// Commands outside the protocol that original clients can emit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Odd {
    /// iOS, service 7, 0x0735: a report about a call.
    IosCallReport,
    /// iOS, service 2, 0x0012: left over from the time before protocol buffers.
    IosLegacy,
    /// Mac, service 2, 0x0014: change of the avatar from the time before protocol buffers.
    MacLegacyAvatar,
    /// Mac, services 0x5a and 0x52, 1 to 19: code that its interface no longer reaches.
    MacLegacy,
}

impl Odd {
    fn find(service_id: u16, command_id: u16) -> Option<Self> {
        match (service_id, command_id) {
            (7, 0x0735) => Some(Self::IosCallReport),
            (2, 0x0012) => Some(Self::IosLegacy),
            (2, 0x0014) => Some(Self::MacLegacyAvatar),
            (0x5a | 0x52, 1..=19) => Some(Self::MacLegacy),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
