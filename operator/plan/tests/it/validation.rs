//! What the schema cannot say.

use im_operator_api::testing::manifests;
use im_operator_api::{ImCluster, ImClusterStatus};
use im_operator_plan::{Settings, SpecError, validate};
use serde_json::json;

use crate::support::{self, cluster, read, resolve};

fn texts(errors: &[SpecError]) -> String {
    let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

fn errors(cluster: &ImCluster) -> String {
    texts(&support::validate(cluster).unwrap_err())
}

#[test]
fn good_manifests_are_good() {
    for manifest in manifests("good").unwrap() {
        let result = support::validate(&read(&manifest));
        assert!(
            result.is_ok(),
            "{}: {}",
            manifest.name,
            texts(&result.unwrap_err())
        );
    }
}

#[test]
fn bad_manifests_are_refused_for_the_stated_reason() {
    let mut bad = manifests("bad").unwrap();
    bad.retain(|manifest| manifest.by == "validate");
    assert!(bad.len() >= 20, "{}", bad.len());
    for manifest in bad {
        let Err(found) = support::validate(&read(&manifest)) else {
            panic!("{} is accepted", manifest.name);
        };
        let found = texts(&found);
        assert!(
            found.contains(&manifest.expect),
            "{}: {found}",
            manifest.name
        );
    }
}

#[test]
fn all_errors_come_at_once() {
    let bad = cluster(json!({"roles": {
        "msg": {"config": {"msg.nonsense": "1", "msg.listen": "x"}, "ports": {"client": 9090}},
        "route": {"config": {"route.announce_interval": "100s"}},
        "dbProxy": {"replicas": 2},
    }}));
    let found = errors(&bad);
    for part in [
        "spec.roles.msg.config[msg.nonsense]",
        "spec.roles.msg.config[msg.listen]: msg.listen is set by the operator",
        "spec.roles.msg.ports.client: 9090 is the metrics port",
        "spec.roles.route.config[route.announce_interval]: must be 1ms to 1s",
        "spec.roles.dbProxy.replicas: must be 1",
    ] {
        assert!(found.contains(part), "{part} in {found}");
    }
}

#[test]
fn a_later_minor_version_is_not_left_again() {
    let with = |wanted: &str, runs: &str| {
        let mut cluster = cluster(json!({"version": wanted}));
        cluster.status = Some(ImClusterStatus {
            version: Some(runs.to_owned()),
            ..ImClusterStatus::default()
        });
        support::validate(&cluster)
    };
    assert!(with("1.4.0", "1.4.9").is_ok());
    assert!(with("1.5.0", "1.4.9").is_ok());
    let error = with("1.3.9", "1.4.0").unwrap_err();
    assert!(texts(&error).contains("spec.version: cannot go back from 1.4.0 to 1.3.9"));
}

#[test]
fn nodes_that_may_be_read_need_no_host_template() {
    let bare = cluster(json!({"roles": {"msg": {"external": {"type": "NodePort"}}}}));
    assert!(errors(&bare).contains("spec.roles.msg.external.hostTemplate"));
    let settings = Settings {
        node_access: true,
        ..Settings::default()
    };
    assert!(validate::validate(&bare, &settings).is_ok());
}

#[test]
fn what_is_open_is_filled_in() {
    let resolved = resolve(json!({}));
    assert_eq!(resolved.spec.roles.db_proxy.replicas, Some(1));
    assert_eq!(resolved.image, "imcluster/imd:0.1.0");
    assert!(!resolved.paused && resolved.data_is_durable());
    assert_eq!(resolved.slots(), 4);
    let digest = format!("sha256:{}", "a".repeat(64));
    let resolved = resolve(json!({"image": {"repository": "x/y", "digest": digest}}));
    assert_eq!(resolved.image, format!("x/y@{digest}"));
}

#[test]
fn an_annotation_pauses_too() {
    let mut paused = cluster(json!({}));
    let annotation = ("imcluster.io/paused".to_owned(), "true".to_owned());
    paused.metadata.annotations = Some([annotation].into());
    assert!(support::validate(&paused).unwrap().paused);
}
