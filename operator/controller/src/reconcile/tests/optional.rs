//! Roles that an installation can do without come and go, and nobody else notices.

use std::collections::BTreeMap;

use super::*;

const FILE: &str = "/apis/apps/v1/namespaces/chat/statefulsets/demo-file";

fn with(roles: &Value) -> Value {
    json!({"version": "1.0.0", "roles": roles})
}

/// Pod templates and configurations of all roles but those two.
fn others(world: &World) -> BTreeMap<String, Value> {
    let store = world.store.lock().unwrap();
    let mut found = BTreeMap::new();
    for (path, object) in store.iter() {
        let optional = ["demo-file", "demo-msfs"]
            .iter()
            .any(|it| path.contains(it));
        for part in ["/spec/template", "/data/imd.toml"] {
            if let Some(part) = object.pointer(part).filter(|_| !optional) {
                found.insert(path.clone(), part.clone());
            }
        }
    }
    found
}

/// Objects of the two roles that are there.
fn theirs(world: &World) -> Vec<String> {
    let store = world.store.lock().unwrap();
    let paths = store.keys().filter(|path| {
        let name = path.rsplit('/').next().unwrap();
        name.starts_with("demo-file") || name.starts_with("demo-msfs")
    });
    let paths = paths.filter(|path| !path.contains("/pods/") && !path.contains("revisions"));
    paths.cloned().collect()
}

