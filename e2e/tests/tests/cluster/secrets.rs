//! Secrets that people change while everything runs (the Kubernetes guide, Secrets), and who owns them.

use im_e2e_kube::wait::{LATER, SOON, until};
use serde_json::{Value, json};

use crate::installation::{Installation, NAME, small, with};

/// Whatever an administrator makes with `openssl rand -hex 32`.
const NEW: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn secret() -> String {
    format!("{NAME}-remember")
}

fn pod() -> String {
    format!("{NAME}-db-proxy-0")
}

/// Sum of a counter of db-proxy.
fn counter(installation: &Installation, name: &str) -> anyhow::Result<u64> {
    let namespace = installation.namespace.name();
    let path = format!(
        "/api/v1/namespaces/{namespace}/pods/{}:9090/proxy/metrics",
        pod()
    );
    let text = installation.namespace.kubectl(&["get", "--raw", &path])?;
    let of = |line: &str| line.strip_prefix(name)?.trim().parse::<u64>().ok();
    Ok(text.lines().filter_map(of).sum())
}

/// Somebody logs in; how many passwords were hashed for it.
async fn hashes_of_login(installation: &Installation, id: u32) -> u64 {
    let hashes = || counter(installation, "im_db_proxy_password_hashes_total").unwrap();
    let before = hashes();
    installation.client(id).await.unwrap().0.close().await;
    hashes() - before
}

async fn stored(installation: &Installation, count: u64) {
    until("logins to be stored", LATER, async || {
        let stored = counter(installation, "im_db_proxy_remembered_logins_stored_total").ok()?;
        (stored >= count).then_some(())
    })
    .await
    .unwrap();
}

/// What a Secret holds.
fn held(installation: &Installation, secret: &str) -> String {
    let template = "go-template={{.data.secret | base64decode}}";
    let args = ["get", "secret", secret, "-o", template];
    installation.namespace.kubectl(&args).unwrap()
}

/// Puts this into the Secret, and waits until db-proxy says the n-th time that its file has changed.
async fn put(installation: &Installation, text: &str, nth: usize) {
    let patch = json!({"stringData": {"secret": text}}).to_string();
    let args = ["patch", "secret", &secret(), "-p", &patch];
    installation.namespace.kubectl(&args).unwrap();
    until("db-proxy to take the key over", LATER, async || {
        let log = installation.namespace.kubectl(&["logs", &pod()]).ok()?;
        let told = log.lines().filter(|line| {
            line.contains("secret file holds has changed") && line.contains("/remember/")
        });
        (told.count() >= nth).then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_of_remembered_logins_counts_without_a_restart() {
    // The process itself remembers nothing, so that every login is judged by what is stored.
    let config = json!({
        "db_proxy.accounts.verified_ttl": "0s",
        "db_proxy.accounts.account_ttl": "0s",
    });
    let spec = with(small(), &json!({"roles": {"dbProxy": {"config": config}}}));
    let installation = Installation::new("rotation", spec, 2).await.unwrap();
    let pods = installation.pod_ids().await.unwrap();
    let old = held(&installation, &secret());
    assert_eq!(hashes_of_login(&installation, 1).await, 1);
    stored(&installation, 1).await;
    assert_eq!(hashes_of_login(&installation, 1).await, 0);

    put(&installation, &format!("{NEW}\n{old}"), 1).await;
    assert_eq!(hashes_of_login(&installation, 1).await, 0);
    assert_eq!(hashes_of_login(&installation, 2).await, 1);
    stored(&installation, 2).await;

    put(&installation, NEW, 2).await;
    assert_eq!(hashes_of_login(&installation, 2).await, 0);
    assert_eq!(hashes_of_login(&installation, 1).await, 1);
    // The operator leaves it as it is, and nothing was restarted.
    assert_eq!(held(&installation, &secret()), NEW);
    assert_eq!(installation.pod_ids().await.unwrap(), pods);
}

/// Whether the ImCluster owns its three Secrets.
async fn owned(installation: &Installation) -> anyhow::Result<[bool; 3]> {
    let uid = installation.object().await?["metadata"]["uid"].clone();
    let mut owned = [false; 3];
    for (owned, name) in owned.iter_mut().zip(["internal", "admin", "remember"]) {
        let name = format!("{NAME}-{name}");
        let text = installation
            .namespace
            .kubectl(&["get", "secret", &name, "-o", "json"])?;
        let secret: Value = serde_json::from_str(&text)?;
        *owned = secret["metadata"]["ownerReferences"][0]["uid"] == uid;
    }
    Ok(owned)
}

/// Changes the policy, and waits until the Secrets are owned as it asks.
async fn decide(installation: &Installation, policy: &str) {
    let spec = json!({"operation": {"deletionPolicy": policy}});
    installation.patch(&spec).unwrap();
    let wanted = [policy == "Delete"; 3];
    until(&format!("owners after {policy}"), SOON, async || {
        (owned(installation).await.ok()? == wanted).then_some(())
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_owned_as_the_policy_says_and_another_text_of_internal_joins_the_old_one() {
    let installation = Installation::new("owners", small(), 0).await.unwrap();
    assert_eq!(owned(&installation).await.unwrap(), [false; 3]);
    decide(&installation, "Delete").await;

    let internal = format!("{NAME}-internal");
    let old = held(&installation, &internal);
    let patch = json!({"stringData": {"secret": NEW}}).to_string();
    let args = ["patch", "secret", &internal, "-p", &patch];
    installation.namespace.kubectl(&args).unwrap();
    // The operator looks at its Secrets with that, and keeps what it finds beside what it knows.
    decide(&installation, "Retain").await;
    assert_eq!(held(&installation, &internal), format!("{old}\n{NEW}"));
}
