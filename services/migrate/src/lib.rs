//! Moving what an original TeamTalk installation has stored into a store of ours, and everything between our own stores.
//!
//! [`export`] writes what a store holds as a stream, and [`import_contents`] fills a new store of any kind with it.
//!
//! [`inspect`] says whether what a store holds fits together.
//!
//! [`import`] reads the MySQL database of the original, never changing it, and writes it into any
//! [`OpenStore`]: people, departments, groups, and the log of all messages in the order of their
//! times. It goes on where it ended, whether it was killed or the original has gone on since; [`Report`] names
//! whatever was not as it should be. With [`ImportOptions::verify`] both sides are read again and compared by
//! conversation.
//!
//! *How far it is* is written in the transaction of the messages: of each of the sixteen tables up to which row it
//! was read, which rows behind that are stored already, and which before it are not.
//!
//! *Memory.* Of each of the sixteen tables one page of 2,000 rows and a window of 500, a transaction of at most
//! [`ImportOptions::rows`] messages, [`HELD_BYTES`] of messages that wait for one with a lower id, states of
//! 100,000 conversations; and 16 bytes for each user, each group, and each conversation whose ids are given anew.

mod archive;
mod audio;
mod contents;
mod error;
mod import;
mod integrity;
mod judge;
mod members;
mod messages;
mod oddities;
mod owner;
mod people;
mod progress;
mod redis;
mod report;
mod sequence;
mod source;
mod verify;
mod window;

use std::path::PathBuf;

use im_store_mysql::{MysqlOptions, MysqlServer};

pub use contents::{
    ContentComparison, ContentReport, SectionReport, compare_contents, export, import_contents,
    inspect,
};
pub use error::MigrateError;
pub use import::{dry_run, import, verify};
pub use integrity::{Flaw, Found, Integrity};
pub use oddities::{Oddities, Oddity, OddityKind};
pub use report::{Counts, Difference, Progress, Report, Stage, Verification};
pub use sequence::HELD_BYTES;

#[cfg(doc)]
use im_store::OpenStore;

/// Where the data is, and how it is taken over.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// The database of the original.
    pub source: MysqlServer,
    /// How it is reached.
    pub connection: MysqlOptions,
    /// A copy of `BaseDir` of the original msfs, where audio messages are; without it they keep their length only.
    pub files: Option<PathBuf>,
    /// What relative avatars begin with; without it they stay as they are.
    pub avatar_base: Option<String>,
    /// Keys of the original Redis as lines of key, field and value: unread counts and silenced groups.
    pub redis: Option<PathBuf>,
    /// Messages of one transaction.
    pub rows: usize,
    /// Longest body of a message, bytes; a longer audio message keeps its length only.
    pub max_body: usize,
    /// Whether both sides are compared at the end.
    pub verify: bool,
}

impl ImportOptions {
    /// The usual choices for a database.
    pub fn new(source: MysqlServer, connection: MysqlOptions) -> Self {
        Self {
            source,
            connection,
            files: None,
            avatar_base: None,
            redis: None,
            rows: 5_000,
            max_body: 256 << 10,
            verify: true,
        }
    }
}
