//! Files and pictures in a bucket instead of on volumes.

use im_config::ImdConfig;
use im_operator_plan::{Desired, ReferenceKind, Role};
use serde_json::{Value, json};

use crate::support::{built, child, resolve, validate};

/// An installation with a bucket of this kind.
fn spec(bucket: Value) -> Value {
    json!({
        "roles": {"file": {}, "msfs": {"replicas": 3}},
        "storage": {"blobs": {"type": "S3", "s3": bucket}},
    })
}

fn plain() -> Value {
    json!({"bucket": "chat", "endpoint": "http://s3.example.com:9000"})
}

fn with_key() -> Value {
    let mut bucket = plain();
    bucket["credentialsSecretName"] = json!("keys");
    bucket["ca"] = json!({"configMapName": "trust", "key": "bundle.pem"});
    bucket
}

fn with(bucket: Value) -> Desired {
    built(&resolve(spec(bucket)))
}

fn config(desired: &Desired, role: &str) -> ImdConfig {
    let map = child(desired, "ConfigMap", &format!("demo-{role}")).unwrap();
    toml::from_str(map["data"]["imd.toml"].as_str().unwrap()).unwrap()
}

fn pod(desired: &Desired, role: &str) -> Value {
    let set = child(desired, "StatefulSet", &format!("demo-{role}")).unwrap();
    set["spec"]["template"].clone()
}

#[test]
fn no_pod_has_a_volume_that_outlives_it_and_several_share_the_bucket() {
    let desired = with(plain());
    for role in ["file", "msfs"] {
        let set = child(&desired, "StatefulSet", &format!("demo-{role}")).unwrap();
        assert!(set["spec"]["volumeClaimTemplates"].is_null(), "{set:#}");
        let pod = pod(&desired, role);
        let volumes = pod["spec"]["volumes"].as_array().unwrap();
        assert!(volumes.contains(&json!({"name": "data", "emptyDir": {}})));
        let safe = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes";
        assert_eq!(pod["metadata"]["annotations"][safe], "tmp,data");
        let blobs = config(&desired, role).blobs;
        assert_eq!(blobs.bucket(), Some(("chat", "")));
        assert_eq!(blobs.endpoint, "http://s3.example.com:9000");
        assert_eq!(blobs.access_key_file, None, "what AWS's tools find");
    }
    let set = child(&desired, "StatefulSet", "demo-msfs").unwrap();
    assert_eq!(set["spec"]["replicas"], 3);
    assert!(child(&desired, "PodDisruptionBudget", "demo-msfs").is_some());
}

#[test]
fn key_and_certificates_are_files_of_what_the_specification_names() {
    let cluster = resolve(spec(with_key()));
    let desired = built(&cluster);
    for role in ["file", "msfs"] {
        let blobs = config(&desired, role).blobs;
        let file = |path: &str| Some(path.into());
        assert_eq!(
            blobs.access_key_file,
            file("/run/imcluster/blobs-key/accessKey")
        );
        assert_eq!(
            blobs.secret_key_file,
            file("/run/imcluster/blobs-key/secretKey")
        );
        assert_eq!(blobs.ca_file, file("/run/imcluster/blobs-ca/bundle.pem"));
        let pod = pod(&desired, role);
        let volumes = pod["spec"]["volumes"].as_array().unwrap();
        let items = json!([
            {"key": "accessKey", "path": "accessKey"},
            {"key": "secretKey", "path": "secretKey"},
        ]);
        let secret = json!({"secretName": "keys", "defaultMode": 0o440, "items": items});
        assert!(volumes.contains(&json!({"name": "blobs-key", "secret": secret})));
        let mounts = pod["spec"]["containers"][0]["volumeMounts"].clone();
        let mounts = mounts.as_array().unwrap();
        for name in ["blobs-key", "blobs-ca"] {
            let path = format!("/run/imcluster/{name}");
            let mount = json!({"name": name, "mountPath": path, "readOnly": true});
            assert!(mounts.contains(&mount), "{mounts:?}");
        }
    }
    let references = cluster.references();
    let told: Vec<_> = references
        .iter()
        .map(|it| (it.kind, it.name.as_str(), it.field.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (
                ReferenceKind::Secret,
                "keys",
                "spec.storage.blobs.s3.credentialsSecretName"
            ),
            (
                ReferenceKind::ConfigMap,
                "trust",
                "spec.storage.blobs.s3.ca.configMapName"
            ),
        ]
    );
    let keys: Vec<&str> = references[0].keys().collect();
    assert_eq!(keys, ["accessKey", "secretKey"]);
}

#[test]
fn roles_that_keep_nothing_know_of_no_bucket() {
    let desired = with(with_key());
    let cluster = resolve(json!({}));
    let before = built(&cluster);
    for role in [Role::DB_PROXY, Role::ROUTE, Role::MSG, Role::LOGIN] {
        assert_eq!(desired.revisions[&role], before.revisions[&role], "{role}");
        assert_eq!(config(&desired, role.name()).blobs.url, None, "{role}");
    }
    // Nobody mounts what belongs to a type that is not chosen.
    assert_eq!(cluster.references(), []);
}

#[test]
fn policies_let_pods_out_at_the_port_of_the_service() {
    let egress = |bucket: Value| {
        let policy = child(&with(bucket), "NetworkPolicy", "demo-msfs").unwrap();
        policy["spec"]["egress"].as_array().unwrap().clone()
    };
    for (endpoint, port) in [
        ("", 443),
        ("https://s3.example.com", 443),
        ("http://s3.example.com", 80),
        ("http://[2001:db8::1]:9000", 9000),
    ] {
        let found = egress(json!({"bucket": "chat", "endpoint": endpoint}));
        let rule = json!({"ports": [{"port": port, "protocol": "TCP"}]});
        assert!(found.contains(&rule), "{endpoint}: {found:?}");
    }
    let mut narrow = plain();
    narrow["cidrs"] = json!(["192.0.2.0/24"]);
    let to = json!([{"ipBlock": {"cidr": "192.0.2.0/24"}}]);
    let rule = json!({"to": to, "ports": [{"port": 9000, "protocol": "TCP"}]});
    assert!(egress(narrow).contains(&rule));
}

#[test]
fn another_bucket_makes_new_pods_and_another_policy_does_not() {
    let revision = |bucket: Value| with(bucket).revisions[&Role::MSFS].clone();
    let usual = revision(plain());
    // As an API server fills it in.
    let mut filled = plain();
    for (key, value) in [("prefix", json!("")), ("pathStyle", json!(true))] {
        filled[key] = value;
    }
    filled["cidrs"] = json!(["192.0.2.0/24"]);
    assert_eq!(revision(filled), usual);
    let mut other = plain();
    other["prefix"] = json!("demo");
    assert_ne!(revision(other), usual);
    assert_ne!(revision(with_key()), usual);
}

#[test]
fn keys_of_the_bucket_are_not_for_config() {
    let mut spec = spec(plain());
    spec["roles"]["msfs"]["config"] = json!({"blobs.access_key_file": "/tmp/key"});
    let errors = validate(&crate::support::cluster(spec)).unwrap_err();
    let said = "spec.roles.msfs.config[blobs.access_key_file]: blobs.access_key_file is set by the operator";
    assert_eq!(errors[0].to_string(), said);
}
