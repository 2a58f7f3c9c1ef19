//! Scenario 7: what is changed or deleted by hand is put right, unless the ImCluster is paused; what
//! belongs to somebody else is left alone (must never 11).

use std::time::Duration;

use im_e2e_kube::wait::{LATER, SOON, until};
use serde_json::{Value, json};

use crate::installation::{Installation, NAME, small, with_operator};

/// One object of each kind, and a change to a field that the operator owns.
fn changes() -> Vec<(String, Value)> {
    let role = |verbs: Value| {
        json!({"rules": [{
            "apiGroups": ["discovery.k8s.io"],
            "resources": ["endpointslices"],
            "verbs": verbs,
        }]})
    };
    vec![
        (
            format!("deployment/{NAME}-login"),
            json!({"spec": {"replicas": 3}}),
        ),
        (
            format!("deployment/{NAME}-route"),
            json!({"spec": {"replicas": 0}}),
        ),
        (
            format!("service/{NAME}-login"),
            json!({"spec": {"selector": {"app.kubernetes.io/component": "nobody"}}}),
        ),
        (
            format!("configmap/{NAME}-msg"),
            json!({"data": {"imd.toml": "# nothing"}}),
        ),
        (
            format!("serviceaccount/{NAME}-msg"),
            json!({"automountServiceAccountToken": true}),
        ),
        (format!("role/{NAME}-discovery"), role(json!(["get"]))),
        (
            format!("rolebinding/{NAME}-discovery"),
            json!({"subjects": [{"kind": "ServiceAccount", "name": "nobody", "namespace": "default"}]}),
        ),
        (
            format!("networkpolicy/{NAME}-msg"),
            json!({"spec": {"policyTypes": ["Ingress"]}}),
        ),
        (
            format!("poddisruptionbudget/{NAME}-msg"),
            json!({"spec": {"maxUnavailable": 2}}),
        ),
    ]
}

fn read(installation: &Installation, object: &str) -> Option<Value> {
    let args = ["get", object, "-o", "json"];
    serde_json::from_str(&installation.namespace.kubectl(&args).ok()?).ok()
}

/// Whether all that a patch names has the value that it names.
fn holds(object: &Value, patch: &Value) -> bool {
    match (object, patch) {
        (Value::Object(object), Value::Object(patch)) => patch
            .iter()
            .all(|(key, value)| object.get(key).is_some_and(|found| holds(found, value))),
        (object, patch) => object == patch,
    }
}

