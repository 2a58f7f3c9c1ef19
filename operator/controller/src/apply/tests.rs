use super::*;
use crate::cache::views::Detail;
use crate::testing::{self, Asked, not_found};

const UID: &str = "cluster-uid";

fn wanted() -> Wanted {
    Wanted::new(json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "demo-msg", "namespace": "chat", "labels": {},
            "ownerReferences": [{"apiVersion": "imcluster.io/v1alpha1", "kind": "ImCluster",
                "name": "demo", "uid": UID, "controller": true}]},
        "data": {"imd.toml": "a"},
    }))
    .unwrap()
}

fn live(uid: &str, owner: &str, data: &str, hash: &str, other: Option<&str>) -> Value {
    let mut fields = vec![json!({"manager": MANAGER, "operation": "Apply",
        "time": "2026-01-01T00:00:00Z", "fieldsV1": {"f:data": {"f:imd.toml": {}}}})];
    if let Some(other) = other {
        fields = vec![json!({"manager": other, "operation": "Update",
            "time": "2026-01-01T00:00:05Z", "fieldsV1": {"f:data": {"f:imd.toml": {}}}})];
    }
    json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "demo-msg", "namespace": "chat", "uid": uid, "resourceVersion": "7",
            "annotations": {APPLIED_HASH: hash}, "managedFields": fields,
            "ownerReferences": [{"apiVersion": "imcluster.io/v1alpha1", "kind": "ImCluster",
                "name": "demo", "uid": owner, "controller": true}]},
        "data": {"imd.toml": data}})
}

fn entry(object: &Value) -> Entry {
    let metadata = serde_json::from_value(object["metadata"].clone()).unwrap();
    Entry {
        seen: Seen::read(&metadata),
        version: "7".to_owned(),
        detail: Detail::None,
    }
}

async fn ensure(
    stored: Option<Value>,
    seen: Option<&Value>,
    verified: &mut Verified,
) -> (Ensured, Vec<Asked>) {
    let wanted = wanted();
    let hash = wanted.hash.clone();
    let (client, log) = testing::server(move |asked| match (asked.method.as_str(), &stored) {
        ("GET", None) => not_found(),
        ("GET", Some(object)) => (200, object.clone()),
        ("POST", Some(_)) => testing::refusal(409, "AlreadyExists"),
        _ => (200, live("u", UID, "a", &hash, None)),
    });
    let cluster = ClusterKey {
        namespace: "chat".to_owned(),
        name: "demo".to_owned(),
    };
    let applier = Applier {
        client: &client,
        cluster: &cluster,
        uid: UID,
    };
    let entry = seen.map(entry);
    let done = applier
        .ensure(&wanted, entry.as_ref(), verified)
        .await
        .unwrap();
    (done, log.take())
}

fn lines(asked: &[Asked]) -> Vec<String> {
    asked.iter().map(Asked::line).collect()
}

const PATH: &str = "/api/v1/namespaces/chat/configmaps/demo-msg";

#[tokio::test]
async fn a_missing_object_is_created_without_a_look_and_read_after_that() {
    let mut verified = Verified::new();
    let (done, asked) = ensure(None, None, &mut verified).await;
    assert_eq!(done, Ensured::Created);
    assert_eq!(lines(&asked), [format!("POST {PATH}")]);
    assert_eq!(asked[0].query, format!("&fieldManager={MANAGER}"));
    // The watch has not shown it yet, or shows no more that it is there.
    let there = live("u", UID, "a", &wanted().hash, None);
    let (done, asked) = ensure(Some(there), None, &mut verified).await;
    assert_eq!(done, Ensured::Unchanged);
    assert_eq!(lines(&asked), [format!("GET {PATH}")]);
    let (done, asked) = ensure(None, None, &mut verified).await;
    assert_eq!(done, Ensured::Created);
    assert_eq!(
        lines(&asked),
        [format!("GET {PATH}"), format!("POST {PATH}")]
    );
}

#[tokio::test]
async fn what_was_created_is_made_applied_before_the_first_apply() {
    let mut object = live("u", UID, "old", "another hash", None);
    object["metadata"]["managedFields"][0]["operation"] = json!("Update");
    let (done, asked) = ensure(Some(object.clone()), Some(&object), &mut Verified::new()).await;
    assert_eq!(done, Ensured::Updated);
    let expected = ["GET", "PATCH", "PATCH"].map(|method| format!("{method} {PATH}"));
    assert_eq!(lines(&asked), expected);
    let metadata = &asked[1].body["metadata"];
    assert_eq!(metadata["managedFields"][0]["operation"], "Apply");
    assert_eq!(metadata["resourceVersion"], "7");
    assert!(!asked[1].query.contains("force"), "{asked:?}");
    assert!(asked[2].query.contains("force=true"), "{asked:?}");
}

