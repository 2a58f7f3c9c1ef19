//! Tokens: how they are shown, looked up, remembered for a moment, and judged.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use im_config::Networks;
use im_core::Cache;
use im_proto_rpc::v1::{LookUpTokenRequest, TokenGrant, TokenRecord};
use subtle::ConstantTimeEq as _;
use tokio::time::Instant;
use tonic::Code;

use crate::db_proxy::{self, Admin, Asker};
use crate::problem::{Kind, Problem};

/// What every token begins with.
const PREFIX: &str = "imt_";

/// Characters of the secret part: 256 bits in base62.
const SECRET: usize = 43;

/// Digits of the largest id.
const MAX_ID: usize = 10;

/// A token as somebody shows it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shown<'a> {
    pub(crate) id: u32,
    secret: &'a str,
}

impl<'a> Shown<'a> {
    /// Reads `imt_<id>_<secret>`; `None` for anything else.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let is_id = (1..=MAX_ID).contains(&id.len()) && id.bytes().all(|c| c.is_ascii_digit());
        let is_secret = secret.len() == SECRET && secret.bytes().all(|c| c.is_ascii_alphanumeric());
        if !is_id || !is_secret {
            return None;
        }
        let id = id.parse().ok().filter(|id| *id > 0)?;
        Some(Self { id, secret })
    }
}

/// A token that db-proxy knows.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) token: TokenRecord,
    hash: Vec<u8>,
    addresses: Networks,
}

impl Grant {
    fn of(grant: TokenGrant) -> Option<Self> {
        let token = grant.token?;
        Some(Self {
            // One that cannot be read would otherwise be one that allows everything.
            addresses: Networks::parse(&token.addresses).ok()?,
            hash: grant.hash.to_vec(),
            token,
        })
    }

    /// Whether whoever shows this may use it: from there, at this time (unix seconds).
    pub(crate) fn judge(&self, shown: Shown<'_>, from: IpAddr, now: u64) -> Result<(), Problem> {
        let hash = blake3::hash(shown.secret.as_bytes());
        if !bool::from(hash.as_bytes().as_slice().ct_eq(&self.hash)) {
            return Err(Problem::new(Kind::TokenInvalid, ""));
        }
        if let Some(kind) = self.end(now) {
            return Err(Problem::new(kind, ""));
        }
        if !self.addresses.is_empty() && !self.addresses.contains(from) {
            let detail = format!("this is {from}");
            return Err(Problem::new(Kind::AddressNotAllowed, detail));
        }
        Ok(())
    }

    /// Why nobody may use it any more at this time (unix seconds), if so.
    pub(crate) fn end(&self, now: u64) -> Option<Kind> {
        if self.token.revoked != 0 {
            Some(Kind::TokenRevoked)
        } else if u64::from(self.token.expires) <= now {
            Some(Kind::TokenExpired)
        } else {
            None
        }
    }

    /// Whether it allows this.
    pub(crate) fn allows(&self, scope: &str) -> bool {
        self.token.scopes.iter().any(|known| known == scope)
    }
}

/// Tokens that were looked up lately. Those of bots are looked up each time all the same.
#[derive(Debug)]
pub(crate) struct Tokens {
    memory: Duration,
    known: Mutex<Cache<u32, Known>>,
}

#[derive(Clone, Debug)]
struct Known {
    grant: Arc<Grant>,
    since: Instant,
    /// The day (of unix time) on which its use was noted last.
    noted: Option<u64>,
}

impl Tokens {
    /// Remembers about so many, each for so long.
    pub(crate) fn new(memory: Duration, tokens: usize) -> Self {
        Self {
            memory,
            known: Mutex::new(Cache::new(tokens, 1)),
        }
    }

    /// The token of this id.
    ///
    /// # Errors
    /// Nobody has made it, or db-proxy does not answer.
    pub(crate) async fn look_up(
        &self,
        admin: &Admin,
        asker: &Asker,
        id: u32,
    ) -> Result<Arc<Grant>, Problem> {
        if let Some(grant) = self.remembered(id, Instant::now()) {
            return Ok(grant);
        }
        // As old as the question: what is revoked from now on may be missing in the answer.
        let asked = Instant::now();
        let call = asker.call(LookUpTokenRequest { id }, None);
        let answer = admin.clone().look_up_token(call).await;
        let grant = match answer {
            Ok(grant) => Grant::of(grant.into_inner()),
            Err(status) if status.code() == Code::NotFound => None,
            Err(status) => return Err(db_proxy::problem(&status, true)),
        };
        let Some(grant) = grant else {
            self.lock().remove(&id);
            return Err(Problem::new(Kind::TokenInvalid, ""));
        };
        let grant = Arc::new(grant);
        self.remember(id, Arc::clone(&grant), asked);
        Ok(grant)
    }

    /// Whether this use of a token is the first of its day (of unix time), as far as is remembered.
    pub(crate) fn is_first_use(&self, id: u32, day: u64) -> bool {
        let mut known = self.lock();
        let Some(known) = known.get(&id) else {
            return true;
        };
        known.noted.replace(day) != Some(day)
    }

    /// Forgets a token: it was changed here.
    pub(crate) fn forget(&self, id: u32) {
        self.lock().remove(&id);
    }

