//! Scenarios 4 and 5: pods are replaced within the budget, a bad image stops at the first pod, and an
//! operator that dies at any step ends where one that lives does (S-89, S-90, S-93).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use im_e2e_kube::testing::{self, TestNamespace};
use im_e2e_kube::wait::until;
use k8s_openapi::api::apps::v1::ReplicaSet;
use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::installation::{INSTALL, Installation, NAME, NEXT, small, with};
use crate::scale::{RECOVERY, assert_good};

#[tokio::test(flavor = "multi_thread")]
async fn a_version_change_rolls_within_the_budget_and_loses_nothing() {
    let installation = Installation::new("roll", small(), 10).await.unwrap();
    let traffic = installation
        .traffic(10, Duration::from_millis(50))
        .await
        .unwrap();
    let before = installation.pod_ids().await.unwrap();
    let (most, fewest) = watched(&installation, async {
        installation.patch(&json!({"version": NEXT})).unwrap();
        until("status tells the new version", INSTALL, async || {
            let object = installation.object().await.ok()?;
            (object["status"]["version"] == NEXT).then_some(())
        })
        .await
        .unwrap();
        installation.ready().await.unwrap();
    })
    .await;
    assert!(most <= 3, "two pods and one more: {most}");
    assert!(fewest >= 2, "none may be missing: {fewest}");
    let after = installation.pod_ids().await.unwrap();
    assert!(before.keys().all(|pod| {
        // The StatefulSet keeps the pod's name.
        pod.contains("im-operator") || before.get(pod) != after.get(pod)
    }));
    traffic.progress(200, RECOVERY).await.unwrap();
    let outcome = traffic.finish(RECOVERY).await.unwrap();
    println!("longest absence of a client: {:?}", outcome.absence);
    assert_good(&outcome);
}

