//! The database on a server: what db-proxy's pods, which share it, are told of it and mount for it.

use im_operator_api::MySql;
use serde_json::{Value, json};

use crate::references::Reference;
use crate::{Resolved, Role, names};

/// Configuration keys that are the operator's wherever the database is, beside `store.url`.
pub(crate) const RESERVED: &[&str] = &[
    "store.name",
    "mysql.password_file",
    "mysql.tls",
    "mysql.ca_file",
    "mysql.certificate_file",
    "mysql.key_file",
];

/// The field that names it.
pub(crate) const FIELD: &str = "spec.database.mysql";

/// The database that pods of a role share.
pub(crate) fn of(cluster: &Resolved, role: Role) -> Option<&MySql> {
    let mysql = cluster.spec.database.mysql();
    mysql.filter(|_| role == Role::DB_PROXY)
}

/// What the pods mount.
pub(crate) fn references(mysql: &MySql) -> Vec<Reference> {
    let password = mysql.password_secret.as_ref().and_then(|secret| {
        Reference::secret(
            &secret.name,
            format!("{FIELD}.passwordSecret"),
            "database-password",
            &[(&secret.key, "mysql.password_file")],
        )
    });
    let trust = Reference::bundle(
        mysql.tls.ca.as_ref(),
        &format!("{FIELD}.tls.ca"),
        "database-ca",
        "mysql.ca_file",
    );
    let client = Reference::secret(
        &mysql.tls.client_secret_name,
        format!("{FIELD}.tls.clientSecretName"),
        "database-client",
        &[
            ("tls.crt", "mysql.certificate_file"),
            ("tls.key", "mysql.key_file"),
        ],
    );
    [password, trust, client].into_iter().flatten().collect()
}

/// Variables of the pods: by which name a process is known among those that share the database, and where tools in any
/// of its pods find the one that serves.
pub(crate) fn env(cluster: &Resolved) -> Value {
    let host = cluster.service_host(&names::behind(&cluster.name, Role::DB_PROXY, "grpc"));
    let port = Role::DB_PROXY
        .listener("admin")
        .map_or(0, |admin| admin.port);
    json!([
        {
            "name": "IMD_STORE__NAME",
            "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}},
        },
        {"name": "IMD_ADMIN_SERVER", "value": format!("{host}:{port}")},
    ])
}
