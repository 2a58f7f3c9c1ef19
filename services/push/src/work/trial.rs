//! Test notices: made at once, whoever is online and whatever the provider did before, each once.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use im_core::time::UnixSeconds;
use im_follower::{Calls, Ended};
use im_proto_rpc::v1::{PushFactsOf, PushOutcome, PushTarget, PushTest, PushVerdict};
use tracing::{debug, info};

use super::Push;
use crate::notice::{self, Notice};
use crate::provider::{Answer, Lane, Said};

/// Test notices that are under way; the others wait at db-proxy.
const MOST: usize = 8;

/// How long a question for the next one waits.
const WAIT: Duration = Duration::from_secs(10);

/// Wait before the next question after one that was refused: by a db-proxy that knows no tests, or has too many
/// calls.
const AFTER_REFUSAL: Duration = Duration::from_secs(10);

/// What the notice shows.
const TEXT: &str = "This is a test notice.";

/// What takes its place on the device: the next test.
const COLLAPSE: &str = "test";

/// What a person who is written to themselves would be told: every app can open that.
const MSG_TYPE: u32 = 1;

impl Push {
    /// Makes test notices as they are asked for, until the link ends.
    pub(super) async fn make_tests(&self, calls: &Calls) {
        let mut making = FuturesUnordered::new();
        // Stays while others end: what db-proxy has handed out is not lost.
        let mut asking = Box::pin(next(calls));
        loop {
            tokio::select! {
                asked = &mut asking, if making.len() < MOST => {
                    match asked {
                        Ok(Some(test)) => making.push(self.make_test(calls, test)),
                        Ok(None) => {}
                        Err(_) => return,
                    }
                    asking = Box::pin(next(calls));
                }
                Some(()) = making.next(), if !making.is_empty() => {}
            }
        }
    }

    async fn make_test(&self, calls: &Calls, test: PushTest) {
        let target = test.target.unwrap_or_default();
        let verdict = match self.lane_of(target.client_type) {
            None => PushVerdict::default(),
            Some(lane) => {
                let Ok(notice) = self.test_notice(calls, &target).await else {
                    return;
                };
                let said = self.hand_over(lane, &notice).await;
                info!(provider = ?lane, user = target.user, answer = ?said.answer, "a test notice");
                verdict(lane, said)
            }
        };
        // Whoever follows next knows nothing of it, and whoever asked is told that there is no answer.
        drop(calls.tested(test.id, verdict).await);
    }

    async fn test_notice(&self, calls: &Calls, target: &PushTarget) -> Result<Notice, Ended> {
        let facts = calls.facts(PushFactsOf {
            unread: vec![target.user],
            ..PushFactsOf::default()
        });
        let unread = facts.await?.unread;
        let expires = UnixSeconds::now().saturating_add(self.config.expire_after.as_seconds_u32());
        Ok(Notice {
            user: target.user,
            client_type: target.client_type,
            token: target.token.clone(),
            session: target.session,
            alert: Some(TEXT.to_owned()),
            badge: unread.first().map_or(0, |unread| unread.count),
            custom: notice::custom(target.user, None, MSG_TYPE),
            collapse: COLLAPSE.to_owned(),
            id: notice::id(rand::random(), &target.token),
            seq: 0,
            expires: expires.get().into(),
        })
    }
}

/// The next test notice, if one is asked for within a while.
async fn next(calls: &Calls) -> Result<Option<PushTest>, Ended> {
    match calls.test(WAIT).await {
        Err(Ended::Refused(reason)) => {
            debug!(reason, "no test notices are asked for");
            tokio::time::sleep(AFTER_REFUSAL).await;
            Ok(None)
        }
        asked => asked,
    }
}

fn verdict(lane: Lane, said: Said) -> PushVerdict {
    let Said { answer, status } = said;
    let (outcome, told) = match answer {
        Answer::Taken => (PushOutcome::Taken, String::new()),
        Answer::Gone(reason) => (PushOutcome::DeviceGone, reason),
        Answer::Rejected(reason) => (PushOutcome::Rejected, reason),
        Answer::Later { reason, .. } => (PushOutcome::NotNow, reason),
    };
    let status = status.map_or(0, |status| status.as_u16());
    let spelled = format!("status {status}");
    let reason = told.strip_prefix(&spelled).unwrap_or(&told);
    PushVerdict {
        provider: im_core::labels::snake_case(&format!("{lane:?}")),
        outcome: outcome.into(),
        status: status.into(),
        reason: reason.trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn a_verdict_says_what_the_provider_said() {
        let of = |answer: Answer, status: Option<u16>| {
            let status = status.map(|status| StatusCode::from_u16(status).unwrap());
            let verdict = verdict(Lane::Apns, Said { answer, status });
            assert_eq!(verdict.provider, "apns");
            (verdict.outcome(), verdict.status, verdict.reason)
        };
        let gone = Answer::Gone("status 410 Unregistered".to_owned());
        assert_eq!(
            of(Answer::Taken, Some(200)),
            (PushOutcome::Taken, 200, String::new())
        );
        let expected = (PushOutcome::DeviceGone, 410, "Unregistered".to_owned());
        assert_eq!(of(gone, Some(410)), expected);
        let bare = Answer::Rejected("status 400".to_owned());
        assert_eq!(
            of(bare, Some(400)),
            (PushOutcome::Rejected, 400, String::new())
        );
        let silent = (PushOutcome::NotNow, 0, "no answer in time".to_owned());
        assert_eq!(of(Answer::later("no answer in time"), None), silent);
    }
}
