use k8s_openapi::ByteString;

use super::*;
use crate::output::Refusal;
use crate::testing::{self, refusal};

fn now() -> Timestamp {
    "2026-03-14T15:00:00Z".parse().unwrap()
}

fn secret(text: &str, annotations: Value) -> Value {
    json!({
        "metadata": {"name": "demo-internal", "resourceVersion": "7", "annotations": annotations,
            "labels": {"app.kubernetes.io/managed-by": "imcluster-operator"}},
        "data": {"secret": ByteString(text.as_bytes().to_vec())},
    })
}

fn cluster(ready: &str, spec: Value) -> Value {
    json!({"metadata": {"name": "demo", "generation": 2}, "spec": spec,
        "status": {"observedGeneration": 2, "conditions": [{"type": "Ready", "status": ready}]}})
}

fn is_refused<T: std::fmt::Debug>(result: anyhow::Result<T>, part: &str) {
    let error = result.unwrap_err();
    assert!(error.downcast_ref::<Refusal>().is_some(), "{error:#}");
    assert!(error.to_string().contains(part), "{error:#}");
}

#[test]
fn the_old_value_is_presented_until_everybody_accepts_the_new_one() {
    let patch = begun(Which::Internal, &secret("old\n", json!({})), "new", now()).unwrap();
    assert_eq!(patch["stringData"]["secret"], "old\nnew");
    assert_eq!(patch["metadata"]["resourceVersion"], "7");
    let annotations = &patch["metadata"]["annotations"];
    assert_eq!(annotations["imcluster.io/rotation-step"], "Accept");
    assert_eq!(
        annotations["imcluster.io/rotation-since"],
        "2026-03-14T15:00:00Z"
    );
    // The key of remembered logins has one reader: it writes with the new one at once.
    let patch = begun(Which::Remember, &secret("old", json!({})), "new", now()).unwrap();
    assert_eq!(patch["stringData"]["secret"], "new\nold");
}

#[test]
fn what_would_cut_somebody_off_is_refused() {
    let step = json!({"imcluster.io/rotation-step": "Present", "imcluster.io/rotation-since": "t"});
    let running = secret("new\nold", step);
    is_refused(
        begun(Which::Admin, &running, "x", now()),
        "at the step Present since t",
    );
    let by_hand = secret("new\nold", json!({}));
    is_refused(begun(Which::Admin, &by_hand, "x", now()), "by hand");
    let mut foreign = secret("old", json!({}));
    foreign["metadata"]["labels"] = json!({});
    is_refused(
        begun(Which::Admin, &foreign, "x", now()),
        "not the operator's",
    );
    let empty = secret("", json!({}));
    assert!(begun(Which::Admin, &empty, "x", now()).is_err());

    assert!(can_rotate(&cluster("True", json!({}))).is_ok());
    is_refused(can_rotate(&cluster("False", json!({}))), "not Ready");
    let paused = json!({"operation": {"paused": true}});
    is_refused(can_rotate(&cluster("True", paused)), "is paused");
    let mut unseen = cluster("True", json!({}));
    unseen["metadata"]["generation"] = json!(3);
    is_refused(can_rotate(&unseen), "not seen");
}

#[test]
fn an_old_key_of_remembered_logins_ends_when_they_have_ended() {
    let rotated = json!({ROTATED_AT: "2026-02-13T15:00:00Z"});
    let both = secret("new\nold", rotated);
    let days = |days: u64| Duration::from_secs(days * 86_400);
    is_refused(finished(&both, days(30), false, now()), "good for 24h more");
    for (remembered, early) in [(days(29), false), (days(30), true)] {
        let patch = finished(&both, remembered, early, now()).unwrap();
        assert_eq!(patch["stringData"]["secret"], "new");
    }
    let one = secret("new", json!({}));
    is_refused(finished(&one, days(1), true, now()), "no rotation");
    let unknown = secret("new\nold", json!({}));
    is_refused(finished(&unknown, days(0), false, now()), "an unknown time");
    let config =
        json!({"roles": {"dbProxy": {"config": {"db_proxy.accounts.remember_for": "7d"}}}});
    let short = cluster("True", config);
    assert_eq!(remembered_for(&short).unwrap(), days(7));
    assert_eq!(remembered_for(&json!({})).unwrap(), REMEMBERED);
}

#[tokio::test]
async fn what_somebody_else_changed_meanwhile_is_left_alone_and_no_value_is_shown() {
    let (access, log) = testing::server(|asked| match (asked.method.as_str(), &*asked.path) {
        ("PATCH", _) => refusal(409, "Conflict"),
        (_, path) if path.ends_with("/secrets/demo-admin") => (200, secret("old", json!({}))),
        _ => (200, cluster("True", json!({}))),
    });
    let args = RotateArgs {
        secret: Which::Admin,
        name: Some("demo".to_owned()),
        wait: false,
        timeout: 1,
        finish: false,
        early: false,
    };
    is_refused(run(&access, &args).await, "somebody else");
    let asked = log.take();
    let written = asked.last().unwrap().body["stringData"]["secret"].clone();
    let written = written.as_str().unwrap();
    assert_eq!(written.len(), "old\n".len() + 2 * BYTES);
    let new = written.lines().last().unwrap();
    assert!(!said(&args, "demo-admin").contains(new));
}