#[tokio::test]
async fn what_comes_and_goes_leaves_every_other_template_alone_and_nothing_behind() {
    let mut world = World::new();
    world.install().await;
    let before = others(&world);
    assert_eq!(before.len(), 8, "four workloads, four files");
    world.spec = with(&json!({"file": {}, "msfs": {}}));
    world.install().await;
    assert_eq!(others(&world), before);
    assert_eq!(world.condition("Progressing").1, "RolloutComplete");
    let status = world.status();
    for role in ["file", "msfs"] {
        assert_eq!(status["roles"][role]["readyReplicas"], 1, "{status:#}");
        assert!(status["roles"][role]["currentRevision"].is_string());
        let host = format!("demo-{role}.chat.svc.cluster.local");
        assert_eq!(status["endpoints"][role][0]["host"], host);
    }
    let told = |world: &World| {
        let store = world.store.lock().unwrap();
        store["/api/v1/namespaces/chat/configmaps/demo-login"]["data"]["msfs"].clone()
    };
    let url = "http://demo-msfs.chat.svc.cluster.local:8700/";
    assert_eq!(told(&world), url);
    // StatefulSet, Services, policy, configuration, account.
    assert_eq!(theirs(&world).len(), 6 + 5, "{:#?}", theirs(&world));

    // While its pods let their clients go, what they need stays.
    world.spec = with(&json!({}));
    let written = world.settle().await;
    let gone = |written: &[String]| -> Vec<String> {
        let gone = written.iter().filter(|line| line.starts_with("DELETE"));
        gone.map(|line| line.rsplit('/').next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(gone(&written), ["demo-file", "demo-msfs"], "{written:#?}");
    assert_eq!(theirs(&world).len(), 11 - 2, "{:#?}", theirs(&world));
    for role in ["file", "msfs"] {
        let pod = format!("/api/v1/namespaces/chat/pods/demo-{role}-0");
        world.store.lock().unwrap().remove(&pod).unwrap();
    }
    let written = world.settle().await;
    assert_eq!(gone(&written).len(), 9, "{written:#?}");
    assert_eq!(theirs(&world), Vec::<String>::new());
    assert!(world.status()["roles"]["file"].is_null());
    world.install().await;
    assert_eq!(others(&world), before);
    let touches_claims = |line: &String| line.contains("persistentvolumeclaims");
    assert!(!written.iter().any(touches_claims), "{written:#?}");
}

/// A role of another kind of workload, which lets nobody go.
#[tokio::test]
async fn the_http_api_comes_and_goes_and_the_door_to_db_proxy_with_it() {
    const API: &str = "/apis/apps/v1/namespaces/chat/deployments/demo-http-api";
    const DOOR: &str = "/apis/networking.k8s.io/v1/namespaces/chat/networkpolicies/demo-db-proxy";
    let mut world = World::new();
    world.install().await;
    let (before, door) = (others(&world), world.store.lock().unwrap()[DOOR].clone());
    world.spec = with(&json!({"httpApi": {"replicas": 2}}));
    world.install().await;
    let mut now = others(&world);
    now.retain(|path, _| !path.contains("demo-http-api"));
    assert_eq!(now, before);
    let status = world.status();
    let role = &status["roles"]["httpApi"];
    assert_eq!(role["readyReplicas"], 2, "{status:#}");
    let endpoint = &status["endpoints"]["httpApi"][0];
    assert_eq!(endpoint["host"], "demo-http-api.chat.svc.cluster.local");
    assert_eq!(endpoint["port"], 8400);
    let opened = world.store.lock().unwrap()[DOOR]["spec"].to_string();
    assert!(opened.contains("http-api") && opened.contains("10601"));
    let hint = world.condition("SpecValid");
    assert_eq!(
        hint.0, "True",
        "it takes no token as it is, which is no error"
    );

    world.spec = with(&json!({}));
    let written = world.settle().await;
    assert!(written.contains(&format!("DELETE {API}")), "{written:#?}");
    world
        .store
        .lock()
        .unwrap()
        .retain(|path, _| !path.contains("/pods/demo-http-api"));
    world.install().await;
    let left: Vec<String> = {
        let store = world.store.lock().unwrap();
        let paths = store.keys().filter(|path| path.contains("http-api"));
        paths
            .filter(|path| !path.contains("revisions"))
            .cloned()
            .collect()
    };
    assert_eq!(left, Vec::<String>::new());
    assert_eq!(others(&world), before);
    assert_eq!(world.store.lock().unwrap()[DOOR]["spec"], door["spec"]);
}

/// Its volume may wait for ever.
#[tokio::test]
async fn one_that_does_not_start_keeps_nobody_from_coming_into_being() {
    let mut world = World::new();
    world.spec = with(&json!({"file": {}}));
    for _ in 0..10 {
        world.settle().await;
        let paths: Vec<String> = {
            let store = world.store.lock().unwrap();
            let of_workloads = store.iter().filter(|(path, object)| {
                let kind = object["kind"].as_str().unwrap_or_default();
                let runs = ["StatefulSet", "Deployment", "ReplicaSet"].contains(&kind);
                runs && path.as_str() != FILE
            });
            of_workloads.map(|(path, _)| path.clone()).collect()
        };
        for path in &paths {
            world.run(path);
        }
        // Its pod is there and never gets ready.
        world.change(FILE, |set| {
            set["status"] = json!({"replicas": 1, "updatedReplicas": 1, "readyReplicas": 0,
                "currentRevision": "r", "updateRevision": "r", "observedGeneration": 1});
        });
    }
    let is = world.condition("Progressing");
    let late = "ProgressDeadlineExceeded".to_owned();
    assert_eq!(is, ("False".to_owned(), late), "and it is named");
    assert!(
        world
            .status()
            .to_string()
            .contains("file makes no progress")
    );
    let roles = world.status()["roles"].clone();
    assert_eq!(roles["login"]["readyReplicas"], 2, "{roles:#}");
    assert_eq!(roles["file"]["readyReplicas"], 0, "{roles:#}");
    let store = world.store.lock().unwrap();
    assert!(
        store
            .keys()
            .any(|path| path.contains("/replicasets/demo-msg-"))
    );
}

#[tokio::test]
async fn the_volumes_of_all_roles_grow() {
    let mut world = World::new();
    world.spec = with(&json!({"file": {}, "msfs": {}}));
    for role in ["db-proxy", "file", "msfs"] {
        let name = format!("data-demo-{role}-0");
        let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": "chat", "uid": role, "resourceVersion": "1"},
            "spec": {"storageClassName": "fast", "resources": {"requests": {"storage": "10Gi"}}},
            "status": {"phase": "Bound", "capacity": {"storage": "10Gi"}}});
        let path = format!("/api/v1/namespaces/chat/persistentvolumeclaims/{name}");
        world.store.lock().unwrap().insert(path, claim);
    }
    world.install().await;
    world.spec["storage"] = json!({"blobs": {"volume": {"size": "20Gi"}}});
    world.install().await;
    let asked = |role: &str| {
        let path = format!("/api/v1/namespaces/chat/persistentvolumeclaims/data-demo-{role}-0");
        let store = world.store.lock().unwrap();
        store[&path]["spec"]["resources"]["requests"]["storage"].clone()
    };
    assert_eq!(
        [asked("db-proxy"), asked("file"), asked("msfs")],
        ["10Gi", "20Gi", "20Gi"]
    );
    let is = world.condition("VolumeTooSmall");
    assert_eq!(is, ("True".to_owned(), "Resizing".to_owned()));
    let status = world.status().to_string();
    for claim in [
        "data-demo-file-0 asks for 20Gi",
        "data-demo-msfs-0 asks for 20Gi",
    ] {
        assert!(status.contains(claim), "{claim}: {status}");
    }
    let set = world.store.lock().unwrap()[FILE].clone();
    let template = &set["spec"]["volumeClaimTemplates"][0];
    assert_eq!(template["spec"]["resources"]["requests"]["storage"], "20Gi");
    // Another process knows what was told.
    world.restart();
    let written = world.look_and_tell().await;
    assert!(
        written.iter().all(|it| !it.path.contains("/events")),
        "{written:?}"
    );
}
