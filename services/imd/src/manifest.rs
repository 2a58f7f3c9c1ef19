//! `imd all-in-one -f`: what an ImCluster describes, in one process.
//!
//! A manifest becomes defaults of the configuration: file, environment and flags win over it. What
//! only a cluster can do is named, one line each. Every field that cannot be used is named too, not
//! only the first.

mod check;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use im_config::{LoadError, Sources};
use im_operator_api::{Common, ImClusterSpec};
use serde_json::Value;

/// Largest manifest, bytes; the API server takes no larger object either.
const MAX_BYTES: u64 = 3 << 19;

/// Fields that one process acts on. A name stands for everything below it, `*` for any name.
const USED: [&str; 17] = [
    "apiVersion",
    "kind",
    "metadata.name",
    "spec.version",
    "spec.database.type",
    "spec.cache.type",
    "spec.load.reportIntervalSeconds",
    "spec.load.staleAfterSeconds",
    "spec.observability.metrics.port",
    "spec.roles.login.assignment",
    "spec.roles.login.ports.client",
    "spec.roles.login.ports.http",
    "spec.roles.msg.ports",
    "spec.roles.msg.capacity",
    "spec.roles.msg.drain",
    "spec.roles.dbProxy.ports",
    "spec.roles.*.config",
];

/// As [`USED`], of every role.
const LOG_LEVEL: &str = "spec.roles.*.logLevel";

/// What a manifest says for one process.
#[derive(Debug, Default)]
pub(crate) struct Manifest {
    /// Keys of the configuration and their values, later ones win.
    pub(crate) presets: Vec<(String, String)>,
    /// What has no effect here, in words.
    pub(crate) notes: Vec<String>,
}

/// A field and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadField {
    pub(crate) field: String,
    pub(crate) message: String,
}

