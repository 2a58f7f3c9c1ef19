use serde_json::json;

use super::*;
use crate::access::at;
use crate::testing::{self, refusal};

/// An ImCluster that is being rolled: 100 msg pods, 25 of them new.
fn rolling() -> Seen {
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({"type": kind, "status": status, "reason": reason, "message": message,
            "lastTransitionTime": "2026-03-14T12:00:00Z"})
    };
    let conditions = [
        condition("Ready", "True", "Ready", "The installation serves clients"),
        condition("Reconciling", "True", "NewRevision", "msg: 25 of 100"),
        condition("LoadKnown", "True", "Read", "Login servers tell the load"),
        condition(
            "Degraded",
            "True",
            "SecretMissing",
            "Secret judge does not exist",
        ),
    ];
    let cluster = json!({
        "metadata": {"name": "demo", "namespace": "chat", "generation": 3},
        "spec": {"roles": {"login": {"replicas": 2}, "msg": {"replicas": 100}, "route": {"replicas": 2},
            "dbProxy": {}}, "load": {"mirrorBucketPercent": 20}},
        "status": {
            "observedGeneration": 3, "phase": "Progressing", "version": "0.1.0",
            "operatorVersion": "0.1.0", "conditions": conditions,
            "roles": {
                "msg": {"replicas": 100, "desiredReplicas": 100, "readyReplicas": 99,
                    "updatedReplicas": 25, "updateRevision": "new", "connections": 91_000,
                    "connectionCapacity": 100_000},
                "dbProxy": {"replicas": 1, "readyReplicas": 1, "updatedReplicas": 1,
                    "updateRevision": "db"},
            },
            "slots": [{"slot": 0, "pod": "demo-msg-old-099", "host": "2001:db8::1", "port": 8000,
                "state": "Bound"}, {"slot": 1, "state": "Provisioning"}],
            "drains": [{"pod": "demo-msg-old-098", "reason": "Rollout", "remaining": 12,
                "startedAt": "2026-03-14T14:59:00Z", "deadline": "2026-03-14T15:04:00Z"}],
        },
    });
    let pods = (0..100).map(|number| {
        let revision = if number < 25 { "new" } else { "old" };
        json!({
            "metadata": {"name": format!("demo-msg-{revision}-{number:03}"), "uid": format!("u{number}"),
                "creationTimestamp": "2026-03-14T14:50:00Z",
                "labels": {"app.kubernetes.io/component": "msg", "imcluster.io/revision": revision},
                "annotations": {"imcluster.io/external-endpoint": format!("chat.example:{}", 8000 + number)}},
            "spec": {"nodeName": format!("worker-{}", number % 2),
                "containers": [{"image": "r.example:5000/imd:0.1.0"}]},
            "status": {"phase": "Running", "conditions":
                [{"type": "Ready", "status": if number == 99 { "False" } else { "True" }}]},
        })
    });
    let loads = json!({"u0": {"b": 4}, "u99": {"b": 0}}).to_string();
    Seen {
        cluster,
        pods: pods.collect(),
        slices: vec![json!({"metadata": {"annotations": {"imcluster.io/load": loads}}})],
        zones: Some([("worker-0".to_owned(), "a".to_owned())].into()),
        unschedulable: vec!["worker-1".to_owned()],
    }
}

fn now() -> Timestamp {
    "2026-03-14T15:00:00Z".parse().unwrap()
}

#[test]
fn a_roll_is_shown_with_what_is_left_of_it_and_what_to_do() {
    let mut seen = rolling();
    // What the page shows of a hundred pods shows as well of four.
    seen.pods = { seen.pods.into_iter().enumerate() }
        .filter_map(|(at, pod)| [0, 1, 98, 99].contains(&at).then_some(pod))
        .collect();
    let text = write::text(&View::of(&seen, now()));
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/src/status/golden.txt");
    if std::env::var_os("IM_UPDATE").is_some() {
        std::fs::write(file, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(file).unwrap());
}

#[test]
fn the_rest_of_a_roll_takes_as_long_for_each_pod_as_so_far() {
    let view = View::of(&rolling(), now());
    let msg = view.roles.iter().find(|role| role.name == "msg").unwrap();
    // 25 pods in ten minutes, 75 to go.
    assert_eq!(msg.seconds_left, Some(1_800));
    let rest = |done, wanted| view::rest(Some(now()), done, wanted, now());
    assert_eq!(rest(0, 3), None, "nothing to go by");
    assert_eq!(rest(3, 3), None, "nothing left");
    assert_eq!(rest(5, 3), None, "shrinking");
}

#[tokio::test]
async fn a_hundred_msg_pods_take_four_requests_and_no_right_to_read_nodes() {
    let seen = rolling();
    let (access, log) = testing::server(move |asked| {
        let path = asked.path.as_str();
        if path == "/api/v1/nodes" {
            return refusal(403, "Forbidden");
        }
        let body = match path.rsplit('/').next() {
            Some("demo") => seen.cluster.clone(),
            Some("pods") => json!({"items": seen.pods}),
            Some("endpointslices") => json!({"items": seen.slices}),
            _ => return refusal(404, "NotFound"),
        };
        (200, body)
    });
    let clusters = access.clusters(Some("demo")).await.unwrap();
    let seen = gather(&access, clusters[0].clone()).await.unwrap();
    let view = View::of(&seen, now());
    assert_eq!(view.msg_pods.len(), 100);
    assert_eq!(view.msg_pods[0].load, Some([80, 100]));
    assert_eq!(view.places[0].zone, "");
    let asked = log.take();
    assert_eq!(asked.len(), 4, "{asked:?}");
    let pods = asked.iter().find(|it| it.path.ends_with("/pods")).unwrap();
    assert_eq!(
        pods.query,
        "labelSelector=app.kubernetes.io%2Finstance%3Ddemo"
    );
}

#[test]
fn an_object_that_nobody_has_looked_at_is_shown_too() {
    let cluster = json!({"metadata": {"name": "demo", "namespace": "chat", "generation": 1},
        "spec": {}, "status": {"observedGeneration": -1, "slots": "of a later kind"}});
    let seen = Seen {
        cluster,
        ..Seen::default()
    };
    let view = View::of(&seen, now());
    assert!(!view.ready && !view.seen);
    assert!(view.advice[0].contains("has not seen"), "{:?}", view.advice);
    let roles: Vec<_> = view.roles.iter().map(|role| role.name.as_str()).collect();
    assert_eq!(roles, ["dbProxy", "route", "msg", "login"]);
    let json = serde_json::to_value(&view).unwrap();
    assert_eq!(
        (at(&json, "/name"), &json["ready"]),
        ("demo", &json!(false))
    );
}
