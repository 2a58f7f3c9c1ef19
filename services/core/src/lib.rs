//! Domain vocabulary of all roles: ids, terminals, conversations, error classes, networks,
//! the places that their connections and logins share, and a bounded memory of what was used lately.
//!
//! Pure data and functions. This crate performs no I/O and knows neither a runtime nor a protocol.

mod accept;
mod backoff;
mod cache;
mod conversation;
mod error;
mod ids;
pub mod labels;
mod net;
pub mod places;
mod retry;
pub mod shares;
mod terminal;
pub mod text;
pub mod time;

pub use accept::AcceptBackoff;
pub use backoff::Backoff;
pub use cache::Cache;
pub use conversation::{Conversation, Peer, SessionType};
pub use error::{Chain, Classify, ErrorKind};
pub use ids::{DepartmentId, Epoch, GroupId, MsgId, UserId};
pub use net::Network;
pub use retry::{FrameSource, RetryKey};
pub use terminal::{ClientType, TerminalClass};
