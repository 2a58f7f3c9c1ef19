//! The before-send filter: what db-proxy is told of it, and what its pod mounts for it.

use im_operator_api::Filter;
use toml::Value;

use crate::references::Reference;
use crate::{Resolved, Role};

/// Configuration keys that are the operator's whether there is a filter or not.
pub(crate) const RESERVED: &[&str] = &["db_proxy.filter.url", "db_proxy.filter.secret_file"];

/// The field that names it.
pub(crate) const FIELD: &str = "spec.roles.dbProxy.filter";

/// The filter that pods of a role ask.
pub(crate) fn of(cluster: &Resolved, role: Role) -> Option<&Filter> {
    let filter = cluster.spec.roles.db_proxy.filter.as_ref();
    filter.filter(|_| role == Role::DB_PROXY)
}

/// Configuration keys, but for the files.
pub(crate) fn settings(filter: &Filter) -> [(String, Value); 1] {
    [("db_proxy.filter.url".to_owned(), filter.url.as_str().into())]
}

/// What the pod mounts.
pub(crate) fn references(filter: &Filter) -> Vec<Reference> {
    let secret = Reference::secret(
        &filter.secret_name,
        format!("{FIELD}.secretName"),
        "filter",
        &[("secret", "db_proxy.filter.secret_file")],
    );
    let trust = Reference::bundle(
        filter.trust.as_ref(),
        &format!("{FIELD}.trust"),
        "trust",
        "trust.ca_file",
    );
    [secret, trust].into_iter().flatten().collect()
}
