//! db-proxy: every durable fact, the order of the log, and its publishing.
//!
//! Rooms of this crate:
//!
//! * `writer` – the one task that adds to the log: messages, groups, members. Whatever needs the
//!   order of the log passes it. Callers hold a `WriterHandle`.
//! * `publish` – one stream per route server; takes what the writer committed, in order, together
//!   with pushes that are not kept.
//! * `positions` – read positions, in memory first, flushed within a second.
//! * `attach` – the links of msg servers: decodes calls, hands them to the others, gathers results.
//! * `answers`, `accounts`, `admin` – client queries, logins, administration.
//! * `server` – binds and runs it all.
//!
//! `attach` knows `answers` and `accounts` by the traits `AnswerQueries` and `CheckLogins`; both
//! get a `Context`.

mod accounts;
mod admin;
mod answers;
mod attach;
mod metrics;
mod positions;
mod publish;
mod server;
mod writer;

use std::sync::Arc;

use async_trait::async_trait;
use im_config::DbProxyConfig;
use im_proto_rpc::v1;
use im_store::Store;

pub use accounts::{RememberKeyError, RememberKeys};
pub use server::{Bound, Deps, Server, ServerError};

pub(crate) use positions::Positions;
pub(crate) use publish::Publication;
pub(crate) use writer::{
    ChangeMembers, CreateGroup, GroupRefusal, MembersChanged, WriterError, WriterHandle,
};

/// What the parts that answer requests work with.
#[derive(Clone)]
pub(crate) struct Context {
    /// Every durable fact. Messages, groups and members are *changed* through `writer` only, read
    /// positions through `positions` only.
    pub(crate) store: Arc<dyn Store>,
    /// Changes that need the order of the log, and pushes in order with it.
    pub(crate) writer: WriterHandle,
    /// Read positions.
    pub(crate) positions: Positions,
    /// Configuration of the role.
    pub(crate) config: Arc<DbProxyConfig>,
}

/// Answers client requests from the store. Implemented by `answers::Answers`.
///
/// Queries of one session run one after the other, others at the same time.
#[async_trait]
pub(crate) trait AnswerQueries: Send + Sync + 'static {
    /// The answer to one request; never fails, a store that does not answer is
    /// `Outcome::Failed`.
    async fn answer(&self, query: v1::Query) -> v1::Answer;
}

/// Checks logins. Implemented by `accounts::Accounts`.
#[async_trait]
pub(crate) trait CheckLogins: Send + Sync + 'static {
    /// Verifies a name and password.
    async fn login(&self, call: v1::LoginCall) -> v1::LoginDone;
}
