//! Scenario 1: from a manifest to a conversation, and back to nothing (S-01, S-85, S-99).

use std::time::Duration;

use anyhow::Context;
use im_client::Event;
use im_core::{Peer, UserId};
use im_e2e_kube::wait::{LATER, SOON, until};
use serde_json::json;

use crate::installation::{Installation, NAME, VERSION, small, with};

/// Kinds of what an operator makes.
const OWNED: &str = "deployments,statefulsets,replicasets,pods,services,configmaps,serviceaccounts,\
    roles,rolebindings,networkpolicies,poddisruptionbudgets,controllerrevisions";

#[tokio::test(flavor = "multi_thread")]
async fn the_smallest_manifest_becomes_a_platform_that_people_chat_on() {
    let installation = Installation::new("smallest", json!({"version": VERSION}), 2)
        .await
        .unwrap();
    talk(&installation).await.unwrap();
    let object = installation.object().await.unwrap();
    assert_eq!(object["status"]["phase"], "Running", "{object:#}");
    assert_eq!(object["status"]["version"], VERSION);
    assert_eq!(object["status"]["roles"]["msg"]["readyReplicas"], 3);
    // A consistent copy while it runs.
    let backup = [
        "/imd",
        "backup",
        "--data-dir",
        "/data",
        "--to",
        "/data/copy.db",
    ];
    let pod = format!("{NAME}-db-proxy-0");
    installation.namespace.exec(&pod, &backup).unwrap();
}

/// Two people on different msg servers.
async fn talk(installation: &Installation) -> anyhow::Result<()> {
    let (a, _events) = installation.client(1).await?;
    // Handed out by load: another server, as soon as login knows of the first session.
    let (b, mut events) = until("a session on another msg server", SOON, async || {
        let (b, events) = installation.client(2).await.ok()?;
        if b.server_address() == a.server_address() {
            b.close().await;
            return None;
        }
        Some((b, events))
    })
    .await?;
    let to = Peer::User(UserId::from_wire(b.user_id()).context("an id")?);
    let ack = a.send_text(to, "hello from the other server").await?;
    assert_eq!(ack.msg_id, 1);
    let text = tokio::time::timeout(SOON, async {
        loop {
            match events.recv().await {
                Some(Event::Message(message)) => {
                    return b.cipher().decrypt(&message.data.msg_data).ok();
                }
                Some(_) => {}
                None => return None,
            }
        }
    })
    .await?;
    assert_eq!(text.as_deref(), Some(&b"hello from the other server"[..]));
    a.close().await;
    b.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_is_gone_and_data_stays_if_it_is_to_be_retained() {
    let cluster = crate::installation::cluster().await.unwrap();
    let retained = Installation::on(&cluster, "retained", small(), 0)
        .await
        .unwrap();
    deleted(&retained).await.unwrap();
    assert_eq!(
        left(&retained, KEPT_BY, "persistentvolumeclaims,secrets").unwrap(),
        [
            format!("persistentvolumeclaim/data-{NAME}-db-proxy-0"),
            format!("secret/{NAME}-admin"),
            format!("secret/{NAME}-internal"),
            format!("secret/{NAME}-remember")
        ]
    );

    let spec = with(small(), &json!({"operation": {"deletionPolicy": "Delete"}}));
    let removed = Installation::on(&cluster, "removed", spec, 0)
        .await
        .unwrap();
    deleted(&removed).await.unwrap();
    until("data and secret are gone", LATER, async || {
        let left = left(&removed, KEPT_BY, "persistentvolumeclaims,secrets").ok()?;
        left.is_empty().then_some(())
    })
    .await
    .unwrap();
}

async fn deleted(installation: &Installation) -> anyhow::Result<()> {
    let delete = ["delete", "imclusters", &installation.name, "--wait"];
    installation.namespace.kubectl(&delete)?;
    until("everything owned is gone", LATER, async || {
        left(installation, OWNED_BY, OWNED)
            .ok()?
            .is_empty()
            .then_some(())
    })
    .await
}

/// Label of what goes with an ImCluster: its name.
const OWNED_BY: &str = "app.kubernetes.io/instance";

/// The same of what may outlive it.
const KEPT_BY: &str = "imcluster.io/cluster";

/// Objects of this ImCluster that exist, by a label with its name.
fn left(installation: &Installation, label: &str, kinds: &str) -> anyhow::Result<Vec<String>> {
    let selector = format!("{label}={}", installation.name);
    let args = [
        "get",
        kinds,
        "-l",
        &selector,
        "-o",
        "name",
        "--ignore-not-found",
    ];
    let text = installation.namespace.kubectl(&args)?;
    Ok(text.lines().map(str::to_owned).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ephemeral_database_is_said_to_be_not_durable() {
    let spec = with(
        small(),
        &json!({"database": {"type": "Embedded", "embedded": {"storage": {"type": "Ephemeral"}}}}),
    );
    let installation = Installation::new("ephemeral", spec, 2).await.unwrap();
    let (_, message) = installation
        .wait("DataNotDurable", "True", Duration::from_secs(5))
        .await
        .unwrap();
    assert!(!message.is_empty());
    talk(&installation).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_class_that_does_not_exist_is_named() {
    let cluster = crate::installation::cluster().await.unwrap();
    let namespace = crate::installation::with_operator(&cluster, "noclass", &[])
        .await
        .unwrap();
    let volume = json!({"storageClassName": "no-such-class"});
    let storage = json!({"type": "PersistentVolume", "persistentVolume": volume});
    let spec = with(
        small(),
        &json!({"database": {"type": "Embedded", "embedded": {"storage": storage}}}),
    );
    let installation = Installation::apply_to(namespace, NAME, &spec).unwrap();
    let message = installation
        .reason("DatabaseReady", "VolumePending")
        .await
        .unwrap();
    assert!(message.contains("no-such-class"), "{message}");
}

/// Takes the default class away, so it has the cluster alone.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_storage_class_the_database_says_what_is_missing() {
    let cluster = crate::installation::cluster_alone().await.unwrap();
    let Some(_node) = cluster.node("the default storage class is taken away") else {
        return;
    };
    let default = |value: &str| {
        let annotation = format!("storageclass.kubernetes.io/is-default-class={value}");
        let args = ["annotate", "--overwrite", "storageclasses", "--all"];
        im_e2e_kube::testing::kubectl(&[&args[..], &[&annotation]].concat()).unwrap();
    };
    let namespace = crate::installation::with_operator(&cluster, "nodefault", &[])
        .await
        .unwrap();
    default("false");
    let installation = Installation::apply_to(namespace, NAME, &small()).unwrap();
    let told = installation
        .reason("DatabaseReady", "StorageClassMissing")
        .await;
    default("true");
    let message = told.unwrap();
    assert!(message.contains("storageClassName"), "{message}");
    // The claim takes up the default once there is one.
    installation.ready().await.unwrap();
}
