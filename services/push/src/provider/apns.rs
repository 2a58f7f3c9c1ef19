//! Apple: HTTP/2, one connection, a token that is made anew every so often, or a certificate.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use im_config::{ApnsConfig, TrustConfig};
use im_core::time::UnixSeconds;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde_json::json;

use super::{Answer, Provider, ProviderError, join, jwt};
use crate::notice::{Notice, aps};
use im_outbound::trust;
use im_outbound::{Http, Reply, Version};

/// Age at which a token is made anew: Apple takes those of at most an hour, and wants no new ones more often
/// than every 20 minutes.
const RENEW_AFTER: u32 = 40 * 60;

/// Largest payload that Apple takes, bytes.
const MAX_PAYLOAD: usize = 4_096;

/// Longest id of what takes the place of what, bytes.
const MAX_COLLAPSE: usize = 64;

/// Longest reason that is told, bytes.
const MAX_REASON: usize = 64;

pub(super) struct Apns {
    http: Http,
    url: String,
    topic: String,
    /// `None` with a certificate.
    tokens: Option<Tokens>,
}

struct Tokens {
    key: EcdsaKeyPair,
    key_id: String,
    team_id: String,
    /// The one in use, and when it was made.
    current: Mutex<Option<(UnixSeconds, Arc<str>)>>,
}

impl Apns {
    pub(super) fn new(
        config: &ApnsConfig,
        trust: &TrustConfig,
        max_answer: usize,
    ) -> Result<Self, ProviderError> {
        let tls = match (&config.certificate_file, &config.certificate_key_file) {
            (Some(certificate), Some(key)) => trust::client_with(trust, certificate, key)?,
            _ => trust::client(trust)?,
        };
        let tokens = config.key_file.as_ref().map(|path| {
            let content = || ProviderError::Content {
                what: "a P-256 key (PKCS #8, PEM)",
                path: path.clone(),
            };
            let text = super::read(path)?;
            let der = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).map_err(|_| content())?;
            let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
            let key = EcdsaKeyPair::from_pkcs8(algorithm, der.secret_pkcs8_der())
                .map_err(|_| content())?;
            Ok::<_, ProviderError>(Tokens {
                key,
                key_id: config.key_id.clone(),
                team_id: config.team_id.clone(),
                current: Mutex::default(),
            })
        });
        Ok(Self {
            http: Http::new(tls, Version::Two, max_answer),
            url: config.url.clone(),
            topic: config.topic.clone(),
            tokens: tokens.transpose()?,
        })
    }

    fn request(&self, notice: &Notice, token: Option<&str>) -> Option<Request<Full<Bytes>>> {
        let payload = aps(notice).to_string();
        let is_hex = notice.token.bytes().all(|byte| byte.is_ascii_hexdigit());
        let collapses = notice.collapse.len() <= MAX_COLLAPSE;
        if payload.len() > MAX_PAYLOAD || notice.token.is_empty() || !is_hex || !collapses {
            return None;
        }
        // Only the badge changes: that can wait until the phone is awake anyway.
        let (kind, priority) = match notice.alert {
            Some(_) => ("alert", "10"),
            None => ("alert", "5"),
        };
        let mut request = Request::post(join(&self.url, &format!("/3/device/{}", notice.token)))
            .header("apns-topic", &self.topic)
            .header("apns-push-type", kind)
            .header("apns-priority", priority)
            .header("apns-expiration", notice.expires)
            .header("apns-collapse-id", &notice.collapse);
        if let Some(token) = token {
            request = request.header("authorization", format!("bearer {token}"));
        }
        request.body(Full::new(Bytes::from(payload))).ok()
    }
}

