//! Pods are replaced when the specification asks for it, and never because of the operator.

use im_operator_api::testing::manifests;
use im_operator_plan::{Child, Desired, Resolved, Role, Settings, Templates, build, validate};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{
    built, child, cluster, owner, read, resolve, stored as revisions, templates, validate as check,
};

fn hashes(cluster: &Resolved) -> Vec<String> {
    let roles = cluster.roles().into_iter();
    roles
        .map(|role| build::inputs_hash(cluster, role))
        .collect()
}

#[test]
fn building_twice_is_identical() {
    for manifest in manifests("good").unwrap() {
        let one = built(&check(&read(&manifest)).unwrap());
        let two = built(&check(&read(&manifest)).unwrap());
        assert_eq!(one, two, "{}", manifest.name);
    }
}

#[test]
fn never_3_another_version_of_the_operator_changes_no_template() {
    let newer = Settings {
        operator_version: "99.0.0".to_owned(),
        operator_namespace: "elsewhere".to_owned(),
        node_access: true,
        ..Settings::default()
    };
    for policy in ["OnSpecChange", "Always"] {
        let spec = cluster(json!({"operation": {"templatePolicy": policy}}));
        let before = built(&check(&spec).unwrap());
        let after = built(&validate::validate(&spec, &newer).unwrap());
        assert_eq!(templates(&before), templates(&after));
        assert_eq!(before.revisions, after.revisions);
    }
}

#[test]
fn never_3_the_stored_template_is_applied_as_long_as_its_inputs_hold() {
    let resolved = resolve(json!({}));
    let mut stored = revisions(&built(&resolved));
    // An older operator made another template and another file from the same specification.
    for revision in &mut stored {
        let data = &mut revision.data.as_mut().unwrap().0;
        data["template"]["spec"]["dnsPolicy"] = json!("Default");
        data["config"] = json!("# older\n");
    }
    let old = Templates::from_revisions(&stored);
    let desired = build::build(&resolved, &owner(), &old);
    for template in templates(&desired) {
        assert_eq!(template["spec"]["dnsPolicy"], "Default");
    }
    for planned in &desired.children {
        if let Child::ConfigMap(map) = &planned.child {
            assert_eq!(map.data.as_ref().unwrap()["imd.toml"], "# older\n");
        }
    }
    assert_eq!(revisions(&desired).len(), 4);
    for (written, read) in revisions(&desired).iter().zip(&stored) {
        assert_eq!(written.revision, read.revision);
    }
    // Other inputs: a new template, and a revision with a greater number.
    let changed = resolve(json!({"operation": {"restartTrigger": "now"}}));
    let desired = build::build(&changed, &owner(), &old);
    for template in templates(&desired) {
        assert_eq!(template["spec"]["dnsPolicy"], Value::Null);
    }
    assert!(
        revisions(&desired)
            .iter()
            .all(|revision| revision.revision == 2)
    );
    // And back: the stored ones again.
    let desired = build::build(&resolved, &owner(), &old);
    assert!(
        templates(&desired)
            .iter()
            .all(|template| template["spec"]["dnsPolicy"] == "Default")
    );
}

#[test]
fn always_takes_what_this_operator_makes() {
    let resolved = resolve(json!({"operation": {"templatePolicy": "Always"}}));
    let mut stored = revisions(&built(&resolved));
    for revision in &mut stored {
        let data = &mut revision.data.as_mut().unwrap().0;
        data["inputsHash"] = json!("bcdfghjklm");
        data["template"]["spec"]["dnsPolicy"] = json!("Default");
    }
    let desired = build::build(&resolved, &owner(), &Templates::from_revisions(&stored));
    assert!(
        templates(&desired)
            .iter()
            .all(|template| template["spec"]["dnsPolicy"].is_null())
    );
}

/// Which roles' pods a change of the specification replaces.
fn replaced(spec: Value) -> Vec<Role> {
    let before = hashes(&resolve(json!({})));
    let after = hashes(&resolve(spec));
    let pairs = before
        .into_iter()
        .zip(after)
        .zip(resolve(json!({})).roles());
    let changed = pairs.filter(|((before, after), _)| before != after);
    changed.map(|(_, role)| role).collect()
}

