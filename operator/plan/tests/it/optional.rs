//! Roles that an installation can do without: files and pictures.

use im_config::units::Span;
use im_config::{ImdConfig, Probe};
use im_operator_plan::{Desired, Role, Templates, build};
use k8s_openapi::api::apps::v1::ControllerRevision;
use serde_json::{Value, json};

use crate::support::{built, child, cluster, owner, resolve, stored, templates, validate};

fn with(roles: Value) -> Desired {
    built(&resolve(json!({"roles": roles})))
}

fn both() -> Value {
    json!({"file": {}, "msfs": {}})
}

fn data(desired: &Desired, role: &str) -> Value {
    child(desired, "ConfigMap", &format!("demo-{role}")).unwrap()["data"].clone()
}

fn config(desired: &Desired, role: &str) -> ImdConfig {
    let file = data(desired, role)["imd.toml"].as_str().unwrap().to_owned();
    toml::from_str(&file).unwrap()
}

/// The one error of these roles.
fn error(roles: Value) -> String {
    let errors = validate(&cluster(json!({"roles": roles}))).unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors[0].to_string()
}

#[test]
fn nothing_of_a_role_that_is_not_named_is_there() {
    for planned in with(json!({})).children {
        let name = planned.child.name();
        assert!(!name.contains("file") && !name.contains("msfs"), "{name}");
    }
}

#[test]
fn each_has_one_pod_with_a_volume_of_its_own_and_a_service() {
    let size = json!({"size": "50Gi", "storageClassName": "fast"});
    let desired = built(&resolve(json!({
        "roles": both(),
        "storage": {"blobs": {"type": "Volume", "volume": size}},
    })));
    for (role, port, listener) in [("file", 8600, "client"), ("msfs", 8700, "http")] {
        let name = format!("demo-{role}");
        let set = child(&desired, "StatefulSet", &name).unwrap();
        assert_eq!(set["spec"]["replicas"], 1);
        let claim = &set["spec"]["volumeClaimTemplates"][0];
        assert_eq!(claim["metadata"]["name"], "data");
        assert_eq!(claim["spec"]["storageClassName"], "fast");
        assert_eq!(claim["spec"]["resources"]["requests"]["storage"], "50Gi");
        let retention = &set["spec"]["persistentVolumeClaimRetentionPolicy"];
        assert_eq!(retention["whenDeleted"], "Retain");
        let pod = &set["spec"]["template"]["spec"];
        let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
        assert!(mounts.contains(&json!({"name": "data", "mountPath": "/data"})));
        assert_eq!(pod["automountServiceAccountToken"], true, "it reports");
        let service = child(&desired, "Service", &name).unwrap()["spec"].clone();
        assert_eq!(service["type"], "ClusterIP");
        assert_eq!(service["ports"][0]["port"], port);
        assert_eq!(service["ports"][0]["targetPort"], listener);
        assert_eq!(
            config(&desired, role).data_dir.unwrap().to_str(),
            Some("/data")
        );
        let budget = child(&desired, "PodDisruptionBudget", &name);
        assert!(budget.is_none(), "one pod cannot be spared");
    }
    let link = child(&desired, "Service", "demo-file-link").unwrap();
    assert_eq!(link["spec"]["clusterIP"], "None");
    assert_eq!(link["spec"]["ports"][0]["port"], 8601);
}

#[test]
fn clients_are_told_names_inside_the_cluster_unless_the_specification_says_others() {
    let inside = with(both());
    let host = |role: &str| format!("demo-{role}.chat.svc.cluster.local");
    let file = config(&inside, "file").file;
    assert_eq!((file.public_ip1, file.public_port), (host("file"), 8600));
    let url = format!("http://{}:8700/", host("msfs"));
    let msfs = config(&inside, "msfs").msfs;
    assert_eq!((&msfs.public_url, msfs.probe), (&url, Probe::Off));
    assert_eq!(data(&inside, "login")["msfs"], url);

    let service = json!({"type": "NodePort", "nodePorts": {"client": 30600}});
    let outside = with(json!({
        "file": {"service": service, "external": {"host": "chat.example.com"}},
        "msfs": {"publicUrl": "http://pictures.example.com/p/"},
    }));
    let file = config(&outside, "file").file;
    let told = (file.public_ip1.as_str(), file.public_port);
    assert_eq!(told, ("chat.example.com", 30_600));
    let service = child(&outside, "Service", "demo-file").unwrap();
    assert_eq!(service["spec"]["ports"][0]["nodePort"], 30600);
    let msfs = config(&outside, "msfs").msfs;
    assert_eq!(msfs.public_url, "http://pictures.example.com/p/");
    assert_eq!(msfs.probe, Probe::Warn);
    let told = &data(&outside, "login")["msfs"];
    assert_eq!(*told, "http://pictures.example.com/p/");

    let advertised = with(json!({"file": {"external": {"advertisedPort": 443}}}));
    assert_eq!(config(&advertised, "file").file.public_port, 443);
}

