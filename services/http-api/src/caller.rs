//! Who asks: from the token of a request to a caller that handlers can trust.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::Method;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use im_core::Network;
use im_http::Left;
use tokio::time::{Instant, timeout};

use crate::db_proxy::{self, Asker};
use crate::metrics::Limited;
use crate::origin::Origin;
use crate::problem::{Kind, Problem};
use crate::refusals::Note;
use crate::service::Api;
use crate::slots::{NoSlot, Slot, Slots};
use crate::token::{Grant, Shown};
use crate::{v1, verb};

/// Header that makes a change count once.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// What senders of webhooks name each of theirs by, the same however often it is sent.
const WEBHOOK_ID: &str = "webhook-id";

/// Time for db-proxy to say whether a token is still good.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// Longest key, bytes.
const MAX_KEY: usize = 128;

/// Who has a place among the requests that are worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Token(u32),
    /// Of a bot that waits.
    Bot(u32),
    /// Of an original call and of an incoming hook, which have no token.
    Address(Network),
}

/// Whoever asks, with a token that is good here and now.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) asker: Asker,
    pub(crate) grant: Arc<Grant>,
    /// Key under which a change counts once.
    key: Option<Arc<str>>,
    /// Whether nothing is to be changed.
    is_read: bool,
}

impl Caller {
    /// A call of db-proxy for this request.
    pub(crate) fn call<T>(&self, message: T) -> tonic::Request<T> {
        self.asker.call(message, self.key.as_deref())
    }

    /// Another call for the same request: one that only asks, or one that may be repeated as it is.
    pub(crate) fn plain_call<T>(&self, message: T) -> tonic::Request<T> {
        self.asker.call(message, None)
    }

    /// Names what is asked for, at a server that keeps no keys by whom they are: the same under the same
    /// idempotency key, and new without one.
    pub(crate) fn order(&self) -> String {
        let key = self.key.as_deref().unwrap_or(&self.asker.request_id);
        let mut hash = blake3::Hasher::new();
        hash.update(self.asker.credential.as_bytes());
        hash.update(&[0]);
        hash.update(key.as_bytes());
        hash.finalize().to_hex().to_string()
    }

    /// Whether the token is still good, for an answer that goes on. While db-proxy does not answer, it is taken
    /// for what it was.
    pub(crate) async fn is_still_good(&self, api: &Api) -> bool {
        let id = self.grant.token.id;
        let looked = api.tokens.look_up(&api.admin, &self.asker, id);
        match timeout(LOOK_TIMEOUT, looked).await {
            Ok(Ok(grant)) => grant.end(seconds()).is_none(),
            Ok(Err(problem)) if problem.kind == Kind::TokenInvalid => false,
            _ => self.grant.end(seconds()).is_none(),
        }
    }

    /// Why db-proxy refused it.
    pub(crate) fn refused(&self, status: &tonic::Status) -> Problem {
        db_proxy::problem(status, self.is_read)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Self>().cloned();
        // A route that asks for a caller and stands outside of the check.
        caller.ok_or_else(|| Problem::new(Kind::Internal, ""))
    }
}

/// Lets a request through that shows a token which allows it.
pub(crate) async fn admit(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    let Some(origin) = request.extensions().get::<Origin>().cloned() else {
        return Problem::new(Kind::Internal, "").into_response();
    };
    let path = request.extensions().get::<MatchedPath>();
    let path = path.map_or_else(String::new, |path| verb::spelled(path.as_str()));
    let limit = match path.as_str() {
        v1::IMPORT => api.config.import_timeout.duration(),
        _ => api.config.request_timeout.duration(),
    };
    let waits = match path.as_str() {
        v1::UPDATES => Duration::from_secs(v1::MAX_WAIT.into()),
        _ => Duration::ZERO,
    };
    let deadline = Instant::now() + limit + waits;
    let action = format!("{} {path}", request.method());
    let target = verb::spelled(request.uri().path());
    let checked = timeout(
        limit,
        check(&api, &origin, request.method(), request.headers(), &path),
    )
    .await;
    let admitted = match checked {
        Ok(Ok(admitted)) => admitted,
        Ok(Err(Refused { problem, known })) => {
            tell(&api, &origin, &problem, known, action, target);
            return problem.into_response();
        }
        Err(_) => {
            api.metrics.limit(Limited::Time);
            return Problem::new(Kind::Timeout, "").into_response();
        }
    };
    let Admitted { caller, left, slot } = admitted;
    let is_read = caller.is_read;
    let mut request = request;
    request.extensions_mut().insert(caller);
    let rest = deadline.saturating_duration_since(Instant::now());
    let answered = timeout(rest, next.run(request)).await;
    drop(slot);
    let mut answer = answered.unwrap_or_else(|_| {
        api.metrics.limit(Limited::Time);
        let detail = if is_read { "" } else { db_proxy::UNKNOWN };
        Problem::new(Kind::Timeout, detail).into_response()
    });
    show_rate(answer.headers_mut(), api.config.token_rate.burst, left);
    answer
}

