//! One signed request to a receiver, and what its answer means.

use std::time::Duration;

use aws_lc_rs::hmac;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::Full;
use im_core::Chain;
use im_core::time::UnixSeconds;

use im_outbound::signature::sign;
use im_outbound::{Http, Reply};

/// Longest text that is kept of what a receiver said, bytes.
const MAX_TEXT: usize = 512;

/// What sends to one receiver.
pub(super) struct Receiver {
    pub(super) http: Http,
    pub(super) url: Uri,
    pub(super) timeout: Duration,
}

/// What a receiver said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// HTTP status; `None` where there is no answer.
    pub(super) status: Option<StatusCode>,
    /// Its words, or why there are none.
    pub(super) text: String,
    /// How long it wants to be left alone.
    pub(super) retry_after: Option<Duration>,
}

impl Said {
    /// Whether it has taken the events: any 2xx says so.
    pub(super) fn is_taken(&self) -> bool {
        self.status.is_some_and(|status| status.is_success())
    }

    fn silence(why: &str) -> Self {
        Self {
            status: None,
            text: cut(why),
            retry_after: None,
        }
    }
}

impl From<Reply> for Said {
    fn from(reply: Reply) -> Self {
        Self {
            status: Some(reply.status),
            text: cut(&String::from_utf8_lossy(&reply.body)),
            retry_after: reply.retry_after,
        }
    }
}

impl Receiver {
    /// Sends once, signed at this moment by each of the keys.
    pub(super) async fn send(&self, keys: &[hmac::Key], id: &str, body: String) -> Said {
        let now = UnixSeconds::now();
        let request = Request::post(&self.url)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, "imcluster")
            .header("webhook-id", id)
            .header("webhook-timestamp", now.get())
            .header("webhook-signature", sign(keys, id, now, &body))
            .body(Full::new(Bytes::from(body)));
        let Ok(request) = request else {
            return Said::silence("no request can be made of its URL");
        };
        let sent = tokio::time::timeout(self.timeout, self.http.send_for_status(request)).await;
        match sent {
            Ok(Ok(reply)) => reply.into(),
            Ok(Err(error)) => Said::silence(&Chain(&error).to_string()),
            Err(_) => Said::silence("no answer in time"),
        }
    }
}

fn cut(text: &str) -> String {
    let end = text.floor_char_boundary(MAX_TEXT);
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_2xx_takes_the_events() {
        let said = |status: u16| {
            Said::from(Reply {
                status: StatusCode::from_u16(status).unwrap(),
                retry_after: None,
                body: Bytes::from_static(b"words"),
            })
        };
        for taken in [200, 202, 204] {
            assert!(said(taken).is_taken(), "{taken}");
        }
        for refused in [301, 400, 404, 410, 429, 500, 503] {
            assert!(!said(refused).is_taken(), "{refused}");
        }
        assert!(!Said::silence("no answer").is_taken());
        assert_eq!(said(500).text, "words");
    }

    #[test]
    fn what_is_kept_of_an_answer_is_cut_between_characters() {
        assert_eq!(cut(&"x".repeat(MAX_TEXT)).len(), MAX_TEXT);
        assert_eq!(cut(&"x".repeat(MAX_TEXT + 1)).len(), MAX_TEXT);
        let wide = cut(&"安".repeat(MAX_TEXT));
        assert!(wide.len() <= MAX_TEXT && wide.len() > MAX_TEXT - 3);
    }
}