#[test]
fn who_has_a_public_url_gets_out_to_prove_it_and_is_reached_before_it_is_ready() {
    let egress = |msfs: Value| {
        let policy = child(&with(json!({"msfs": msfs})), "NetworkPolicy", "demo-msfs");
        policy.unwrap()["spec"]["egress"]
            .as_array()
            .unwrap()
            .clone()
    };
    // DNS, the API server, and where it reports.
    let usual = egress(json!({}));
    assert_eq!(usual.len(), 3);
    for (url, port) in [
        ("http://p.example.com/", Some(80)),
        ("http://p.example.com:8080/a/", Some(8080)),
        ("http://[2001:db8::1]/", Some(80)),
        ("http://[2001:db8::1]:81/", Some(81)),
        ("https://p.example.com/", None),
    ] {
        let found = egress(json!({"publicUrl": url}));
        let rule = |port: i32| json!({"ports": [{"port": port, "protocol": "TCP"}]});
        let mut expected = usual.clone();
        expected.extend(port.map(rule));
        assert_eq!(found, expected, "{url}");
    }
    let service = child(&with(both()), "Service", "demo-msfs").unwrap();
    assert_eq!(service["spec"]["publishNotReadyAddresses"], true);
    let login = child(&with(both()), "Service", "demo-login").unwrap();
    assert!(login["spec"]["publishNotReadyAddresses"].is_null());
}

#[test]
fn a_pod_has_a_minute_more_than_its_drain() {
    let grace = |roles: Value, role: &str| {
        let desired = with(roles);
        let set = child(&desired, "StatefulSet", &format!("demo-{role}")).unwrap();
        let pod = &set["spec"]["template"]["spec"];
        (
            config(&desired, role),
            pod["terminationGracePeriodSeconds"].clone(),
        )
    };
    let (file, seconds) = grace(json!({"file": {"drain": {"maxSeconds": 7}}}), "file");
    assert_eq!(file.file.drain_time, Span::seconds(7));
    assert_eq!(file.process.stop_timeout, Span::seconds(57));
    assert_eq!(seconds, 67);
    let (msfs, seconds) = grace(both(), "msfs");
    assert_eq!(msfs.msfs.stop_grace, Span::seconds(20));
    assert_eq!(seconds, 80);
}

/// Everybody else names them from the beginning.
#[test]
fn switching_them_on_or_off_changes_no_pod_and_no_configuration_file_of_another() {
    let (off, on) = (with(json!({})), with(both()));
    let ours = |template: &Value| {
        let account = template["spec"]["serviceAccountName"].as_str().unwrap();
        ["demo-file", "demo-msfs"].contains(&account)
    };
    let mut others = templates(&on);
    others.retain(|template| !ours(template));
    assert_eq!(templates(&off), others);
    for planned in &off.children {
        let (kind, name) = (planned.child.kind(), planned.child.name());
        let before = planned.child.to_json().unwrap();
        let mut after = child(&on, kind, name).unwrap();
        if (kind, name) == ("ConfigMap", "demo-login") {
            // Login servers follow it.
            after["data"]
                .as_object_mut()
                .unwrap()
                .remove("msfs")
                .unwrap();
        }
        if kind == "RoleBinding" {
            // They find others, too.
            let subjects = after["subjects"].as_array_mut().unwrap();
            subjects.retain(|it| {
                !["demo-file", "demo-msfs"]
                    .map(Value::from)
                    .contains(&it["name"])
            });
        }
        assert_eq!(before, after, "{kind} {name}");
    }
    assert_eq!(
        config(&off, "msg").peers.file,
        ["kubernetes:demo-file-link:grpc"]
    );
    let file = config(&off, "login").login.msfs_file;
    assert_eq!(file.to_str(), Some("/etc/imcluster/msfs"));
}

