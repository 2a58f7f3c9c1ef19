//! What an operator sees of the load table.

use serde::Serialize;

use crate::table::ServerState;

/// The whole table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableDump {
    /// Msg servers by name.
    pub servers: Vec<ServerDump>,
}

/// One msg server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServerDump {
    /// Stable name.
    pub server: String,
    /// Its process start.
    pub instance: u64,
    /// What can be expected of it.
    #[serde(serialize_with = "state_word")]
    pub state: ServerState,
    /// Address that clients are told.
    pub ip1: String,
    /// Second address that clients are told.
    pub ip2: String,
    /// Port that clients are told.
    pub port: u16,
    /// Logged-in sessions.
    pub sessions: u32,
    /// Open client connections.
    pub connections: u32,
    /// Limit of sessions; 0 = none.
    pub max_sessions: u32,
    /// Limit beyond which it is chosen only in need; 0 = none.
    pub soft_max_sessions: u32,
    /// Hand-outs of this login server that it has not reported as sessions.
    pub pending: u32,
    /// Version of its program.
    pub revision: String,
    /// Number of its last report.
    pub report: u64,
    /// Age of that report, milliseconds.
    pub age_ms: u64,
}

impl ServerState {
    /// Stable word for dumps and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepting => "accepting",
            Self::Full => "full",
            Self::Starting => "starting",
            Self::Draining => "draining",
            Self::Cordoned => "cordoned",
            Self::Stale => "stale",
            Self::Lost => "lost",
        }
    }
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn state_word<S: serde::Serializer>(state: &ServerState, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(state.as_str())
}
