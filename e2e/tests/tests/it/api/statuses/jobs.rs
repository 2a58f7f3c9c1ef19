//! Announcements and the jobs that send them: what succeeds, and what an ended job does not allow.

use super::*;

pub(super) async fn done(seen: &Seen, api: SocketAddr, token: &str) {
    let none = Value::Null;
    let call = async |path: &str, method: &str, with: &str, body: Value, status: u16| {
        let (path, with) = (format!("/api/v1{path}"), format!("/api/v1{with}"));
        let answer = seen
            .call(&path, (method, &with, body), token, api, status)
            .await;
        serde_json::from_slice::<Value>(&answer.body).unwrap_or_default()
    };
    let hear = || json!({"from": "u1", "text": "hear, hear", "everybody": true});
    let of = "/announcements";
    call(of, "POST", "/announcements?dry_run=true", hear(), 200).await;
    // The rate of the first one holds up the second.
    call(of, "POST", of, hear(), 201).await;
    let made = call(of, "POST", of, hear(), 201).await;
    call("/jobs", "GET", "/jobs", none.clone(), 200).await;
    let with = format!("/jobs/{}", made["id"]);
    call("/jobs/{id}", "GET", &with, none.clone(), 200).await;
    let (of, with) = ("/jobs/{id}/cancellation", format!("{with}/cancellation"));
    call(of, "PUT", &with, none.clone(), 200).await;
    call(of, "PUT", &with, none, 409).await;
}