    /// Tokens that are remembered.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    fn remembered(&self, id: u32, now: Instant) -> Option<Arc<Grant>> {
        let mut known = self.lock();
        let known = known.get(&id)?;
        // What ends a bot's token ends it at once.
        let is_bots = known.grant.token.bot != 0;
        let is_fresh = !is_bots && now.saturating_duration_since(known.since) < self.memory;
        is_fresh.then(|| Arc::clone(&known.grant))
    }

    fn remember(&self, id: u32, grant: Arc<Grant>, since: Instant) {
        let mut known = self.lock();
        let noted = known.get(&id).and_then(|known| known.noted);
        let new = Known {
            grant,
            since,
            noted,
        };
        known.insert(id, new);
    }

    fn lock(&self) -> MutexGuard<'_, Cache<u32, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> String {
        "aZ09".repeat(10) + "abc"
    }

    fn grant(change: impl FnOnce(&mut TokenRecord)) -> Grant {
        let mut token = TokenRecord {
            id: 17,
            scopes: vec!["users:read".to_owned()],
            expires: 1_000,
            ..TokenRecord::default()
        };
        change(&mut token);
        let hash = blake3::hash(secret().as_bytes());
        Grant::of(TokenGrant {
            token: Some(token),
            hash: hash.as_bytes().to_vec().into(),
        })
        .unwrap()
    }

    #[test]
    fn a_token_has_a_prefix_an_id_and_a_secret_of_its_length() {
        let secret = secret();
        let text = format!("imt_17_{secret}");
        assert_eq!(Shown::parse(&text).map(|shown| shown.id), Some(17));
        for wrong in [
            "",
            "imt_",
            "imt_17",
            "imt_17_",
            &format!("imt__{secret}"),
            &format!("imt_0_{secret}"),
            &format!("imt_-1_{secret}"),
            &format!("imt_+1_{secret}"),
            &format!("imt_99999999999_{secret}"),
            &format!("imt_17_{secret}x"),
            &format!("imt_17_{}-", secret.trim_end_matches('c')),
            &format!("IMT_17_{secret}"),
        ] {
            assert!(Shown::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_token_is_good_with_its_secret_in_its_time_and_from_its_addresses() {
        let text = format!("imt_17_{}", secret());
        let shown = Shown::parse(&text).unwrap();
        let judge = |grant: &Grant, from: &str, now| {
            let judged = grant.judge(shown, from.parse().unwrap(), now);
            judged.err().map(|problem| problem.kind)
        };
        let plain = grant(|_| {});
        assert_eq!(judge(&plain, "192.0.2.1", 999), None);
        assert_eq!(judge(&plain, "192.0.2.1", 1_000), Some(Kind::TokenExpired));
        let revoked = grant(|token| token.revoked = 5);
        assert_eq!(judge(&revoked, "192.0.2.1", 999), Some(Kind::TokenRevoked));
        let bound = grant(|token| token.addresses = vec!["192.0.2.0/24".to_owned()]);
        assert_eq!(judge(&bound, "192.0.2.1", 999), None);
        assert_eq!(
            judge(&bound, "192.0.3.1", 999),
            Some(Kind::AddressNotAllowed)
        );
        let other = format!("imt_17_{}", "b".repeat(SECRET));
        let other = Shown::parse(&other).unwrap();
        let wrong = revoked
            .judge(other, [192, 0, 2, 1].into(), 999)
            .unwrap_err();
        assert_eq!(wrong.kind, Kind::TokenInvalid, "strangers learn no more");
        assert!(plain.allows("users:read") && !plain.allows("users:write"));
    }

    #[test]
    fn a_list_of_addresses_that_cannot_be_read_allows_nobody() {
        let token = TokenRecord {
            addresses: vec!["somewhere".to_owned()],
            ..TokenRecord::default()
        };
        let grant = Grant::of(TokenGrant {
            token: Some(token),
            ..TokenGrant::default()
        });
        assert!(grant.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_remembered_for_the_stated_time_and_no_longer() {
        let tokens = Tokens::new(Duration::from_secs(3), 10);
        let now = Instant::now();
        tokens.remember(17, Arc::new(grant(|_| {})), now);
        assert!(
            tokens
                .remembered(17, now + Duration::from_millis(2_999))
                .is_some()
        );
        assert!(
            tokens
                .remembered(17, now + Duration::from_secs(3))
                .is_none()
        );
        tokens.forget(17);
        assert!(tokens.remembered(17, now).is_none());
        for id in 0..100 {
            tokens.remember(id, Arc::new(grant(|_| {})), now);
            assert!(tokens.len() <= 11);
        }
        let bots = Arc::new(grant(|token| token.bot = 5));
        tokens.remember(17, bots, now);
        assert!(tokens.remembered(17, now).is_none(), "looked up every time");
        let none = Tokens::new(Duration::ZERO, 10);
        none.remember(1, Arc::new(grant(|_| {})), now);
        assert!(none.remembered(1, now).is_none(), "looked up every time");
    }

    #[test]
    fn the_use_of_a_token_is_noted_once_a_day() {
        let tokens = Tokens::new(Duration::from_secs(3), 10);
        let now = Instant::now();
        tokens.remember(17, Arc::new(grant(|_| {})), now);
        assert!(tokens.is_first_use(17, 5) && !tokens.is_first_use(17, 5));
        tokens.remember(17, Arc::new(grant(|_| {})), now);
        assert!(!tokens.is_first_use(17, 5), "also after another look");
        assert!(tokens.is_first_use(17, 6));
    }
}
