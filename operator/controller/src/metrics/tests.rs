use super::*;

#[test]
fn series_of_a_cluster_go_with_it() {
    let shared = im_runtime::Metrics::default();
    let metrics = shared.register(Metrics::register);
    let cluster = ClusterLabels {
        namespace: "chat".to_owned(),
        name: "demo".to_owned(),
    };
    let figures = ClusterFigures {
        conditions: vec![("Ready".to_owned(), "True".to_owned())],
        connections: Some(7),
        drain_deadline: 1_800_000_000,
        slots: vec![("Bound".to_owned(), 2)],
        ..ClusterFigures::default()
    };
    metrics.show(&cluster, &figures);
    metrics.restarted(&cluster, "msg", "ConfigChanged");
    metrics.drifted(&cluster);
    let text = shared.encode().unwrap();
    for line in [
        r#"imcluster_condition{namespace="chat",name="demo",type="Ready",status="True"} 1"#,
        r#"imcluster_msg_connections{namespace="chat",name="demo"} 7"#,
        r#"imcluster_slot_state{namespace="chat",name="demo",state="Bound"} 2"#,
        r#"imcluster_drain_deadline_seconds{namespace="chat",name="demo"} 1800000000"#,
        r#"imcluster_restarts_total{namespace="chat",name="demo",role="msg",reason="ConfigChanged"} 1"#,
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    let gone = ClusterFigures {
        slots: vec![("Free".to_owned(), 2)],
        ..figures
    };
    metrics.show(&cluster, &gone);
    let text = shared.encode().unwrap();
    assert!(!text.contains(r#"state="Bound""#), "{text}");
    metrics.forget(&cluster);
    let text = shared.encode().unwrap();
    assert!(!text.contains("demo"), "{text}");
}

#[test]
fn never_18_series_grow_with_clusters_only() {
    const LABELS: [&str; 13] = [
        "namespace",
        "name",
        "type",
        "status",
        "state",
        "role",
        "reason",
        "controller",
        "result",
        "le",
        "method",
        "code",
        "kind",
    ];
    let shared = im_runtime::Metrics::default();
    let metrics = shared.register(Metrics::register);
    let cluster = ClusterLabels {
        namespace: "chat".to_owned(),
        name: "demo".to_owned(),
    };
    let mut sizes = std::collections::BTreeSet::new();
    for pods in 1..500 {
        let figures = ClusterFigures {
            conditions: vec![("Ready".to_owned(), "True".to_owned())],
            connections: Some(pods * 100),
            slots: vec![("Bound".to_owned(), pods), ("Free".to_owned(), 1)],
            capacity: pods * 10_000,
            ..ClusterFigures::default()
        };
        metrics.show(&cluster, &figures);
        metrics.restarted(&cluster, "msg", "ConfigChanged");
        metrics.reconciled(Outcome::success, 0.01);
        let text = shared.encode().unwrap();
        sizes.insert(text.lines().count());
        for label in text.lines().filter_map(|line| line.split_once('{')) {
            let (labels, _) = label.1.split_once('}').unwrap();
            for pair in labels.split("\",") {
                let (key, _) = pair.split_once('=').unwrap();
                assert!(LABELS.contains(&key), "{key}: {}", label.0);
            }
        }
    }
    assert_eq!(sizes.len(), 1, "{sizes:?}");
}

/// What `docs/reference/operator-metrics.md` begins with.
const PAGE: &str = "\
# Metrics of the operator

Generated from the operator's registry; do not edit. They are at `/metrics` of port 8081 of its pods; a counter's name has `_total` behind it in the exposition. Those of the servers are [here](metrics.md).

| Metric | Kind | What |
|---|---|---|
";

const COMMAND: &str = "IM_UPDATE=1 cargo test -p im-operator metrics";

/// Metrics of which each has been counted once, so that all of them are shown.
fn used() -> im_runtime::Metrics {
    let shared = im_runtime::Metrics::default();
    let metrics = shared.register(Metrics::register);
    let cluster = ClusterLabels {
        namespace: "chat".to_owned(),
        name: "demo".to_owned(),
    };
    let figures = ClusterFigures {
        conditions: vec![("Ready".to_owned(), "True".to_owned())],
        connections: Some(1),
        slots: vec![("Bound".to_owned(), 1)],
        load_age_seconds: Some(1.0),
        ..ClusterFigures::default()
    };
    metrics.show(&cluster, &figures);
    metrics.restarted(&cluster, "msg", "SpecChanged");
    metrics.drifted(&cluster);
    metrics.reconciled(Outcome::error, 0.1);
    for gauge in [&metrics.max_concurrent, &metrics.active_workers] {
        gauge.get_or_create_owned(&CONTROLLER_LABELS).set(1);
    }
    for gauge in [&metrics.queue_depth, &metrics.leader] {
        gauge.get_or_create_owned(&QUEUE_LABELS).set(1);
    }
    metrics.queue_adds.get_or_create_owned(&QUEUE_LABELS).inc();
    let queue = metrics.queue_seconds.get_or_create_owned(&QUEUE_LABELS);
    queue.observe(0.1);
    let roll = &metrics.rollout_seconds;
    roll.get_or_create_owned(&CONTROLLER_LABELS).observe(0.1);
    let request = RequestLabels {
        code: "200".to_owned(),
        method: "GET".to_owned(),
    };
    metrics.requests.get_or_create_owned(&request).inc();
    let watch = WatchLabels { kind: "pods" };
    metrics.watch_errors.get_or_create_owned(&watch).inc();
    shared
}

#[test]
fn every_metric_of_the_operator_is_on_its_page() {
    let text = used().encode().unwrap();
    let mut rows = std::collections::BTreeMap::<&str, (&str, &str)>::new();
    for line in text.lines() {
        let mut words = line.splitn(4, ' ');
        let (Some("#"), Some(word), Some(name), Some(rest)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            continue;
        };
        let (kind, help) = rows.entry(name).or_default();
        match word {
            "HELP" => *help = rest.trim_end_matches('.'),
            "TYPE" => *kind = rest,
            _ => {}
        }
    }
    // Every one that is registered was used.
    let registered = include_str!("../metrics.rs").matches("r.register(").count();
    assert_eq!(rows.len(), registered);
    let mut page = PAGE.to_owned();
    for (name, (kind, help)) in rows {
        page.push_str(&format!("| `{name}` | {kind} | {help} |\n"));
    }
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs/reference/operator-metrics.md");
    if std::env::var_os("IM_UPDATE").is_some() {
        std::fs::write(&path, &page).unwrap();
        return;
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == page, "{}: {COMMAND} writes it", path.display());
}

/// The words of the alerts are those of the conditions: one that is misspelt would never come.
#[test]
fn rules_name_conditions_that_there_are() {
    use im_operator_api::condition as name;
    let known = [
        name::AVAILABLE,
        name::SPEC_VALID,
        name::STALLED,
        name::PROGRESSING,
        name::LOAD_KNOWN,
        name::EXTERNAL_ADDRESSES_READY,
    ];
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../charts/im-cluster/files/rules/operator.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    let asked = text.split("type=\"").skip(1).filter_map(|rest| {
        let (asked, _) = rest.split_once('"')?;
        Some(asked)
    });
    let asked: std::collections::BTreeSet<&str> = asked.collect();
    assert_eq!(asked, known.into());
}
