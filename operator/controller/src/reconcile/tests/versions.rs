//! Orders of versions: what another version of the operator has left behind is taken over as it is, and what
//! that one would look at on the way back is as it left it.
//!
//! `recorded/now.json` is what this operator makes of one ImCluster, with the pods that run then and the
//! status; `recorded/before.json` is the `now.json` of an earlier commit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::*;
use crate::ownership::APPLIED_HASH;

/// What this operator does to objects of the one before when it takes over, each with its reason. It must
/// not touch pod templates.
const CHANGED: [&str; 5] = [
    // Every role may report to http-api servers, also where there are none yet, and may find them.
    "PATCH /apis/networking.k8s.io/v1/namespaces/chat/networkpolicies/demo-db-proxy",
    "PATCH /apis/networking.k8s.io/v1/namespaces/chat/networkpolicies/demo-login",
    "PATCH /apis/networking.k8s.io/v1/namespaces/chat/networkpolicies/demo-msg",
    "PATCH /apis/networking.k8s.io/v1/namespaces/chat/networkpolicies/demo-route",
    "PATCH /apis/rbac.authorization.k8s.io/v1/namespaces/chat/rolebindings/demo-discovery",
];

/// What this operator writes into the configuration of a role from the beginning, and the one before did not.
/// Those that run with the file of then keep it.
const NEW_KEYS: [(&str, &str); 4] = [
    ("demo-db-proxy", REPORTS),
    ("demo-login", REPORTS_ALONE),
    ("demo-msg", REPORTS),
    ("demo-route", REPORTS_ALONE),
];

const REPORTS: &str = "http_api = [\"kubernetes:demo-http-api-monitor:monitor\"]\n";

/// The same of a role that dials nobody.
const REPORTS_ALONE: &str =
    "\n[peers]\nhttp_api = [\"kubernetes:demo-http-api-monitor:monitor\"]\n";

/// Roles whose pods have a token from the beginning, and those of the operator before did not. They keep none.
const NEW_TOKENS: [&str; 2] = ["demo-login", "demo-route"];

/// What msg servers follow from the beginning, and those of the operator before did not. They do not learn it.
const ORDERS_KEY: &str = "orders_file = \"/etc/podinfo/orders\"\n";

/// The file of it in a pod template.
const ORDERS_ITEM: &str = ",{\"fieldRef\":{\"apiVersion\":\"v1\",\"fieldPath\":\
    \"metadata.annotations['imcluster.io/orders']\"},\"path\":\"orders\"}";

/// A text as it stands in the JSON of an object.
fn in_json(text: &str) -> String {
    let text = serde_json::to_string(text).unwrap();
    let text = text.strip_prefix('"').unwrap();
    text.strip_suffix('"').unwrap().to_owned()
}

/// Part of an object of this name as the operator before made it, as far as tokens and orders are concerned.
fn as_before(name: &str, part: &Value) -> String {
    let mut text = part.to_string();
    if name.starts_with("demo-msg") {
        text = text.replace(&in_json(ORDERS_KEY), "");
        text = text.replace(ORDERS_ITEM, "");
    }
    if NEW_TOKENS.iter().any(|of| name.starts_with(of)) {
        let token = |has: bool| format!("\"automountServiceAccountToken\":{has}");
        text.replace(&token(true), &token(false))
    } else {
        text
    }
}

const LOGIN: &str = "/api/v1/namespaces/chat/services/demo-login";
const ROUTE: &str = "/apis/apps/v1/namespaces/chat/deployments/demo-route";

/// An ImCluster and what was made of it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Recorded {
    spec: Value,
    status: Value,
    /// By path.
    objects: BTreeMap<String, Value>,
}

fn file(name: &str) -> PathBuf {
    let folder = "src/reconcile/tests/recorded";
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(folder)
        .join(name)
}

