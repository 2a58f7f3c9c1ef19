//! Scenario 9: every bad manifest is refused or reported with a message that names what is wrong, and
//! disturbs nobody (must never 17). The files are those of `operator/api/tests/manifests`.

use im_e2e_kube::testing::TestNamespace;
use im_e2e_kube::wait::{LATER, until};
use im_operator_api::testing::{Manifest, manifests};
use serde_json::json;

use crate::installation::{Installation, cluster, small};

/// What the API server says to a manifest, without storing it.
fn tried(namespace: &TestNamespace, manifest: &str) -> Result<(), String> {
    let args = ["apply", "--dry-run=server", "-f", "-"];
    let answer = namespace.kubectl_with_input(&args, manifest);
    answer.map(drop).map_err(|error| format!("{error:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn must_never_17_bad_manifests_are_refused_or_reported_and_disturb_nobody() {
    let cluster = cluster().await.unwrap();
    let good = Installation::on(&cluster, "bad", small(), 0).await.unwrap();
    let before = good.pod_ids().await.unwrap();
    let bad = manifests("bad").unwrap();
    assert!(bad.len() >= 60, "{}", bad.len());
    let (later, at_once): (Vec<Manifest>, Vec<Manifest>) = bad
        .into_iter()
        .partition(|manifest| manifest.by == "validate");
    for manifest in &at_once {
        let refused = tried(&good.namespace, &manifest.documents[0]);
        let message = refused.expect_err(&manifest.name);
        assert!(
            message.contains(&manifest.expect),
            "{}: {message}",
            manifest.name
        );
    }
    // What only the operator can see. All have the same name in their files.
    for manifest in &later {
        let named =
            manifest.documents[0].replacen("name: demo", &format!("name: {}", manifest.name), 1);
        good.namespace.apply(&named).unwrap();
    }
    for manifest in &later {
        let message = reported(&good.namespace, &manifest.name).await;
        assert!(
            message.contains(&manifest.expect),
            "{}: {message}",
            manifest.name
        );
    }
    assert_eq!(good.pod_ids().await.unwrap(), before);
    good.patch(&json!({"roles": {"msg": {"replicas": 3}}}))
        .unwrap();
    good.msg_pods(3).await.unwrap();
    good.ready().await.unwrap();
    println!("{} refused, {} reported", at_once.len(), later.len());
}

/// The message of the condition that says that a specification is wrong.
async fn reported(namespace: &TestNamespace, name: &str) -> String {
    until(&format!("SpecValid=False of {name}"), LATER, async || {
        let object = namespace.imcluster(name).await.ok()?;
        let conditions = object["status"]["conditions"].as_array()?;
        let found = conditions
            .iter()
            .find(|condition| condition["type"] == "SpecValid")?;
        (found["status"] == "False").then(|| found["message"].as_str().map(str::to_owned))?
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn good_manifests_are_accepted_and_forbidden_changes_refused() {
    // Without an operator nothing comes of them.
    let cluster = cluster().await.unwrap();
    let namespace = cluster.namespace("updates").await.unwrap();
    for manifest in manifests("good").unwrap() {
        let refused = tried(&namespace, &manifest.documents[0]).err();
        assert!(refused.is_none(), "{}: {refused:?}", manifest.name);
    }
    let updates = ["good-updates", "bad-updates"].map(|folder| manifests(folder).unwrap());
    for manifest in updates.into_iter().flatten() {
        namespace.apply(&manifest.documents[0]).unwrap();
        let refused = tried(&namespace, &manifest.documents[1]).err();
        if manifest.expect.is_empty() {
            assert!(refused.is_none(), "{}: {refused:?}", manifest.name);
        } else {
            let message = refused.expect(&manifest.name);
            assert!(
                message.contains(&manifest.expect),
                "{}: {message}",
                manifest.name
            );
        }
        let delete = ["delete", "imclusters", "--all", "--wait"];
        namespace.kubectl(&delete).unwrap();
    }
}
