//! The configuration file of a role.
//!
//! It holds what the operator decides and what `roles.*.config` adds. The servers read it at their
//! start only, so that every key, the level of log lines included, takes effect with new pods.

use im_config::{Check, ImdConfig};
use im_operator_api::ImClusterSpec;
use toml::{Table, Value};

use crate::resolved::common;
use crate::{Role, SpecError, names};

/// Where the containers find what is mounted.
pub(crate) const SECRET_FILE: &str = "/run/imcluster/secret/secret";
pub(crate) const ADMIN_SECRET_FILE: &str = "/run/imcluster/admin/secret";
pub(crate) const DATA_DIR: &str = "/data";
pub(crate) const ENDPOINT_FILE: &str = "/etc/podinfo/external-endpoint";

/// Keys that are the operator's although it does not write them into every file.
const RESERVED: &[&str] = &[
    "data_dir",
    "secret_file",
    "log.filter",
    "process.stop_timeout_ms",
    "admin.listen",
    "peers.login",
    "peers.route",
    "peers.db_proxy",
    "msg.name",
    "msg.public_ip1",
    "msg.public_ip2",
    "msg.public_port",
];

/// The port of administrators' tools. No policy of ours opens it: they run in the pod.
pub(crate) const ADMIN_PORT: i32 = 10601;

/// Seconds between the end of a msg server's drain and its forced end; a pod has ten more.
pub(crate) const STOP_SLACK: i32 = 50;

/// The file of a role, as TOML, or all that is wrong with its `config`.
pub(crate) fn file(
    cluster: &str,
    spec: &ImClusterSpec,
    role: Role,
) -> Result<String, Vec<SpecError>> {
    let ours = ours(cluster, spec, role);
    let theirs = theirs(spec, role, &ours)?;
    let mut table = ours;
    merge(&mut table, theirs);
    let field = format!("spec.roles.{}.config", role.field());
    let config: ImdConfig = table
        .clone()
        .try_into()
        .map_err(|error: toml::de::Error| vec![SpecError::new(&field, error.message())])?;
    config.validate().map_err(|violations| {
        let each = violations.0.into_iter();
        each.map(|violation| SpecError::new(&format!("{field}[{}]", violation.key), violation.rule))
            .collect::<Vec<_>>()
    })?;
    toml::to_string(&table).map_err(|error| vec![SpecError::new(&field, error.to_string())])
}

/// What the operator decides.
fn ours(cluster: &str, spec: &ImClusterSpec, role: Role) -> Table {
    let mut table = Table::new();
    let mut set = |key: &str, value: Value| merge(&mut table, nest(key, value));
    let listen = |port: i32| Value::String(format!("0.0.0.0:{port}"));
    let millis = |seconds: i32| Value::Integer(i64::from(seconds) * 1_000);
    let peer = |service: String, port: &str| {
        Value::Array(vec![Value::String(format!("kubernetes:{service}:{port}"))])
    };
    let roles = &spec.roles;
    set("secret_file", Value::String(SECRET_FILE.to_owned()));
    set("admin.listen", listen(spec.observability.metrics.port));
    let level = common(spec, role).log_level;
    set("log.filter", Value::String(level.as_str().to_owned()));
    match role {
        Role::DbProxy => {
            set("data_dir", Value::String(DATA_DIR.to_owned()));
            set("db_proxy.listen", listen(roles.db_proxy.ports.grpc));
            set("db_proxy.admin_listen", listen(ADMIN_PORT));
            set(
                "db_proxy.admin_secret_file",
                Value::String(ADMIN_SECRET_FILE.to_owned()),
            );
            set(
                "peers.route",
                peer(names::component(cluster, Role::Route), "grpc"),
            );
        }
        Role::Route => set("route.listen", listen(roles.route.ports.peer)),
        Role::Msg => {
            let msg = &roles.msg;
            let most = i64::from(msg.capacity.max_connections);
            let soft = most * i64::from(msg.capacity.soft_limit_percent) / 100;
            set("msg.listen", listen(msg.ports.client));
            set(
                "msg.public_endpoint_file",
                Value::String(ENDPOINT_FILE.to_owned()),
            );
            set("msg.max_connections", Value::Integer(most));
            set("msg.max_sessions", Value::Integer(most));
            set("msg.soft_max_sessions", Value::Integer(soft));
            set(
                "msg.accept_rate",
                Value::Integer(msg.capacity.accept_per_second.into()),
            );
            set(
                "msg.report_interval_ms",
                millis(spec.load.report_interval_seconds),
            );
            set(
                "msg.drain_seconds",
                Value::Integer(msg.drain.max_seconds.into()),
            );
            set(
                "process.stop_timeout_ms",
                millis(msg.drain.max_seconds + STOP_SLACK),
            );
            set(
                "peers.login",
                peer(names::login_control(cluster), "control"),
            );
            set(
                "peers.route",
                peer(names::component(cluster, Role::Route), "grpc"),
            );
            set(
                "peers.db_proxy",
                peer(names::component(cluster, Role::DbProxy), "grpc"),
            );
        }
        Role::Login => {
            let login = &roles.login;
            set("login.client_listen", listen(login.ports.client));
            set("login.http_listen", listen(login.ports.http));
            set("login.control_listen", listen(login.ports.control));
            set(
                "login.replicas",
                Value::Integer(login.replicas.max(1).into()),
            );
            set(
                "login.reservation_ms",
                millis(login.assignment.reservation_seconds),
            );
            set(
                "login.stale_after_ms",
                millis(spec.load.stale_after_seconds),
            );
            // A stream that ends later after its last report was not closed by its msg server.
            set(
                "login.silence_ms",
                millis(spec.load.report_interval_seconds + 1),
            );
        }
    }
    table
}

