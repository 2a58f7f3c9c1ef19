//! Scenario 10: the charts are installed, upgraded, rolled back and removed while people chat (S-90).

use std::time::Duration;

use im_e2e_kube::testing::{self, helm};
use im_e2e_kube::wait::{LATER, until};
use serde_json::{Value, json};

use crate::installation::{
    CHARTS, INSTALL, Installation, NAME, cluster, install_operator, repository, small, with,
    with_operator,
};
use crate::scale::{RECOVERY, assert_good};

/// Installs or upgrades the chart of an ImCluster, as release [`NAME`].
fn install_cluster(installation: &Installation, spec: &Value) {
    install_cluster_from(CHARTS, installation, spec);
}

/// The same from the charts in a folder.
pub(crate) fn install_cluster_from(charts: &str, installation: &Installation, spec: &Value) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("values.json");
    let values = json!({"spec": spec, "test": {"repository": repository(&testing::image())}});
    std::fs::write(&file, values.to_string()).unwrap();
    let chart = format!("{charts}/im-cluster");
    let args = ["upgrade", "--install", NAME, &chart, "--values"];
    let file = file.to_string_lossy();
    installation
        .namespace
        .helm(&[&args[..], &[&file]].concat())
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn charts_are_installed_upgraded_rolled_back_and_removed_while_people_chat() {
    let cluster = cluster().await.unwrap();
    let namespace = with_operator(&cluster, "charts", &[]).await.unwrap();
    let installation = Installation {
        namespace,
        name: NAME.to_owned(),
    };
    install_cluster(&installation, &small());
    installation.ready().await.unwrap();
    installation.import(6).unwrap();
    let traffic = installation
        .traffic(6, Duration::from_millis(50))
        .await
        .unwrap();
    let more = with(small(), &json!({"roles": {"msg": {"replicas": 3}}}));
    install_cluster(&installation, &more);
    installation.msg_pods(3).await.unwrap();
    traffic.progress(200, RECOVERY).await.unwrap();
    let helm_here = |args: &[&str]| installation.namespace.helm(args).unwrap();
    helm_here(&["rollback", NAME, "1"]);
    installation.msg_pods(2).await.unwrap();
    installation.ready().await.unwrap();

    // Nothing below replaces a server.
    let servers = servers(&installation).await;
    install_operator(&installation.namespace, &["podLabels.release=next"]).unwrap();
    helm_here(&["rollback", "im-operator", "1", "--wait"]);
    let definition = ["--namespace", "default"];
    let chart = format!("{CHARTS}/im-crds");
    for change in [
        &[
            "upgrade",
            "im-crds",
            &chart,
            "--set",
            "annotations.step=next",
        ][..],
        &["rollback", "im-crds"],
        // The definition stays, and every ImCluster with it; a later installation takes it up.
        &["uninstall", "im-crds", "--wait"],
        &["install", "im-crds", &chart],
    ] {
        helm(&[change, &definition].concat()).unwrap();
    }
    installation
        .patch(&json!({"load": {"mirror": "None"}}))
        .unwrap();
    installation.ready().await.unwrap();
    assert_eq!(self::servers(&installation).await, servers);
    helm_here(&["test", NAME, "--logs"]);
    assert_good(&traffic.finish(RECOVERY).await.unwrap());

    helm_here(&["uninstall", NAME, "--wait"]);
    until("the servers are gone", INSTALL, async || {
        self::servers(&installation).await.is_empty().then_some(())
    })
    .await
    .unwrap();
    helm_here(&["uninstall", "im-operator", "--wait"]);
    until("nothing but the data is left", LATER, async || {
        let args = [
            "get",
            "all,roles,rolebindings,networkpolicies",
            "-o",
            "name",
        ];
        let left = installation.namespace.kubectl(&args).ok()?;
        left.trim().is_empty().then_some(())
    })
    .await
    .unwrap();
    let args = ["get", "persistentvolumeclaims", "-o", "name"];
    let kept = installation.namespace.kubectl(&args).unwrap();
    assert_eq!(
        kept.trim(),
        format!("persistentvolumeclaim/data-{NAME}-db-proxy-0")
    );
}

async fn servers(installation: &Installation) -> std::collections::BTreeMap<String, String> {
    let mut pods = installation.pod_ids().await.unwrap();
    pods.retain(|name, _| name.starts_with(NAME));
    pods
}
