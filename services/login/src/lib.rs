//! The login role: tells clients which msg server to use.
//!
//! Msg servers dial the control port and report their load over a stream, which is their
//! registration. [`LoadTable`] is the pure core that keeps the reports and chooses; two small
//! listeners hand its choice to clients, by HTTP and by the binary protocol. Nobody logs in here, and nothing is stored: after a restart the table is rebuilt as
//! soon as the msg servers have dialed again.
//!
//! *Invariants*
//! - A msg server is handed out only on its own word that it accepts logins.
//! - Every connection, byte, wait and entry is bounded by configuration.
#![forbid(unsafe_code)]

mod answer;
mod binary;
mod dump;
mod http;
mod listener;
mod metrics;
mod pictures;
mod replicas;
mod reports;
mod server;
mod table;

pub use dump::{ServerDump, TableDump};
pub use metrics::{Metrics, Port, Refusal};
pub use reports::Reports;
pub use server::{Bound, Deps, Server, ServerError};
pub use table::{Address, Choice, LoadTable, Reported, Rules, ServerState, StreamId};
