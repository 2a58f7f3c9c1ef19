//! The database's volume grows while it is used, or says why it cannot.

use anyhow::Context;
use im_e2e_kube::testing::Cluster;
use im_e2e_kube::wait::{LATER, until};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use serde_json::{Value, json};

use crate::installation::{Installation, NAME, cluster, small, with};

/// A StorageClass like the default one. It is removed with the value.
struct Class(String);

impl Class {
    async fn new(cluster: &Cluster, name: &str, grows: bool) -> anyhow::Result<Self> {
        let classes: Api<StorageClass> = Api::all(cluster.client());
        let all = classes.list(&ListParams::default()).await?;
        let is_default = "storageclass.kubernetes.io/is-default-class";
        let default = all.items.into_iter().find(|class| {
            let found = class.annotations().get(is_default);
            found.is_some_and(|it| it == "true")
        });
        let mut class = default.context("a default StorageClass")?;
        let name = format!("{name}-{}", std::process::id());
        class.metadata = serde_json::from_value(json!({"name": name}))?;
        class.allow_volume_expansion = Some(grows);
        classes.create(&PostParams::default(), &class).await?;
        Ok(Self(name))
    }

    async fn remove(self, cluster: &Cluster) {
        let classes: Api<StorageClass> = Api::all(cluster.client());
        let deleted = classes.delete(&self.0, &DeleteParams::default()).await;
        drop(deleted);
    }
}

fn size(size: &str) -> Value {
    json!({"database": {"embedded": {"storage": {"persistentVolume": {"size": size}}}}})
}

fn spec(class: &Class, of: &str) -> Value {
    let mut patch = size(of);
    let volume = &mut patch["database"]["embedded"]["storage"]["persistentVolume"];
    volume["storageClassName"] = json!(class.0);
    with(small(), &patch)
}

async fn claim(installation: &Installation) -> anyhow::Result<PersistentVolumeClaim> {
    let claims = installation.namespace.api::<PersistentVolumeClaim>();
    Ok(claims.get(&format!("data-{NAME}-db-proxy-0")).await?)
}

/// What the claim asks for.
fn asked(claim: &PersistentVolumeClaim) -> Option<String> {
    let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
    Some(requests.get("storage")?.0.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_grows_where_its_class_allows_it_and_no_pod_restarts() {
    let cluster = cluster().await.unwrap();
    let class = Class::new(&cluster, "grows", true).await.unwrap();
    let installation = Installation::on(&cluster, "grow", spec(&class, "1Gi"), 1)
        .await
        .unwrap();
    let before = installation.pod_ids().await.unwrap();
    installation.patch(&size("2Gi")).unwrap();
    let (reason, message) = installation
        .wait("VolumeTooSmall", "True", LATER)
        .await
        .unwrap();
    assert_ne!(reason, "ExpansionNotAllowed", "{message}");
    assert!(
        message.contains("asks for 2Gi, the volume has 1Gi"),
        "{message}"
    );
    let claim = claim(&installation).await.unwrap();
    assert_eq!(asked(&claim).as_deref(), Some("2Gi"));
    let sets = installation.namespace.api::<StatefulSet>();
    let name = format!("{NAME}-db-proxy");
    until("the StatefulSet asks for the same", LATER, async || {
        let set = sets.get(&name).await.ok()?;
        let claims = set.spec?.volume_claim_templates?;
        (asked(claims.first()?)? == "2Gi").then_some(())
    })
    .await
    .unwrap();
    installation.ready().await.unwrap();

    // This node has nothing that makes volumes larger, so the test says that it is.
    let patch = json!({"status": {"capacity": {"storage": "2Gi"}}}).to_string();
    let name = claim.name_any();
    let args = [
        "patch",
        "pvc",
        &name,
        "--subresource=status",
        "--type=merge",
        "-p",
        &patch,
    ];
    installation.namespace.kubectl(&args).unwrap();
    until("the volume is large enough", LATER, async || {
        let condition = installation.condition("VolumeTooSmall").await.ok()?;
        condition.is_none().then_some(())
    })
    .await
    .unwrap();
    assert_eq!(installation.pod_ids().await.unwrap(), before);
    installation.client(1).await.unwrap();
    class.remove(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_class_that_does_not_let_volumes_grow_is_named_and_people_go_on() {
    let cluster = cluster().await.unwrap();
    let class = Class::new(&cluster, "fixed", false).await.unwrap();
    let installation = Installation::on(&cluster, "fixed", spec(&class, "1Gi"), 1)
        .await
        .unwrap();
    let before = installation.pod_ids().await.unwrap();
    installation.patch(&size("2Gi")).unwrap();
    let message = installation
        .reason("VolumeTooSmall", "ExpansionNotAllowed")
        .await
        .unwrap();
    assert!(message.contains(&class.0), "{message}");
    installation.ready().await.unwrap();
    installation.client(1).await.unwrap();
    assert_eq!(installation.pod_ids().await.unwrap(), before);
    let claim = claim(&installation).await.unwrap();
    assert_eq!(asked(&claim).as_deref(), Some("1Gi"));
    // Less is refused where it is written.
    let refused = installation.patch(&size("1Gi")).unwrap_err().to_string();
    assert!(refused.contains("can grow, but not shrink"), "{refused}");
    let events = [
        "get",
        "events",
        "--field-selector",
        "reason=VolumeNotGrown",
        "-o",
        "name",
    ];
    let told = installation.namespace.kubectl(&events).unwrap();
    assert!(!told.is_empty());
    class.remove(&cluster).await;
}
