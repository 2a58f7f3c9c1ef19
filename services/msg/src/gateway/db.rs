//! The link to db-proxy.

mod link;
mod results;
mod sessions;

pub(crate) use link::run;
