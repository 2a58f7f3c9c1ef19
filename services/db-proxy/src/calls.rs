//! What links of msg servers may ask, as the links see those who answer.

use async_trait::async_trait;
use im_proto_rpc::v1;

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
