//! What the schema cannot say.

use im_operator_api::testing::manifests;
use im_operator_api::{ImCluster, ImClusterStatus};
use im_operator_plan::{Settings, SpecError, validate};
use serde_json::{Value, json};

use crate::support::{self, built, child, cluster, read, resolve};

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
fn old_keys_are_used_with_a_line_for_each_that_says_what_to_write() {
    let resolved = resolve(json!({"roles": {
        "msg": {"config": {"msg.idle_pc_ms": "60000", "msg.rate_limit": "50"}},
        "dbProxy": {"config": {"sqlite.writer_cache_kib": "2048"}},
    }}));
    assert_eq!(
        resolved.warnings,
        [
            "spec.roles.dbProxy.config: sqlite.writer_cache_kib is the old name of sqlite.writer_cache, \
             which the next version reads no more: write sqlite.writer_cache = \"2MiB\"",
            "spec.roles.msg.config: msg.idle_pc_ms is the old name of msg.idle_pc, which the next version \
             reads no more: write msg.idle_pc = \"1m\"",
        ]
    );
    assert!(resolve(json!({})).warnings.is_empty());
}

#[test]
fn old_keys_that_cannot_be_used_are_named_as_they_were_written() {
    let bad = |config: Value| errors(&cluster(json!({"roles": {"msg": {"config": config}}})));
    let found = bad(json!({"msg.idle_pc_ms": "1"}));
    let said = "spec.roles.msg.config[msg.idle_pc_ms]: must be 10 to 86400000, is 1";
    assert_eq!(found, said);
    let found = bad(json!({"msg.idle_pc_ms": "60000", "msg.idle_pc": "1m"}));
    let said = "spec.roles.msg.config[msg.idle_pc_ms]: msg.idle_pc_ms is the old name of msg.idle_pc, and \
                both are set: leave msg.idle_pc_ms out";
    assert_eq!(found, said);
    let found = bad(json!({"process.stop_timeout_ms": "60000"}));
    let said = "spec.roles.msg.config[process.stop_timeout_ms]: process.stop_timeout is set by the operator";
    assert_eq!(found, said);
    let older =
        json!({"version": "0.0.9", "roles": {"msg": {"config": {"login.retry_after": "1s"}}}});
    let found = errors(&cluster(older));
    assert!(
        found.contains("login.retry_after belongs to roles.login"),
        "{found}"
    );
}

#[test]
fn older_servers_get_the_keys_that_they_know() {
    let older = |config: Value| {
        let spec = json!({"version": "0.0.9", "roles": {"dbProxy": {"config": config}}});
        support::validate(&cluster(spec))
    };
    let resolved = older(json!({
        "db_proxy.writer.frame_window": "1m",
        "sqlite.writer_cache_kib": "2048",
    }));
    let resolved = resolved.unwrap();
    assert!(resolved.warnings.is_empty(), "{:?}", resolved.warnings);
    let map = child(&built(&resolved), "ConfigMap", "demo-db-proxy").unwrap();
    let text = map["data"]["imd.toml"].as_str().unwrap();
    assert!(text.contains("frame_window_seconds = 60\n"), "{text}");
    assert!(text.contains("writer_cache_kib = 2048\n"), "{text}");
    let error = older(json!({"db_proxy.writer.store_retry": "1500ms"})).unwrap_err();
    assert_eq!(
        texts(&error),
        "spec.roles.dbProxy.config[db_proxy.writer.store_retry]: must be a whole number of seconds for a \
         version that knows it as db_proxy.writer.store_retry_seconds, is 1500ms"
    );
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

#[test]
fn what_is_valid_and_seldom_meant_has_a_hint() {
    let hints = |spec: Value| resolve(spec).hints;
    let none: [&str; 0] = [];
    assert_eq!(hints(json!({})), none);
    // A pod has a minute more, and cluster-autoscaler gives ten.
    let drain = |seconds: i32| json!({"roles": {"msg": {"drain": {"maxSeconds": seconds}}}});
    assert_eq!(hints(drain(540)), none);
    let found = hints(drain(541));
    assert!(
        found.len() == 1 && found[0].contains("--max-graceful-termination-sec to 601"),
        "{found:?}"
    );
    let spec = |policy: &str, kind: &str, cidrs: Value| {
        json!({
            "networking": {"networkPolicy": {"clientCidrs": cidrs}},
            "roles": {
                "msg": {"external": {"type": kind, "externalTrafficPolicy": policy}},
                "login": {"service": {"type": kind, "externalTrafficPolicy": policy}},
            },
        })
    };
    let ranges = json!(["192.0.2.0/24"]);
    let found = hints(spec("Cluster", "LoadBalancer", ranges.clone()));
    assert!(
        found.len() == 2
            && found[0].contains("spec.roles.msg.external.externalTrafficPolicy")
            && found[1].contains("spec.roles.login.service.externalTrafficPolicy"),
        "{found:?}"
    );
    assert_eq!(hints(spec("Local", "LoadBalancer", ranges.clone())), none);
    assert_eq!(hints(spec("Cluster", "LoadBalancer", json!([]))), none);
    let mut inside = spec("Cluster", "LoadBalancer", ranges);
    inside["roles"] = json!({});
    assert_eq!(hints(inside), none);
}
