//! What can be chosen about a store on a MySQL-protocol server.

use std::path::PathBuf;
use std::time::Duration;

/// Options of [`MysqlStore::open`](super::MysqlStore::open), and of [`kind`](super::kind).
#[derive(Clone, Debug)]
pub struct MysqlOptions {
    /// File with the password, which is followed. Without it, there is none.
    pub password_file: Option<PathBuf>,
    /// Whether connections are encrypted.
    pub tls: TlsMode,
    /// Certificates that may have signed the server's, beside the usual roots.
    pub ca_file: Option<PathBuf>,
    /// Certificate that is shown to the server, and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// How long a server that cannot be reached, or takes no writes yet, is waited for when the store is opened by its URL.
    pub start_wait: Duration,
    /// Connections that read, opened on demand.
    pub readers: u32,
    /// Connections that make changes beside messages, opened on demand. Messages have one of their own.
    pub changers: u32,
    /// How long a call waits for a free connection, and for one to be made.
    pub acquire_timeout: Duration,
    /// How long a read may take.
    pub read_timeout: Duration,
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

/// Whether connections are encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsMode {
    /// Never.
    Disabled,
    /// If the server offers it, whoever it is.
    #[default]
    Preferred,
    /// Always, whoever the server is.
    Required,
    /// Always, with a certificate that somebody trusted has signed.
    VerifyCa,
    /// The same, for the host by which it is reached.
    VerifyIdentity,
}

impl Default for MysqlOptions {
    fn default() -> Self {
        Self {
            password_file: None,
            tls: TlsMode::default(),
            ca_file: None,
            certificate: None,
            start_wait: Duration::from_secs(30),
            readers: 8,
            changers: 4,
            acquire_timeout: Duration::from_secs(3),
            read_timeout: Duration::from_secs(10),
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