impl fmt::Display for BadField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadManifest {
    /// It cannot be read.
    #[error("read it")]
    Read(#[from] std::io::Error),
    /// It is no YAML.
    #[error("{}", .0.trim())]
    Yaml(String),
    /// Fields cannot be used.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Fields(Vec<BadField>),
}

/// Reads a manifest from a file, or from standard input when its name is `-`.
pub(crate) fn read(path: &Path) -> Result<Manifest, BadManifest> {
    use std::io::Read as _;
    let mut text = String::new();
    if path == Path::new("-") {
        let input = std::io::stdin().lock();
        input.take(MAX_BYTES).read_to_string(&mut text)?;
    } else {
        let file = std::fs::File::open(path)?;
        file.take(MAX_BYTES).read_to_string(&mut text)?;
    }
    parse(&text)
}

fn parse(text: &str) -> Result<Manifest, BadManifest> {
    let value: Value =
        serde_saphyr::from_str(text).map_err(|error| BadManifest::Yaml(error.to_string()))?;
    let cluster = check::typed(&value).map_err(BadManifest::Fields)?;
    let presets = presets(&cluster.spec);
    let bad = refused(&presets);
    if !bad.is_empty() {
        return Err(BadManifest::Fields(bad));
    }
    Ok(Manifest {
        notes: notes(&value, &cluster.spec),
        presets: presets
            .into_iter()
            .map(|preset| (preset.key, preset.value))
            .collect(),
    })
}

/// A key of the configuration and the field that says it.
struct Preset {
    field: String,
    key: String,
    value: String,
}

fn presets(spec: &ImClusterSpec) -> Vec<Preset> {
    let roles = &spec.roles;
    let (login, msg) = (&roles.login, &roles.msg);
    let mut presets = Vec::new();
    let mut set = |field: &str, key: &str, value: String| {
        presets.push(Preset {
            field: format!("spec.{field}"),
            key: key.to_owned(),
            value,
        });
    };
    let local = |port: i32| format!("127.0.0.1:{port}");
    let millis = |seconds: i32| (i64::from(seconds) * 1_000).to_string();
    set(
        "roles.login.ports.client",
        "login.client_listen",
        local(login.ports.client),
    );
    set(
        "roles.login.ports.http",
        "login.http_listen",
        local(login.ports.http),
    );
    set(
        "roles.msg.ports.client",
        "msg.listen",
        local(msg.ports.client),
    );
    set(
        "roles.dbProxy.ports.grpc",
        "db_proxy.listen",
        local(roles.db_proxy.ports.grpc),
    );
    set(
        "observability.metrics.port",
        "admin.listen",
        local(spec.observability.metrics.port),
    );
    let (most, percent) = (
        msg.capacity.max_connections,
        msg.capacity.soft_limit_percent,
    );
    let soft = i64::from(most) * i64::from(percent) / 100;
    let capacity = "roles.msg.capacity.maxConnections";
    set(capacity, "msg.max_connections", most.to_string());
    set(capacity, "msg.max_sessions", most.to_string());
    set(
        "roles.msg.capacity.softLimitPercent",
        "msg.soft_max_sessions",
        soft.to_string(),
    );
    set(
        "load.reportIntervalSeconds",
        "msg.report_interval_ms",
        millis(spec.load.report_interval_seconds),
    );
    set(
        "load.staleAfterSeconds",
        "login.stale_after_ms",
        millis(spec.load.stale_after_seconds),
    );
    set(
        "roles.login.assignment.reservationSeconds",
        "login.reservation_ms",
        millis(login.assignment.reservation_seconds),
    );
    let (drain, longest) = ("roles.msg.drain.maxSeconds", msg.drain.max_seconds);
    set(drain, "msg.drain_seconds", longest.to_string());
    set(
        drain,
        "process.stop_timeout_ms",
        millis(longest.saturating_add(30)),
    );
    set("roles.msg.logLevel", "log.filter", log_filter(spec));
    for (role, common) in commons(spec) {
        for (key, value) in &common.config {
            set(&format!("roles.{role}.config.{key:?}"), key, value.clone());
        }
    }
    presets
}

fn commons(spec: &ImClusterSpec) -> [(&'static str, &Common); 4] {
    let roles = &spec.roles;
    [
        ("login", &roles.login.common),
        ("msg", &roles.msg.common),
        ("route", &roles.route.common),
        ("dbProxy", &roles.db_proxy.common),
    ]
}

/// One level for the process, or the levels of the roles' parts of it.
fn log_filter(spec: &ImClusterSpec) -> String {
    let modules = ["im_login", "im_msg", "im_route", "im_db_proxy"];
    let levels = commons(spec).map(|(_, common)| common.log_level.as_str());
    if levels.iter().all(|level| *level == levels[0]) {
        return levels[0].to_owned();
    }
    let parts = modules.iter().zip(levels);
    let parts = parts.map(|(module, level)| format!(",{module}={level}"));
    format!("info{}", parts.collect::<String>())
}

/// What the configuration says to these keys.
fn refused(presets: &[Preset]) -> Vec<BadField> {
    let load = |presets: &[Preset]| {
        let pairs = presets.iter();
        let sources = Sources {
            presets: pairs.map(|p| (p.key.clone(), p.value.clone())).collect(),
            ..Sources::default()
        };
        sources.load().err()
    };
    // Unknown keys and wrong types, each alone; then bounds, which may depend on other keys.
    let mut bad = Vec::new();
    for preset in presets {
        if let Some(LoadError::Override { reason, .. }) = load(std::slice::from_ref(preset)) {
            bad.push(BadField {
                field: preset.field.clone(),
                message: reason.trim().to_owned(),
            });
        }
    }
    if bad.is_empty()
        && let Some(LoadError::Bounds(violations)) = load(presets)
    {
        bad.extend(violations.0.into_iter().map(|violation| {
            let preset = presets.iter().rfind(|preset| preset.key == violation.key);
            BadField {
                field: preset.map_or(violation.key, |preset| preset.field.clone()),
                message: violation.rule,
            }
        }));
    }
    bad
}

fn notes(value: &Value, spec: &ImClusterSpec) -> Vec<String> {
    let is_used = |path: &[String]| {
        let mut used = USED.iter().chain([&LOG_LEVEL]);
        used.any(|used| covers(used, path))
    };
    let unused: BTreeSet<String> = check::leaves(value)
        .iter()
        .filter(|leaf| !is_used(&leaf.path))
        .map(check::Leaf::brief)
        .collect();
    let mut notes: Vec<String> = unused
        .into_iter()
        .map(|name| format!("{name} means nothing to a single process"))
        .collect();
    let version = env!("CARGO_PKG_VERSION");
    if spec.version != version {
        notes.push(format!(
            "spec.version is {}, and this program is {version}",
            spec.version
        ));
    }
    let mut known: BTreeMap<&String, (&str, &String)> = BTreeMap::new();
    for (role, common) in commons(spec) {
        for (key, value) in &common.config {
            if let Some((other, former)) = known.insert(key, (role, value))
                && former != value
            {
                notes.push(format!(
                    "spec.roles.{other}.config.{key:?} gives way to that of {role}: one process has one value"
                ));
            }
        }
    }
    notes
}

fn covers(used: &str, path: &[String]) -> bool {
    let mut path = path.iter();
    used.split('.')
        .all(|part| path.next().is_some_and(|name| part == "*" || part == name))
}

#[cfg(test)]
mod tests;
