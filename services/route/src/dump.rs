//! What an operator sees of a running route server.

use serde::Serialize;

/// State of the whole server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RouteDump {
    /// The writer's address; absent without a link.
    pub writer: Option<String>,
    /// Position reached in the log.
    pub position: u64,
    /// Digest of the writer's ring; 0 without a writer.
    pub ring: u64,
    /// Users with a session.
    pub users: usize,
    /// Sessions on PCs.
    pub pc_sessions: usize,
    /// Sessions on phones.
    pub mobile_sessions: usize,
    /// Logins that wait for the writer.
    pub waiting_logins: usize,
    /// Msg servers, lost ones included.
    pub servers: Vec<ServerDump>,
}

/// State of one msg server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServerDump {
    /// Stable name.
    pub name: String,
    /// Its process start.
    pub instance: u64,
    /// Whether it has a link now.
    pub attached: bool,
    /// Whether it has announced all its sessions over that link.
    pub in_step: bool,
    /// Sessions on PCs.
    pub pc_sessions: usize,
    /// Sessions on phones.
    pub mobile_sessions: usize,
    /// Batches queued on the link.
    pub queued_batches: usize,
    /// Items that wait for room on it.
    pub waiting_items: usize,
}