impl Tokens {
    /// A token that is young enough.
    fn current(&self, now: UnixSeconds) -> Option<Arc<str>> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made, token)) = current.as_ref()
            && now.seconds_since(*made) < RENEW_AFTER
        {
            return Some(Arc::clone(token));
        }
        let head = json!({ "alg": "ES256", "kid": self.key_id });
        let claims = json!({ "iss": self.team_id, "iat": now.get() });
        let token = jwt::token(&head, &claims, |signed| {
            let signature = self.key.sign(&SystemRandom::new(), signed).ok()?;
            Some(signature.as_ref().to_vec())
        })?;
        let token: Arc<str> = token.into();
        *current = Some((now, Arc::clone(&token)));
        Some(token)
    }

    /// Apple does not take it, so the next one is made anew.
    fn refuse(&self, token: &str) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|(_, held)| **held == *token) {
            *current = None;
        }
    }
}

#[derive(Deserialize)]
struct Refusal {
    reason: String,
}

/// What Apple gives as reason, without what else it may say.
fn reason(reply: &Reply) -> String {
    let refusal: Option<Refusal> = serde_json::from_slice(&reply.body).ok();
    let reason = refusal.map(|refusal| refusal.reason).unwrap_or_default();
    let plain = reason.len() <= MAX_REASON && reason.bytes().all(|it| it.is_ascii_alphanumeric());
    if plain { reason } else { String::new() }
}

fn judge(reply: &Reply) -> Answer {
    let reason = reason(reply);
    let told = format!("status {} {reason}", reply.status.as_u16());
    match (reply.status, reason.as_str()) {
        (StatusCode::GONE, _) | (StatusCode::BAD_REQUEST, "BadDeviceToken") => Answer::Gone(told),
        (StatusCode::FORBIDDEN, _) => Answer::Later {
            reason: told,
            after: reply.retry_after.or(Some(Duration::from_secs(1))),
        },
        _ => Answer::of_status(reply, told),
    }
}

#[async_trait]
impl Provider for Apns {
    async fn send(&self, notice: &Notice) -> Answer {
        let token = match &self.tokens {
            None => None,
            Some(tokens) => match tokens.current(UnixSeconds::now()) {
                Some(token) => Some(token),
                None => return Answer::later("no token can be signed"),
            },
        };
        let Some(request) = self.request(notice, token.as_deref()) else {
            return Answer::Rejected("it is nothing that Apple takes".to_owned());
        };
        match self.http.send(request).await {
            Ok(reply) => {
                if reply.status == StatusCode::FORBIDDEN
                    && let (Some(tokens), Some(token)) = (&self.tokens, &token)
                {
                    tokens.refuse(token);
                }
                judge(&reply)
            }
            Err(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, body: &'static str) -> Answer {
        judge(&Reply {
            status: StatusCode::from_u16(status).unwrap(),
            retry_after: None,
            body: Bytes::from_static(body.as_bytes()),
        })
    }

    #[test]
    fn apple_says_what_becomes_of_a_notice_and_of_a_token() {
        assert_eq!(judged(200, ""), Answer::Taken);
        for (status, body) in [
            (410, r#"{"reason":"Unregistered","timestamp":1}"#),
            (400, r#"{"reason":"BadDeviceToken"}"#),
        ] {
            assert!(matches!(judged(status, body), Answer::Gone(_)), "{body}");
        }
        for (status, body) in [
            (429, r#"{"reason":"TooManyRequests"}"#),
            (403, r#"{"reason":"ExpiredProviderToken"}"#),
            (500, r#"{"reason":"InternalServerError"}"#),
            (503, "no JSON"),
        ] {
            assert!(
                matches!(judged(status, body), Answer::Later { .. }),
                "{body}"
            );
        }
        let rejected = judged(400, r#"{"reason":"PayloadEmpty"}"#);
        assert_eq!(
            rejected,
            Answer::Rejected("status 400 PayloadEmpty".to_owned())
        );
        // It is `push.apns.topic` that is wrong, for every device: none of them is forgotten for it.
        let other = judged(400, r#"{"reason":"DeviceTokenNotForTopic"}"#);
        assert!(matches!(other, Answer::Rejected(_)));
        let odd = judged(400, r#"{"reason":"a token: 1234"}"#);
        assert_eq!(odd, Answer::Rejected("status 400 ".to_owned()));
    }
}
