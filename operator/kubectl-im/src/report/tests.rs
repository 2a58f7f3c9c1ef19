use serde_json::json;

use super::*;
use crate::testing::{self, refusal};

const KEY: &str = "0f1e2d3c4b5a";

/// An installation that tells its secret wherever it can.
fn asked(path: &str) -> (u16, Value) {
    let pod = json!({"metadata": {"name": "demo-msg-a", "labels": {"app.kubernetes.io/component": "msg"},
        "annotations": {"note": KEY}},
        "status": {"containerStatuses": [{"name": "msg", "restartCount": 1}]}});
    let body = match path.rsplit('/').next().unwrap() {
        "secrets" => {
            let encoded = k8s_openapi::ByteString(KEY.as_bytes().to_vec());
            json!({"items": [{"metadata": {"name": "demo-internal"}, "data": {"secret": encoded}}]})
        }
        "pods" => json!({"items": [pod]}),
        "log" => Value::String(format!("read {KEY}\nfrom +49 30 12345678\n")),
        "dump" => json!({"peer": KEY, "phone": "1", "sessions": 2}),
        "metrics" => Value::String("im_msg_connections 2\n".to_owned()),
        "events" => return refusal(403, "events are forbidden"),
        _ => json!({"items": []}),
    };
    (200, body)
}

async fn report() -> Vec<(String, String)> {
    let (access, _) = testing::server(|it| asked(&it.path));
    let cluster = json!({"metadata": {"name": "demo"}, "spec": {"note": format!("x{KEY}y")}});
    let now = Timestamp::UNIX_EPOCH;
    gather(&access, cluster, "im-report-chat-demo", now)
        .await
        .unwrap()
}

#[tokio::test]
async fn everything_is_there_but_secrets_and_what_is_not_is_named() {
    let files = report().await;
    let text = |name: &str| {
        let path = format!("im-report-chat-demo/{name}");
        let found = files.iter().find(|(file, _)| *file == path);
        found.map(|(_, text)| text.as_str())
    };
    for (file, text) in &files {
        assert!(!text.contains(KEY), "{file}: {text}");
    }
    assert_eq!(
        text("logs/msg/demo-msg-a.msg.log"),
        Some("read [removed]\nfrom [phone]\n")
    );
    assert!(text("logs/msg/demo-msg-a.msg.previous.log").is_some());
    assert!(
        text("pods/demo-msg-a.dump.json")
            .unwrap()
            .contains("\"sessions\": 2")
    );
    assert_eq!(
        text("pods/demo-msg-a.metrics.txt"),
        Some("im_msg_connections 2\n")
    );
    assert_eq!(text("secrets.json"), None);
    let left_out = text("LEFT-OUT.txt").unwrap();
    assert!(
        left_out.contains("events: events are forbidden"),
        "{left_out}"
    );
    assert_eq!(files, report().await, "names and order are always the same");
}

#[test]
fn what_does_not_fit_is_left_out_and_said() {
    let mut report = Report {
        title: "r".to_owned(),
        redactor: Redactor::default(),
        files: Vec::new(),
        left_out: Vec::new(),
        bytes: TOTAL - 3,
    };
    report.add("large", "1234".to_owned());
    report.add("small", "123".to_owned());
    assert_eq!(report.files, [("r/small".to_owned(), "123".to_owned())]);
    assert_eq!(report.left_out, ["large: its 4 bytes do not fit"]);
    // Incompressible bytes, and a head for each of a thousand files, stay below 20 MiB.
    const { assert!(TOTAL + TOTAL / 1_000 + 1_000 * 1_024 < 20 << 20) };
}

#[test]
fn a_hundred_pods_share_what_logs_may_have() {
    const { assert!(LOGS / 100 > 100 << 10 && LOGS < TOTAL) };
}
