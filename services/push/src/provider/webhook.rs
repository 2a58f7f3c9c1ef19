//! A server of one's own: one signed POST per notice, as Standard Webhooks has it.

use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::hmac;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode};
use http_body_util::Full;
use im_config::{TrustConfig, WebhookConfig};
use im_core::ClientType;
use im_core::time::UnixSeconds;
use serde_json::json;

use super::{Answer, Provider, ProviderError, read};
use crate::notice::{Notice, aps};
use im_outbound::signature::{keys, sign};
use im_outbound::trust;
use im_outbound::{Http, Reply, Version};

pub(super) struct Webhook {
    http: Http,
    url: String,
    keys: Vec<hmac::Key>,
}

impl Webhook {
    pub(super) fn new(
        config: &WebhookConfig,
        trust: &TrustConfig,
        max_answer: usize,
    ) -> Result<Self, ProviderError> {
        let path = config.secret_file.clone().unwrap_or_default();
        let keys = keys(&read(&path)?).ok_or(ProviderError::Content {
            what: "one or two secrets of 16 bytes or more, one a line",
            path,
        })?;
        Ok(Self {
            http: Http::new(trust::client(trust)?, Version::Any, max_answer),
            url: config.url.clone(),
            keys,
        })
    }

    fn request(&self, notice: &Notice, now: UnixSeconds) -> Option<Request<Full<Bytes>>> {
        let body = body(notice);
        let signature = sign(&self.keys, &notice.id, now, &body);
        Request::post(&self.url)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", &notice.id)
            .header("webhook-timestamp", now.get())
            .header("webhook-signature", signature)
            .body(Full::new(Bytes::from(body)))
            .ok()
    }
}

fn body(notice: &Notice) -> String {
    let client = match notice.client() {
        Some(ClientType::Ios) => "ios",
        Some(ClientType::Android) => "android",
        _ => "other",
    };
    let body = json!({
        "type": "message",
        "user_id": notice.user,
        "client_type": client,
        "token": notice.token,
        "badge": notice.badge,
        "alert": notice.alert,
        "silent": notice.alert.is_none(),
        "collapse_id": notice.collapse,
        "position": notice.seq,
        "expires": notice.expires,
        "payload": aps(notice),
    });
    body.to_string()
}

fn judge(reply: &Reply) -> Answer {
    let reason = format!("status {}", reply.status.as_u16());
    match reply.status {
        StatusCode::GONE => Answer::Gone(reason),
        // Whoever moves a server changes the configuration; it may come back.
        status if status.is_redirection() => Answer::later(reason),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => Answer::Later {
            reason,
            after: reply.retry_after.or(Some(Duration::from_secs(10))),
        },
        _ => Answer::of_status(reply, reason),
    }
}

#[async_trait]
impl Provider for Webhook {
    async fn send(&self, notice: &Notice) -> Answer {
        let Some(request) = self.request(notice, UnixSeconds::now()) else {
            return Answer::Rejected("no request can be made of it".to_owned());
        };
        match self.http.send(request).await {
            Ok(reply) => judge(&reply),
            Err(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_says_what_becomes_of_a_notice() {
        let judged = |status: u16, retry_after: Option<u64>| {
            judge(&Reply {
                status: StatusCode::from_u16(status).unwrap(),
                retry_after: retry_after.map(Duration::from_secs),
                body: Bytes::new(),
            })
        };
        assert_eq!(judged(204, None), Answer::Taken);
        assert!(matches!(judged(410, None), Answer::Gone(_)));
        assert!(matches!(judged(400, None), Answer::Rejected(_)));
        for status in [302, 401, 403, 404, 408, 500, 503] {
            assert!(
                matches!(judged(status, None), Answer::Later { .. }),
                "{status}"
            );
        }
        let slower = judged(429, Some(7));
        let seven = Some(Duration::from_secs(7));
        assert!(matches!(slower, Answer::Later { after, .. } if after == seven));
    }
}