struct Admitted {
    caller: Caller,
    left: Left,
    slot: Slot<Key>,
}

/// A refusal, and whose token it was, if it was somebody's.
struct Refused {
    problem: Problem,
    known: Option<Box<Asker>>,
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self {
            problem,
            known: None,
        }
    }
}

async fn check(
    api: &Api,
    origin: &Origin,
    method: &Method,
    headers: &HeaderMap,
    path: &str,
) -> Result<Admitted, Refused> {
    let token = bearer(headers)
        .ok_or_else(|| Problem::new(Kind::TokenMissing, "Authorization: Bearer imt_…"))?;
    if !origin.secret {
        // It may have been read on its way.
        let detail = "it is to be revoked if it is in use: it came over plain HTTP";
        return Err(Problem::new(Kind::TlsRequired, detail).into());
    }
    let shown = Shown::parse(token).ok_or_else(|| Problem::new(Kind::TokenInvalid, ""))?;
    let mut asker = Asker {
        actor: "http-api".to_owned(),
        credential: format!("token {}", shown.id),
        address: origin.address.to_string(),
        request_id: origin.request_id.clone(),
    };
    let grant = api.tokens.look_up(&api.admin, &asker, shown.id).await?;
    let now = seconds();
    asker.actor.clone_from(&grant.token.owner);
    let refused = |problem| Refused {
        problem,
        known: Some(Box::new(asker.clone())),
    };
    grant.judge(shown, origin.address, now).map_err(refused)?;
    let ways = api.scopes.of_operation(method.as_str(), path);
    let lacking = |way: &Vec<String>| way.iter().find(|scope| !grant.allows(scope)).cloned();
    let lacking: Option<Vec<String>> = ways.iter().map(lacking).collect();
    if let Some(lacking) = lacking {
        let detail = format!("it lacks {}", lacking.join(" or "));
        return Err(refused(Problem::new(Kind::ScopeMissing, detail)));
    }
    let left = api.token_rate.try_take(shown.id, Instant::now());
    let left = left.map_err(|wait| {
        api.metrics.limit(Limited::Token);
        limited("of this token", wait)
    })?;
    let slot = match path {
        // Who waits works on nothing, and is counted by the bot, whatever token it shows.
        v1::UPDATES => slot_of(api, &api.waiters, Key::Bot(grant.token.bot))?,
        _ => slot(api, Key::Token(shown.id))?,
    };
    let day = now / 86_400;
    if api.tokens.is_first_use(shown.id, day) {
        let (asker, id) = (asker.clone(), shown.id);
        api.notes.leave(Note::Used { asker, id });
    }
    let is_read = method.is_safe();
    let key = match *method {
        Method::POST => key(headers)?,
        _ => None,
    };
    let caller = Caller {
        asker,
        grant,
        key,
        is_read,
    };
    Ok(Admitted { caller, left, slot })
}

/// A place among the requests that are worked on.
pub(crate) fn slot(api: &Api, key: Key) -> Result<Slot<Key>, Problem> {
    slot_of(api, &api.slots, key)
}

fn slot_of(api: &Api, slots: &Arc<Slots<Key>>, key: Key) -> Result<Slot<Key>, Problem> {
    slots.take(key).map_err(|full| match full {
        NoSlot::Caller => {
            api.metrics.limit(Limited::Caller);
            Problem::new(Kind::RateLimited, "too many requests at the same time").after(1)
        }
        NoSlot::Total => {
            api.metrics.limit(Limited::Total);
            Problem::new(Kind::Overloaded, "too many requests at the same time").after(1)
        }
    })
}

/// A request beyond a rate.
pub(crate) fn limited(whose: &str, wait: Duration) -> Problem {
    let seconds = wait.as_millis().div_ceil(1_000);
    let seconds = u64::try_from(seconds).unwrap_or(u64::MAX);
    Problem::new(Kind::RateLimited, format!("beyond the rate {whose}")).after(seconds)
}

/// Whether an address may ask for anything at all.
pub(crate) fn admit_address(api: &Api, address: IpAddr) -> Result<(), Problem> {
    let network = Network::host(address);
    let taken = api.address_rate.try_take(network, Instant::now());
    taken.map(drop).map_err(|wait| {
        api.metrics.limit(Limited::Address);
        limited("of this address", wait)
    })
}

