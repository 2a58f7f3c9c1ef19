use super::*;
use crate::cache::views::Detail;
use crate::cache::{ClusterKey, Entry};
use crate::ownership::Seen;
use crate::testing::{self, Asked, not_found, refusal};
use im_operator_plan::msg::{DrainReason, Order};

struct Fixed;

impl Manifests for Fixed {
    fn replica_set(&self, revision: &str) -> Option<Value> {
        Some(json!({"apiVersion": "apps/v1", "kind": "ReplicaSet",
            "metadata": {"name": format!("demo-msg-{revision}")}, "spec": {}}))
    }

    fn slot(&self, index: u32) -> Value {
        json!({"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": format!("demo-msg-slot-{index}")},
            "spec": {"selector": {"app.kubernetes.io/component": "msg"}}})
    }
}

fn seen(name: &str) -> ObjectRef {
    ObjectRef {
        name: name.to_owned(),
        uid: format!("{name}-uid"),
        resource_version: "5".to_owned(),
    }
}

async fn executed(
    action: Action,
    answer: impl Fn(&Asked) -> (u16, Value) + Send + Sync + 'static,
) -> (Result<Done, ApplyError>, Vec<Asked>) {
    executed_over(&Children::default(), action, answer).await
}

async fn executed_over(
    children: &Children,
    action: Action,
    answer: impl Fn(&Asked) -> (u16, Value) + Send + Sync + 'static,
) -> (Result<Done, ApplyError>, Vec<Asked>) {
    let (client, log) = testing::server(answer);
    let cluster = ClusterKey {
        namespace: "chat".to_owned(),
        name: "demo".to_owned(),
    };
    let executor = Executor {
        applier: Applier {
            client: &client,
            cluster: &cluster,
            uid: "u",
        },
        manifests: &Fixed,
        children,
    };
    let now = Timestamp::from_second(1_000).unwrap();
    let mut expectations = Expectations::default();
    let done = executor.execute(&action, now, &mut expectations).await;
    (done, log.take())
}

fn fine(_: &Asked) -> (u16, Value) {
    (
        200,
        json!({"apiVersion": "v1", "kind": "X", "metadata": {"name": "x", "resourceVersion": "6"}}),
    )
}

#[tokio::test]
async fn writes_name_the_object_as_it_was_seen() {
    let scale = Action::Scale {
        replica_set: seen("demo-msg-a"),
        from: 3,
        to: 2,
    };
    let (done, asked) = executed(scale.clone(), fine).await;
    assert!(matches!(
        done.unwrap(),
        Done::Written(Some((Reason::ScaledDown, _)))
    ));
    assert_eq!(
        asked[0].body,
        json!({"metadata": {"uid": "demo-msg-a-uid", "resourceVersion": "5"}, "spec": {"replicas": 2}})
    );
    let (done, _) = executed(scale, |_| refusal(409, "Conflict")).await;
    assert_eq!(done.unwrap(), Done::Stale);
}

#[tokio::test]
async fn a_commitment_is_one_write_with_the_lowest_cost() {
    let commit = Action::CommitDrain {
        pod: seen("demo-msg-a-1"),
        reason: DrainReason::Upgrade,
    };
    let (_, asked) = executed(commit, fine).await;
    assert_eq!(asked.len(), 1);
    let annotations = &asked[0].body["metadata"]["annotations"];
    assert_eq!(
        annotations["controller.kubernetes.io/pod-deletion-cost"],
        "-2147483648"
    );
    assert_eq!(annotations["imcluster.io/draining"], "1970-01-01T00:16:40Z");
    assert_eq!(annotations["imcluster.io/drain-reason"], "Upgrade");
}

#[tokio::test]
async fn an_order_is_an_annotation_and_taken_back_with_it() {
    let since = Timestamp::from_second(900).unwrap();
    let order = |order| Action::SetOrder {
        pod: seen("demo-msg-a-1"),
        order,
    };
    let drain = Order::Drain {
        since,
        per_second: 250,
    };
    let (done, asked) = executed(order(Some(drain)), fine).await;
    assert!(matches!(
        done.unwrap(),
        Done::Written(Some((Reason::DrainStarted, _)))
    ));
    let annotations = |asked: &[Asked]| asked[0].body["metadata"]["annotations"].clone();
    assert_eq!(
        annotations(&asked),
        json!({"imcluster.io/orders": "drain 1970-01-01T00:15:00Z 250"})
    );
    let (_, asked) = executed(order(None), fine).await;
    assert_eq!(annotations(&asked), json!({"imcluster.io/orders": null}));
    let shed = Order::Shed {
        since,
        sessions: 7,
        per_second: 1,
    };
    let (done, _) = executed(order(Some(shed)), fine).await;
    assert!(matches!(
        done.unwrap(),
        Done::Written(Some((Reason::Rebalancing, note))) if note.contains("7 go")
    ));
}

