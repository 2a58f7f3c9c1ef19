//! An ImCluster on a MariaDB server with several db-proxies, of which one has the log and the others stand by (S-49,
//! S-89).

use std::collections::BTreeMap;
use std::time::Duration;

use im_e2e::mariadb::{MariaDb, MariaDbOptions};
use im_e2e_kube::layout::NODE_IP;
use im_e2e_kube::testing;
use im_e2e_kube::wait::{LATER, until};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::faults::restarts_of;
use crate::installation::{Installation, NAME, cluster, small, with, with_operator};
use crate::scale::{RECOVERY, assert_good};

/// Two db-proxies on the server, one of each other role.
fn spec(server: &MariaDb) -> Value {
    let address = server.address();
    let more = json!({
        "database": {"type": "MySQL", "mysql": {
            "host": address.ip().to_string(),
            "port": address.port(),
            "passwordSecret": {"name": "database"},
            "cidrs": [format!("{NODE_IP}/32")],
        }},
        "roles": {"msg": {"replicas": 1}, "dbProxy": {"replicas": 2}},
    });
    with(small(), &more)
}

/// Writes the Secret with the password.
fn put_password(installation: &Installation, password: &str) {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "database"},
        "stringData": {"password": password},
    });
    let secret = secret.to_string();
    installation.namespace.apply(&secret).unwrap();
}

/// Names of the db-proxy pods that are not about to go, with what they have said.
async fn said(installation: &Installation) -> BTreeMap<String, String> {
    let pods = installation.pods("db-proxy").await.unwrap();
    let stay = pods
        .iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none());
    let names = stay.map(kube::ResourceExt::name_any);
    let logs = |pod: String| {
        let log = installation.namespace.kubectl(&["logs", &pod]);
        (pod, log.unwrap_or_default())
    };
    names.map(logs).collect()
}

/// The pod that has the log: whoever loses it ends, and begins another log of its own.
async fn owner(installation: &Installation) -> String {
    until("one db-proxy with the log", LATER, async || {
        let said = said(installation).await;
        let mut owners = said
            .into_iter()
            .filter(|(_, log)| log.contains("this process has the log"));
        let owner = owners.next()?;
        owners.next().is_none().then_some(owner.0)
    })
    .await
    .unwrap()
}

/// Waits until each db-proxy has said this.
async fn all_say(installation: &Installation, text: &str) {
    until(text, LATER, async || {
        let said = said(installation).await;
        said.values().all(|log| log.contains(text)).then_some(())
    })
    .await
    .unwrap();
}

/// Waits until all is as the specification says, with so many db-proxy pods that are ready, whether they have the log or
/// stand by. Their names and UIDs.
async fn ready(installation: &Installation, count: usize) -> BTreeMap<String, String> {
    installation.ready().await.unwrap();
    until("ready db-proxy pods", LATER, async || {
        let pods = installation.pods("db-proxy").await.ok()?;
        let all_ready = pods.len() == count && pods.iter().all(testing::is_ready);
        let ids = pods
            .iter()
            .map(|pod| (pod.name_any(), pod.uid().unwrap_or_default()));
        all_ready.then(|| ids.collect())
    })
    .await
    .unwrap()
}

/// Deletes the pod that has the log. Its name.
async fn delete_owner(installation: &Installation, how: &[&str]) -> String {
    let pod = owner(installation).await;
    let delete = [&["delete", "pod", &pod, "--wait=false"][..], how].concat();
    installation.namespace.kubectl(&delete).unwrap();
    pod
}

#[tokio::test(flavor = "multi_thread")]
async fn db_proxies_on_one_database_are_killed_rolled_and_scaled_while_people_chat() {
    let cluster = cluster().await.unwrap();
    let Some(_) = cluster.node("a MariaDB on the node") else {
        return;
    };
    let options = MariaDbOptions {
        ip: Some(NODE_IP.parse().unwrap()),
        ..MariaDbOptions::default()
    };
    let server = MariaDb::start_with(options).await.unwrap();
    let namespace = with_operator(&cluster, "mysql", &[]).await.unwrap();
    let installation = Installation::apply_to(namespace, NAME, &spec(&server)).unwrap();
    let message = installation.reason("Degraded", "SecretMissing").await;
    let message = message.unwrap();
    let which = "Secret database, which spec.database.mysql.passwordSecret names, does not";
    assert!(message.starts_with(which), "{message}");
    let password = std::fs::read_to_string(server.password_file()).unwrap();
    put_password(&installation, &password);
    let pods = ready(&installation, 2).await;
    let message = installation.reason("DatabaseReady", "MySQL").await.unwrap();
    let serves = format!("dbProxy serves the database im on {}", server.address());
    assert_eq!(message, serves);
    let claims = installation.namespace.api::<PersistentVolumeClaim>();
    let claims = claims.list(&ListParams::default()).await.unwrap();
    assert_eq!(claims.items.len(), 0);
    // Tools in any of the pods find the one that serves.
    installation.import(6).unwrap();
    for pod in pods.keys() {
        let list = ["/imd", "admin", "user", "list"];
        let people = installation.namespace.exec(pod, &list).unwrap();
        assert!(people.contains("u6"), "{people}");
    }
    let traffic = installation
        .traffic(6, Duration::from_millis(50))
        .await
        .unwrap();
    traffic.progress(100, RECOVERY).await.unwrap();

    // One that ends in order leaves the log to the other; one that is killed is missed, or comes back in time.
    let first = delete_owner(&installation, &[]).await;
    assert_ne!(owner(&installation).await, first);
    traffic.progress(100, RECOVERY).await.unwrap();
    ready(&installation, 2).await;
    delete_owner(&installation, &["--grace-period=0", "--force"]).await;
    traffic.progress(200, RECOVERY).await.unwrap();
    let pods = ready(&installation, 2).await;

    // The server ends all connections and wants another password: the pods take it over as they are.
    let restarts = restarts_of(&installation, &["db-proxy"]).await;
    server.change_password("the next one").await.unwrap();
    put_password(&installation, "the next one");
    for pod in pods.keys() {
        // The kubelet looks at a pod that changes at once, and at others every now and then.
        let look = ["annotate", "pod", pod, "example.com/look=now"];
        installation.namespace.kubectl(&look).unwrap();
    }
    all_say(&installation, "the password of the database has changed").await;
    traffic.progress(200, RECOVERY).await.unwrap();
    assert_eq!(ready(&installation, 2).await, pods);
    let after = restarts_of(&installation, &["db-proxy"]).await;
    assert_eq!(after, restarts, "nothing was restarted");

    // Each pod is replaced, whether it has the log or stands by.
    let config = json!({"db_proxy.writer.batch_messages": "255"});
    installation
        .patch(&json!({"roles": {"dbProxy": {"config": config}}}))
        .unwrap();
    let rolled = ready(&installation, 2).await;
    assert!(pods.iter().all(|(name, id)| rolled[name] != *id));
    traffic.progress(200, RECOVERY).await.unwrap();

    for count in [1, 2] {
        installation
            .patch(&json!({"roles": {"dbProxy": {"replicas": count}}}))
            .unwrap();
        ready(&installation, count).await;
        traffic.progress(100, RECOVERY).await.unwrap();
    }
    let outcome = traffic.finish(RECOVERY).await.unwrap();
    println!("longest absence of a client: {:?}", outcome.absence);
    assert_good(&outcome);
}
