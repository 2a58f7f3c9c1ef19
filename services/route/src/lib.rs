//! The route role: presence directory and message bus between msg servers.
//!
//! [`Directory`] is the pure core: who is online where, and what others must be told. The engine
//! around it is one task that owns every link: msg servers announce sessions and ask, the writer
//! publishes its log, and each message goes to the msg servers that hold its recipients. Nothing is
//! retained: a msg server that misses something sees it by the positions of its batches and reads the
//! log.
//!
//! *Invariants*
//! - What one link gets is in the order in which it was published, and its batches say truly from
//!   where to where they are complete.
//! - A slow msg server loses log items of its own only, never a result, a kick or presence, and costs
//!   nobody else anything.
#![forbid(unsafe_code)]

mod directory;
mod dump;
mod engine;
mod hash;
mod metrics;
mod server;

pub use directory::{Announced, Directory, Limits, Notice, NoticeKind, ServerId, Up};
pub use dump::{RouteDump, ServerDump};
pub use metrics::{LinkEnd, Metrics, Refusal};
pub use server::{Attach, Bound, Deps, Server, ServerError};
