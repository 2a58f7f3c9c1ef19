//! Tokens of the HTTP API: made, listed, revoked, looked up.

use std::net::IpAddr;

use im_core::UserId;
use im_core::time::UnixSeconds;
use im_proto_rpc::v1::{
    CreateTokenRequest, CreatedToken, ListTokensRequest, LookUpTokenRequest, NoteTokenUseReply,
    NoteTokenUseRequest, RevokeTokenRequest, TokenGrant, TokenList, TokenRecord,
};
use im_store::{NewToken, StoreError, TokenRow};
use rand::RngCore as _;
use serde_json::json;

use super::caller::MAX_NAME;
use super::cursor::{List, Listed, id_of};
use super::notes::Changed;
use super::pages::{Limits, Page};
use super::{AdminError, AdminService};

/// Tokens in one answer: the default, and the most.
const LIMITS: Limits = Limits {
    default: 100,
    most: 1_000,
};

/// What a token can allow.
const SCOPES: [&str; 24] = [
    "audit:read",
    "audit:write",
    "bots:read",
    "bots:write",
    "departments:read",
    "departments:write",
    "discovery:read",
    "discovery:write",
    "files:read",
    "files:write",
    "groups:read",
    "groups:write",
    "hooks:read",
    "hooks:write",
    "messages:read",
    "messages:write",
    "ops:read",
    "ops:write",
    "sessions:read",
    "sessions:write",
    "tokens:read",
    "tokens:write",
    "users:read",
    "users:write",
];

/// How long a token is good unless something else is asked for.
const LIFETIME: u32 = 90 * 86_400;

/// How long ended tokens are listed.
const LISTED_FOR: u32 = 30 * 86_400;

/// Addresses and networks of one token.
const MAX_ADDRESSES: usize = 32;

const DAY: u32 = 86_400;

/// Digits of a secret.
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// 62^43 is just above 2^256.
const SECRET_DIGITS: usize = 43;

impl AdminService {
    pub(super) async fn make_token(
        &self,
        request: CreateTokenRequest,
    ) -> Result<CreatedToken, AdminError> {
        let seconds = self.token_seconds(request.seconds)?;
        text("owner", &request.owner, 1)?;
        text("label", &request.label, 0)?;
        let secret = secret();
        let created = UnixSeconds::now();
        let made_by = self.call.as_ref().map(|call| call.caller.actor.clone());
        let token = NewToken {
            hash: blake3::hash(secret.as_bytes()).into(),
            owner: request.owner,
            label: request.label,
            scopes: scopes(request.scopes)?,
            addresses: addresses(&request.addresses)?,
            created,
            expires: created.saturating_add(seconds),
            made_by: made_by.unwrap_or_default(),
            bot: None,
        };
        let record = record(TokenRow {
            id: 0,
            token: token.clone(),
            revoked: None,
            used: None,
        });
        let answer = CreatedToken {
            token: Some(record),
            secret: String::new(),
        };
        if request.dry_run {
            return Ok(answer);
        }
        let changed = Changed::new_of("token")
            .after(json!({
                "owner": token.owner,
                "label": token.label,
                "scopes": token.scopes,
                "addresses": token.addresses,
                "expires": token.expires.get(),
            }))
            .answer(&answer);
        let bounds = &self.config.administration;
        let since = listed_since(created);
        let store = self.noting(changed);
        let id = store.create_token(&token, since, bounds.tokens).await?;
        let token = answer.token.map(|token| TokenRecord { id, ..token });
        Ok(CreatedToken {
            token,
            secret: format!("imt_{id}_{secret}"),
        })
    }

    /// How long a token is good for which so many seconds are asked for, 0 leaving that to us.
    pub(super) fn token_seconds(&self, asked: u32) -> Result<u32, AdminError> {
        let most = self.config.administration.token_lifetime.as_seconds_u32();
        match asked {
            0 => Ok(LIFETIME.min(most)),
            seconds if seconds <= most => Ok(seconds),
            seconds => Err(AdminError::Invalid(format!(
                "a token is good for at most {most} s (db_proxy.administration.token_lifetime), not {seconds}"
            ))),
        }
    }

