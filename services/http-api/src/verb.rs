//! Endpoints that end in a verb, such as `/push-targets/{id}:test`. The router takes a parameter for a whole
//! segment only, so that they have a segment of their own inside, and nobody sees it.

use axum::http::Uri;

/// What has verbs, with any name where a `*` stands, and which.
const VERBS: [(&str, &[&str]); 3] = [
    ("/api/v1/users/*/push-targets/*", &["test"]),
    ("/api/v1/servers/*", &["cordon", "uncordon", "shed"]),
    ("/api/v1/sessions/*", &["kick"]),
];

/// What stands before a verb inside.
const INSIDE: &str = "/~";

/// A path of the router as the document and the log have it.
pub(crate) fn spelled(path: &str) -> String {
    path.replace(INSIDE, ":")
}

/// The address of a request as the router has it; `None` where it is the same.
pub(crate) fn routed(uri: &Uri) -> Option<Uri> {
    let (before, verb) = uri.path().rsplit_once(':')?;
    let has_it = |(of, verbs): &(&str, &[&str])| verbs.contains(&verb) && is_one(before, of);
    if !VERBS.iter().any(has_it) {
        return None;
    }
    let query = uri
        .query()
        .map_or_else(String::new, |query| format!("?{query}"));
    format!("{before}{INSIDE}{verb}{query}").parse().ok()
}

/// Whether a path is one of these.
fn is_one(path: &str, of: &str) -> bool {
    let mut names = path.split('/');
    let has = |expected: &str| {
        let name = names.next();
        name.is_some_and(|name| match expected {
            "*" => !name.is_empty(),
            expected => name == expected,
        })
    };
    of.split('/').all(has) && names.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verb_has_a_segment_of_its_own_inside_and_a_colon_outside() {
        let of = |uri: &str| routed(&uri.parse().unwrap()).map(|uri| uri.to_string());
        for (outside, inside) in [
            (
                "/api/v1/users/ann/push-targets/7:test?dry_run=true",
                "/api/v1/users/ann/push-targets/7/~test?dry_run=true",
            ),
            (
                "/api/v1/users/a%3Ab/push-targets/7:test",
                "/api/v1/users/a%3Ab/push-targets/7/~test",
            ),
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
            "/api/v1/users/ann/push-targets/7",
            "/api/v1/users/ann/push-targets/:test",
            "/api/v1/users/ann/push-targets/7:explode",
            "/api/v1/users//push-targets/7:test",
            "/api/v1/users/ann/push-targets/7/8:test",
            "/api/v1/users/ann:test",
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
