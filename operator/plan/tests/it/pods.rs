//! Pods: security, configuration, overrides.

use im_config::ImdConfig;
use im_config::units::Span;
use im_operator_plan::Role;
use serde_json::{Value, json};

use crate::support::{built, child, of_kind, owner, resolve, templates};

fn config(spec: Value, role: Role) -> ImdConfig {
    let map = child(&built(&resolve(spec)), "ConfigMap", &format!("demo-{role}")).unwrap();
    toml::from_str(map["data"]["imd.toml"].as_str().unwrap()).unwrap()
}

#[test]
fn every_pod_meets_the_restricted_level() {
    for template in templates(&built(&resolve(json!({})))) {
        let spec = &template["spec"];
        assert_eq!(spec["securityContext"]["runAsNonRoot"], true);
        assert_eq!(spec["securityContext"]["runAsUser"], 65532);
        assert_eq!(
            spec["securityContext"]["seccompProfile"]["type"],
            "RuntimeDefault"
        );
        for container in spec["containers"].as_array().unwrap() {
            let context = &container["securityContext"];
            assert_eq!(context["allowPrivilegeEscalation"], false);
            assert_eq!(context["readOnlyRootFilesystem"], true);
            assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}));
        }
        // Each finds by EndpointSlices those that it dials or reports to.
        assert_eq!(spec["automountServiceAccountToken"], true);
    }
}

/// Readiness is the servers' own affair, and connections are no annotation.
#[test]
fn never_2_and_8_pods_wait_for_nothing_of_the_operator() {
    for template in templates(&built(&resolve(json!({})))) {
        assert!(template["spec"]["readinessGates"].is_null(), "{template}");
        let text = template.to_string();
        assert!(!text.contains("pod-deletion-cost"), "{text}");
    }
}

#[test]
fn never_14_no_secret_is_in_arguments_or_environment() {
    for template in templates(&built(&resolve(json!({})))) {
        let container = &template["spec"]["containers"][0];
        assert!(!container["args"].to_string().contains("secret"));
        for env in container["env"].as_array().into_iter().flatten() {
            assert_eq!(env["name"], "IMD_MSG__NAME");
        }
    }
}

/// Who takes over another role finds neither the administrators' secret nor the key of remembered logins.
#[test]
fn every_role_mounts_its_own_secrets_only() {
    for template in templates(&built(&resolve(json!({})))) {
        let spec = &template["spec"];
        let volumes = spec["volumes"].as_array().unwrap();
        let secrets = volumes
            .iter()
            .filter_map(|volume| volume["secret"]["secretName"].as_str());
        let expected: &[&str] = match spec["serviceAccountName"].as_str().unwrap() {
            "demo-db-proxy" => &["demo-internal", "demo-admin", "demo-remember"],
            _ => &["demo-internal"],
        };
        assert_eq!(secrets.collect::<Vec<_>>(), expected);
    }
}

#[test]
fn files_hold_what_the_servers_need() {
    let msg = config(
        json!({"roles": {"msg": {
            "config": {"msg.rate_limit": "50", "log.format": "json", "msg.presence.notify": "related"},
            "drain": {"maxSeconds": 60},
            "capacity": {"maxConnections": 1000, "softLimitPercent": 50, "acceptPerSecond": 7},
        }}}),
        Role::MSG,
    );
    assert_eq!(msg.msg.rate_limit, 50);
    assert_eq!(msg.log.format, im_config::LogFormat::Json);
    assert_eq!(
        (msg.msg.max_connections, msg.msg.soft_max_sessions),
        (1000, 500)
    );
    assert_eq!(
        (msg.msg.drain_time, msg.process.stop_timeout),
        (Span::seconds(60), Span::seconds(110))
    );
    assert_eq!(msg.msg.accept_rate, 7);
    assert_eq!(msg.peers.login, ["kubernetes:demo-login-control:control"]);
    assert_eq!(msg.peers.route, ["kubernetes:demo-route:grpc"]);
    assert_eq!(msg.peers.db_proxy, ["kubernetes:demo-db-proxy:grpc"]);
    assert_eq!(msg.admin.listen, "[::]:9090");
    let login = config(
        json!({"load": {"staleAfterSeconds": 30}, "roles": {"login": {"replicas": 4}}}),
        Role::LOGIN,
    );
    assert_eq!(login.login.stale_after, Span::seconds(30));
    let file = login.login.replicas_file;
    assert_eq!(file.to_str(), Some("/etc/imcluster/replicas"));
    assert!(login.peers.route.is_empty());
    let db_proxy = config(json!({}), Role::DB_PROXY);
    assert_eq!(db_proxy.db_proxy.listen, "[::]:10600");
    assert_eq!(db_proxy.db_proxy.admin_listen, "[::]:10601");
    let file = db_proxy.db_proxy.admin_secret_file.unwrap();
    assert_eq!(file.to_str(), Some("/run/imcluster/admin/secret"));
    let file = db_proxy.db_proxy.accounts.remember_key_file.unwrap();
    assert_eq!(file.to_str(), Some("/run/imcluster/remember/secret"));
    assert_eq!(db_proxy.data_dir.unwrap().to_str(), Some("/data"));
}