/// An operator that knew no such roles has made msg and login without a word of them. Those pods stay until a
/// role comes that they must know, are replaced once then, and stay when it goes and comes again.
#[test]
fn pods_of_an_operator_that_knew_no_such_role_are_replaced_once_when_it_comes() {
    let mut revisions = stored(&with(json!({})));
    for revision in &mut revisions {
        let config = &mut revision.data.as_mut().unwrap().0["config"];
        let lines = config.as_str().unwrap().lines();
        let older = lines.filter(|line| !line.starts_with("file =") && !line.contains("msfs_file"));
        let older: Vec<_> = older.collect();
        *config = json!(older.join("\n"));
    }
    let build_with = |roles: Value, revisions: &[ControllerRevision]| {
        let cluster = resolve(json!({"roles": roles}));
        build::build(&cluster, &owner(), &Templates::from_revisions(revisions))
    };
    let before = build_with(json!({}), &revisions);
    assert!(
        config(&before, "msg").peers.file.is_empty(),
        "nothing is replaced"
    );

    let on = build_with(both(), &revisions);
    let changed = |one: &Desired, other: &Desired| -> Vec<Role> {
        let roles = one.revisions.iter();
        let roles = roles.filter(|(role, hash)| other.revisions[role] != **hash);
        roles.map(|(role, _)| *role).collect()
    };
    assert_eq!(changed(&before, &on), [Role::LOGIN, Role::MSG]);
    assert_eq!(config(&on, "msg").peers.file.len(), 1);

    revisions.extend(stored(&on));
    for roles in [json!({}), both(), json!({"file": {}})] {
        let next = build_with(roles, &revisions);
        assert_eq!(changed(&before, &next), [Role::LOGIN, Role::MSG]);
        assert_eq!(next.revisions[&Role::MSG], on.revisions[&Role::MSG]);
    }
    // Other inputs are told everything at once, under the usual hash.
    let other = build_with(json!({"msg": {"logLevel": "debug"}}), &revisions);
    let fresh = with(json!({"msg": {"logLevel": "debug"}}));
    assert_eq!(other.revisions[&Role::MSG], fresh.revisions[&Role::MSG]);
}

#[test]
fn what_clients_are_told_makes_new_pods_and_other_things_of_the_service_do_not() {
    let revision = |file: Value| with(json!({"file": file})).revisions[&Role::FILE].clone();
    let usual = revision(json!({}));
    let ports = json!({"client": 8600, "grpc": 8601});
    // As an API server fills it in.
    let filled = json!({"replicas": 1, "ports": ports, "drain": {"maxSeconds": 60}});
    assert_eq!(revision(filled), usual);
    let annotated = json!({"service": {"annotations": {"example.com/pool": "public"}}});
    assert_eq!(revision(annotated), usual);
    for other in [
        json!({"external": {"host": "files.example.com"}}),
        json!({"external": {"advertisedPort": 443}}),
        json!({"drain": {"maxSeconds": 61}}),
        json!({"ports": {"client": 8610}}),
        json!({"logLevel": "debug"}),
    ] {
        assert_ne!(revision(other.clone()), usual, "{other}");
    }
}

#[test]
fn what_cannot_work_is_refused_by_field() {
    let line = error(json!({"file": {"replicas": 2}}));
    let said = "spec.roles.file.replicas: must be 1 at most: a transfer belongs to the server that began it";
    assert_eq!(line, said);
    let line = error(json!({"msfs": {"replicas": 2}}));
    let said = "spec.roles.msfs.replicas: must be 1 at most with storage.blobs.type Volume";
    assert!(line.starts_with(said), "{line}");
    let balancer = json!({"type": "LoadBalancer"});
    let line = error(json!({"file": {"service": balancer}}));
    assert!(
        line.starts_with("spec.roles.file.external.host: is needed"),
        "{line}"
    );
    let line = error(json!({"msfs": {"service": balancer}}));
    assert!(
        line.starts_with("spec.roles.msfs.publicUrl: is needed"),
        "{line}"
    );
    let service = json!({"type": "NodePort"});
    let line = error(json!({"file": {"service": service, "external": {"host": "x"}}}));
    assert!(
        line.starts_with("spec.roles.file.service.nodePorts: is needed"),
        "{line}"
    );
    let service = json!({"type": "NodePort", "nodePorts": {"grpc": 30000}});
    let external = json!({"host": "x", "advertisedPort": 600});
    let line = error(json!({"file": {"service": service, "external": external}}));
    let said = "spec.roles.file.service.nodePorts[grpc]: is no port of the Service: it has client";
    assert_eq!(line, said);
    let line = error(json!({"msfs": {"config": {"msfs.dir": "/pictures"}}}));
    assert!(line.ends_with("msfs.dir is set by the operator"), "{line}");
    let older = cluster(json!({"version": "0.0.9", "roles": {"file": {}}}));
    let errors = validate(&older).unwrap_err();
    let said = "spec.roles.file: servers of version 0.0.9 have no such role";
    assert!(
        errors.iter().any(|error| error.to_string() == said),
        "{errors:?}"
    );
}
