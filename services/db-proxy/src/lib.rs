//! db-proxy: every durable fact, the order of the log, and its publishing.
//!
//! Rooms of this crate, each using only those above it (`e2e/xtask/src/layering/modules.rs` holds that):
//!
//! * `support`, `names`, `members`, `publication`, `profile`, `calls` – leaves: small tools and words
//!   that the others share.
//! * `metrics`, `results`, `space`, `stored` – what is counted, the queue of a link's results, room in
//!   the store, how much each user has stored.
//! * `publish` – one stream per route server; takes what the writer committed, in order, together
//!   with pushes that are not kept.
//! * `positions` – read positions, in memory first, flushed within a second.
//! * `writer` – the one task that adds to the log: messages, groups, members. Whatever needs the
//!   order of the log passes it. Callers hold a `WriterHandle`.
//! * `assembly` – puts these together, once; the others get its `Context`.
//! * `accounts`, `answers`, `admin` – logins, client queries, administration.
//! * `attach` – the links of msg servers: decodes calls, hands them to the others, gathers results.
//!   It knows `answers` and `accounts` by the traits of `calls`.
//! * `server` – binds and runs it all.

mod accounts;
mod admin;
mod answers;
mod assembly;
mod attach;
mod calls;
mod dump;
mod members;
mod metrics;
mod names;
mod positions;
mod profile;
mod publication;
mod publish;
mod results;
mod server;
mod space;
mod stored;
mod support;
mod writer;

pub use accounts::{RememberKeyError, RememberKeys};
pub use server::{Bound, Deps, Server, ServerError};