#[tokio::test]
async fn what_an_earlier_operator_applied_onto_a_created_object_is_applied_once_more() {
    let mut object = live("u", UID, "a", &wanted().hash, None);
    let mut created = object["metadata"]["managedFields"][0].clone();
    created["operation"] = json!("Update");
    created["fieldsV1"]["f:data"]["f:left-out"] = json!({});
    let entries = object["metadata"]["managedFields"].as_array_mut().unwrap();
    entries.push(created);
    let (done, asked) = ensure(Some(object.clone()), Some(&object), &mut Verified::new()).await;
    assert_eq!(done, Ensured::Updated);
    let expected = ["GET", "PATCH", "PATCH"].map(|method| format!("{method} {PATH}"));
    assert_eq!(lines(&asked), expected);
    let entries = asked[1].body["metadata"]["managedFields"].as_array();
    let [one] = entries.unwrap().as_slice() else {
        panic!("{asked:?}")
    };
    assert_eq!(one["operation"], "Apply");
    assert_eq!(one["fieldsV1"]["f:data"]["f:left-out"], json!({}));
}

#[tokio::test]
async fn another_object_of_the_name_is_not_made_applied() {
    let mut object = live("u", UID, "old", "another hash", None);
    object["metadata"]["managedFields"][0]["operation"] = json!("Update");
    let mut another = object.clone();
    another["metadata"]["uid"] = json!("v");
    let (_, asked) = ensure(Some(another), Some(&object), &mut Verified::new()).await;
    // The apply names the object that was seen, so that the API server refuses it.
    let expected = ["GET", "PATCH"].map(|method| format!("{method} {PATH}"));
    assert_eq!(lines(&asked), expected);
    assert_eq!(asked[1].body["metadata"]["uid"], "u");
}

#[tokio::test]
async fn a_creation_whose_answer_was_lost_is_found_and_not_written_again() {
    let there = live("u", UID, "a", &wanted().hash, None);
    let (done, asked) = ensure(Some(there), None, &mut Verified::new()).await;
    assert_eq!(done, Ensured::Unchanged);
    let expected = ["POST", "GET"].map(|method| format!("{method} {PATH}"));
    assert_eq!(lines(&asked), expected);
}

#[tokio::test]
async fn an_idle_object_costs_no_request() {
    let object = live("u", UID, "a", &wanted().hash, None);
    let mut verified = Verified::new();
    for _ in 0..2 {
        let (done, asked) = ensure(Some(object.clone()), Some(&object), &mut verified).await;
        assert_eq!(done, Ensured::Unchanged);
        assert_eq!(asked, []);
    }
}

#[tokio::test]
async fn a_changed_wish_is_applied_with_force_onto_the_known_object() {
    let object = live("u", UID, "old", "another hash", None);
    let (done, asked) = ensure(Some(object.clone()), Some(&object), &mut Verified::new()).await;
    assert_eq!(done, Ensured::Updated);
    assert_eq!(lines(&asked), [format!("PATCH {PATH}")]);
    assert!(asked[0].query.contains("force=true"), "{asked:?}");
    assert_eq!(asked[0].body["metadata"]["uid"], "u");
}

#[tokio::test]
async fn an_edit_by_hand_is_corrected_and_one_without_effect_is_not_written() {
    let hash = wanted().hash;
    let before = live("u", UID, "a", &hash, None);
    let mut verified = Verified::new();
    ensure(Some(before.clone()), Some(&before), &mut verified).await;
    let edited = live("u", UID, "b", &hash, Some("kubectl-edit"));
    let (done, asked) = ensure(Some(edited.clone()), Some(&edited), &mut verified).await;
    assert_eq!(done, Ensured::Corrected("data.imd.toml".to_owned()));
    assert_eq!(
        lines(&asked),
        [format!("GET {PATH}"), format!("PATCH {PATH}")]
    );
    let harmless = live("u", UID, "a", &hash, Some("kubectl-edit"));
    let (done, asked) = ensure(
        Some(harmless.clone()),
        Some(&harmless),
        &mut Verified::new(),
    )
    .await;
    assert_eq!(done, Ensured::Unchanged);
    assert_eq!(lines(&asked), [format!("GET {PATH}")]);
}

#[tokio::test]
async fn never_11_an_object_of_another_is_not_touched() {
    let foreign = live("u", "another-uid", "x", "", None);
    for seen in [None, Some(&foreign)] {
        let (done, asked) = ensure(Some(foreign.clone()), seen, &mut Verified::new()).await;
        assert_eq!(done, Ensured::Foreign);
        assert!(
            asked.iter().all(|asked| asked.method != "PATCH"),
            "{asked:?}"
        );
    }
}

#[tokio::test]
async fn a_name_that_another_has_taken_is_tried_once_and_read_until_it_is_free() {
    let mut verified = Verified::new();
    let foreign = live("x", "another-uid", "x", "", None);
    for methods in [&["POST", "GET"][..], &["GET"], &["GET"]] {
        let (done, asked) = ensure(Some(foreign.clone()), None, &mut verified).await;
        assert_eq!(done, Ensured::Foreign);
        let expected: Vec<_> = methods.iter().map(|it| format!("{it} {PATH}")).collect();
        assert_eq!(lines(&asked), expected);
    }
    let (done, asked) = ensure(None, None, &mut verified).await;
    assert_eq!(done, Ensured::Created);
    let expected = ["GET", "POST"].map(|method| format!("{method} {PATH}"));
    assert_eq!(lines(&asked), expected);
}

#[tokio::test]
async fn an_object_that_is_being_deleted_is_waited_for() {
    let mut object = live("u", UID, "a", &wanted().hash, None);
    object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:09Z");
    let (done, asked) = ensure(Some(object.clone()), Some(&object), &mut Verified::new()).await;
    assert_eq!(done, Ensured::Deleting);
    assert_eq!(asked, []);
}