#[tokio::test]
async fn binding_takes_the_slot_first_and_selects_the_pod_last() {
    let bind = Action::BindSlot {
        index: 2,
        service: seen("demo-msg-slot-2"),
        pod: seen("demo-msg-a-1"),
    };
    let (_, asked) = executed(bind.clone(), fine).await;
    let service = "PATCH /api/v1/namespaces/chat/services/demo-msg-slot-2";
    let lines: Vec<String> = asked.iter().map(Asked::line).collect();
    assert_eq!(
        lines,
        [
            service,
            "PATCH /api/v1/namespaces/chat/pods/demo-msg-a-1",
            service
        ]
    );
    assert_eq!(
        asked[0].body["metadata"]["annotations"][SLOT_POD],
        "demo-msg-a-1/demo-msg-a-1-uid"
    );
    assert_eq!(asked[0].body["spec"]["selector"][labels::SLOT], Value::Null);
    assert_eq!(asked[2].body["spec"]["selector"][labels::SLOT], "2");
    assert_eq!(asked[2].body["metadata"]["resourceVersion"], "6");
    let (done, asked) = executed(bind, |asked| {
        if asked.path.contains("/pods/") {
            refusal(409, "Conflict")
        } else {
            fine(asked)
        }
    })
    .await;
    assert_eq!((done.unwrap(), asked.len()), (Done::Stale, 2));
}

/// A slot's Service as it was created, of this version.
fn created_slot(version: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "demo-msg-slot-2",
        "uid": "demo-msg-slot-2-uid", "resourceVersion": version,
        "managedFields": [{"manager": MANAGER, "operation": "Update",
            "fieldsV1": {"f:spec": {"f:selector": {}}}}]}})
}

#[tokio::test]
async fn what_a_slot_was_created_with_counts_as_applied_unless_it_has_changed_since_it_was_seen() {
    let seen_service = created_slot("5");
    let metadata = serde_json::from_value(seen_service["metadata"].clone()).unwrap();
    let entry = Entry {
        seen: Seen::read(&metadata),
        version: "5".to_owned(),
        detail: Detail::None,
    };
    let mut children = Children::default();
    children.insert(Kind::Service, "demo-msg-slot-2", entry);
    let mark = Action::MarkSlot {
        index: 2,
        service: seen("demo-msg-slot-2"),
    };
    let (done, asked) = executed_over(&children, mark.clone(), |asked| {
        if asked.method == "GET" {
            (200, created_slot("5"))
        } else {
            fine(asked)
        }
    })
    .await;
    assert_eq!(done.unwrap(), Done::Written(None));
    let methods: Vec<&str> = asked.iter().map(|it| it.method.as_str()).collect();
    assert_eq!(methods, ["GET", "PATCH", "PATCH"]);
    let fields = &asked[1].body["metadata"]["managedFields"][0];
    assert_eq!(fields["operation"], "Apply");
    assert_eq!(asked[1].body["metadata"]["resourceVersion"], "5");
    assert_eq!(asked[2].body["metadata"]["resourceVersion"], "6");

    // Somebody has written meanwhile: what was planned from the older look is refused as a whole.
    let (done, asked) = executed_over(&children, mark, |asked| match asked.method.as_str() {
        "GET" => (200, created_slot("9")),
        _ => refusal(409, "Conflict"),
    })
    .await;
    assert_eq!(done.unwrap(), Done::Stale);
    let methods: Vec<&str> = asked.iter().map(|it| it.method.as_str()).collect();
    assert_eq!(methods, ["GET", "PATCH"]);
    assert_eq!(asked[1].body["metadata"]["resourceVersion"], "5");
}