/// Refusals of tokens that somebody has go to the audit log.
fn tell(
    api: &Api,
    origin: &Origin,
    problem: &Problem,
    known: Option<Box<Asker>>,
    action: String,
    target: String,
) {
    if api.refusals.is_due() {
        tracing::info!(
            request = origin.request_id,
            address = %origin.address,
            action,
            why = ?problem.kind,
            "refused a request"
        );
    }
    if let Some(asker) = known {
        let reason = match problem.detail.as_str() {
            "" => format!("{:?}", problem.kind),
            detail => format!("{:?}: {detail}", problem.kind),
        };
        api.notes.leave(Note::Refused {
            asker: *asker,
            action,
            target,
            reason,
        });
    }
}

/// The token of `Authorization: Bearer …`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// What the request counts once under.
pub(crate) fn key(headers: &HeaderMap) -> Result<Option<Arc<str>>, Problem> {
    headers
        .get(IDEMPOTENCY_KEY)
        .map(|value| short(value, "Idempotency-Key"))
        .transpose()
}

/// The same of what is posted to a hook: its idempotency key, else what its sender names it by.
pub(crate) fn hook_key(headers: &HeaderMap) -> Result<Option<Arc<str>>, Problem> {
    if let Some(key) = key(headers)? {
        return Ok(Some(key));
    }
    headers
        .get(WEBHOOK_ID)
        .map(|value| short(value, "webhook-id"))
        .transpose()
}

fn short(value: &HeaderValue, name: &str) -> Result<Arc<str>, Problem> {
    let key = value.to_str().ok().map(str::trim);
    let is_key = |key: &&str| {
        (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
    };
    key.filter(is_key).map(Arc::from).ok_or_else(|| {
        let detail = format!("{name} must be 1 to {MAX_KEY} visible ASCII characters");
        Problem::new(Kind::MalformedRequest, detail)
    })
}

/// Says how much of its rate a token has left (draft-ietf-httpapi-ratelimit-headers).
fn show_rate(headers: &mut HeaderMap, burst: u32, left: Left) {
    let reset = left.whole_in.as_millis().div_ceil(1_000);
    let reset = u64::try_from(reset).unwrap_or(u64::MAX);
    for (name, value) in [
        (HeaderName::from_static("ratelimit-limit"), burst.into()),
        (HeaderName::from_static("ratelimit-remaining"), left.left),
        (HeaderName::from_static("ratelimit-reset"), reset),
    ] {
        headers.insert(name, value.into());
    }
}

/// Unix seconds.
fn seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        headers
    }

    #[test]
    fn a_token_comes_as_a_bearer_in_any_case_and_as_nothing_else() {
        let of = |value: &str| bearer(&headers("authorization", value)).map(str::to_owned);
        assert_eq!(of("Bearer imt_1_x").as_deref(), Some("imt_1_x"));
        assert_eq!(of("bearer  imt_1_x ").as_deref(), Some("imt_1_x"));
        assert_eq!(of("Basic imt_1_x"), None);
        assert_eq!(of("imt_1_x"), None);
        assert_eq!(bearer(&HeaderMap::new()), None);
    }

    #[test]
    fn an_idempotency_key_is_a_short_text() {
        let of = |value: &str| key(&headers("idempotency-key", value));
        assert_eq!(of("a").unwrap().as_deref(), Some("a"));
        assert!(of(&"x".repeat(128)).is_ok() && of(&"x".repeat(129)).is_err());
        assert!(of(" ").is_err() && of("a b").is_err() && of("a\tb").is_err());
        assert_eq!(key(&HeaderMap::new()).unwrap(), None);
    }

    #[test]
    fn a_hook_takes_the_name_of_a_webhook_where_there_is_no_key() {
        let named = headers("webhook-id", "msg_1");
        assert_eq!(hook_key(&named).unwrap().as_deref(), Some("msg_1"));
        assert_eq!(key(&named).unwrap(), None);
        let mut both = named;
        both.insert("idempotency-key", "k".parse().unwrap());
        assert_eq!(hook_key(&both).unwrap().as_deref(), Some("k"));
        assert!(hook_key(&headers("webhook-id", "a b")).is_err());
        assert_eq!(hook_key(&HeaderMap::new()).unwrap(), None);
    }

    #[test]
    fn who_is_over_the_rate_is_told_when_to_come_back() {
        assert_eq!(limited("", Duration::from_millis(1)).retry_after, Some(1));
        assert_eq!(
            limited("", Duration::from_millis(2_001)).retry_after,
            Some(3)
        );
    }
}
