//! The operator: watches ImClusters and keeps their objects as they should be.
#![forbid(unsafe_code)]
#![allow(dead_code)]

mod apply;
mod backoff;
mod cache;
mod cli;
mod client;
mod definition;
mod diff;
mod kinds;
mod lease;
mod load;
mod metrics;
mod msg;
mod nodes;
mod notices;
mod ownership;
mod prune;
mod secret;
#[cfg(test)]
mod testing;
mod triggers;
mod watch;

/// An error and its causes in one line.
pub(crate) fn line(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}

fn main() {}