/// Runs something and says how many msg pods there were at most, and how many of them were ready and
/// stayed at least.
async fn watched(installation: &Installation, work: impl Future<Output = ()>) -> (usize, usize) {
    let done = CancellationToken::new();
    let look = async {
        let (mut most, mut fewest) = (0, usize::MAX);
        while !done.is_cancelled() {
            if let Ok(pods) = installation.pods("msg").await {
                let stay = pods
                    .iter()
                    .filter(|pod| pod.metadata.deletion_timestamp.is_none());
                most = most.max(stay.clone().count());
                fewest = fewest.min(stay.filter(|pod| testing::is_ready(pod)).count());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        (most, fewest)
    };
    let work = async {
        work.await;
        done.cancel();
    };
    tokio::join!(look, work).0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_image_stops_at_the_first_pod_and_reverting_takes_up_the_old_replica_set() {
    let spec = with(
        small(),
        &json!({"roles": {"msg": {"update": {"progressDeadlineSeconds": 10}}}}),
    );
    let installation = Installation::new("badimage", spec, 10).await.unwrap();
    let traffic = installation
        .traffic(6, Duration::from_millis(50))
        .await
        .unwrap();
    let old: BTreeSet<String> = names(&installation.pods("msg").await.unwrap());
    let sets = replica_sets(&installation).await;
    // Wrong for msg alone: other roles go first and would stop the roll before.
    let containers = json!([{"name": "msg", "image": "imcluster.test/imd:missing"}]);
    let overrides = json!({"spec": {"containers": containers}});
    installation
        .patch(&json!({"roles": {"msg": {"podOverrides": overrides}}}))
        .unwrap();
    installation
        .reason("Progressing", "ProgressDeadlineExceeded")
        .await
        .unwrap();
    let now = names(&installation.pods("msg").await.unwrap());
    assert_eq!(
        now.intersection(&old).count(),
        2,
        "the old ones still serve"
    );
    assert_eq!(now.len(), 3, "one pod of the new revision: {now:?}");
    traffic.progress(200, RECOVERY).await.unwrap();

    installation
        .patch(&json!({"roles": {"msg": {"podOverrides": {"spec": null}}}}))
        .unwrap();
    installation.ready().await.unwrap();
    assert_eq!(names(&installation.pods("msg").await.unwrap()), old);
    let again = replica_sets(&installation).await;
    let serving = |sets: &BTreeMap<String, i32>| -> Vec<String> {
        let serving = sets.iter().filter(|(_, replicas)| **replicas > 0);
        serving.map(|(name, _)| name.clone()).collect()
    };
    assert_eq!(serving(&again), serving(&sets));
    assert_good(&traffic.finish(RECOVERY).await.unwrap());
}

fn names(pods: &[k8s_openapi::api::core::v1::Pod]) -> BTreeSet<String> {
    pods.iter().map(ResourceExt::name_any).collect()
}

/// ReplicaSets of msg, and how many pods each is to have.
async fn replica_sets(installation: &Installation) -> BTreeMap<String, i32> {
    let selector = format!(
        "app.kubernetes.io/instance={},app.kubernetes.io/component=msg",
        installation.name
    );
    let sets = installation.namespace.api::<ReplicaSet>();
    let list = sets.list(&ListParams::default().labels(&selector)).await;
    list.unwrap()
        .into_iter()
        .map(|set| {
            let replicas = set.spec.as_ref().and_then(|spec| spec.replicas);
            (set.name_any(), replicas.unwrap_or_default())
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn configuration_reaches_the_servers_by_a_roll() {
    let installation = Installation::new("config", small(), 2).await.unwrap();
    installation
        .patch(&json!({"roles": {"msg": {"config": {"msg.rate_limit": "7"}}}}))
        .unwrap();
    installation.ready().await.unwrap();
    for pod in installation.msg_pods(2).await.unwrap() {
        let args = [
            "/imd",
            "config",
            "show",
            "--config",
            "/etc/imcluster/imd.toml",
        ];
        let shown = installation.namespace.exec(&pod.name_any(), &args).unwrap();
        assert!(shown.contains("rate_limit = 7"), "{shown}");
    }
    installation
        .patch(&json!({"roles": {"msg": {"config": {"msg.no_such_key": "1"}}}}))
        .unwrap();
    let (_, message) = installation
        .wait("SpecValid", "False", RECOVERY)
        .await
        .unwrap();
    assert!(message.contains("no_such_key"), "{message}");
}

/// Objects of an installation without what differs from one to the next.
fn shape(installation: &Installation) -> anyhow::Result<BTreeSet<String>> {
    let kinds = "deployments,statefulsets,replicasets,services,configmaps,serviceaccounts,roles,\
        rolebindings,networkpolicies,poddisruptionbudgets,controllerrevisions,secrets";
    let selector = format!("app.kubernetes.io/instance={}", installation.name);
    let args = ["get", kinds, "-l", &selector, "-o", "json"];
    let list: Value = serde_json::from_str(&installation.namespace.kubectl(&args)?)?;
    let items = list["items"].as_array().cloned().unwrap_or_default();
    Ok(items
        .iter()
        // Those of Deployments are named by Kubernetes.
        .filter(|item| {
            item["kind"] != "ReplicaSet"
                || item["metadata"]["ownerReferences"][0]["kind"] == "ImCluster"
        })
        .map(|item| {
            let name = &item["metadata"]["name"];
            format!("{} {name} {}", item["kind"], item["spec"]["replicas"])
        })
        .collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_dies_after_every_write_ends_in_the_same_state() {
    let cluster = crate::installation::cluster().await.unwrap();
    let whole = Installation::on(&cluster, "whole", small(), 0)
        .await
        .unwrap();
    let namespace = cluster.namespace("dying").await.unwrap();
    // It ends itself after each write; the kubelet starts it again, with pauses that grow, so it is
    // deleted each time instead.
    crate::installation::install_operator(&namespace, &[]).unwrap();
    let set = |namespace: &TestNamespace, value: &str| {
        // Without the Lease, whose holder died and which would have to expire each time.
        let env = [
            format!("IM_OPERATOR_STOP_AFTER_WRITES{value}"),
            format!("IM_OPERATOR_NO_LEASE{}", value.replace('1', "true")),
        ];
        let args = ["set", "env", "deployment/im-operator", &env[0], &env[1]];
        namespace.kubectl(&args).unwrap();
    };
    set(&namespace, "=1");
    // The one that does not die has gone before there is anything to write.
    let args = ["rollout", "status", "deployment/im-operator"];
    namespace.kubectl(&args).unwrap();
    let dying = Installation::apply_to(namespace, NAME, &small()).unwrap();
    restart_until(&dying, "installed", || async {
        let ready = dying.condition("Ready").await.ok().flatten();
        ready.is_some_and(|(status, ..)| status == "True")
    })
    .await;
    assert_eq!(shape(&dying).unwrap(), shape(&whole).unwrap());

    whole.patch(&json!({"version": NEXT})).unwrap();
    dying.patch(&json!({"version": NEXT})).unwrap();
    whole.ready().await.unwrap();
    restart_until(&dying, "rolled", || async {
        dying.object().await.is_ok_and(|object| {
            object["status"]["version"] == NEXT
                && object["status"]["roles"]["msg"]["updatedReplicas"] == 2
        })
    })
    .await;
    set(&dying.namespace, "-");
    dying.ready().await.unwrap();
    whole.ready().await.unwrap();
    assert_eq!(shape(&dying).unwrap(), shape(&whole).unwrap());
}

/// Deletes the operator's pod whenever it has ended itself, until a condition holds.
async fn restart_until<Fut: Future<Output = bool>>(
    installation: &Installation,
    what: &str,
    condition: impl Fn() -> Fut,
) {
    let mut deaths = 0;
    until(what, INSTALL * 2, async || {
        if condition().await {
            return Some(());
        }
        let args = [
            "get",
            "pods",
            "-l",
            "app.kubernetes.io/name=im-operator",
            "-o",
            "json",
        ];
        let list: Value =
            serde_json::from_str(&installation.namespace.kubectl(&args).ok()?).ok()?;
        for pod in list["items"].as_array()? {
            let status = &pod["status"]["containerStatuses"][0];
            if status["restartCount"].as_i64()? > 0 || !status["state"]["terminated"].is_null() {
                deaths += 1;
                let name = pod["metadata"]["name"].as_str()?;
                let args = ["delete", "pod", name, "--grace-period=0", "--force"];
                drop(installation.namespace.kubectl(&args));
            }
        }
        None
    })
    .await
    .unwrap();
    println!("the operator died {deaths} times until {what}");
    assert!(deaths > 5, "{deaths}");
}
