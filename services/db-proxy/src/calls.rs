//! What links of msg servers may ask, as the links see those who answer.

mod answered;

use async_trait::async_trait;
use im_proto_rpc::v1;

pub(crate) use answered::{Answered, Body, Parts};

/// What a query may cost, known before it is begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cost {
    /// Most bytes that its answer takes while it is made, copies included.
    pub(crate) bytes: usize,
    /// It is about long lists, which have room of their own.
    pub(crate) large: bool,
    /// It changes something: once begun it is not given up half-way.
    pub(crate) changes: bool,
}

/// Answers client requests from the store. Implemented by `answers::Answers`.
///
/// Queries of one session run one after the other, others at the same time.
#[async_trait]
pub(crate) trait AnswerQueries: Send + Sync + 'static {
    /// What the answer may cost.
    fn cost(&self, query: &v1::Query) -> Cost;

    /// The answer to one request; never fails, a store that does not answer is
    /// `Outcome::Failed`. May be dropped half-way unless it changes something.
    async fn answer(&self, query: v1::Query) -> Answered;
}

/// Checks logins. Implemented by `accounts::Accounts`.
#[async_trait]
pub(crate) trait CheckLogins: Send + Sync + 'static {
    /// Verifies a name and password. May be dropped half-way.
    async fn login(&self, call: v1::LoginCall) -> v1::LoginDone;

    /// What a login is told that cannot be taken in hand now.
    fn busy(&self) -> v1::LoginDone;
}
