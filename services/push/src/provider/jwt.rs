//! Tokens by which providers know us: JSON, signed (RFC 7519), made here and read by nobody here.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

/// A token of a head and claims, signed by `sign`; `None` when it cannot.
pub(super) fn token(
    head: &Value,
    claims: &Value,
    sign: impl FnOnce(&[u8]) -> Option<Vec<u8>>,
) -> Option<String> {
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let signed = format!("{}.{}", encode(head), encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(signed.as_bytes())?);
    Some(format!("{signed}.{signature}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_token_is_three_parts_without_padding() {
        let token = token(&json!({"alg": "X"}), &json!({"iat": 1}), |signed| {
            Some(signed.get(..3)?.to_vec())
        });
        assert_eq!(token.unwrap(), "eyJhbGciOiJYIn0.eyJpYXQiOjF9.ZXlK");
    }
}
