//! What status says is true at every moment, and nothing is written to say it again.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::world::Store;
use super::*;

/// A login server's metrics port: it tells five connections of each msg pod. Returns the port.
pub(super) async fn login(store: &Store) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let store = Arc::clone(store);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let asked = stream.read(&mut request).await.unwrap();
            assert!(request[..asked].starts_with(b"GET /debug/dump "));
            let rows: Vec<Value> = msg_pods(&store)
                .into_iter()
                .map(|pod| {
                    json!({"server": pod, "state": "accepting", "connections": 5,
                    "sessions": 5, "age_ms": 100})
                })
                .collect();
            let dump = json!({"login": {"servers": rows}});
            let answer = format!("HTTP/1.0 200 OK\r\n\r\n{dump}");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    port
}

/// A port of this host at which nobody listens.
pub(super) async fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}

/// Names of the msg pods.
fn msg_pods(store: &Store) -> Vec<String> {
    let store = store.lock().unwrap();
    let pods = store.values().filter(|object| object["kind"] == "Pod");
    let names = pods.map(|pod| pod["metadata"]["name"].as_str().unwrap());
    let of_msg = names.filter(|name| name.starts_with("demo-msg-"));
    of_msg.map(str::to_owned).collect()
}

#[track_caller]
fn check(world: &World, kind: &str, expected: (&str, &str)) {
    let (status, reason) = world.condition(kind);
    assert_eq!((status.as_str(), reason.as_str()), expected, "{kind}");
}

/// An installation that runs, with login servers at this port.
pub(super) async fn running(mut world: World, port: u16) -> World {
    world.spec = json!({"version": "1.0.0", "observability": {"metrics": {"port": port}},
        "load": {"reportIntervalSeconds": 1, "staleAfterSeconds": 3}});
    world.run_until_load_is_known().await;
    check(&world, "Ready", ("True", "Ready"));
    world
}

#[tokio::test]
async fn twenty_restarts_of_the_operator_write_nothing_over_a_running_installation() {
    let world = World::new();
    let port = login(&world.store).await;
    let mut world = running(world, port).await;
    check(&world, "LoadKnown", ("True", "Read"));
    assert_eq!(world.status()["roles"]["msg"]["connections"], 15);
    for _ in 0..20 {
        world.restart();
        assert_eq!(world.look_and_tell().await, [], "before the load is read");
        world.asked_for().await;
        assert_eq!(world.look_and_tell().await, [], "after the load is read");
    }
}

#[tokio::test]
async fn an_operator_that_cannot_reach_login_servers_leaves_ready_as_it_is() {
    let world = World::new();
    let port = login(&world.store).await;
    let mut world = running(world, port).await;
    // Nobody listens there any more, as behind a policy.
    world.spec["observability"]["metrics"]["port"] = json!(port);
    for object in world.store.lock().unwrap().values_mut() {
        if object["kind"] == "Pod" {
            object["status"]["podIP"] = json!("127.0.0.2");
        }
    }
    world.restart();
    assert_eq!(world.look_and_tell().await, [], "what was known holds");
    while world.condition("LoadKnown").0 == "True" {
        world.asked_for().await;
        world.look().await;
        check(&world, "Ready", ("True", "Ready"));
    }
    check(&world, "LoadKnown", ("False", "NoAnswer"));
    assert_eq!(world.status()["roles"]["msg"]["assignableReplicas"], 3);
    assert_eq!(world.status()["roles"]["msg"]["connections"], Value::Null);
}

#[tokio::test]
async fn an_installation_is_ready_although_the_operator_never_reached_a_login_server() {
    let world = running(World::new(), closed_port().await).await;
    check(&world, "LoadKnown", ("False", "NoAnswer"));
    check(&world, "Available", ("True", "MinimumReplicasAvailable"));
}

#[tokio::test]
async fn a_new_object_says_that_it_is_reconciling_before_anything_is_made() {
    let world = World::new();
    let written = world.look().await;
    assert_eq!(
        written[0].line(),
        "PATCH /apis/imcluster.io/v1alpha1/namespaces/chat/imclusters/demo/status"
    );
    let status = &written[0].body["status"];
    assert_eq!(status["observedGeneration"], 1);
    let conditions = status["conditions"].as_array().unwrap();
    let found: Vec<_> = conditions
        .iter()
        .map(|it| (it["type"].as_str().unwrap(), it["status"].as_str().unwrap()))
        .collect();
    let expected = [
        ("Ready", "False"),
        ("Available", "False"),
        ("Reconciling", "True"),
    ];
    assert_eq!(found, expected);
    assert!(written.len() > 10, "{}", written.len());
}