#[test]
fn a_change_replaces_the_pods_that_it_concerns() {
    let all = vec![Role::DB_PROXY, Role::ROUTE, Role::MSG, Role::LOGIN];
    assert_eq!(replaced(json!({"version": "0.1.1"})), all);
    assert_eq!(replaced(json!({"operation": {"restartTrigger": "x"}})), all);
    assert_eq!(
        replaced(json!({"observability": {"metrics": {"port": 9191}}})),
        all
    );
    assert_eq!(
        replaced(json!({"operation": {"revisionHistoryLimit": 5, "deletionPolicy": "Delete"}})),
        []
    );
    assert_eq!(
        replaced(json!({"networking": {"networkPolicy": {"enabled": false}}})),
        []
    );
    assert_eq!(
        replaced(json!({"load": {"staleAfterSeconds": 20}})),
        [Role::LOGIN]
    );
    assert_eq!(
        replaced(json!({"load": {"reportIntervalSeconds": 1}})),
        [Role::MSG, Role::LOGIN]
    );
    assert_eq!(
        replaced(json!({"load": {"statusIntervalSeconds": 60, "mirror": "None"}})),
        []
    );
    let storage =
        |storage: Value| replaced(json!({"database": {"embedded": {"storage": storage}}}));
    assert_eq!(storage(json!({"persistentVolume": {"size": "10Gi"}})), []);
    assert_eq!(storage(json!({"type": "Ephemeral"})), [Role::DB_PROXY]);
    let role = |role: &str, fields: Value| replaced(json!({"roles": {role: fields}}));
    assert_eq!(role("msg", json!({"replicas": 9})), []);
    assert_eq!(
        role(
            "msg",
            json!({"update": {"maxSurge": 3}, "pdb": {"enabled": false}})
        ),
        []
    );
    let moves = json!({
        "autoscaling": {"maxScaleInPods": 2},
        "drain": {"clusterRatePerSecond": 5, "onNodes": {"unschedulable": false}},
        "rebalance": {"window": "Always"},
    });
    assert_eq!(role("msg", moves), []);
    assert_eq!(
        role("msg", json!({"drain": {"maxSeconds": 60}})),
        [Role::MSG]
    );
    assert_eq!(
        role("msg", json!({"external": {"type": "LoadBalancer"}})),
        []
    );
    assert_eq!(
        role("msg", json!({"config": {"msg.rate_limit": "50"}})),
        [Role::MSG]
    );
    assert_eq!(
        role("msg", json!({"drain": {"maxSeconds": 60}})),
        [Role::MSG]
    );
    assert_eq!(role("route", json!({"replicas": 5})), []);
    assert_eq!(role("route", json!({"logLevel": "debug"})), [Role::ROUTE]);
    assert_eq!(
        role("dbProxy", json!({"replicas": 1})),
        [],
        "what is the default anyway"
    );
    assert_eq!(
        role(
            "dbProxy",
            json!({"podOverrides": {"spec": {"hostname": "x"}}})
        ),
        [Role::DB_PROXY]
    );
    assert_eq!(role("login", json!({"replicas": 3})), []);
    assert_eq!(role("login", json!({"service": {"type": "NodePort"}})), []);
}

#[test]
fn equal_hashes_mean_equal_templates() {
    let specs = [
        json!({}),
        json!({"roles": {"msg": {"replicas": 7, "external": {"type": "LoadBalancer"}}}}),
        json!({"load": {"mirror": "None"}, "operation": {"deletionPolicy": "Delete"}}),
    ];
    let each: Vec<_> = specs
        .into_iter()
        .map(|spec| built(&resolve(spec)))
        .collect();
    for other in &each {
        assert_eq!(other.revisions, each[0].revisions);
        assert_eq!(templates(other), templates(&each[0]));
    }
}

#[test]
fn a_revision_is_fit_for_names_and_stays_the_same_over_versions() {
    let desired = built(&resolve(json!({})));
    for revision in desired.revisions.values() {
        assert_eq!(revision.len(), 10);
        assert!(
            revision
                .bytes()
                .all(|byte| b"bcdfghjklmnpqrstvwxz2456789".contains(&byte))
        );
    }
    // Clusters carry this: to change it here is to roll every cluster.
    assert_eq!(desired.revisions[&Role::MSG], "27n28ft6xz");
    let changed = built(&resolve(json!({"roles": {"msg": {"logLevel": "debug"}}})));
    assert_eq!(changed.revisions[&Role::MSG], "n66rstd5p9");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn different_inputs_have_different_hashes(a in 100..20_000_i32, b in 100..20_000_i32) {
        let hash = |most: i32| {
            let spec = json!({"roles": {"msg": {"capacity": {"maxConnections": most}}}});
            build::inputs_hash(&resolve(spec), Role::MSG)
        };
        prop_assert_eq!(a == b, hash(a) == hash(b));
    }
}

#[test]
fn login_servers_are_told_how_many_they_are_beside_what_their_pods_are_made_from() {
    let with = |replicas: i32| {
        built(&resolve(
            json!({"roles": {"login": {"replicas": replicas}}}),
        ))
    };
    let (three, five) = (with(3), with(5));
    assert_eq!(templates(&three), templates(&five));
    let data =
        |desired: &Desired| child(desired, "ConfigMap", "demo-login").unwrap()["data"].clone();
    assert_eq!(data(&three)["replicas"], "3");
    assert_eq!(data(&five)["replicas"], "5");
    assert_eq!(data(&three)["imd.toml"], data(&five)["imd.toml"]);
    let config = data(&five)["imd.toml"].as_str().unwrap().to_owned();
    assert!(
        config.contains("replicas_file = \"/etc/imcluster/replicas\""),
        "{config}"
    );
    let route = child(&five, "ConfigMap", "demo-route").unwrap();
    assert!(route["data"]["replicas"].is_null());
}
