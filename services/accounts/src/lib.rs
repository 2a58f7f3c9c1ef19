//! Logins of db-proxy: who somebody is, checked against the store, and slowed down for who guesses.
//!
//! db-proxy asks [`Accounts`] for each login that a msg server passes on, and tells it of every change
//! of a person that did not pass through it. Administration sets passwords, lists locks and says why
//! somebody could not log in. No other role uses this crate; it knows neither the log nor the links.
//!
//! Rooms, each using only those above it (`e2e/xtask/src/layering/modules.rs` holds that):
//!
//! * [`names`] – when two login names are one, and when they only look alike.
//! * `profile` – a person as clients are shown them.
//! * `accounts` – the logins themselves.

mod accounts;
pub mod names;
mod profile;

pub use accounts::{
    ACTIVE, AccountMetrics, Accounts, BadHash, HashError, HashPolicy, HashPool, Imported, Reason,
    RefusedLogin, RememberKeyError, RememberKeys, SetPasswordError, digest_of,
};
pub use profile::user_info;