    pub(super) async fn list_all_tokens(
        &self,
        request: ListTokensRequest,
    ) -> Result<TokenList, AdminError> {
        let limit = LIMITS.of(request.limit);
        let filters = [request.owner.as_str()];
        let listed = Listed {
            list: List::Tokens,
            filters: &filters,
        };
        let before = self.cursors.read(listed, &request.cursor)?;
        let before = before.map_or(u32::MAX, id_of);
        let mut page = Page::new(limit);
        for token in self.store.tokens(&request.owner, before, limit + 1).await? {
            if !page.takes(token.id.into(), record(token)) {
                break;
            }
        }
        let (tokens, next) = self.end_page(listed, page);
        Ok(TokenList { tokens, next })
    }

    /// A token that was revoked before stays as it is.
    pub(super) async fn end_token(
        &self,
        request: RevokeTokenRequest,
    ) -> Result<TokenRecord, AdminError> {
        let token = record(self.token(request.id).await?);
        if request.dry_run || token.revoked != 0 {
            return Ok(token);
        }
        let now = UnixSeconds::now();
        let ended = TokenRecord {
            revoked: now.get(),
            ..token
        };
        let changed = Changed::of(format!("token {}", request.id))
            .before(json!({ "owner": ended.owner, "label": ended.label }))
            .after(json!({ "revoked": now.get() }))
            .answer(&ended);
        self.noting(changed).revoke_token(request.id, now).await?;
        if let Some(bot) = UserId::from_wire(ended.bot) {
            self.publisher.bells().ring(bot);
        }
        Ok(ended)
    }

    pub(super) async fn grant(
        &self,
        request: LookUpTokenRequest,
    ) -> Result<TokenGrant, AdminError> {
        let token = self.token(request.id).await?;
        Ok(TokenGrant {
            hash: token.token.hash.to_vec().into(),
            token: Some(record(token)),
        })
    }

    /// A token that has gone meanwhile is nobody's fault.
    pub(super) async fn note_use(
        &self,
        request: NoteTokenUseRequest,
    ) -> Result<NoteTokenUseReply, AdminError> {
        let now = UnixSeconds::now();
        let day = now.saturating_sub(now.get() % DAY);
        self.store.note_token_use(request.id, day).await?;
        Ok(NoteTokenUseReply {})
    }

    async fn token(&self, id: u32) -> Result<TokenRow, AdminError> {
        let found: Result<_, StoreError> = self.store.token(id).await;
        found?.ok_or_else(|| AdminError::NotFound(format!("there is no token {id}")))
    }
}

/// Tokens that ended before this time are not listed any more.
pub(super) fn listed_since(now: UnixSeconds) -> UnixSeconds {
    now.saturating_sub(LISTED_FOR)
}

pub(super) fn record(row: TokenRow) -> TokenRecord {
    let TokenRow {
        id,
        token,
        revoked,
        used,
    } = row;
    TokenRecord {
        id,
        owner: token.owner,
        label: token.label,
        scopes: token.scopes,
        addresses: token.addresses,
        created: token.created.get(),
        expires: token.expires.get(),
        revoked: revoked.map_or(0, UnixSeconds::get),
        used: used.map_or(0, UnixSeconds::get),
        made_by: token.made_by,
        bot: token.bot.map_or(0, UserId::get),
    }
}

/// Whether a text that people read is short and has nothing unseen in it.
pub(super) fn text(name: &str, value: &str, least: usize) -> Result<(), AdminError> {
    if !(least..=MAX_NAME).contains(&value.len()) {
        return Err(AdminError::Invalid(format!(
            "the {name} has {least} to {MAX_NAME} bytes, this one has {}",
            value.len()
        )));
    }
    if let Some((_, c)) = im_core::text::first_unseen(value, true) {
        let (code, kind) = (u32::from(c), im_core::text::unseen_kind(c));
        return Err(AdminError::Invalid(format!(
            "the {name} has U+{code:04X}, {kind}"
        )));
    }
    Ok(())
}

