//! A backup leaves a pod whose image has no shell and no tar, and comes back into a new volume.

use std::fs::File;
use std::process::Stdio;

use anyhow::Context;
use im_core::{Peer, UserId};
use im_e2e_kube::testing::{self, TestNamespace};
use im_e2e_kube::wait::{LATER, until};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use crate::installation::{Installation, NAME, small};

/// The ImCluster that starts from the backup.
const COPY: &str = "copy";

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_leaves_its_pod_and_becomes_another_installation() {
    let installation = Installation::new("backup", small(), 2).await.unwrap();
    assert_eq!(say(&installation, "before the backup").await.unwrap(), 1);

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backup");
    let pod = format!("{NAME}-db-proxy-0");
    let backup = [
        "exec",
        &pod,
        "--",
        "/imd",
        "backup",
        "--data-dir",
        "/data",
        "--to",
        "-",
    ];
    let said = installation
        .namespace
        .kubectl_between(&backup, Stdio::null(), File::create(&file).unwrap())
        .unwrap();
    let bytes = std::fs::metadata(&file).unwrap().len();
    assert!(said.contains(&format!("wrote {bytes} bytes")), "{said}");

    let Installation { namespace, .. } = installation;
    claim(&namespace).unwrap();
    // The volume of this node is an empty folder; a new file system has one.
    let half = folder.path().join("half");
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&half, &whole[..whole.len() / 2]).unwrap();
    let refused = restore(&namespace, "cut-off", File::open(&half).unwrap()).await;
    let (phase, said) = refused.unwrap();
    assert_eq!(phase, "Failed");
    let wanted = format!("it ends after {} of {bytes} bytes", whole.len() / 2);
    assert!(said.contains(&wanted), "{said}");
    let restored = restore(&namespace, "restore", File::open(&file).unwrap()).await;
    let (phase, said) = restored.unwrap();
    assert_eq!(phase, "Succeeded", "{said}");
    assert!(said.starts_with("restored /data\n"), "{said}");

    let copy = Installation::apply_to(namespace, COPY, &small()).unwrap();
    copy.ready().await.unwrap();
    // Its people log in, and ids go on where they were, above those that a restore skips.
    assert_eq!(say(&copy, "after the restore").await.unwrap(), 100_002);
}

/// Sends a text from the first person to the second; returns its number in their conversation.
async fn say(installation: &Installation, text: &str) -> anyhow::Result<u32> {
    let (client, _events) = installation.client(1).await?;
    let to = Peer::User(UserId::from_wire(2).context("an id")?);
    let ack = client.send_text(to, text).await?;
    client.close().await;
    Ok(ack.msg_id)
}

/// The claim that the ImCluster will find.
fn claim(namespace: &TestNamespace) -> anyhow::Result<()> {
    let claim = json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": format!("data-{COPY}-db-proxy-0")},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "10Gi"}},
        },
    });
    namespace.apply(&claim.to_string())
}

/// Runs a restore in a pod, as the documents show. Returns how the pod ended and what it said.
async fn restore(
    namespace: &TestNamespace,
    name: &str,
    backup: File,
) -> anyhow::Result<(String, String)> {
    let mut pod = testing::guest_pod(name, &json!({}), &[]);
    pod["spec"]["restartPolicy"] = json!("Never");
    let security = json!({"runAsUser": 65532, "runAsGroup": 65532});
    for (key, value) in security.as_object().into_iter().flatten() {
        pod["spec"]["securityContext"][key] = value.clone();
    }
    let container = &mut pod["spec"]["containers"][0];
    container["image"] = json!(testing::image());
    container["args"] = json!(["restore", "--data-dir", "/data", "--from", "-"]);
    container["stdin"] = json!(true);
    container["stdinOnce"] = json!(true);
    container["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    let claim = format!("data-{COPY}-db-proxy-0");
    pod["spec"]["volumes"] =
        json!([{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]);
    namespace.apply(&pod.to_string())?;
    namespace.ready(name).await?;
    // How the restore ended, the pod says.
    drop(namespace.kubectl_between(&["attach", "--stdin", name], backup, Stdio::null()));
    let pods = namespace.api::<Pod>();
    let what = format!("the pod {name} ends");
    let phase = until(&what, LATER, async || {
        let phase = pods.get(name).await.ok()?.status?.phase?;
        ["Succeeded", "Failed"]
            .contains(&phase.as_str())
            .then_some(phase)
    })
    .await?;
    let said = namespace.kubectl(&["logs", name])?;
    Ok((phase, said))
}
