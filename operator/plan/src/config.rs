//! The configuration file of a role.
//!
//! It holds what the operator decides and what `roles.*.config` adds. The servers read it at their
//! start only, so that every key, the level of log lines included, takes effect with new pods.

use im_config::table::{self, leaves, merge, nest};
use im_config::{Check, ImdConfig, renamed};
use im_operator_api::server_config::{Keys, STOP_TIMEOUT};
use im_operator_api::{Section, server_config};
use toml::{Table, Value};

use crate::{Resolved, Role, SpecError, database, filter, names, push, references};

/// Where the containers find what is mounted.
pub(crate) const SECRET_FILE: &str = "/run/imcluster/secret/secret";
pub(crate) const ADMIN_SECRET_FILE: &str = "/run/imcluster/admin/secret";
pub(crate) const REMEMBER_KEY_FILE: &str = "/run/imcluster/remember/secret";
pub(crate) const DATA_DIR: &str = "/data";
pub(crate) const REPLICAS_FILE: &str = "/etc/imcluster/replicas";
/// See [`build::MSFS`](crate::build::MSFS).
pub(crate) const MSFS_FILE: &str = "/etc/imcluster/msfs";
pub(crate) const ORDERS_FILE: &str = "/etc/podinfo/orders";
pub(crate) const ENDPOINT_FILE: &str = "/etc/podinfo/external-endpoint";

