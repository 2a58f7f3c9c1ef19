//! Signatures of requests, as Standard Webhooks has them.

use aws_lc_rs::hmac;
pub use aws_lc_rs::hmac::Key;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use im_core::time::UnixSeconds;

/// Shortest secret, bytes.
const MIN_SECRET: usize = 16;
/// Secrets that sign at the same time.
const MAX_SECRETS: usize = 2;
/// Before a secret that is written in base64.
const ENCODED: &str = "whsec_";

/// The secrets of a text, one a line, at most two, of 16 bytes or more each (`whsec_` and base64, or as they stand);
/// `None` for none, too many or short ones.
pub fn keys(text: &str) -> Option<Vec<Key>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let secrets: Option<Vec<Vec<u8>>> = lines
        .map(|line| match line.strip_prefix(ENCODED) {
            Some(encoded) => STANDARD.decode(encoded).ok(),
            None => Some(line.as_bytes().to_vec()),
        })
        .collect();
    let secrets = secrets?;
    let fit = secrets.iter().all(|secret| secret.len() >= MIN_SECRET);
    if secrets.is_empty() || secrets.len() > MAX_SECRETS || !fit {
        return None;
    }
    let key = |secret: &Vec<u8>| Key::new(hmac::HMAC_SHA256, secret);
    Some(secrets.iter().map(key).collect())
}

/// One signature for each secret, the first line's first.
pub fn sign(keys: &[Key], id: &str, now: UnixSeconds, body: &str) -> String {
    let signed = format!("{id}.{}.{body}", now.get());
    let signatures = keys.iter().map(|key| {
        let tag = hmac::sign(key, signed.as_bytes());
        format!("v1,{}", STANDARD.encode(tag.as_ref()))
    });
    signatures.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector of the documents of Standard Webhooks.
    #[test]
    fn a_request_is_signed_as_standard_webhooks_has_it() {
        let keys = keys("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        let signature = sign(
            &keys,
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            UnixSeconds::from_wire(1_614_265_330),
            r#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn two_secrets_sign_while_one_is_replaced() {
        let two = keys("0123456789abcdef\n\n fedcba9876543210 \n").unwrap();
        let one = keys("fedcba9876543210").unwrap();
        let now = UnixSeconds::from_wire(1);
        let both = sign(&two, "id", now, "{}");
        let (_, second) = both.split_once(' ').unwrap();
        assert_eq!(second, sign(&one, "id", now, "{}"));
        for unusable in ["", "short", "whsec_%%%", "whsec_c2hvcnQ="] {
            assert!(keys(unusable).is_none(), "{unusable}");
        }
        let three = "0123456789abcdef\n".repeat(3);
        assert!(keys(&three).is_none());
    }
}