#[tokio::test]
async fn never_19_a_slot_is_not_freed_while_its_pod_lives() {
    let unbind = Action::UnbindSlot {
        index: 2,
        service: seen("demo-msg-slot-2"),
        was: Some(PodId {
            name: "demo-msg-a-1".to_owned(),
            uid: "p".to_owned(),
        }),
    };
    let pod = |uid: &str, phase: &str| {
        json!({"apiVersion": "v1", "kind": "Pod", "status": {"phase": phase},
            "metadata": {"name": "demo-msg-a-1", "uid": uid, "labels": {labels::SLOT: "2"}}})
    };
    for (stored, freed) in [
        (Some(pod("p", "Running")), false),
        (Some(pod("p", "Succeeded")), true),
        (Some(pod("another", "Running")), true),
        (None, true),
    ] {
        let (done, asked) = executed(unbind.clone(), move |asked| match asked.method.as_str() {
            "GET" => stored.clone().map_or_else(not_found, |pod| (200, pod)),
            _ => fine(asked),
        })
        .await;
        let expected = if freed {
            Done::Written(None)
        } else {
            Done::Needless
        };
        assert_eq!(done.unwrap(), expected);
        assert_eq!(asked.len(), if freed { 2 } else { 1 });
    }
}

#[tokio::test]
async fn a_freed_slot_says_since_when_and_a_bound_one_does_not() {
    let unbind = Action::UnbindSlot {
        index: 2,
        service: seen("demo-msg-slot-2"),
        was: None,
    };
    let mark = Action::MarkSlot {
        index: 2,
        service: seen("demo-msg-slot-2"),
    };
    for action in [unbind, mark] {
        let (done, asked) = executed(action, fine).await;
        assert_eq!((done.unwrap(), asked.len()), (Done::Written(None), 1));
        let metadata = &asked[0].body["metadata"];
        assert_eq!(
            metadata["annotations"][labels::UNUSED_SINCE],
            "1970-01-01T00:16:40Z"
        );
        assert_eq!(metadata["resourceVersion"], "5");
    }
    let bind = Action::BindSlot {
        index: 2,
        service: seen("demo-msg-slot-2"),
        pod: seen("demo-msg-a-1"),
    };
    let (_, asked) = executed(bind, fine).await;
    for asked in asked.iter().filter(|it| it.path.contains("/services/")) {
        let annotations = &asked.body["metadata"]["annotations"];
        assert_eq!(annotations[labels::UNUSED_SINCE], Value::Null);
    }
}

#[tokio::test]
async fn a_slot_is_given_back_only_as_it_was_seen() {
    let release = Action::ReleaseSlot {
        index: 2,
        service: seen("demo-msg-slot-2"),
    };
    let (done, asked) = executed(release.clone(), fine).await;
    assert!(matches!(
        done.unwrap(),
        Done::Written(Some((Reason::SlotReleased, _)))
    ));
    assert_eq!(
        asked[0].line(),
        "DELETE /api/v1/namespaces/chat/services/demo-msg-slot-2"
    );
    assert_eq!(
        asked[0].body["preconditions"],
        json!({"uid": "demo-msg-slot-2-uid", "resourceVersion": "5"})
    );
    let (done, _) = executed(release.clone(), |_| refusal(409, "Conflict")).await;
    assert_eq!(done.unwrap(), Done::Stale);
    let (done, _) = executed(release, |_| not_found()).await;
    assert_eq!(done.unwrap(), Done::Stale);
}

#[tokio::test]
async fn a_replica_set_is_created_and_never_taken_over() {
    let create = Action::CreateReplicaSet {
        revision: "abc".to_owned(),
        replicas: 3,
    };
    let (done, asked) = executed(create.clone(), fine).await;
    assert!(matches!(done.unwrap(), Done::Written(Some(_))));
    assert_eq!(
        asked[0].line(),
        "POST /apis/apps/v1/namespaces/chat/replicasets/demo-msg-abc"
    );
    assert_eq!(asked[0].body["spec"]["replicas"], 3);
    let (done, asked) = executed(create, |asked| match asked.method.as_str() {
        "POST" => refusal(409, "AlreadyExists"),
        _ => (200, json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "demo-msg-abc", "uid": "x"}})),
    })
    .await;
    assert_eq!(
        done.unwrap(),
        Done::Foreign("ReplicaSet demo-msg-abc".to_owned())
    );
    assert!(asked.iter().all(|asked| asked.method != "PATCH"));
}
