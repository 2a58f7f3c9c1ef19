//! What every process needs around its roles: telemetry, metrics, readiness, the admin port,
//! listeners, files that are followed, signals, limits of the system, and the ready file.
//!
//! Nothing here is global but the log subscriber: a process (or a test) makes a [`Context`] and
//! hands it to the roles that it runs.
#![forbid(unsafe_code)]

pub mod admin;
pub mod follow;
pub mod limits;
pub mod listen;
pub mod process;
pub mod ready_file;
pub mod requests;
pub mod signals;
pub mod telemetry;

mod dumps;
mod metrics;
mod readiness;
mod throttle;

pub use dumps::Dumps;
pub use metrics::{Metrics, init_series};
pub use readiness::Readiness;
pub use throttle::Throttle;

/// What a role gets from its process. Clones share everything; `default()` serves a test.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// Where a role registers its metrics.
    pub metrics: Metrics,
    /// Where a role says what it still waits for.
    pub readiness: Readiness,
    /// Where a role registers what a dump shows.
    pub dumps: Dumps,
}
