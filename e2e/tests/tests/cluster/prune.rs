//! What is no longer wanted is removed, and nothing else: old revisions, policies, budgets.

use im_e2e_kube::wait::{LATER, until};
use serde_json::json;

use crate::installation::{Installation, NAME, small, with};

/// Names of the objects of a kind that belong to the ImCluster.
fn names(installation: &Installation, kind: &str) -> Option<Vec<String>> {
    let selector = format!("app.kubernetes.io/instance={NAME}");
    let args = ["get", kind, "-l", &selector, "-o", "name"];
    let text = installation.namespace.kubectl(&args).ok()?;
    Some(text.lines().map(str::to_owned).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_longer_wanted_is_removed() {
    let history = json!({"operation": {"revisionHistoryLimit": 0}});
    let installation = Installation::new("prune", with(small(), &history), 0)
        .await
        .unwrap();
    let of_msg = |kind: &str| -> Option<Vec<String>> {
        let mut found = names(&installation, kind)?;
        found.retain(|name| name.contains(&format!("{NAME}-msg")));
        Some(found)
    };
    let before = of_msg("replicasets").unwrap();
    assert_eq!(before.len(), 1, "{before:?}");
    let revisions = of_msg("controllerrevisions").unwrap();
    installation
        .patch(&json!({"roles": {"msg": {"config": {"msg.rate_limit": "7"}}}}))
        .unwrap();
    until("only the new revision", LATER, async || {
        let sets = of_msg("replicasets")?;
        let stored = of_msg("controllerrevisions")?;
        let is_new = sets.len() == 1 && sets != before;
        (is_new && stored.len() == 1 && stored != revisions).then_some(())
    })
    .await
    .unwrap();

    let services = names(&installation, "services").unwrap();
    assert!(!names(&installation, "networkpolicies").unwrap().is_empty());
    installation
        .patch(&json!({
            "networking": {"networkPolicy": {"enabled": false}},
            "roles": {"msg": {"pdb": {"enabled": false}}},
        }))
        .unwrap();
    until("policies and budget are gone", LATER, async || {
        let policies = names(&installation, "networkpolicies")?;
        let budgets = of_msg("poddisruptionbudgets")?;
        (policies.is_empty() && budgets.is_empty()).then_some(())
    })
    .await
    .unwrap();
    installation.ready().await.unwrap();
    assert_eq!(names(&installation, "services").unwrap(), services);
}
