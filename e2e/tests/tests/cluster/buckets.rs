//! Files and pictures of an ImCluster in a bucket (S-77, S-78): pods share it, and none has a volume.

use anyhow::Context;
use im_e2e::bucket::{BUCKET, S3Server};
use im_e2e_kube::layout::NODE_IP;
use im_e2e_kube::testing::{self, TestNamespace};
use im_e2e_kube::wait::{LATER, until};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::{Value, json};

use crate::installation::{Installation, NAME, cluster, small, with, with_operator};
use crate::optional::{http, others};

/// The Secret with the key of the server.
fn key(server: &S3Server) -> anyhow::Result<Value> {
    let read = |path| std::fs::read_to_string(path).context("read a key");
    Ok(json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s3-keys"},
        "stringData": {
            "accessKey": read(server.access_key_file())?.trim(),
            "secretKey": read(server.secret_key_file())?.trim(),
        },
    }))
}

/// Both roles over the server's bucket.
fn spec(server: &S3Server) -> Value {
    let requests = json!({"requests": {"cpu": "10m", "memory": "32Mi"}});
    let role = json!({"resources": requests, "drain": {"maxSeconds": 5}});
    let msfs = with(role.clone(), &json!({"replicas": 2}));
    json!({
        "roles": {"file": role, "msfs": msfs},
        "storage": {"blobs": {"type": "S3", "s3": {
            "bucket": BUCKET,
            "prefix": "demo",
            "endpoint": server.endpoint(),
            "credentialsSecretName": "s3-keys",
            "cidrs": [format!("{NODE_IP}/32")],
        }}},
    })
}

/// Names of the claims of volumes.
async fn claims(namespace: &TestNamespace) -> Vec<String> {
    let claims = namespace.api::<PersistentVolumeClaim>();
    let claims = claims.list(&ListParams::default()).await.unwrap();
    claims
        .items
        .iter()
        .map(kube::ResourceExt::name_any)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_one_server_has_stored_is_read_from_another() {
    let cluster = cluster().await.unwrap();
    let Some(_) = cluster.node("an S3 server on the node") else {
        return;
    };
    let server = S3Server::start_at(NODE_IP.parse().unwrap()).await.unwrap();
    let namespace = with_operator(&cluster, "buckets", &[]).await.unwrap();
    let installation = Installation::apply_to(namespace, NAME, &small()).unwrap();
    installation.ready().await.unwrap();
    let before = others(&installation).await;
    installation.patch(&spec(&server)).unwrap();
    let message = installation.reason("Degraded", "SecretMissing").await;
    let message = message.unwrap();
    let said = "Secret s3-keys, which spec.storage.blobs.s3.credentialsSecretName names, does not";
    assert!(message.starts_with(said), "{message}");
    let key = key(&server).unwrap().to_string();
    installation.namespace.apply(&key).unwrap();
    installation.ready().await.unwrap();
    assert_eq!(others(&installation).await, before);

    let pods = installation.pods("msfs").await.unwrap();
    assert_eq!(pods.len(), 2);
    let address = |n: usize| {
        let ip = testing::address(&pods[n]).unwrap();
        format!("{ip}:8700").parse().unwrap()
    };
    let picture = b"GIF89a\x01\x00\x01\x00\x00\x00\x00;".to_vec();
    let (status, answer) = http(address(0), "PUT /me.gif", &picture).await.unwrap();
    assert_eq!(status, 201, "{}", String::from_utf8_lossy(&answer));
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    let get = format!("GET /{}", answer["path"].as_str().unwrap());
    for server in [0, 1] {
        let found = http(address(server), &get, &[]).await.unwrap();
        assert_eq!(found, (200, picture.clone()), "server {server}");
    }
    let stored = server.objects();
    let is_ours = |path: &std::path::PathBuf| path.to_string_lossy().contains("/demo/pictures/");
    assert!(stored.iter().any(is_ours), "{stored:?}");
    let of_db_proxy = format!("data-{NAME}-db-proxy-0");
    assert_eq!(claims(&installation.namespace).await, [of_db_proxy]);

    // Nothing of it is in a pod.
    let selector = "app.kubernetes.io/component=msfs";
    let delete = ["delete", "pods", "-l", selector, "--wait=true"];
    installation.namespace.kubectl(&delete).unwrap();
    installation.ready().await.unwrap();
    let again = until("two other servers", LATER, async || {
        let now = installation.pods("msfs").await.ok()?;
        let new = now
            .iter()
            .all(|pod| testing::is_ready(pod) && pods.iter().all(|old| old.uid() != pod.uid()));
        (now.len() == 2 && new).then_some(now)
    })
    .await
    .unwrap();
    for pod in &again {
        let at = format!("{}:8700", testing::address(pod).unwrap());
        let found = http(at.parse().unwrap(), &get, &[]).await.unwrap();
        assert_eq!(found, (200, picture.clone()));
    }
}
