//! The way back from a version or setting of dbProxy that does not start, without anybody's hand, and
//! why pods cannot be made.

use std::time::Duration;

use im_e2e_kube::wait::{LATER, until};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::ResourceExt;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::installation::{Installation, NAME, VERSION, cluster, small, with_operator};
use crate::scale::{RECOVERY, assert_good};

/// The one pod of dbProxy.
const POD: &str = "demo-db-proxy-0";
/// Its StatefulSet.
const SET: &str = "demo-db-proxy";
/// Longest way back once the old value is set again.
const BACK: Duration = Duration::from_secs(120);
/// Longest time until status names what is wrong.
const TOLD: Duration = Duration::from_secs(30);

/// Waits for `Ready` and says how long that took.
async fn back(installation: &Installation) {
    let since = Instant::now();
    installation.ready().await.unwrap();
    let took = since.elapsed();
    println!("ready again after {took:?}");
    assert!(took <= BACK, "{took:?}");
}

/// Waits until a condition has this reason, in time, and returns its message.
async fn told(installation: &Installation, kind: &str, reason: &str) -> String {
    let since = Instant::now();
    let message = installation.reason(kind, reason).await.unwrap();
    let took = since.elapsed();
    println!("{reason} after {took:?}: {message}");
    assert!(took <= TOLD, "{took:?}");
    message
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_does_not_exist_touches_no_pod_and_the_old_one_is_ready_again() {
    let installation = Installation::new("noversion", small(), 10).await.unwrap();
    let traffic = installation
        .traffic(6, Duration::from_millis(50))
        .await
        .unwrap();
    let servers = async || {
        let mut pods = installation.pod_ids().await.unwrap();
        pods.retain(|name, _| name.starts_with(NAME) && !name.contains("proof"));
        pods
    };
    let before = servers().await;
    installation.patch(&json!({"version": "9.9.9"})).unwrap();
    let message = told(&installation, "Degraded", "ImagePullFailed").await;
    assert!(message.contains(":9.9.9 cannot be pulled"), "{message}");
    traffic.progress(200, RECOVERY).await.unwrap();
    assert_eq!(servers().await, before);
    assert_eq!(
        installation.condition("Ready").await.unwrap().unwrap().0,
        "True"
    );
    installation.patch(&json!({"version": VERSION})).unwrap();
    back(&installation).await;
    assert_eq!(servers().await, before);
    assert_good(&traffic.finish(RECOVERY).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_with_which_db_proxy_ends_is_left_by_writing_the_old_one() {
    let installation = Installation::new("badsetting", small(), 2).await.unwrap();
    let args = json!(["db-proxy", "--config", "/no/such/file.toml"]);
    let containers = json!({"spec": {"containers": [{"name": "db-proxy", "args": args}]}});
    installation
        .patch(&json!({"roles": {"dbProxy": {"podOverrides": containers}}}))
        .unwrap();
    let message = installation
        .reason("Degraded", "PodCrashLoop")
        .await
        .unwrap();
    assert!(message.contains(POD), "{message}");
    installation
        .patch(&json!({"roles": {"dbProxy": {"podOverrides": {"spec": null}}}}))
        .unwrap();
    back(&installation).await;
    // Who was imported before is still there.
    let (client, _events) = installation.client_again(1).await.unwrap();
    client.close().await;
}

/// Puts the StatefulSet in the place of its own that an operator of before would have made, while no
/// operator works; its pods stay.
fn as_before(installation: &Installation, change: impl FnOnce(&mut Value)) {
    let kubectl = |args: &[&str]| installation.namespace.kubectl(args).unwrap();
    kubectl(&["scale", "deployment", "im-operator", "--replicas=0"]);
    let none = ["--for=delete", "--timeout=60s"];
    kubectl(
        &[
            &["wait", "pod", "-l", "app.kubernetes.io/name=im-operator"],
            &none[..],
        ]
        .concat(),
    );
    let text = kubectl(&["get", "statefulset", SET, "-o", "json"]);
    let mut set: Value = serde_json::from_str(&text).unwrap();
    kubectl(&["delete", "statefulset", SET, "--cascade=orphan", "--wait"]);
    set["spec"]["podManagementPolicy"] = json!("OrderedReady");
    change(&mut set);
    let metadata = set["metadata"].as_object_mut().unwrap();
    for field in [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "managedFields",
        "generation",
    ] {
        metadata.remove(field);
    }
    set.as_object_mut().unwrap().remove("status");
    let create = ["create", "-f", "-"];
    installation
        .namespace
        .kubectl_with_input(&create, &set.to_string())
        .unwrap();
}

async fn policy(installation: &Installation) -> String {
    let sets = installation.namespace.api::<StatefulSet>();
    let set = sets.get(SET).await.unwrap();
    set.spec.unwrap().pod_management_policy.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stateful_set_of_an_earlier_operator_makes_way_without_its_pod() {
    let installation = Installation::new("earlier", small(), 2).await.unwrap();
    as_before(&installation, |_| ());
    assert_eq!(policy(&installation).await, "OrderedReady");
    let before = installation.pod_ids().await.unwrap();
    let operate = ["scale", "deployment", "im-operator", "--replicas=1"];
    installation.namespace.kubectl(&operate).unwrap();
    until("another StatefulSet", LATER, async || {
        let sets = installation.namespace.api::<StatefulSet>();
        let set = sets.get_opt(SET).await.ok()??;
        let status = set.status?;
        let adopted = status.ready_replicas == Some(1);
        let policy = set.spec?.pod_management_policy?;
        // Whatever is in between, nobody is told that it does not work.
        assert_eq!(installation.condition("Ready").await.ok()??.0, "True");
        (policy == "Parallel" && adopted).then_some(())
    })
    .await
    .unwrap();
    installation.ready().await.unwrap();
    assert_eq!(installation.pod_ids().await.unwrap()[POD], before[POD]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_pod_of_an_earlier_operator_is_replaced_and_its_data_are_kept() {
    let installation = Installation::new("stuck", small(), 2).await.unwrap();
    as_before(&installation, |set| {
        let container = &mut set["spec"]["template"]["spec"]["containers"][0];
        container["image"] = json!("imcluster.test/imd:missing");
    });
    let delete = ["delete", "pod", POD, "--wait=false"];
    installation.namespace.kubectl(&delete).unwrap();
    until("a pod without image", LATER, async || {
        let pods = installation.pods("db-proxy").await.ok()?;
        let pod = pods.into_iter().next()?;
        let statuses = pod.status?.container_statuses?;
        let waiting = statuses.first()?.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref()?;
        reason.contains("Image").then_some(pod.metadata.uid)
    })
    .await
    .unwrap();
    let operate = ["scale", "deployment", "im-operator", "--replicas=1"];
    installation.namespace.kubectl(&operate).unwrap();
    let serves = async || {
        let pods = installation.pods("db-proxy").await.ok()?;
        let ready = |pod| im_e2e_kube::testing::is_ready(pod);
        pods.iter().any(ready).then_some(())
    };
    until("dbProxy serves again", BACK, serves).await.unwrap();
    back(&installation).await;
    let (client, _events) = installation.client_again(1).await.unwrap();
    client.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_that_allows_no_pod_is_named_in_status_and_its_end_is_enough() {
    let cluster = cluster().await.unwrap();
    let namespace = with_operator(&cluster, "quota", &[]).await.unwrap();
    // The operator has one.
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota",
        "metadata": {"name": "one-pod"}, "spec": {"hard": {"pods": "1"}}});
    namespace.apply(&quota.to_string()).unwrap();
    let installation = Installation::apply_to(namespace, NAME, &small()).unwrap();
    let message = told(&installation, "Degraded", "QuotaExceeded").await;
    assert!(message.contains("one-pod"), "{message}");
    let delete = ["delete", "resourcequota", "one-pod"];
    installation.namespace.kubectl(&delete).unwrap();
    installation.ready().await.unwrap();
    let (status, reason, _) = installation.condition("Degraded").await.unwrap().unwrap();
    assert_eq!((status.as_str(), reason.as_str()), ("False", "AsExpected"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_object_is_not_taken_for_a_finished_one_before_it_is_ready() {
    let cluster = cluster().await.unwrap();
    let namespace = cluster.namespace("fresh").await.unwrap();
    let installation = Installation::apply_to(namespace, NAME, &small()).unwrap();
    // Nobody has looked at it: it is not taken for a finished one.
    let object = installation.object().await.unwrap();
    assert_eq!(object["status"], json!({"observedGeneration": -1}));
    crate::installation::install_operator(&installation.namespace, &[]).unwrap();
    until("it is ready", crate::installation::INSTALL, async || {
        let object = installation.object().await.ok()?;
        if object["status"]["observedGeneration"] == -1 {
            return None;
        }
        let holds = |kind: &str| {
            let conditions = object["status"]["conditions"].as_array().unwrap();
            let found = conditions.iter().find(|it| it["type"] == kind);
            found.is_some_and(|it| it["status"] == "True")
        };
        // Without this condition it would count as finished.
        let conditions = object["status"]["conditions"].as_array().unwrap();
        assert!(
            conditions.iter().any(|it| it["type"] == "Ready"),
            "{object:#}"
        );
        (holds("Ready") && !holds("Reconciling")).then_some(())
    })
    .await
    .unwrap();
    let claims = installation
        .namespace
        .api::<k8s_openapi::api::core::v1::PersistentVolumeClaim>();
    until("the claim is not to be pruned", LATER, async || {
        let claim = claims.get("data-demo-db-proxy-0").await.ok()?;
        let foreign = claim.labels().contains_key("app.kubernetes.io/instance");
        (!foreign && claim.labels().get("imcluster.io/cluster")? == NAME).then_some(())
    })
    .await
    .unwrap();
}