fn read(name: &str) -> Recorded {
    let text = std::fs::read_to_string(file(name)).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn spec() -> Value {
    json!({
        "version": "1.0.0",
        "load": {"reportIntervalSeconds": 1, "staleAfterSeconds": 3},
        "roles": {
            "login": {"replicas": 2, "service": {"annotations": {"example.com/pool": "public"}}},
            "msg": {"replicas": 2},
            "route": {"replicas": 2},
        },
    })
}

/// An installation that runs, without what is another each time.
async fn record() -> Recorded {
    let mut world = World::new();
    world.spec = spec();
    world.run_until_load_is_known().await;
    assert_eq!(world.condition("Ready").0, "True");
    let mut objects = world.store.lock().unwrap().clone();
    for object in objects.values_mut() {
        object["metadata"]["resourceVersion"] = json!("1");
        if object["kind"] == "Secret" {
            object["data"]["secret"] = json!("cmVjb3JkZWQ=");
        }
    }
    let mut status = world.status();
    for condition in status["conditions"].as_array_mut().unwrap() {
        condition["lastTransitionTime"] = json!("2026-01-01T00:00:00Z");
    }
    Recorded {
        spec: spec(),
        status,
        objects,
    }
}

fn taken_over(recorded: &Recorded) -> World {
    let Recorded {
        spec,
        status,
        objects,
    } = recorded;
    World::holding(spec.clone(), status.clone(), objects.clone())
}

/// The pod templates of workloads, by path.
fn templates(objects: &BTreeMap<String, Value>) -> BTreeMap<&String, &Value> {
    let templates = objects.iter().filter_map(|(path, object)| {
        let template = object.pointer("/spec/template")?;
        Some((path, template))
    });
    templates.collect()
}

#[tokio::test]
async fn what_this_operator_makes_of_an_im_cluster_is_recorded() {
    let now = record().await;
    let file = file("now.json");
    if std::env::var_os("IM_UPDATE").is_some() {
        let text = serde_json::to_string_pretty(&now).unwrap() + "\n";
        std::fs::write(&file, text).unwrap();
    }
    let recorded = read("now.json");
    let paths = |of: &Recorded| of.objects.keys().cloned().collect::<Vec<_>>();
    assert_eq!(paths(&now), paths(&recorded));
    for (path, object) in &now.objects {
        assert!(
            recorded.objects.get(path) == Some(object),
            "{path} differs; IM_UPDATE=1 cargo test -p im-operator recorded writes {}",
            file.display()
        );
    }
    assert_eq!(now, recorded);
}

#[tokio::test]
async fn never_3_what_the_operator_before_left_is_taken_over_and_no_template_changes() {
    for name in ["before.json", "now.json"] {
        let recorded = read(name);
        let mut world = taken_over(&recorded);
        let mut written = world.look_and_tell().await;
        // What is read of the load may be told, and is what was told before.
        world.asked_for().await;
        for _ in 0..3 {
            written.extend(world.look_and_tell().await);
        }
        let lines: BTreeSet<String> = written.iter().map(Asked::line).collect();
        let mut expected: BTreeSet<String> =
            CHANGED.iter().map(|line| (*line).to_owned()).collect();
        if name == "now.json" {
            expected.clear();
        }
        assert_eq!(lines, expected, "{name}");
        let after = world.store.lock().unwrap().clone();
        assert_eq!(templates(&after), templates(&recorded.objects), "{name}");
        assert_eq!(world.condition("Ready").0, "True");
    }
}

#[tokio::test]
async fn a_change_after_the_takeover_replaces_the_pods_that_it_is_about_and_takes_away_what_is_gone()
 {
    for name in ["before.json", "now.json"] {
        let recorded = read(name);
        let mut world = taken_over(&recorded);
        let annotation = |world: &World| {
            let store = world.store.lock().unwrap();
            store[LOGIN]["metadata"]["annotations"]["example.com/pool"].clone()
        };
        assert_eq!(annotation(&world), "public");
        world.spec["roles"]["login"]["service"] = json!({});
        world.spec["roles"]["route"]["resources"] = json!({"requests": {"cpu": "77m"}});
        world.install().await;
        assert_eq!(annotation(&world), Value::Null, "{name}");
        let after = world.store.lock().unwrap().clone();
        let (mut before, mut after) = (templates(&recorded.objects), templates(&after));
        let path = ROUTE.to_owned();
        let route = (before.remove(&path).unwrap(), after.remove(&path).unwrap());
        assert_ne!(route.0, route.1);
        assert_eq!(after, before, "{name}");
        assert_eq!(world.condition("Ready").0, "True");
    }
}

/// The way back, as far as two records show it: the operator before finds stored templates and tells what it
/// has to write by these hashes. That one itself does not run here.
#[test]
fn hashes_revisions_and_what_never_changes_are_those_of_the_operator_before() {
    let (before, now) = (read("before.json"), read("now.json"));
    assert_eq!(before.spec, now.spec);
    let hash = |object: &Value| object["metadata"]["annotations"][APPLIED_HASH].clone();
    for (path, old) in &before.objects {
        let new = now.objects.get(path);
        let new = new.unwrap_or_else(|| panic!("{path} is gone"));
        if CHANGED.iter().any(|line| line.ends_with(path)) {
            assert_ne!(hash(new), hash(old), "{path}");
            continue;
        }
        let name = path.rsplit('/').next().unwrap();
        let added = NEW_KEYS.iter().find(|(of, _)| {
            let kinds = ["/configmaps/", "/controllerrevisions/"];
            name.starts_with(of) && kinds.iter().any(|kind| path.contains(kind))
        });
        if let Some((_, line)) = added {
            let line = in_json(line);
            let text = as_before(name, &new["data"]);
            assert_eq!(text.matches(&line).count(), 1, "{path}: {text}");
            let without: Value = serde_json::from_str(&text.replace(&line, "")).unwrap();
            assert_eq!(without, old["data"], "{path}");
            continue;
        }
        let of_msg = name.starts_with("demo-msg") && path.contains("/replicasets/");
        if of_msg || NEW_TOKENS.contains(&name) && path.contains("/deployments/") {
            let spec: Value = serde_json::from_str(&as_before(name, &new["spec"])).unwrap();
            assert_eq!(spec, old["spec"], "{path}");
            continue;
        }
        assert_eq!(hash(new), hash(old), "{path}");
        for immutable in [
            "/spec/selector",
            "/spec/serviceName",
            "/spec/volumeClaimTemplates",
            "/spec/clusterIP",
            "/roleRef",
            "/data",
        ] {
            let of = |object: &Value| object.pointer(immutable).cloned();
            assert_eq!(of(new), of(old), "{path} {immutable}");
        }
    }
    let stored = |of: &Recorded| -> Vec<String> {
        let paths = of.objects.keys();
        let stored = paths.filter(|path| path.contains("/controllerrevisions/"));
        stored.cloned().collect()
    };
    assert_eq!(stored(&before).len(), 4);
    assert_eq!(stored(&before), stored(&now));
    for path in stored(&now) {
        let data = now.objects[&path]["data"].as_object().unwrap();
        let keys: Vec<&str> = data.keys().map(String::as_str).collect();
        assert_eq!(keys, ["config", "inputsHash", "template"], "{path}");
    }
}
