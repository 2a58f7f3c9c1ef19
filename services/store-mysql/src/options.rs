//! What can be chosen about a store on a MySQL-protocol server.

use std::time::Duration;

/// Options of [`MysqlStore::open`](super::MysqlStore::open).
#[derive(Clone, Debug)]
pub struct MysqlOptions {
    /// Connections that read, opened on demand.
    pub readers: u32,
    /// Connections that make changes beside messages, opened on demand. Messages have one of their own.
    pub changers: u32,
    /// How long a call waits for a free connection, and for one to be made.
    pub acquire_timeout: Duration,
    /// How long a commit waits for its answer before it is in doubt.
    pub commit_timeout: Duration,
    /// How long a change may take before its commit.
    pub change_timeout: Duration,
    /// How long a commit that is in doubt is asked after. Beyond it the caller is told that the database does not answer.
    pub doubt_timeout: Duration,
    /// How long a statement waits for a row that somebody else changes, rounded up to whole seconds.
    pub lock_timeout: Duration,
    /// How long a receipt of a transaction is kept; several times [`Self::doubt_timeout`].
    pub receipts_kept: Duration,
    /// Between two rounds of maintenance.
    pub maintenance_interval: Duration,
    /// Longest text of statements that store messages, bytes; a batch that is longer takes several. At most a quarter of what the server
    /// takes (`max_allowed_packet`).
    pub text_bytes: usize,
    /// Conversations whose numbers are remembered.
    pub known_conversations: usize,
}

impl Default for MysqlOptions {
    fn default() -> Self {
        Self {
            readers: 8,
            changers: 4,
            acquire_timeout: Duration::from_secs(3),
            commit_timeout: Duration::from_secs(10),
            change_timeout: Duration::from_secs(60),
            doubt_timeout: Duration::from_secs(30),
            lock_timeout: Duration::from_secs(5),
            receipts_kept: Duration::from_secs(600),
            maintenance_interval: Duration::from_secs(30),
            text_bytes: 4 << 20,
            known_conversations: 100_000,
        }
    }
}
