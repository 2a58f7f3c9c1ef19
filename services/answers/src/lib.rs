//! Answers of db-proxy to what clients ask of the store: people, groups, history, read positions.
//!
//! The links of msg servers ask [`Answers`], first what an answer may cost and then for it; all the
//! rules of the protocol about answers are here. What changes groups goes through `im-writer`; what
//! changes a person is told to `im-accounts`. No role but db-proxy uses this crate.
//!
//! Rooms, each using only those above it (`e2e/xtask/src/layering/modules.rs` holds that):
//!
//! * `answered` – what a query may cost, and an answer on its way.
//! * `hourly`, `striped_locks` – bounds on what one person does.
//! * `answers` – the answers themselves, one file per subject.

mod answered;
mod answers;
mod hourly;
mod striped_locks;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use answered::{Answered, Body, Cost, Parts};
pub use answers::{AnswerMetrics, Answers, affected, change_notify};
