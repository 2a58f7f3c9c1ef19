//! The configuration file of a role.
//!
//! It holds what the operator decides and what `roles.*.config` adds. The servers read it at their
//! start only, so that every key, the level of log lines included, takes effect with new pods.

use im_config::table::{self, leaves, merge, nest};
use im_config::{Check, ImdConfig, renamed};
use im_operator_api::server_config::Keys;
use im_operator_api::{ImClusterSpec, server_config};
use toml::{Table, Value};

use crate::{Role, SpecError, names};

/// Where the containers find what is mounted.
pub(crate) const SECRET_FILE: &str = "/run/imcluster/secret/secret";
pub(crate) const ADMIN_SECRET_FILE: &str = "/run/imcluster/admin/secret";
pub(crate) const REMEMBER_KEY_FILE: &str = "/run/imcluster/remember/secret";
pub(crate) const DATA_DIR: &str = "/data";
pub(crate) const ENDPOINT_FILE: &str = "/etc/podinfo/external-endpoint";

/// Where administrators' tools reach db-proxy. No policy of ours opens it: they run in its pod.
pub(crate) const ADMIN_PORT: i32 = 10_601;

/// Keys that are the operator's although it does not write them into every file.
const RESERVED: &[&str] = &[
    "data_dir",
    "secret_file",
    "log.filter",
    "process.stop_timeout",
    "admin.listen",
    "peers.login",
    "peers.route",
    "peers.db_proxy",
    "msg.name",
    "msg.public_ip1",
    "msg.public_ip2",
    "msg.public_port",
];

/// The configuration file of a role.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct File {
    /// TOML, with the keys that the wanted version knows.
    pub(crate) text: String,
    /// Old keys of `config` that the version after the wanted one reads no more, a line each.
    pub(crate) warnings: Vec<String>,
}

/// The file of a role, or all that is wrong with its `config`.
pub(crate) fn file(
    cluster: &str,
    spec: &ImClusterSpec,
    role: Role,
) -> Result<File, Vec<SpecError>> {
    let field = format!("spec.roles.{}.config", role.field());
    let of_key = |key: &str, message: String| SpecError::new(&format!("{field}[{key}]"), message);
    let mut table = ours(cluster, spec, role);
    let mut theirs = theirs(spec, role, &table)?;
    let found = renamed::renew(&mut theirs)
        .map_err(|error| vec![of_key(error.key(), error.to_string())])?;
    merge(&mut table, theirs);
    let config: ImdConfig = table
        .clone()
        .try_into()
        .map_err(|error: toml::de::Error| vec![SpecError::new(&field, error.message())])?;
    let old = found.iter().map(|found| &found.renamed);
    let old = old.map(|old| (old.new.clone(), old.clone())).collect();
    config.validate().map_err(|violations| {
        let each = violations.0.into_iter();
        let each = each.map(|violation| renamed::as_written(violation, &old));
        each.map(|violation| of_key(&violation.key, violation.rule.to_string()))
            .collect::<Vec<_>>()
    })?;
    let keys = Keys::of(&spec.version);
    keys.write(&mut table).map_err(|errors| {
        let each = errors.iter();
        each.map(|error| of_key(error.key(), error.to_string()))
            .collect::<Vec<_>>()
    })?;
    let warnings = match keys {
        Keys::Now => found
            .iter()
            .map(|found| format!("{field}: {found}"))
            .collect(),
        Keys::Before => Vec::new(),
    };
    let text =
        toml::to_string(&table).map_err(|error| vec![SpecError::new(&field, error.to_string())])?;
    Ok(File { text, warnings })
}

/// What the operator decides: what the specification says, and where a cluster has what a role needs.
fn ours(cluster: &str, spec: &ImClusterSpec, role: Role) -> Table {
    let mut table = server_config(spec, role);
    for (key, value) in of_a_cluster(cluster, role) {
        merge(&mut table, nest(key, value));
    }
    table
}

/// Keys that only a cluster has: mounted paths, and the Services of the other roles.
fn of_a_cluster(cluster: &str, role: Role) -> Vec<(&'static str, Value)> {
    let peer = |service: String, port: &str| {
        Value::Array(vec![format!("kubernetes:{service}:{port}").into()])
    };
    let grpc = |role: Role| peer(names::component(cluster, role), "grpc");
    let mut keys = vec![("secret_file", SECRET_FILE.into())];
    match role {
        Role::DbProxy => keys.extend([
            ("data_dir", DATA_DIR.into()),
            (
                "db_proxy.admin_listen",
                format!("0.0.0.0:{ADMIN_PORT}").into(),
            ),
            ("db_proxy.admin_secret_file", ADMIN_SECRET_FILE.into()),
            (
                "db_proxy.accounts.remember_key_file",
                REMEMBER_KEY_FILE.into(),
            ),
            ("peers.route", grpc(Role::Route)),
        ]),
        Role::Msg => keys.extend([
            ("msg.public_endpoint_file", ENDPOINT_FILE.into()),
            (
                "peers.login",
                peer(names::login_control(cluster), "control"),
            ),
            ("peers.route", grpc(Role::Route)),
            ("peers.db_proxy", grpc(Role::DbProxy)),
        ]),
        Role::Route | Role::Login => {}
    }
    keys
}

/// What `config` adds, as it is written there, or each key of it that cannot be used.
fn theirs(spec: &ImClusterSpec, role: Role, ours: &Table) -> Result<Table, Vec<SpecError>> {
    let taken: Vec<String> = leaves(ours)
        .into_iter()
        .chain(RESERVED.iter().map(|key| (*key).to_owned()))
        .collect();
    let mut table = Table::new();
    let mut errors = Vec::new();
    for (key, text) in &spec.common(role).config {
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
    let entry = table::entry(key, text)?;
    let mut renewed = entry.clone();
    renamed::renew(&mut renewed).map_err(|error| error.to_string())?;
    allowed(&renewed, role, taken)?;
    Ok(entry)
}

fn allowed(entry: &Table, role: Role, taken: &[String]) -> Result<(), String> {
    for leaf in leaves(entry) {
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
    Ok(())
}
