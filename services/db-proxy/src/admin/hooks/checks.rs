//! What a subscription may ask for: where, about what, about whom; and its secret.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Uri;
use rand::RngCore as _;

use crate::admin::AdminError;

/// Kinds of events that there are.
const KINDS: [&str; 6] = [
    "directory.changed",
    "file.ready",
    "group.changed",
    STORED,
    "session.down",
    "session.up",
];

/// The one that a subscription is about unless it names others.
pub(super) const STORED: &str = "message.stored";

/// Longest URL, bytes.
const MAX_URL: usize = 2_048;

/// Groups and senders of one subscription, each.
const MAX_NAMED: usize = 64;

/// Greatest id that the API's document has.
const MAX_ID: u32 = 0x7fff_ffff;

/// Whether requests can be sent there as far as the text says.
pub(super) fn url(text: &str) -> Result<(), AdminError> {
    let wrong = |why: &str| Err(AdminError::Invalid(format!("the URL {why}")));
    if text.len() > MAX_URL {
        return wrong("is longer than 2,048 bytes");
    }
    if text.contains('#') {
        return wrong("has a fragment, which is never sent");
    }
    let Ok(uri) = text.parse::<Uri>() else {
        return wrong("cannot be read");
    };
    let host = uri.host().unwrap_or("");
    if !matches!(uri.scheme_str(), Some("http" | "https")) || host.is_empty() {
        return wrong("must be http://HOST/… or https://HOST/…");
    }
    if uri.authority().is_some_and(|it| it.as_str().contains('@')) {
        return wrong("names a user: requests are signed instead");
    }
    Ok(())
}

pub(super) fn kinds(mut wanted: Vec<String>) -> Result<Vec<String>, AdminError> {
    if wanted.is_empty() {
        return Ok(vec![STORED.to_owned()]);
    }
    wanted.sort();
    wanted.dedup();
    match wanted.iter().find(|kind| !KINDS.contains(&kind.as_str())) {
        None => Ok(wanted),
        Some(odd) => Err(AdminError::Invalid(format!(
            "there is no kind of event {odd:?}, there are {}",
            KINDS.join(", ")
        ))),
    }
}

pub(super) fn named(what: &str, mut ids: Vec<u32>) -> Result<Vec<u32>, AdminError> {
    ids.sort_unstable();
    ids.dedup();
    let is_id = |id: &u32| (1..=MAX_ID).contains(id);
    if ids.len() > MAX_NAMED || !ids.iter().all(is_id) {
        return Err(AdminError::Invalid(format!(
            "a subscription names at most {MAX_NAMED} {what}, by ids from 1 to {MAX_ID}"
        )));
    }
    Ok(ids)
}

/// 256 random bits, as Standard Webhooks writes secrets.
pub(super) fn secret() -> String {
    let mut bytes = [0_u8; 32];
    rand::rng().fill_bytes(&mut bytes);
    format!("whsec_{}", STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_one_that_requests_can_go_to() {
        for good in [
            "https://hooks.example.com",
            "http://127.0.0.1:8080/im?a=b",
            "https://[::1]/x",
        ] {
            assert!(url(good).is_ok(), "{good}");
        }
        let long = format!("https://a.example/{}", "x".repeat(MAX_URL));
        for bad in [
            "",
            "hooks.example.com",
            "/path",
            "ftp://a.example/",
            "https:///x",
            "https://ann:secret@a.example/",
            "https://a.example/#x",
            "http://a b/",
            &long,
        ] {
            assert!(url(bad).is_err(), "{bad}");
        }
        let longest = "https://a.example/".len();
        let longest = format!("https://a.example/{}", "x".repeat(MAX_URL - longest));
        assert!(url(&longest).is_ok());
    }

    #[test]
    fn kinds_are_known_and_ids_are_few() {
        assert_eq!(kinds(Vec::new()).unwrap(), ["message.stored"]);
        let several = ["message.stored", "group.changed", "message.stored"];
        let several = kinds(several.map(str::to_owned).into()).unwrap();
        assert_eq!(several, ["group.changed", "message.stored"]);
        assert!(kinds(vec!["message.sent".to_owned()]).is_err());
        assert_eq!(named("groups", vec![7, 3, 7]).unwrap(), [3, 7]);
        assert!(named("groups", vec![0]).is_err());
        assert!(named("groups", vec![MAX_ID]).is_ok());
        assert!(named("groups", vec![MAX_ID + 1]).is_err());
        let ids = |most| (1..=most).collect::<Vec<u32>>();
        assert!(named("groups", ids(64)).is_ok() && named("groups", ids(65)).is_err());
    }

    #[test]
    fn a_secret_is_one_of_standard_webhooks() {
        let (first, second) = (secret(), secret());
        assert_ne!(first, second);
        let bytes = STANDARD.decode(first.strip_prefix("whsec_").unwrap());
        assert_eq!(bytes.unwrap().len(), 32);
    }
}