/// What `config` adds, or each key of it that cannot be used.
fn theirs(spec: &ImClusterSpec, role: Role, ours: &Table) -> Result<Table, Vec<SpecError>> {
    let taken: Vec<String> = leaves(ours)
        .into_iter()
        .chain(RESERVED.iter().map(|key| (*key).to_owned()))
        .collect();
    let mut table = Table::new();
    let mut errors = Vec::new();
    for (key, text) in &common(spec, role).config {
        match entry(key, text, role, &taken) {
            Ok(entry) => merge(&mut table, entry),
            Err(message) => {
                let field = format!("spec.roles.{}.config[{key}]", role.field());
                errors.push(SpecError::new(&field, message));
            }
        }
    }
    if errors.is_empty() {
        Ok(table)
    } else {
        Err(errors)
    }
}

fn entry(key: &str, text: &str, role: Role, taken: &[String]) -> Result<Table, String> {
    if key.is_empty() || key.split('.').any(str::is_empty) {
        return Err("is no key of the configuration file".to_owned());
    }
    if taken.iter().any(|taken| taken == key) {
        return Err(format!("{key} is set by the operator"));
    }
    let mut reason = None;
    for value in readings(text) {
        let entry = nest(key, value);
        match entry.clone().try_into::<ImdConfig>() {
            Ok(_) => return allowed(entry, role, taken),
            // The first reading is the most natural one.
            Err(error) => reason = reason.or_else(|| Some(error.message().to_owned())),
        }
    }
    Err(reason.unwrap_or_default())
}

fn allowed(entry: Table, role: Role, taken: &[String]) -> Result<Table, String> {
    for leaf in leaves(&entry) {
        if taken.contains(&leaf) {
            return Err(format!("{leaf} is set by the operator"));
        }
        let (table, _) = leaf.split_once('.').unwrap_or((&leaf, ""));
        let table_of = match table {
            "db_proxy" | "sqlite" => Some(Role::DbProxy),
            "route" => Some(Role::Route),
            "msg" => Some(Role::Msg),
            "login" => Some(Role::Login),
            _ => None,
        };
        if let Some(other) = table_of.filter(|other| *other != role) {
            return Err(format!("{leaf} belongs to roles.{}", other.field()));
        }
    }
    Ok(entry)
}

/// What a text can mean: a TOML value, or itself.
fn readings(text: &str) -> Vec<Value> {
    let parsed = toml::from_str::<Table>(&format!("value = {text}"));
    let value = parsed.ok().and_then(|mut parsed| {
        let value = parsed.remove("value");
        value.filter(|_| parsed.is_empty())
    });
    let itself = Value::String(text.to_owned());
    value.into_iter().chain([itself]).collect()
}

fn nest(key: &str, value: Value) -> Table {
    match key.split_once('.') {
        Some((first, rest)) => {
            Table::from_iter([(first.to_owned(), Value::Table(nest(rest, value)))])
        }
        None => Table::from_iter([(key.to_owned(), value)]),
    }
}

fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(into)), Value::Table(from)) => merge(into, from),
            (_, value) => drop(into.insert(key, value)),
        }
    }
}

/// Dotted names of everything in a table that is no table.
fn leaves(table: &Table) -> Vec<String> {
    table
        .iter()
        .flat_map(|(key, value)| match value {
            Value::Table(inner) => leaves(inner)
                .into_iter()
                .map(|leaf| format!("{key}.{leaf}"))
                .collect(),
            _ => vec![key.clone()],
        })
        .collect()
}
