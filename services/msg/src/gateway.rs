//! Gateway: what a client's frame does, and what reaches a client.
//!
//! - [`handle`]: requests of clients. [`service`] joins them to the connection layer.
//! - [`calls`], [`db`]: calls to db-proxy, and the link that carries them.
//! - [`routes`], [`statuses`]: route servers as requests see them, and open presence questions.
//! - [`files`], [`file_link`]: file servers as requests see them, and their links.
//! - [`delivery`]: the task that delivers. Others reach it through its typed [`inbox`].
//! - [`load`], [`public`], [`endpoint`], [`drain`]: what login servers are told.
//! - [`shed`], [`ask`]: orders to let sessions go, and the words of a file that asks for it.
//! - [`Gateway`]: the owners of all state, each behind its own lock.

pub(crate) mod ask;
pub(crate) mod calls;
pub(crate) mod db;
pub(crate) mod delivery;
pub(crate) mod drain;
pub(crate) mod endpoint;
pub(crate) mod file_link;
mod files;
mod handle;
pub(crate) mod inbox;
pub(crate) mod load;
pub(crate) mod public;
pub(crate) mod routes;
mod service;
pub(crate) mod shed;
mod state;
mod statuses;

pub(crate) use state::Gateway;
