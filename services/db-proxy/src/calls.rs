//! What links of msg servers may ask, as the links see those who answer.

use async_trait::async_trait;
use im_accounts::Accounts;
use im_answers::{Answered, Answers, Cost};
use im_proto_rpc::v1;

/// Answers client requests from the store.
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

/// Checks logins.
#[async_trait]
pub(crate) trait CheckLogins: Send + Sync + 'static {
    /// Verifies a name and password. May be dropped half-way.
    async fn login(&self, call: v1::LoginCall) -> v1::LoginDone;

    /// What a login is told that cannot be taken in hand now.
    fn busy(&self) -> v1::LoginDone;
}

#[async_trait]
impl AnswerQueries for Answers {
    fn cost(&self, query: &v1::Query) -> Cost {
        Self::cost(self, query)
    }

    async fn answer(&self, query: v1::Query) -> Answered {
        Self::answer(self, query).await
    }
}

#[async_trait]
impl CheckLogins for Accounts {
    async fn login(&self, call: v1::LoginCall) -> v1::LoginDone {
        Self::login(self, call).await
    }

    fn busy(&self) -> v1::LoginDone {
        Self::busy(self)
    }
}
