use im_config::units::Span;
use im_config::{ImdConfig, table};
use im_operator_plan::{Owner, Settings, Templates, build, validate};
use toml::{Table, Value as Toml};

use super::*;

const SMALLEST: &str = "
apiVersion: imcluster.io/v1alpha1
kind: ImCluster
metadata: {name: demo}
spec: {version: VERSION}
";

fn manifest(text: &str) -> Result<Manifest, String> {
    let text = text.replace("VERSION", &format!("{:?}", env!("CARGO_PKG_VERSION")));
    parse(&text).map_err(|error| error.to_string())
}

fn with_spec(lines: &str) -> Result<Manifest, String> {
    let head = SMALLEST.replace("spec: {version: VERSION}", "spec:\n  version: VERSION");
    manifest(&(head + lines))
}

fn config(manifest: &Manifest) -> ImdConfig {
    let sources = Sources {
        presets: manifest.presets.clone(),
        ..Sources::default()
    };
    sources.load().unwrap().config
}

#[test]
fn the_smallest_manifest_runs_with_the_defaults_of_a_cluster() {
    let manifest = manifest(SMALLEST).unwrap();
    assert_eq!(manifest.notes, Vec::<String>::new());
    let config = config(&manifest);
    assert_eq!(config.msg.listen, "127.0.0.1:8000");
    assert_eq!(config.login.http_listen, "127.0.0.1:8080");
    assert_eq!(config.admin.listen, "127.0.0.1:9090");
    assert_eq!(config.msg.max_connections, 20_000);
    assert_eq!(config.msg.soft_max_sessions, 17_000);
    assert_eq!(config.log.filter, "info");
    // As in a cluster: off unless named.
    assert!(!config.file.enabled && !config.msfs.enabled);
    assert!(!config.http_api.enabled && !config.push.enabled);
}

#[test]
fn optional_roles_run_where_they_are_named() {
    let manifest = with_spec(
        "
  storage: {blobs: {type: Volume, volume: {size: 5Gi}}}
  roles:
    msg: {drain: {maxSeconds: 20}}
    file: {ports: {client: 8610, grpc: 8611}, drain: {maxSeconds: 7}, external: {host: files.example.com}}
    msfs: {}
",
    )
    .unwrap();
    let unused = [
        "spec.roles.file.ports.grpc",
        "spec.storage.blobs.volume.size",
    ];
    let notes = unused.map(|field| format!("{field} means nothing to a single process"));
    assert_eq!(manifest.notes, notes);
    let config = config(&manifest);
    assert!(config.file.enabled && config.msfs.enabled);
    assert_eq!(config.file.client_listen, "127.0.0.1:8610");
    assert_eq!(config.file.public_ip1, "files.example.com");
    assert_eq!(config.file.drain_time, Span::seconds(7));
    assert_eq!(config.msfs.listen, "127.0.0.1:8700");
    assert_eq!(config.msfs.public_url, "", "where the client has come");
    // msg, file and msfs stop one after another.
    assert_eq!(config.process.stop_timeout, Span::seconds(20 + 7 + 20 + 50));
}