#[test]
fn a_msg_pod_has_time_for_its_drain() {
    let desired = built(&resolve(
        json!({"roles": {"msg": {"drain": {"maxSeconds": 60}}}}),
    ));
    let template = serde_json::to_value(&desired.msg.template).unwrap();
    assert_eq!(template["spec"]["terminationGracePeriodSeconds"], 120);
}

#[test]
fn overrides_are_merged_last() {
    let desired = built(&resolve(json!({"roles": {"route": {"podOverrides": {
        "metadata": {"labels": {"team": "chat"}, "annotations": {"prometheus.io/scrape": null}},
        "spec": {
            "hostAliases": [{"ip": "192.0.2.1", "hostnames": ["x"]}],
            "topologySpreadConstraints": null,
            "containers": [
                {"name": "route", "env": [{"name": "TZ", "value": "UTC"}], "livenessProbe": {"periodSeconds": 60}},
                {"name": "sidecar", "image": "example.com/sidecar"},
            ],
        },
    }}}})));
    let template = child(&desired, "Deployment", "demo-route").unwrap()["spec"]["template"].clone();
    let labels = &template["metadata"]["labels"];
    assert_eq!(
        (&labels["team"], &labels["app.kubernetes.io/component"]),
        (&json!("chat"), &json!("route"))
    );
    assert_eq!(
        template["metadata"]["annotations"]["prometheus.io/scrape"],
        Value::Null
    );
    let containers = template["spec"]["containers"].as_array().unwrap();
    assert_eq!(containers[0]["args"][0], "route");
    assert_eq!(containers[0]["env"][0]["name"], "TZ");
    assert_eq!(containers[0]["livenessProbe"]["periodSeconds"], 60);
    assert_eq!(containers[0]["livenessProbe"]["httpGet"]["path"], "/livez");
    assert_eq!(containers[1]["name"], "sidecar");
    assert_eq!(template["spec"]["topologySpreadConstraints"], Value::Null);
}

#[test]
fn resources_are_laid_over_the_defaults() {
    let desired = built(&resolve(json!({"roles": {"route": {"resources": {
        "requests": {"cpu": 2},
        "limits": {"memory": "0", "example.com/gpu": "1"},
    }}}})));
    let template = child(&desired, "Deployment", "demo-route").unwrap();
    let resources = &template["spec"]["template"]["spec"]["containers"][0]["resources"];
    assert_eq!(resources["requests"], json!({"cpu": "2", "memory": "64Mi"}));
    assert_eq!(resources["limits"], json!({"example.com/gpu": "1"}));
}

#[test]
fn budgets_exist_where_a_pod_can_be_spared() {
    let pdbs = |spec: Value| {
        let desired = built(&resolve(spec));
        let names: Vec<_> = of_kind(&desired, "PodDisruptionBudget")
            .into_iter()
            .map(str::to_owned)
            .collect();
        names
    };
    assert_eq!(pdbs(json!({})), ["demo-route", "demo-msg", "demo-login"]);
    let one = json!({"replicas": 1});
    let spec = json!({"roles": {"route": one, "msg": one, "login": {"pdb": {"enabled": false}}}});
    assert_eq!(pdbs(spec), [] as [&str; 0]);
}

#[test]
fn never_6_the_volume_goes_only_when_asked() {
    for (policy, expected) in [("Retain", "Retain"), ("Delete", "Delete")] {
        let desired = built(&resolve(json!({"operation": {"deletionPolicy": policy}})));
        let set = child(&desired, "StatefulSet", "demo-db-proxy").unwrap();
        let retention = &set["spec"]["persistentVolumeClaimRetentionPolicy"];
        assert_eq!(retention["whenDeleted"], expected);
        assert_eq!(retention["whenScaled"], "Retain");
    }
    let desired = built(&resolve(
        json!({"database": {"embedded": {"storage": {"type": "Ephemeral"}}}}),
    ));
    let set = child(&desired, "StatefulSet", "demo-db-proxy").unwrap();
    assert_eq!(set["spec"]["volumeClaimTemplates"], Value::Null);
    let volumes = set["spec"]["template"]["spec"]["volumes"]
        .as_array()
        .unwrap();
    assert!(
        volumes
            .iter()
            .any(|volume| volume["name"] == "data" && volume["emptyDir"].is_object())
    );
}

