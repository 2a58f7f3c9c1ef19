//! The link to db-proxy.

mod link;
mod results;

pub(crate) use link::run;