#[test]
fn the_http_api_runs_where_it_is_named() {
    let manifest = with_spec(
        "
  roles: {httpApi: {ports: {http: 8401, monitor: 8411}, tls: {secretName: api-tls}, config: {http_api.read_messages: \"true\"}}}
",
    )
    .unwrap();
    let unused = [
        "spec.roles.httpApi.ports.monitor",
        "spec.roles.httpApi.tls.secretName",
    ];
    let notes = unused.map(|field| format!("{field} means nothing to a single process"));
    assert_eq!(manifest.notes, notes);
    let config = config(&manifest);
    assert!(config.http_api.enabled && config.http_api.read_messages);
    assert_eq!(config.http_api.listen, "127.0.0.1:8401");
    assert!(!config.file.enabled);
}

/// Credentials are in Secrets, which no manifest holds: providers come with the files of this machine.
#[test]
fn push_runs_where_it_is_named_with_the_providers_of_this_machine() {
    let manifest = with_spec(
        "
  roles: {push: {when: Original, webhook: {url: \"https://hooks.example.com/im\", secretName: hooks}}}
",
    )
    .unwrap();
    let unused = [
        "spec.roles.push.webhook.secretName",
        "spec.roles.push.webhook.url",
    ];
    let notes = unused.map(|field| format!("{field} means nothing to a single process"));
    assert_eq!(manifest.notes, notes);
    let config = config(&manifest);
    assert!(config.push.enabled && !config.push.has_provider());
    assert_eq!(config.push.when, im_config::When::Original);
}

#[test]
fn the_bucket_of_a_manifest_is_used_and_its_key_is_for_files_of_this_machine() {
    let manifest = with_spec(
        "
  storage: {blobs: {type: S3, s3: {
    bucket: chat, prefix: demo, endpoint: \"http://127.0.0.1:9000\", credentialsSecretName: keys}}}
  roles: {file: {}, msfs: {replicas: 2}}
",
    )
    .unwrap();
    let unused = [
        "spec.roles.msfs.replicas",
        "spec.storage.blobs.s3.credentialsSecretName",
    ];
    let notes = unused.map(|field| format!("{field} means nothing to a single process"));
    assert_eq!(manifest.notes, notes);
    let blobs = config(&manifest).blobs;
    assert_eq!(blobs.bucket(), Some(("chat", "demo")));
    assert_eq!(blobs.endpoint, "http://127.0.0.1:9000");
    assert!(!blobs.virtual_hosted && blobs.access_key_file.is_none());
}

#[test]
fn the_database_of_a_manifest_is_used_and_its_password_is_for_files_of_this_machine() {
    let manifest = with_spec(
        "
  database: {type: MySQL, mysql: {
    host: db.example.com, port: 3307, database: chat, user: chat, passwordSecret: {name: db},
    tls: {mode: VerifyCA, ca: {configMapName: roots}}}}
  roles: {dbProxy: {replicas: 2}}
",
    )
    .unwrap();
    let unused = [
        "spec.database.mysql.passwordSecret.name",
        "spec.database.mysql.tls.ca.configMapName",
        "spec.roles.dbProxy.replicas",
    ];
    let notes = unused.map(|field| format!("{field} means nothing to a single process"));
    assert_eq!(manifest.notes, notes);
    let config = config(&manifest);
    let url = config.store.url.as_deref();
    assert_eq!(url, Some("mysql://chat@db.example.com:3307/chat"));
    assert_eq!(config.mysql.tls, im_config::MysqlTls::VerifyCa);
    assert_eq!(config.mysql.password_file, None);
}

#[test]
fn what_the_manifest_says_becomes_configuration() {
    let manifest = with_spec(
        "
  load: {reportIntervalSeconds: 1, staleAfterSeconds: 9}
  observability: {metrics: {port: 9999}}
  roles:
    login: {ports: {http: 8081}, assignment: {reservationSeconds: 7}}
    msg:
      ports: {client: 8001}
      capacity: {maxConnections: 200, softLimitPercent: 50, acceptPerSecond: 70}
      drain: {maxSeconds: 20}
      logLevel: debug
      config: {msg.rate_limit: \"50\", msg.presence.notify: related}
    dbProxy: {ports: {grpc: 10602}}
",
    )
    .unwrap();
    assert_eq!(manifest.notes, Vec::<String>::new());
    let config = config(&manifest);
    assert_eq!(config.msg.report_interval, Span::seconds(1));
    assert_eq!(config.login.stale_after, Span::seconds(9));
    assert_eq!(config.admin.listen, "127.0.0.1:9999");
    assert_eq!(config.login.http_listen, "127.0.0.1:8081");
    assert_eq!(config.login.reservation, Span::seconds(7));
    assert_eq!(config.msg.listen, "127.0.0.1:8001");
    assert_eq!(
        (config.msg.max_connections, config.msg.soft_max_sessions),
        (200, 100)
    );
    assert_eq!(config.msg.accept_rate, 70);
    assert_eq!(config.msg.drain_time, Span::seconds(20));
    assert_eq!(config.process.stop_timeout, Span::seconds(70));
    assert_eq!(config.login.silence, Span::seconds(2));
    assert_eq!(config.msg.rate_limit, 50);
    assert_eq!(
        config.msg.presence.notify,
        im_config::PresenceNotify::Related
    );
    assert_eq!(config.db_proxy.listen, "127.0.0.1:10602");
    assert_eq!(
        config.log.filter,
        "info,im_login=info,im_msg=debug,im_route=info,im_db_proxy=info"
    );
}

#[test]
fn what_only_a_cluster_can_do_is_named() {
    let manifest = with_spec(
        "
  image: {repository: example.com/imd}
  roles:
    login: {replicas: 3, service: {type: NodePort}}
    msg: {replicas: 2, config: {msg.link.keepalive: \"3s\"}}
    route: {config: {msg.link.keepalive: \"4s\"}}
    dbProxy: {filter: {url: \"https://filter.example.com\", secretName: judge}}
",
    )
    .unwrap();
    assert_eq!(
        manifest.notes,
        [
            "spec.image.repository means nothing to a single process",
            "spec.roles.dbProxy.filter.secretName means nothing to a single process",
            "spec.roles.dbProxy.filter.url means nothing to a single process",
            "spec.roles.login.replicas means nothing to a single process",
            "spec.roles.login.service.type means nothing to a single process",
            "spec.roles.msg.replicas means nothing to a single process",
            "spec.roles.msg.config.\"msg.link.keepalive\" gives way to that of route: one \
             process has one value",
        ]
    );
}

#[test]
fn every_field_that_cannot_be_used_is_named() {
    let error = with_spec(
        "
  image: {tag: x}
  roles:
    msg:
      replicas: many
      capacity: {maxConnections: 1}
      logLevel: loud
",
    )
    .unwrap_err();
    for part in [
        "spec.image.tag: unknown field",
        "spec.roles.msg.replicas: ",
        "spec.roles.msg.capacity.maxConnections: must be at least 100, is 1",
        "spec.roles.msg.logLevel: ",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let error = with_spec("\n  roles: {msg: {config: {msg.rate_limits: \"5\"}}}\n").unwrap_err();
    assert!(
        error.starts_with("spec.roles.msg.config.\"msg.rate_limits\": unknown field `rate_limits`"),
        "{error}"
    );
    let error = with_spec("\n  roles: {msg: {config: {msg.backlog: \"0\"}}}\n").unwrap_err();
    assert_eq!(
        error,
        "spec.roles.msg.config.\"msg.backlog\": must be 1 to 65535, is 0"
    );
}

#[test]
fn an_old_key_of_a_manifest_is_used_and_both_names_are_refused_by_field() {
    let config = |keys: &str| with_spec(&format!("\n  roles: {{msg: {{config: {{{keys}}}}}}}\n"));
    let manifest = config("msg.idle_pc_ms: \"60000\"").unwrap();
    let sources = Sources {
        presets: manifest.presets,
        ..Sources::default()
    };
    let loaded = sources.load().unwrap();
    assert_eq!(loaded.config.msg.idle_pc, Span::seconds(60));
    assert_eq!(
        loaded.warnings,
        [
            "preset msg.idle_pc_ms: msg.idle_pc_ms is the old name of msg.idle_pc, which the next version \
             reads no more: write msg.idle_pc = \"1m\""
        ]
    );
    let error = config("msg.idle_pc_ms: \"60000\", msg.idle_pc: 1m").unwrap_err();
    assert_eq!(
        error,
        "spec.roles.msg.config.\"msg.idle_pc_ms\": msg.idle_pc_ms is the old name of msg.idle_pc, and both \
         are set: leave msg.idle_pc_ms out"
    );
    let error = config("msg.idle_pc_ms: \"1\"").unwrap_err();
    assert_eq!(
        error,
        "spec.roles.msg.config.\"msg.idle_pc_ms\": must be 10 to 86400000, is 1"
    );
}

#[test]
fn another_kind_of_object_is_refused() {
    let error = manifest(&SMALLEST.replace("ImCluster", "Pod")).unwrap_err();
    assert_eq!(error, "kind: must be ImCluster");
    let error = manifest(&SMALLEST.replace("v1alpha1", "v2")).unwrap_err();
    assert_eq!(error, "apiVersion: must be imcluster.io/v1alpha1");
    let error = manifest(&SMALLEST.replace("version: VERSION", "")).unwrap_err();
    assert!(error.starts_with("spec.version: "), "{error}");
    assert!(manifest("a: [").is_err());
}

#[test]
fn an_object_from_an_api_server_is_understood() {
    let text = SMALLEST.replace(
        "metadata: {name: demo}",
        "metadata: {name: demo, uid: u, creationTimestamp: null, labels: {a: b, c: d}}\n\
         status: {observedGeneration: 3, phase: Running}",
    );
    assert_eq!(
        manifest(&text).unwrap().notes,
        ["metadata.labels", "metadata.uid", "status"]
            .map(|field| format!("{field} means nothing to a single process"))
    );
}

/// Keys that only a cluster has: mounted paths, and the Services of the other roles.
const OF_A_CLUSTER: [&str; 18] = [
    "data_dir",
    "db_proxy.accounts.remember_key_file",
    "db_proxy.admin_listen",
    "db_proxy.admin_secret_file",
    "file.public_ip1",
    "file.public_port",
    "login.msfs_file",
    "login.replicas_file",
    "msfs.probe",
    "msfs.public_url",
    "msg.orders_file",
    "msg.public_endpoint_file",
    "peers.db_proxy",
    "peers.file",
    "peers.http_api",
    "peers.login",
    "peers.route",
    "secret_file",
];

/// Everything in a table by its dotted key.
fn flat(table: &Table) -> BTreeMap<String, Toml> {
    let keys = table::leaves(table).into_iter();
    keys.map(|key| {
        let mut parts = key.split('.');
        let first = table[parts.next().unwrap()].clone();
        let value = parts.fold(first, |inner, part| inner[part].clone());
        (key, value)
    })
    .collect()
}

/// What the operator gives its pods, all roles together.
fn in_a_cluster(manifest: &Value) -> BTreeMap<String, Toml> {
    let mut cluster = manifest::read(manifest).unwrap();
    cluster.metadata.namespace = Some("chat".to_owned());
    let cluster = validate::validate(&cluster, &Settings::default()).unwrap();
    let owner = Owner {
        name: "demo".to_owned(),
        uid: "u".to_owned(),
    };
    let desired = build::build(&cluster, &owner, &Templates::default());
    let mut all = BTreeMap::new();
    for planned in &desired.children {
        if planned.child.kind() == "ConfigMap" {
            let map = planned.child.to_json().unwrap();
            let file = map["data"]["imd.toml"].as_str().unwrap();
            all.extend(flat(&toml::from_str(file).unwrap()));
        }
    }
    all
}

#[test]
fn both_runtimes_get_the_same_keys_but_for_those_that_are_listed() {
    let text = "
apiVersion: imcluster.io/v1alpha1
kind: ImCluster
metadata: {name: demo}
spec:
  version: 0.1.0
  load: {reportIntervalSeconds: 2, staleAfterSeconds: 9}
  observability: {metrics: {port: 9999}}
  roles:
    login: {replicas: 3, ports: {http: 8081}, assignment: {reservationSeconds: 7}}
    msg:
      capacity: {maxConnections: 200, softLimitPercent: 50, acceptPerSecond: 70}
      drain: {maxSeconds: 20}
      logLevel: debug
      config: {msg.rate_limit: \"50\", msg.presence.notify: related}
    route: {ports: {peer: 8201}}
    dbProxy: {ports: {grpc: 10602}}
    file: {ports: {client: 8610}, drain: {maxSeconds: 7}}
    msfs: {drain: {maxSeconds: 8}}
";
    let value: Value = serde_saphyr::from_str(text).unwrap();
    let cluster = in_a_cluster(&value);
    let mut process = Table::new();
    for (key, value) in parse(text).unwrap().presets {
        table::merge(&mut process, table::entry(&key, &value).unwrap());
    }
    let process = flat(&process);
    for (key, value) in &cluster {
        let here = process.get(key);
        match differs(key) {
            _ if OF_A_CLUSTER.contains(&key.as_str()) => assert_eq!(here, None, "{key}"),
            None => assert_eq!(here, Some(value), "{key}"),
            Some(Differs::LeftOut) => assert_eq!(here, None, "{key}"),
            Some(Differs::OneFilter | Differs::OneAfterAnother) => {
                assert!(here.is_some(), "{key}");
            }
            Some(Differs::Loopback) => {
                let local = value.as_str().unwrap().replace("[::]", "127.0.0.1");
                assert_eq!(here, Some(&Toml::String(local)), "{key}");
            }
        }
    }
    // Nothing is listed that is not there.
    for key in DIFFERENT.map(|(key, _)| key).iter().chain(&OF_A_CLUSTER) {
        assert!(cluster.contains_key(*key), "{key}");
    }
    let only_here: Vec<_> = process
        .keys()
        .filter(|key| !cluster.contains_key(*key))
        .collect();
    // A pod runs its role anyway.
    let optional = [
        "file.enabled",
        "http_api.enabled",
        "msfs.enabled",
        "push.enabled",
    ];
    assert_eq!(only_here, optional);
}