#[test]
fn never_7_every_child_is_owned_and_none_has_a_finalizer() {
    for planned in built(&resolve(json!({}))).children {
        let metadata = planned.child.to_json().unwrap()["metadata"].clone();
        assert_eq!(metadata["finalizers"], Value::Null);
        let owner = &metadata["ownerReferences"][0];
        assert_eq!(
            (&owner["uid"], &owner["controller"]),
            (&json!("5e3c"), &json!(true))
        );
        assert_eq!(owner["blockOwnerDeletion"], false);
        assert_eq!(
            metadata["labels"]["app.kubernetes.io/managed-by"],
            "imcluster-operator"
        );
    }
}

/// An emptyDir holds a node back unless it is said that nothing in it matters.
#[test]
fn nodes_with_pods_of_ours_can_be_removed_unless_messages_would_be_lost() {
    let key = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes";
    let ephemeral = json!({"database": {"embedded": {"storage": {"type": "Ephemeral"}}}});
    for spec in [json!({}), ephemeral] {
        for template in templates(&built(&resolve(spec))) {
            // Not `data`, with which messages would go.
            assert_eq!(template["metadata"]["annotations"][key], "tmp");
        }
    }
}

#[test]
fn pods_are_spread_against_those_of_their_own_revision_only() {
    for template in templates(&built(&resolve(json!({})))) {
        let constraints = &template["spec"]["topologySpreadConstraints"];
        for constraint in constraints.as_array().unwrap() {
            assert_eq!(
                constraint["matchLabelKeys"],
                json!(["imcluster.io/revision"])
            );
            let selected = &constraint["labelSelector"]["matchLabels"];
            assert!(selected["imcluster.io/revision"].is_null(), "{selected}");
        }
        assert!(template["metadata"]["labels"]["imcluster.io/revision"].is_string());
    }
}

#[test]
fn a_pod_of_db_proxy_that_never_gets_ready_does_not_hold_back_its_successor() {
    let built = built(&resolve(json!({})));
    let set = child(&built, "StatefulSet", "demo-db-proxy").unwrap();
    assert_eq!(set["spec"]["podManagementPolicy"], "Parallel");
}

#[test]
fn the_claim_of_the_database_asks_not_to_be_pruned() {
    let built = built(&resolve(json!({})));
    let set = child(&built, "StatefulSet", "demo-db-proxy").unwrap();
    let metadata = &set["spec"]["volumeClaimTemplates"][0]["metadata"];
    assert_eq!(metadata["labels"]["imcluster.io/cluster"], "demo");
    assert!(metadata["labels"]["app.kubernetes.io/instance"].is_null());
    let options = &metadata["annotations"]["argocd.argoproj.io/sync-options"];
    assert_eq!(*options, "Prune=false");
}

#[test]
fn a_proof_runs_the_new_program_as_its_role_would_and_with_nothing_of_it() {
    let spec = json!({"version": "0.2.0", "image": {"pullSecrets": [{"name": "registry"}]}});
    let cluster = resolve(spec);
    let built = built(&cluster);
    let mut sets = built.children.iter().map(|planned| &planned.child);
    let set = sets.find_map(|child| match child {
        im_operator_plan::Child::StatefulSet(set) => Some(set),
        _ => None,
    });
    let set = set.unwrap();
    let proof = im_operator_plan::proof::replica_set(&cluster, &owner(), set).unwrap();
    let proof = serde_json::to_value(proof).unwrap();
    assert_eq!(proof["metadata"]["name"], "demo-db-proxy-proof");
    let pod = &proof["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!(container["image"], "imcluster/imd:0.2.0");
    assert_eq!(container["args"], json!(["--version"]));
    assert_eq!(pod["imagePullSecrets"][0]["name"], "registry");
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    for absent in [
        &pod["volumes"],
        &container["volumeMounts"],
        &container["readinessProbe"],
    ] {
        assert!(absent.is_null(), "{absent}");
    }
    // Nothing that selects pods of db-proxy selects this one.
    let labels = &proof["spec"]["template"]["metadata"]["labels"];
    let of_role = &set.spec.as_ref().unwrap().selector.match_labels;
    let of_role = of_role.as_ref().unwrap();
    assert!(
        of_role
            .iter()
            .any(|(key, value)| labels[key] != *value.as_str())
    );
}

/// OpenShift's default constraint refuses every number that is not of the namespace's range.
#[test]
fn the_platform_may_choose_the_numbers_of_user_and_groups() {
    let spec = json!({"security": {"runAs": "Platform"}});
    let usual = templates(&built(&resolve(json!({}))));
    for (template, usual) in templates(&built(&resolve(spec))).iter().zip(&usual) {
        let context = &template["spec"]["securityContext"];
        assert_eq!(context["runAsNonRoot"], true);
        for field in ["runAsUser", "runAsGroup", "fsGroup"] {
            assert!(context[field].is_null(), "{context}");
            assert_eq!(usual["spec"]["securityContext"][field], 65532);
        }
        let revision =
            |template: &Value| template["metadata"]["labels"]["imcluster.io/revision"].clone();
        assert_ne!(revision(template), revision(usual), "it takes new pods");
    }
}