/// Keys that are the operator's although it does not write them into every file.
const RESERVED: &[&str] = &[
    "data_dir",
    "store.url",
    "secret_file",
    "log.filter",
    STOP_TIMEOUT,
    "admin.listen",
    "file.directory",
    "http_api.db_proxy",
    "http_api.admin_secret_file",
    "login.replicas",
    "login.replicas_file",
    "msfs.dir",
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
    cluster: &Resolved,
    role: Role,
    section: &Section<'_>,
) -> Result<File, Vec<SpecError>> {
    let field = format!("spec.roles.{}.config", role.field);
    let of_key = |key: &str, message: String| SpecError::new(&format!("{field}[{key}]"), message);
    let mut table = ours(cluster, role, section);
    let mut theirs = theirs(cluster, role, section, &table)?;
    let found = renamed::renew(&mut theirs)
        .map_err(|error| vec![of_key(error.key(), error.to_string())])?;
    merge(&mut table, theirs);
    let config: ImdConfig = judged(cluster, &table)
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
    let keys = Keys::of(&cluster.spec.version);
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

/// What this program can judge of a file. Roles that only the caller knows have their own judges.
fn judged(cluster: &Resolved, table: &Table) -> Table {
    let mut judged = table.clone();
    for role in cluster.known.table.roles {
        if im_role::TABLE.role(role.name).is_none() {
            judged.remove(role.section);
            if let Some(Value::Table(peers)) = judged.get_mut("peers") {
                peers.remove(role.section);
            }
        }
    }
    judged
}

/// What the operator decides: what the specification says, and where a cluster has what a role needs.
fn ours(cluster: &Resolved, role: Role, section: &Section<'_>) -> Table {
    let mut table = server_config(&cluster.spec, role, section);
    for (key, value) in of_a_cluster(cluster, role) {
        merge(&mut table, nest(&key, value));
    }
    table
}

/// Keys that only a cluster has: mounted paths, and the Services of the roles that are dialed or reported to.
/// Those of optional roles are among them whether the installation has these or not: no pods are replaced when one
/// of them comes, and a Service that does not exist has nobody behind it.
fn of_a_cluster(cluster: &Resolved, role: Role) -> Vec<(String, Value)> {
    let mut keys = Vec::new();
    if has_links(cluster, role) {
        keys.push(("secret_file".to_owned(), SECRET_FILE.into()));
    }
    let before = Keys::of(&cluster.spec.version) == Keys::Before;
    for (peer, listener) in cluster.known.table.peers_of(role) {
        if peer.optional && before {
            // No server of the versions before knows a role that an installation can do without.
            continue;
        }
        let service = names::behind(&cluster.name, peer, listener);
        let source = format!("kubernetes:{service}:{listener}");
        let list = Value::Array(vec![source.into()]);
        keys.push((format!("peers.{}", peer.section), list));
    }
    if role.kubernetes.knows_replicas {
        // Those of earlier versions learn it when they start only.
        keys.push(if before {
            let replicas = i64::from(cluster.replicas(role).max(1));
            ("login.replicas".to_owned(), replicas.into())
        } else {
            ("login.replicas_file".to_owned(), REPLICAS_FILE.into())
        });
    }
    keys.extend(told(cluster, role));
    for reference in references::of(cluster, role) {
        let settings = reference.settings();
        keys.extend(settings.map(|(key, path)| (key, path.into())));
    }
    let section = cluster.section(role);
    if let Some(said) = section.and_then(|section| section.optional) {
        keys.extend(push::settings(&said.push));
    }
    if let Some(filter) = filter::of(cluster, role) {
        keys.extend(filter::settings(filter));
    }
    let mut own = |key: &str, value: &str| keys.push((key.to_owned(), value.into()));
    if has_data(role) {
        own("data_dir", DATA_DIR);
    }
    if role == Role::LOGIN && !before {
        own("login.msfs_file", MSFS_FILE);
    }
    if role == Role::DB_PROXY {
        let admin = role.listener("admin").map_or(0, |admin| admin.port);
        let host = server_config::everywhere(&cluster.spec.version);
        own("db_proxy.admin_listen", &format!("{host}:{admin}"));
        own("db_proxy.admin_secret_file", ADMIN_SECRET_FILE);
        own("db_proxy.accounts.remember_key_file", REMEMBER_KEY_FILE);
    }
    if role == Role::MSG {
        own("msg.public_endpoint_file", ENDPOINT_FILE);
        if !before {
            own("msg.orders_file", ORDERS_FILE);
        }
    }
    if role == Role::HTTP_API {
        let admin = Role::DB_PROXY.listener("admin");
        let port = admin.map_or(0, |admin| admin.port);
        // A headless Service's name leads to the pods, at whichever of their ports. Of several, one listens.
        let host = cluster.service_host(&names::behind(&cluster.name, Role::DB_PROXY, "grpc"));
        own("http_api.db_proxy", &format!("{host}:{port}"));
        own("http_api.admin_secret_file", ADMIN_SECRET_FILE);
    }
    keys
}

/// Whether a role has links: who has none has nobody to prove by the installation's secret that it belongs
/// there.
pub(crate) fn has_links(cluster: &Resolved, role: Role) -> bool {
    has_peers(cluster, role) || cluster.known.table.served_by(role).next().is_some()
}

/// Whether a role dials others or reports to them, and so must find them.
pub(crate) fn has_peers(cluster: &Resolved, role: Role) -> bool {
    let peers = cluster.known.table.peers_of(role);
    let before = Keys::of(&cluster.spec.version) == Keys::Before;
    peers.iter().any(|(peer, _)| !(peer.optional && before))
}

/// Whether a role keeps data in a directory of its own.
pub(crate) fn has_data(role: Role) -> bool {
    role == Role::DB_PROXY || role.kubernetes.blobs
}

/// Where clients are told that a role is.
fn told(cluster: &Resolved, role: Role) -> Vec<(String, Value)> {
    let key = |name: &str| format!("{}.{name}", role.section);
    if let Some((host, port)) = cluster.told_address(role) {
        return vec![
            (key("public_ip1"), host.into()),
            (key("public_port"), i64::from(port).into()),
        ];
    }
    let Some(url) = cluster.told_url(role) else {
        return Vec::new();
    };
    let mut keys = vec![(key("public_url"), url.into())];
    let section = cluster.section(role);
    let said = section.and_then(|section| section.optional);
    if said.is_some_and(|said| said.public_url.is_empty()) {
        // There is nothing to prove of the name of the Service, and no policy lets the probe out.
        keys.push((key("probe"), "off".into()));
    }
    keys
}

/// The keys without which the file of a role is not whole while an optional role is there. A file that an
/// earlier operator made, which knew no such role, may lack them. Where a role reports is none of them: it works
/// without, and learns it with the next other change of its pods.
pub(crate) fn needed(cluster: &Resolved, role: Role) -> Vec<String> {
    if Keys::of(&cluster.spec.version) == Keys::Before {
        return Vec::new();
    }
    let is_there = |peer: Role| peer.optional && cluster.section(peer).is_some();
    let links = cluster.known.table.dialed_by(role);
    let links = links.filter(|link| is_there(link.to));
    let mut keys: Vec<String> = links
        .map(|link| format!("peers.{}", link.to.section))
        .collect();
    if role == Role::LOGIN && is_there(Role::MSFS) {
        keys.push("login.msfs_file".to_owned());
    }
    keys
}

/// Whether a file has all of these keys.
pub(crate) fn has_all(file: &str, keys: &[String]) -> bool {
    if keys.is_empty() {
        return true;
    }
    let table: Table = toml::from_str(file).unwrap_or_default();
    let present = leaves(&table);
    keys.iter().all(|key| present.contains(key))
}

/// What `config` adds, as it is written there, or each key of it that cannot be used.
fn theirs(
    cluster: &Resolved,
    role: Role,
    section: &Section<'_>,
    ours: &Table,
) -> Result<Table, Vec<SpecError>> {
    let taken: Vec<String> = leaves(ours)
        .into_iter()
        .chain(RESERVED.iter().map(|key| (*key).to_owned()))
        .chain(references::RESERVED.iter().map(|key| (*key).to_owned()))
        .chain(push::RESERVED.iter().map(|key| (*key).to_owned()))
        .chain(filter::RESERVED.iter().map(|key| (*key).to_owned()))
        .chain(database::RESERVED.iter().map(|key| (*key).to_owned()))
        .chain(lists_of_peers(cluster))
        .chain(switches(cluster))
        .collect();
    let mut table = Table::new();
    let mut errors = Vec::new();
    for (key, text) in &section.common.config {
        match entry(cluster, key, text, role, &taken) {
            Ok(entry) => merge(&mut table, entry),
            Err(message) => {
                let field = format!("spec.roles.{}.config[{key}]", role.field);
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

/// The keys of all lists of peers.
fn lists_of_peers(cluster: &Resolved) -> impl Iterator<Item = String> {
    let table = cluster.known.table;
    let links = table.links.iter().chain(table.reports);
    links.map(|link| format!("peers.{}", link.to.section))
}

/// The keys that switch optional roles on where all roles share a process.
fn switches(cluster: &Resolved) -> impl Iterator<Item = String> {
    let roles = cluster.known.table.roles.iter();
    let optional = roles.filter(|role| role.optional);
    optional.map(|role| format!("{}.enabled", role.section))
}

fn entry(
    cluster: &Resolved,
    key: &str,
    text: &str,
    role: Role,
    taken: &[String],
) -> Result<Table, String> {
    if key.is_empty() || key.split('.').any(str::is_empty) {
        return Err("is no key of the configuration file".to_owned());
    }
    if taken.iter().any(|taken| taken == key) {
        return Err(format!("{key} is set by the operator"));
    }
    let entry = table::entry(key, text)?;
    let mut renewed = entry.clone();
    renamed::renew(&mut renewed).map_err(|error| error.to_string())?;
    allowed(cluster, &renewed, role, taken)?;
    Ok(entry)
}

fn allowed(cluster: &Resolved, entry: &Table, role: Role, taken: &[String]) -> Result<(), String> {
    for leaf in leaves(entry) {
        if taken.contains(&leaf) {
            return Err(format!("{leaf} is set by the operator"));
        }
        let (table, _) = leaf.split_once('.').unwrap_or((&leaf, ""));
        let reader = cluster.known.table.reader(table);
        if let Some(other) = reader.filter(|other| *other != role) {
            return Err(format!("{leaf} belongs to roles.{}", other.field));
        }
    }
    Ok(())
}
