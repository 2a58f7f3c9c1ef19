//! The write path of db-proxy: the order of the log, read positions, and what route servers are told.
//!
//! db-proxy makes one [`Core`] and hands its [`Context`] to whatever answers requests: `im-answers`,
//! administration, the links of msg servers. Who wants to change something that needs the order of the
//! log asks the [`WriterHandle`]; everything else goes to the store directly. No role but db-proxy uses
//! this crate.
//!
//! Rooms, each using only those above it (`e2e/xtask/src/layering/modules.rs` holds that):
//!
//! * `members`, `publication`, `reject`, `filter` – leaves: words that the others share.
//! * `bells` – who waits for messages without a session.
//! * `metrics`, `space`, `stored` – what is counted, room in the store, how much each user has stored.
//! * `publish` – one stream per route server; takes what the writer committed, in order, together
//!   with pushes that are not kept.
//! * `positions` – read positions, in memory first, flushed within a second.
//! * `writer` – the one task that adds to the log: messages, groups, members; what waits for the filter.
//! * `assembly` – puts these together, once.

mod assembly;
mod bells;
mod filter;
mod members;
mod metrics;
mod positions;
mod publication;
mod publish;
mod reject;
mod space;
mod stored;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod writer;

pub use assembly::{Context, Core, WriterEnd};
pub use bells::{Bell, Bells, Heard};
pub use filter::{Filter, Question, Verdict};
pub use members::{MemberCache, Members};
pub use metrics::Metrics;
pub use positions::Positions;
pub use publication::Publication;
pub use publish::{ListError, Publisher};
pub use reject::RejectReason;
pub use space::Space;
pub use stored::StoredBytes;
pub use writer::{
    ChangeMembers, CreateGroup, GroupRefusal, Incoming, MAX_JOB_SENDS, MembersChanged, Notice,
    SendBatch, SendRules, SendSink, WriterError, WriterHandle,
};
