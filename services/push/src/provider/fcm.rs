//! Google: Firebase Cloud Messaging by its HTTP API, version 1, as a service account.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Request, StatusCode};
use http_body_util::Full;
use im_config::{FcmConfig, TrustConfig};
use im_core::time::UnixSeconds;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::{Answer, Provider, ProviderError, join, jwt};
use crate::notice::{Notice, SOUND};
use im_outbound::trust;
use im_outbound::{Http, HttpError, Reply, Version};

/// What a token is asked for.
const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// For how long a token is asked for, seconds, and how long before its end it is asked for anew.
const LIFETIME: u32 = 3_600;
const BEFORE_END: u32 = 300;

pub(super) struct Fcm {
    http: Http,
    url: String,
    account: Account,
    key: KeyPair,
    /// The token in use, and when it ends. Whoever finds none asks for one; the others wait for that.
    token: Mutex<Option<(UnixSeconds, Arc<str>)>>,
}

/// What of a service account's file is of use.
#[derive(Deserialize)]
struct Account {
    project_id: String,
    client_email: String,
    private_key: String,
    private_key_id: String,
    token_uri: String,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: u32,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
enum NoToken {
    #[error("sign a request for a token")]
    Sign,
    #[error("ask for a token")]
    Http(#[from] HttpError),
    #[error("be granted a token: status {0}")]
    Refused(u16),
}

impl Fcm {
    pub(super) fn new(
        config: &FcmConfig,
        path: &Path,
        trust: &TrustConfig,
        max_answer: usize,
    ) -> Result<Self, ProviderError> {
        let content = || ProviderError::Content {
            what: "the key of a service account (JSON)",
            path: path.to_owned(),
        };
        let account: Account = serde_json::from_str(&super::read(path)?).map_err(|_| content())?;
        let der = PrivatePkcs8KeyDer::from_pem_slice(account.private_key.as_bytes())
            .map_err(|_| content())?;
        let key = KeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|_| content())?;
        Ok(Self {
            http: Http::new(trust::client(trust)?, Version::Any, max_answer),
            url: join(
                &config.url,
                &format!("/v1/projects/{}/messages:send", account.project_id),
            ),
            account,
            key,
            token: Mutex::default(),
        })
    }

    async fn token(&self) -> Result<Arc<str>, NoToken> {
        let mut held = self.token.lock().await;
        let now = UnixSeconds::now();
        if let Some((end, token)) = held.as_ref()
            && now < *end
        {
            return Ok(Arc::clone(token));
        }
        let granted = self.ask(now).await?;
        let token: Arc<str> = granted.access_token.into();
        let end = now.saturating_add(granted.expires_in.saturating_sub(BEFORE_END));
        *held = Some((end, Arc::clone(&token)));
        Ok(token)
    }

    async fn ask(&self, now: UnixSeconds) -> Result<Granted, NoToken> {
        let Account {
            client_email,
            private_key_id,
            token_uri,
            ..
        } = &self.account;
        let head = json!({ "alg": "RS256", "typ": "JWT", "kid": private_key_id });
        let claims = json!({
            "iss": client_email,
            "scope": SCOPE,
            "aud": token_uri,
            "iat": now.get(),
            "exp": now.saturating_add(LIFETIME).get(),
        });
        let assertion = jwt::token(&head, &claims, |signed| {
            let mut signature = vec![0; self.key.public_modulus_len()];
            let random = SystemRandom::new();
            self.key
                .sign(&RSA_PKCS1_SHA256, &random, signed, &mut signature)
                .ok()?;
            Some(signature)
        });
        let assertion = assertion.ok_or(NoToken::Sign)?;
        // Neither has a character that a form would have to write otherwise, but the colons.
        let form = format!(
            "grant_type={}&assertion={assertion}",
            GRANT.replace(':', "%3A")
        );
        let request = Request::post(token_uri)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::new(Bytes::from(form)))
            .map_err(|_| NoToken::Sign)?;
        let reply = self.http.send(request).await?;
        let granted = reply.status.is_success().then_some(&reply.body);
        let granted = granted.and_then(|body| serde_json::from_slice(body).ok());
        granted.ok_or(NoToken::Refused(reply.status.as_u16()))
    }

    fn request(
        &self,
        notice: &Notice,
        token: &str,
        now: UnixSeconds,
    ) -> Option<Request<Full<Bytes>>> {
        Request::post(&self.url)
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(message(notice, now).to_string())))
            .ok()
    }
}

