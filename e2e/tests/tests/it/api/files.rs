//! Files that wait for people who are away, listed and deleted over HTTP.

use serde_json::{Value, json};

use super::calls::{Call, get, problem};
use super::{reported, with_files};
use crate::files::client::*;
use crate::support::*;

/// Files of two servers are listed page by page, by sender and by receiver, and nobody can fetch one by what is
/// listed. One that is deleted is in no list, cannot be fetched, and leaves a row in the audit log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_wait_are_listed_and_deleted() {
    let (mut platform, api, token) = with_files(4, 1, 2, &[]).await;
    reported(api, &token, 6).await;
    let msg = platform.msg_address("msg1");
    let mut tasks = Vec::new();
    for (from, to, size) in [(1, 2, 10), (1, 3, 20), (3, 2, 30), (1, 2, 40)] {
        let mut sender = Terminal::login(msg, from, Windows).await;
        let (task, at) = stored(&mut sender, from, to, &content(size)).await;
        tasks.push((task, at, to, size));
    }
    let page = async |query: &str| {
        let page = get(&format!("/api/v1/files{query}")).token(&token);
        let page = page.expect(api, 200).await.json();
        assert_eq!(
            (&page["silent"], &page["asked"]),
            (&json!([]), &json!(2)),
            "{page}"
        );
        page
    };
    let sizes = |page: &Value| {
        let items = page["items"].as_array().unwrap().iter();
        let mut sizes: Vec<u64> = items.map(|it| it["size"].as_u64().unwrap()).collect();
        sizes.sort_unstable();
        sizes
    };
    let all = page("").await;
    assert_eq!(
        (sizes(&all), &all["next"]),
        (vec![10, 20, 30, 40], &Value::Null)
    );
    assert_eq!(sizes(&page("?to=u2").await), [10, 30, 40]);
    assert_eq!(sizes(&page("?from=u1").await), [10, 20, 40]);
    assert_eq!(sizes(&page("?from=u1&to=u2").await), [10, 40]);
    assert_eq!(sizes(&page("?to=u4").await), [0_u64; 0]);
    let (mut query, mut seen) = ("?limit=1".to_owned(), Vec::new());
    loop {
        let page = page(&query).await;
        seen.extend(page["items"].as_array().unwrap().iter().cloned());
        match page["next"].as_str() {
            Some(cursor) => query = format!("?limit=1&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(json!(seen), all["items"], "each once, in the same order");

    let file = seen.iter().find(|it| it["size"] == 30).unwrap();
    assert_eq!(
        (&file["from"], &file["to"], &file["name"]),
        (&json!("u3"), &json!("u2"), &json!(NAME))
    );
    let id = file["id"].as_str().unwrap();
    let (task, at, to, _) = tasks.iter().find(|(_, _, _, size)| *size == 30).unwrap();
    assert!(
        !task.replace('-', "").contains(id),
        "who reads the list knows no task"
    );

    let delete =
        |query: &str| Call::new("DELETE", &format!("/api/v1/files/{id}{query}")).token(&token);
    let judged = delete("?dry_run=true").expect(api, 200).await.json();
    assert_eq!(judged, *file);
    // Whoever is fetching it gets no further block.
    let mut peer = Peer::enter(*at, task, *to, Download).await;
    assert_eq!(peer.download(3, 0, 30).await, content(30));
    assert_eq!(delete("").expect(api, 200).await.json(), *file);
    let pull = peer.request(Offline, 0, 30);
    peer.send(Command::FilePullDataReq, 5, &pull).await;
    assert_eq!(peer.closed().await, []);
    Peer::refused(*at, task, *to, Download).await;
    assert_eq!(problem(&delete("").expect(api, 404).await), "not-found");
    assert_eq!(sizes(&page("").await), [10, 20, 40]);

    let audit = get("/api/v1/audit?limit=1").token(&token);
    let audit = audit.expect(api, 200).await.json();
    let row = &audit["items"][0];
    assert_eq!(row["target"], format!("file {id}"), "{row}");
}