#[tokio::test]
async fn why_the_pod_of_db_proxy_cannot_be_made_is_in_status() {
    let world = World::new();
    world.settle().await;
    let set = format!("{APPS}/statefulsets/demo-db-proxy");
    let event = json!({"kind": "Event", "metadata": {"name": "e"}, "involvedObject": {},
        "reason": "FailedCreate", "message": "create Pod demo-db-proxy-0 in StatefulSet demo-db-proxy \
        failed error: pods \"demo-db-proxy-0\" is forbidden: exceeded quota: none"});
    let path = "/api/v1/namespaces/chat/events/e".to_owned();
    world.store.lock().unwrap().insert(path.clone(), event);
    world.change(&set, |set| {
        set["status"] = json!({"replicas": 0, "observedGeneration": 1});
    });
    world.settle().await;
    check(&world, "Degraded", ("True", "QuotaExceeded"));
    let status = world.status().to_string();
    assert!(status.contains("demo-db-proxy-0"), "{status}");
    world.store.lock().unwrap().remove(&path);
    world.install().await;
    check(&world, "Degraded", ("False", "AsExpected"));
}

#[tokio::test]
async fn the_number_of_pods_is_left_to_an_autoscaler_and_to_nobody_else() {
    let world = World::new();
    world.install().await;
    let login = format!("{APPS}/deployments/demo-login");
    let scale = |manager: &str, pods: u64| {
        world.change(&login, |object| {
            object["spec"]["replicas"] = json!(pods);
            let entry = json!({"manager": manager, "operation": "Update", "subresource": "scale",
                "time": "2026-01-02T00:00:00Z",
                "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:replicas": {}}}});
            let entries = object["metadata"]["managedFields"].as_array_mut().unwrap();
            entries.retain(|entry| entry["subresource"] != "scale");
            // Our entry loses the field.
            entries[0]["fieldsV1"] = json!({"f:spec": {"f:template": {}}});
            entries.push(entry);
        });
    };
    scale("kube-controller-manager", 7);
    for _ in 0..20 {
        world.run_all();
        world.look().await;
        let found = world.store.lock().unwrap()[&login]["spec"]["replicas"].clone();
        assert_eq!(found, 7);
    }
    assert_eq!(world.look_and_tell().await, [], "no fight");
    check(&world, "Progressing", ("True", "RolloutComplete"));
    assert_eq!(world.status()["roles"]["login"]["readyReplicas"], 7);
    scale("kubectl", 1);
    world.settle().await;
    let found = world.store.lock().unwrap()[&login]["spec"]["replicas"].clone();
    assert_eq!(found, 2, "as the specification says");
}

#[tokio::test]
async fn an_autoscaler_on_the_pods_of_msg_is_undone_and_told_where_it_belongs_once() {
    let world = World::new();
    world.install().await;
    let is_msg = |path: &&String| path.contains("/replicasets/demo-msg-");
    let set = {
        let store = world.store.lock().unwrap();
        store.keys().find(is_msg).unwrap().clone()
    };
    let by_autoscaler = json!({"manager": "kube-controller-manager", "operation": "Update",
        "subresource": "scale", "time": "2026-01-02T00:00:00Z",
        "fieldsV1": {"f:spec": {"f:replicas": {}}}});
    let replicas = |world: &World| world.store.lock().unwrap()[&set]["spec"]["replicas"].clone();
    let before = replicas(&world);
    let mut told = Vec::new();
    for _ in 0..3 {
        world.change(&set, |object| {
            object["spec"]["replicas"] = json!(9);
            let entries = object["metadata"]["managedFields"].as_array_mut();
            entries.unwrap().push(by_autoscaler.clone());
        });
        let written = world.look_and_tell().await;
        told.extend(
            written
                .into_iter()
                .filter(|it| it.body["reason"] == "ScaledByOthers"),
        );
        assert_eq!(replicas(&world), before, "put back");
        // What was put back is the operator's again.
        world.change(&set, |object| {
            let entries = object["metadata"]["managedFields"].as_array_mut();
            entries.unwrap().retain(|it| it["subresource"] != "scale");
        });
    }
    assert_eq!(told.len(), 1, "{told:#?}");
    let note = told[0].body["note"].as_str().unwrap();
    let name = set.rsplit('/').next().unwrap();
    assert!(note.contains(name), "{note}");
    assert!(note.contains("kind ImCluster"), "{note}");
    assert_eq!(told[0].body["type"], "Warning");
}