/// The message of one notice: shown by the system where there is something to show, data for the app
/// otherwise.
fn message(notice: &Notice, now: UnixSeconds) -> Value {
    let left = notice.expires.saturating_sub(now.get().into());
    let mut android = json!({
        "collapse_key": notice.collapse,
        "priority": if notice.alert.is_some() { "HIGH" } else { "NORMAL" },
        "ttl": format!("{left}s"),
    });
    let mut message = json!({
        "token": notice.token,
        "data": { "custom": notice.custom, "badge": notice.badge.to_string() },
    });
    let put = |object: &mut Value, key: &str, value: Value| {
        if let Value::Object(fields) = object {
            fields.insert(key.to_owned(), value);
        }
    };
    if let Some(alert) = &notice.alert {
        put(&mut message, "notification", json!({ "body": alert }));
        let shown = json!({
            "tag": notice.collapse,
            "sound": SOUND,
            "notification_count": notice.badge,
        });
        put(&mut android, "notification", shown);
    }
    put(&mut message, "android", android);
    json!({ "message": message })
}

/// The code of an error as Google gives it.
fn code(reply: &Reply) -> String {
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let details = body.pointer("/error/details").and_then(Value::as_array);
    let of_fcm = details
        .into_iter()
        .flatten()
        .find_map(|detail| detail.get("errorCode")?.as_str());
    let code = of_fcm
        .or_else(|| body.pointer("/error/status")?.as_str())
        .unwrap_or_default();
    let plain = code.len() <= 64 && code.bytes().all(|it| it.is_ascii_uppercase() || it == b'_');
    if plain {
        code.to_owned()
    } else {
        String::new()
    }
}

fn judge(reply: &Reply) -> Answer {
    let code = code(reply);
    let told = format!("status {} {code}", reply.status.as_u16());
    match (reply.status, code.as_str()) {
        (StatusCode::NOT_FOUND, "UNREGISTERED") | (StatusCode::FORBIDDEN, "SENDER_ID_MISMATCH") => {
            Answer::Gone(told)
        }
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => Answer::Later {
            reason: told,
            after: reply.retry_after,
        },
        _ => Answer::of_status(reply, told),
    }
}

#[async_trait]
impl Provider for Fcm {
    async fn send(&self, notice: &Notice) -> Answer {
        let token = match self.token().await {
            Ok(token) => token,
            Err(error) => return Answer::later(im_core::Chain(&error).to_string()),
        };
        let Some(request) = self.request(notice, &token, UnixSeconds::now()) else {
            return Answer::Rejected("no request can be made of it".to_owned());
        };
        match self.http.send(request).await {
            Ok(reply) => {
                if reply.status == StatusCode::UNAUTHORIZED {
                    let mut held = self.token.lock().await;
                    if held.as_ref().is_some_and(|(_, of)| *of == token) {
                        *held = None;
                    }
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
    fn google_says_what_becomes_of_a_notice_and_of_a_token() {
        assert_eq!(judged(200, "{}"), Answer::Taken);
        let unregistered = r#"{"error":{"code":404,"status":"NOT_FOUND","details":[
            {"@type":"x"},{"errorCode":"UNREGISTERED"}]}}"#;
        let gone = Answer::Gone("status 404 UNREGISTERED".to_owned());
        assert_eq!(judged(404, unregistered), gone);
        let invalid = r#"{"error":{"status":"INVALID_ARGUMENT"}}"#;
        let rejected = Answer::Rejected("status 400 INVALID_ARGUMENT".to_owned());
        assert_eq!(judged(400, invalid), rejected);
        for status in [401, 403, 429, 500, 503] {
            assert!(
                matches!(judged(status, ""), Answer::Later { .. }),
                "{status}"
            );
        }
    }

    #[test]
    fn a_notice_without_a_word_is_data_for_the_app() {
        let mut notice = Notice {
            user: 1,
            client_type: 0x12,
            token: "t".to_owned(),
            session: 1,
            alert: Some("N:x".to_owned()),
            badge: 3,
            custom: "{}".to_owned(),
            collapse: "g1".to_owned(),
            id: "n".to_owned(),
            seq: 1,
            expires: 160,
        };
        let now = UnixSeconds::from_wire(100);
        let shown = message(&notice, now);
        assert_eq!(shown["message"]["notification"]["body"], "N:x");
        assert_eq!(shown["message"]["android"]["ttl"], "60s");
        assert_eq!(shown["message"]["android"]["priority"], "HIGH");
        assert_eq!(shown["message"]["data"]["badge"], "3");
        notice.alert = None;
        let silent = message(&notice, now);
        assert!(silent["message"].get("notification").is_none());
        assert_eq!(silent["message"]["android"]["priority"], "NORMAL");
    }
}
