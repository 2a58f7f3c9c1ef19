//! A database on a server: what the status tells of it, and what is written for it.

use super::*;

const PODS: &str = "/api/v1/namespaces/chat/pods";
const SECRET: &str = "/api/v1/namespaces/chat/secrets/db";

fn on_server(replicas: i32) -> Value {
    json!({
        "version": "1.0.0",
        "database": {"type": "MySQL", "mysql": {
            "host": "db.example.com", "passwordSecret": {"name": "db"}}},
        "roles": {"dbProxy": {"replicas": replicas}},
    })
}

fn secret() -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "data": {"password": "aGlkZGVu"},
        "metadata": {"name": "db", "namespace": "chat", "uid": "k", "resourceVersion": "1"}})
}

fn message(world: &World, kind: &str) -> String {
    let status = world.status();
    let conditions = status["conditions"].as_array().unwrap();
    let found = conditions.iter().find(|it| it["type"] == kind);
    found.unwrap()["message"].as_str().unwrap().to_owned()
}

#[track_caller]
fn check(world: &World, kind: &str, expected: (&str, &str)) {
    let (status, reason) = world.condition(kind);
    assert_eq!((status.as_str(), reason.as_str()), expected, "{kind}");
}

/// These pods of db-proxy have ended, and said why; so many are left.
fn end(world: &World, pods: &[u32], left: u32, said: &str) {
    for number in pods {
        world.change(&format!("{PODS}/demo-db-proxy-{number}"), |pod| {
            let ended = json!({"terminated": {"exitCode": 1, "reason": "Error", "message": said}});
            pod["status"]["conditions"][0]["status"] = json!("False");
            pod["status"]["containerStatuses"] = json!([{"name": "db-proxy", "image": "imd", "imageID": "",
                "ready": false, "restartCount": 1, "lastState": ended,
                "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]);
        });
    }
    let set = "/apis/apps/v1/namespaces/chat/statefulsets/demo-db-proxy";
    world.change(set, |set| {
        set["status"]["readyReplicas"] = json!(left);
        set["status"]["availableReplicas"] = json!(left);
    });
}

#[tokio::test]
async fn a_missing_secret_and_the_last_words_of_a_db_proxy_are_in_the_status() {
    let mut world = World::new();
    world.spec = on_server(2);
    world.install().await;
    check(&world, "Degraded", ("True", "SecretMissing"));
    let said = "Secret db, which spec.database.mysql.passwordSecret names, does not exist";
    let told = message(&world, "Degraded");
    assert!(told.starts_with(said), "{told}");

    world
        .store
        .lock()
        .unwrap()
        .insert(SECRET.to_owned(), secret());
    world.ctx.memories.of(&key()).lock().await.references.looked = None;
    world.install().await;
    check(&world, "Degraded", ("False", "AsExpected"));
    check(&world, "DatabaseReady", ("True", "MySQL"));
    let status = world.status();
    let durable = status["conditions"].as_array().unwrap();
    assert!(durable.iter().all(|it| it["type"] != "DataNotDurable"));
    let objects = world.store.lock().unwrap().clone();
    let tells = |it: &&Value| it.to_string().contains("aGlkZGVu");
    assert_eq!(objects.values().filter(tells).count(), 1, "the Secret");

    // One that stands by may fail without the other.
    let why = "open the store: log in at db.example.com:3306 as im: the server refuses";
    end(&world, &[1], 1, why);
    world.look().await;
    check(&world, "DatabaseReady", ("True", "MySQL"));
    let told = message(&world, "DatabaseReady");
    assert!(
        told.contains("demo-db-proxy-1") && told.ends_with(why),
        "{told}"
    );
    end(&world, &[0, 1], 0, why);
    world.look().await;
    check(&world, "DatabaseReady", ("False", "DbProxyFails"));
    let told = message(&world, "DatabaseReady");
    assert!(
        told.contains("im on db.example.com:3306 is not served"),
        "{told}"
    );
    assert!(
        told.contains("demo-db-proxy-0") && told.ends_with(why),
        "{told}"
    );
    check(&world, "Available", ("False", "RoleUnavailable"));
}

/// There is no claim of a volume to look after.
#[tokio::test]
async fn another_number_of_db_proxies_changes_the_number_and_the_budget_alone() {
    let mut world = World::new();
    world.spec = on_server(1);
    world.install().await;
    world.spec = on_server(2);
    let written: BTreeSet<String> = { world.look().await }
        .iter()
        .filter(|it| !it.path.contains("/imclusters/"))
        .map(Asked::line)
        .collect();
    let expected = [
        "PATCH /apis/apps/v1/namespaces/chat/statefulsets/demo-db-proxy",
        "POST /apis/policy/v1/namespaces/chat/poddisruptionbudgets/demo-db-proxy",
    ];
    assert_eq!(written, BTreeSet::from(expected.map(str::to_owned)));
    let read = world.look_and_ask().await;
    let of_claims = |it: &&Asked| it.path.contains("persistentvolumeclaims");
    assert_eq!(read.iter().filter(of_claims).count(), 0);
}