fn scopes(mut wanted: Vec<String>) -> Result<Vec<String>, AdminError> {
    wanted.sort();
    wanted.dedup();
    if let Some(odd) = wanted
        .iter()
        .find(|scope| !SCOPES.contains(&scope.as_str()))
    {
        let all = SCOPES.join(", ");
        return Err(AdminError::Invalid(format!(
            "there is no scope {odd:?}, there are {all}"
        )));
    }
    if wanted.is_empty() {
        return Err(AdminError::Invalid(
            "a token needs a scope, or it allows nothing".to_owned(),
        ));
    }
    Ok(wanted)
}

/// Addresses and networks, each as it is written.
pub(super) fn addresses(wanted: &[String]) -> Result<Vec<String>, AdminError> {
    if wanted.len() > MAX_ADDRESSES {
        return Err(AdminError::Invalid(format!(
            "a token is bound to at most {MAX_ADDRESSES} addresses and networks, not {}",
            wanted.len()
        )));
    }
    let one = |text: &String| {
        let text = text.trim();
        is_network(text).then(|| text.to_owned()).ok_or_else(|| {
            AdminError::Invalid(format!(
                "{text:?} is no address or network such as 192.0.2.1, 192.0.2.0/24 or 2001:db8::/32"
            ))
        })
    };
    wanted.iter().map(one).collect()
}

fn is_network(text: &str) -> bool {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return false;
    };
    let most = if address.is_ipv4() { 32 } else { 128 };
    bits.is_none_or(|bits| bits.parse().is_ok_and(|bits: u8| bits <= most))
}

/// 256 random bits.
pub(super) fn secret() -> String {
    let mut bytes = [0_u8; 32];
    rand::rng().fill_bytes(&mut bytes);
    base62(bytes)
}

/// The number that the bytes are, in base 62, with leading zeros.
fn base62(mut number: [u8; 32]) -> String {
    let mut digits = Vec::with_capacity(SECRET_DIGITS);
    for _ in 0..SECRET_DIGITS {
        let mut rest = 0_u32;
        for byte in &mut number {
            let value = rest << 8 | u32::from(*byte);
            *byte = u8::try_from(value / 62).unwrap_or_default();
            rest = value % 62;
        }
        let digit = usize::try_from(rest).ok().and_then(|rest| BASE62.get(rest));
        digits.push(char::from(digit.copied().unwrap_or(b'0')));
    }
    digits.iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_holds_256_bits() {
        assert_eq!(base62([0; 32]), "0".repeat(SECRET_DIGITS));
        let mut one = [0; 32];
        one[31] = 61;
        assert!(base62(one).ends_with("0z"));
        one[30] = 1;
        // 317 = 5 * 62 + 7.
        assert!(base62(one).ends_with("057"));
        let greatest = base62([0xff; 32]);
        assert_eq!(greatest.len(), SECRET_DIGITS);
        assert_ne!(greatest.chars().next(), Some('0'), "not a digit too many");
        let secrets: std::collections::HashSet<_> = (0..100).map(|_| secret()).collect();
        assert_eq!(secrets.len(), 100);
    }

    #[test]
    fn scopes_are_known_and_addresses_are_addresses() {
        let words = |words: &[&str]| {
            words
                .iter()
                .map(|word| (*word).to_owned())
                .collect::<Vec<_>>()
        };
        let kept = scopes(words(&["users:write", "audit:read", "users:write"])).unwrap();
        assert_eq!(kept, ["audit:read", "users:write"]);
        assert!(scopes(words(&["users:all"])).is_err());
        assert!(scopes(Vec::new()).is_err());
        for good in [
            "192.0.2.1",
            "192.0.2.0/24",
            "::1",
            "2001:db8::/32",
            "0.0.0.0/0",
        ] {
            assert_eq!(addresses(&words(&[good])).unwrap(), [good]);
        }
        for bad in ["", "here", "192.0.2.1/33", "192.0.2.0/", "::1/129", "1.2.3"] {
            assert!(addresses(&words(&[bad])).is_err(), "{bad}");
        }
        assert!(addresses(&words(&["::1"; MAX_ADDRESSES])).is_ok());
        assert!(addresses(&words(&["::1"; MAX_ADDRESSES + 1])).is_err());
    }
}
