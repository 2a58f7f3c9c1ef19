//! The definition as a whole: generated files, bounds, rules, and manifests that are good or bad.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod generated;
mod manifests;
mod schema;
