//! End-to-end tests: real processes of `imd`, real sockets, faults on purpose.
//!
//! Tests are named by what they prove, and name the row (S-nn) of `docs/requirements.md`, the difference
//! (Dn) of `COMPATIBILITY.md` or the frame (Fn) of `docs/protocol.md` that they show. I1 to I3 are those
//! of `e2e/harness/src/checker.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::float_cmp,
    reason = "tests fail by panicking, and their helpers are not marked as tests"
)]

mod administrators;
mod announcements;
mod api;
mod audit;
mod audited;
mod bots;
mod buckets;
mod cordon;
mod directory;
mod disk;
mod dispatch;
mod documents;
mod families;
mod faults;
mod files;
mod filter;
mod followed;
mod gate;
mod golden;
mod groups;
mod history;
mod hostile;
mod incoming;
mod links;
mod load;
mod login_rules;
mod messages;
mod mysql;
mod oddities;
mod orders;
mod originals;
mod pictures;
mod presence;
mod probed;
mod processes;
mod profiles;
mod push;
mod remembered;
mod request_lines;
mod restored;
mod retries;
mod rows;
mod sessions;
mod settings;
mod slow_readers;
mod starting;
mod subscriptions;
mod support;
mod takeovers;
mod terminals;
mod tools;
mod traces;
mod vanished;
