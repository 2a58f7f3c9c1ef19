//! Endpoints that end in a verb, such as `/servers/{name}:cordon`. The router takes a parameter for a whole
//! segment only, so that they have a segment of their own inside, and nobody sees it.

use axum::http::Uri;

/// Verbs behind a name.
const VERBS: [&str; 4] = ["cordon", "uncordon", "shed", "kick"];

/// Collections whose members have verbs.
const COLLECTIONS: [&str; 2] = ["/api/v1/servers/", "/api/v1/sessions/"];

/// What stands before a verb inside.
const INSIDE: &str = "/~";

/// A path of the router as the document and the log have it.
pub(crate) fn spelled(path: &str) -> String {
    path.replace(INSIDE, ":")
}

/// The address of a request as the router has it; `None` where it is the same.
pub(crate) fn routed(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    let member = { COLLECTIONS.iter() }.find_map(|of| path.strip_prefix(of))?;
    let (name, verb) = member.rsplit_once(':')?;
    if name.is_empty() || name.contains('/') || !VERBS.contains(&verb) {
        return None;
    }
    let before = path.strip_suffix(verb)?.strip_suffix(':')?;
    let query = uri
        .query()
        .map_or_else(String::new, |query| format!("?{query}"));
    format!("{before}{INSIDE}{verb}{query}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verb_has_a_segment_of_its_own_inside_and_a_colon_outside() {
        let of = |uri: &str| routed(&uri.parse().unwrap()).map(|uri| uri.to_string());
        for (outside, inside) in [
            (
                "/api/v1/servers/msg1:cordon?dry_run=true",
                "/api/v1/servers/msg1/~cordon?dry_run=true",
            ),
            ("/api/v1/servers/a%3Ab:shed", "/api/v1/servers/a%3Ab/~shed"),
            ("/api/v1/sessions/7:kick", "/api/v1/sessions/7/~kick"),
        ] {
            assert_eq!(of(outside).as_deref(), Some(inside));
            let path = inside.split('?').next().unwrap();
            assert!(outside.starts_with(&spelled(path)));
        }
        for same in [
            "/api/v1/servers/msg1",
            "/api/v1/servers/:cordon",
            "/api/v1/servers/msg1:explode",
            "/api/v1/servers/a/b:cordon",
            "/api/v1/users/ann:kick",
            "/api/v1/audit:verify",
        ] {
            assert_eq!(of(same), None, "{same}");
        }
    }
}