fn edit(installation: &Installation, object: &str, patch: &Value) {
    let patch = patch.to_string();
    let args = ["patch", object, "--type=merge", "-p", &patch];
    installation.namespace.kubectl(&args).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_changed_or_deleted_by_hand_is_restored() {
    let installation = Installation::new("drift", small(), 0).await.unwrap();
    let of_msg = format!(
        "imcluster.io/revision,app.kubernetes.io/component=msg,app.kubernetes.io/instance={NAME}"
    );
    let stored = ["get", "controllerrevision", "-l", &of_msg, "-o", "name"];
    let stored = installation.namespace.kubectl(&stored).unwrap();
    let stored = (
        stored.lines().next().unwrap().to_owned(),
        json!({"metadata": {"labels": {"app.kubernetes.io/name": "other"}}}),
    );
    for (object, patch) in changes().into_iter().chain([stored]) {
        edit(&installation, &object, &patch);
        until(&format!("{object} as before"), SOON, async || {
            (!holds(&read(&installation, &object)?, &patch)).then_some(())
        })
        .await
        .unwrap();
    }
    let more = [
        format!("endpointslice/{NAME}-msg-public-0"),
        format!("service/{NAME}-msg-slot-0"),
        format!("service/{NAME}-route"),
        format!("networkpolicy/{NAME}-default-deny"),
        format!("statefulset/{NAME}-db-proxy"),
    ];
    for object in changes().into_iter().map(|(object, _)| object).chain(more) {
        let uid = read(&installation, &object).unwrap()["metadata"]["uid"].clone();
        let args = ["delete", &object, "--wait=false", "--cascade=orphan"];
        installation.namespace.kubectl(&args).unwrap();
        until(&format!("another {object}"), SOON, async || {
            let found = read(&installation, &object)?;
            (found["metadata"]["uid"] != uid).then_some(())
        })
        .await
        .unwrap();
    }
    installation.ready().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_cluster_is_left_as_it_is_and_says_so() {
    let installation = Installation::new("paused", small(), 0).await.unwrap();
    let paused = |paused: bool| json!({"operation": {"paused": paused}});
    installation.patch(&paused(true)).unwrap();
    installation.wait("Paused", "True", SOON).await.unwrap();
    for (object, patch) in changes() {
        edit(&installation, &object, &patch);
    }
    // Something that the operator does see and report meanwhile.
    installation
        .patch(&json!({"roles": {"msg": {"replicas": 3}}}))
        .unwrap();
    until("the generation is observed", SOON, async || {
        let object = installation.object().await.ok()?;
        let observed = &object["status"]["observedGeneration"];
        (*observed == object["metadata"]["generation"]).then_some(())
    })
    .await
    .unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    for (object, patch) in changes() {
        let found = read(&installation, &object).unwrap();
        assert!(holds(&found, &patch), "{object} was changed while paused");
    }
    installation.patch(&paused(false)).unwrap();
    for (object, patch) in changes() {
        until(&format!("{object} as before"), LATER, async || {
            (!holds(&read(&installation, &object)?, &patch)).then_some(())
        })
        .await
        .unwrap();
    }
    installation.msg_pods(3).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn must_never_11_an_object_of_somebody_else_is_not_touched_but_named() {
    let cluster = crate::installation::cluster().await.unwrap();
    let namespace = with_operator(&cluster, "foreign", &[]).await.unwrap();
    let name = format!("{NAME}-route");
    let foreign = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": {"owner": "somebody"}},
        "spec": {"ports": [{"name": "web", "port": 80}], "selector": {"app": "web"}},
    });
    namespace.apply(&foreign.to_string()).unwrap();
    let before = namespace.kubectl(&["get", "service", &name, "-o", "json"]);
    let installation = Installation::apply_to(namespace, NAME, &small()).unwrap();
    let message = installation.reason("Stalled", "Conflict").await.unwrap();
    assert!(message.contains(&name), "{message}");
    let after = installation
        .namespace
        .kubectl(&["get", "service", &name, "-o", "json"]);
    assert_eq!(before.unwrap(), after.unwrap());
    installation
        .namespace
        .kubectl(&["delete", "service", &name])
        .unwrap();
    installation.ready().await.unwrap();

    // A name that Kubernetes would refuse to make twice: the same specification gives the same
    // revision, whose ReplicaSet somebody else has made meanwhile.
    let sets = ["get", "replicasets", "-o", "name"];
    let sets = installation.namespace.kubectl(&sets).unwrap();
    let prefix = format!("replicaset.apps/{NAME}-msg-");
    let set = sets.lines().find(|set| set.starts_with(&prefix)).unwrap();
    let delete = ["delete", "imclusters", NAME, "--wait"];
    installation.namespace.kubectl(&delete).unwrap();
    until("the ReplicaSet is gone", LATER, async || {
        read(&installation, set).is_none().then_some(())
    })
    .await
    .unwrap();
    let labels = json!({"app": "web"});
    let foreign = json!({
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"name": set.replace("replicaset.apps/", "")},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "web", "image": "web"}]},
            },
        },
    });
    installation.namespace.apply(&foreign.to_string()).unwrap();
    installation.apply(&small()).unwrap();
    let message = installation.reason("Stalled", "Conflict").await.unwrap();
    assert!(message.contains("ReplicaSet"), "{message}");
    installation.namespace.kubectl(&["delete", set]).unwrap();
    installation.ready().await.unwrap();
}
