//! db-proxy: every durable fact, the order of the log, and its publishing.
//!
//! What it does is in crates of its own: `im-writer` is the write path, `im-accounts` checks logins,
//! `im-answers` answers clients. Here is what joins them and meets the outside: the links of msg
//! servers, administration, the ports.
//!
//! Rooms of this crate, each using only those above it (`e2e/xtask/src/layering/modules.rs` holds that):
//!
//! * `calls` – what the links may ask, as traits that `im-answers` and `im-accounts` meet.
//! * `metrics`, `results` – what links count, and the queue of a link's results.
//! * `log` – pages of the log, for those who have missed something and for followers.
//! * `comings` – sessions that came and went, for subscriptions.
//! * `delivery` – deliveries to subscriptions as they travel.
//! * `test_push` – test notices between who asks for them and who makes them.
//! * `sends` – messages that are stored for somebody who has no link.
//! * `announce` – sends announcements.
//! * `admin` – administration.
//! * `attach` – the links of msg servers: decodes calls, hands them to the others, gathers results.
//! * `follow` – followers of the log: who holds which name, how far each has come, what push asks, what
//!   subscriptions were told.
//! * `filter` – the before-send filter: who is asked before messages are stored, and what is said.
//! * `retention` – takes the bodies of old messages away.
//! * `dump` – what operators are shown.
//! * `server` – binds and runs it all.

mod admin;
mod announce;
mod attach;
mod calls;
mod comings;
mod delivery;
mod dump;
mod filter;
mod follow;
mod log;
mod metrics;
mod results;
mod retention;
mod sends;
mod server;
mod test_push;

pub use filter::FilterError;
pub use im_accounts::{RememberKeyError, RememberKeys};
pub use server::{Bound, Deps, Server, ServerError};
