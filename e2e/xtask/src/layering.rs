//! Which crate may depend on which: the table, and the test that holds the workspace against it.

mod links;
mod modules;
mod unused;

/// Our crates and what of ours each may use in normal builds. A crate that is not listed here is an
/// error, and so is an edge that is not.
const ALLOWED: &[(&str, &[&str])] = &[
    ("im-proto-teamtalk", &[]),
    ("im-proto-rpc", &[]),
    ("im-core", &[]),
    ("im-order", &[]),
    ("im-role", &[]),
    ("im-config", &[]),
    ("im-directory-file", &["im-proto-rpc"]),
    ("im-discovery", &["im-core"]),
    ("im-codec", &["im-core", "im-proto-teamtalk"]),
    ("im-trace", &[]),
    ("im-store", &["im-core", "im-order"]),
    ("im-store-mysql", &["im-core", "im-order", "im-store"]),
    (
        "im-migrate",
        &["im-core", "im-order", "im-store", "im-store-mysql"],
    ),
    ("im-blob", &["im-core"]),
    ("im-store-crash", &[]),
    ("im-transport", &[]),
    ("im-runtime", &["im-core", "im-config", "im-trace"]),
    (
        "im-rpc",
        &[
            "im-core",
            "im-order",
            "im-role",
            "im-config",
            "im-discovery",
            "im-proto-rpc",
        ],
    ),
    ("im-client", &["im-core", "im-codec", "im-proto-teamtalk"]),
    ("im-login", SERVICE),
    ("im-http", &["im-core", "im-runtime"]),
    (
        "im-msfs",
        &["im-core", "im-config", "im-http", "im-runtime", "im-blob"],
    ),
    (
        "im-http-api",
        &[
            "im-core",
            "im-codec",
            "im-config",
            "im-directory-file",
            "im-http",
            "im-runtime",
            "im-rpc",
            "im-proto-rpc",
        ],
    ),
    ("im-msg", MSG),
    ("im-route", SERVICE),
    ("im-file", FILE),
    ("im-follower", FOLLOWER),
    ("im-outbound", &["im-core", "im-config"]),
    ("im-push", PUSH),
    ("im-writer", WRITER),
    ("im-accounts", ACCOUNTS),
    ("im-answers", ANSWERS),
    ("im-db-proxy", DB_PROXY),
    ("imd", IMD),
    ("im-operator-api", &["im-role", "im-config"]),
    (
        "im-operator-plan",
        &["im-role", "im-config", "im-operator-api"],
    ),
    (
        "im-operator",
        &[
            "im-core",
            "im-role",
            "im-config",
            "im-operator-api",
            "im-operator-plan",
            "im-runtime",
        ],
    ),
    (
        "kubectl-im",
        &["im-role", "im-operator-api", "im-operator-plan"],
    ),
    ("im-e2e-kube", &[]),
    ("im-e2e", ANY_BUT_SERVERS),
    ("im-e2e-tests", ANY_BUT_SERVERS),
    ("im-load", LOAD),
    ("im-operator-bench", OPERATOR_BENCH),
    ("xtask", &[]),
];

/// A role's library: never another role's, never the store.
const SERVICE: &[&str] = &[
    "im-core",
    "im-order",
    "im-codec",
    "im-config",
    "im-discovery",
    "im-runtime",
    "im-rpc",
    "im-proto-rpc",
    "im-proto-teamtalk",
    "im-trace",
];

/// A role that has connections of clients.
const MSG: &[&str] = &[
    "im-core",
    "im-order",
    "im-codec",
    "im-config",
    "im-discovery",
    "im-runtime",
    "im-rpc",
    "im-proto-rpc",
    "im-proto-teamtalk",
    "im-trace",
    "im-transport",
];

/// A role that has connections of clients, and blobs.
const FILE: &[&str] = &[
    "im-core",
    "im-blob",
    "im-codec",
    "im-config",
    "im-runtime",
    "im-rpc",
    "im-proto-rpc",
    "im-proto-teamtalk",
    "im-transport",
];

/// Followers of the log, whatever they do about it.
const FOLLOWER: &[&str] = &["im-core", "im-order", "im-rpc", "im-proto-rpc"];

/// A role that follows the log.
const PUSH: &[&str] = &[
    "im-core",
    "im-codec",
    "im-config",
    "im-follower",
    "im-outbound",
    "im-proto-rpc",
    "im-rpc",
    "im-runtime",
];

/// The write path of db-proxy: it knows neither logins nor answers, nor what clients speak.
const WRITER: &[&str] = &[
    "im-core",
    "im-order",
    "im-config",
    "im-runtime",
    "im-rpc",
    "im-proto-rpc",
    "im-trace",
    "im-store",
];

/// Logins: they know neither the log nor any link.
const ACCOUNTS: &[&str] = &[
    "im-core",
    "im-config",
    "im-runtime",
    "im-proto-rpc",
    "im-proto-teamtalk",
    "im-store",
];

/// Answers: they change groups through the writer, and people through their accounts.
const ANSWERS: &[&str] = &[
    "im-core",
    "im-codec",
    "im-config",
    "im-runtime",
    "im-proto-rpc",
    "im-proto-teamtalk",
    "im-store",
    "im-writer",
    "im-accounts",
];

/// The one role that may use the store.
const DB_PROXY: &[&str] = &[
    "im-core",
    "im-order",
    "im-codec",
    "im-config",
    "im-discovery",
    "im-runtime",
    "im-rpc",
    "im-proto-rpc",
    "im-proto-teamtalk",
    "im-trace",
    "im-store",
    "im-writer",
    "im-accounts",
    "im-answers",
    "im-outbound",
];

const IMD: &[&str] = &[
    "im-core",
    "im-role",
    "im-config",
    "im-runtime",
    "im-trace",
    "im-rpc",
    "im-directory-file",
    "im-discovery",
    "im-order",
    "im-store",
    "im-store-mysql",
    "im-migrate",
    "im-blob",
    "im-login",
    "im-msfs",
    "im-msg",
    "im-route",
    "im-file",
    "im-http-api",
    "im-push",
    "im-db-proxy",
    "im-client",
    "im-codec",
    "im-proto-rpc",
    "im-proto-teamtalk",
    // The manifest that `all-in-one -f` takes.
    "im-operator-api",
];

/// Tests and the load generator meet the servers through sockets only.
const ANY_BUT_SERVERS: &[&str] = &[
    "im-core",
    "im-codec",
    "im-client",
    "im-proto-teamtalk",
    "im-proto-rpc",
    "im-e2e",
    "im-e2e-kube",
    "im-operator-api",
];

/// The operator is met as a program; its planner is measured by itself.
const OPERATOR_BENCH: &[&str] = &[
    "im-core",
    "im-client",
    "im-e2e",
    "im-e2e-kube",
    "im-operator-api",
    "im-operator-plan",
];

/// The load generator, which is also a thousand msg servers that report to login: over the very links of
/// real ones, since their keep-alive is part of what is measured.
const LOAD: &[&str] = &[
    "im-core",
    "im-codec",
    "im-client",
    "im-proto-teamtalk",
    "im-proto-rpc",
    "im-e2e",
    "im-rpc",
    "im-config",
    "im-discovery",
];

/// Third-party crates that only these of ours may use.
const RESTRICTED: &[(&str, &[&str])] = &[
    ("sqlx", &["im-store", "im-store-mysql", "im-migrate"]),
    ("rusqlite", &["im-store"]),
    (
        "tokio",
        &[
            "im-discovery",
            "im-store",
            "im-store-mysql",
            "im-migrate",
            "im-blob",
            "im-trace",
            "im-transport",
            "im-runtime",
            "im-rpc",
            "im-client",
            "im-http",
            "im-http-api",
            "im-login",
            "im-msfs",
            "im-msg",
            "im-route",
            "im-file",
            "im-follower",
            "im-outbound",
            "im-push",
            "im-writer",
            "im-accounts",
            "im-answers",
            "im-db-proxy",
            "imd",
            "im-operator",
            "kubectl-im",
            "im-e2e",
            "im-e2e-kube",
            "im-e2e-tests",
            "im-load",
            "im-operator-bench",
        ],
    ),
    (
        "kube",
        &[
            "im-discovery",
            "im-operator-api",
            "im-operator-plan",
            "im-operator",
            "kubectl-im",
            "im-e2e-kube",
            "im-e2e-tests",
            "im-operator-bench",
        ],
    ),
    ("object_store", &["im-blob"]),
    (
        "tonic",
        &[
            "im-proto-rpc",
            "im-rpc",
            "im-db-proxy",
            "im-http-api",
            "imd",
        ],
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cargo_metadata::{DependencyKind, MetadataCommand};

    use super::{ALLOWED, RESTRICTED};

    #[test]
    fn crates_depend_only_on_what_their_layer_may_use() {
        let metadata = MetadataCommand::new()
            .no_deps()
            .exec()
            .expect("read cargo metadata");
        let table: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
        let mut wrong = Vec::new();
        for package in &metadata.packages {
            let name = package.name.as_str();
            let Some(allowed) = table.get(name) else {
                wrong.push(format!("{name} is in no layer"));
                continue;
            };
            for dependency in &package.dependencies {
                if dependency.kind == DependencyKind::Development {
                    continue;
                }
                let target = dependency.name.as_str();
                if dependency.path.is_some() && !allowed.contains(&target) {
                    wrong.push(format!("{name} may not use {target}"));
                }
                let restricted = RESTRICTED.iter().find(|(third, _)| *third == target);
                if restricted.is_some_and(|(_, users)| !users.contains(&name)) {
                    wrong.push(format!("{name} may not use {target}"));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    /// Ours that `deny.toml` lets use a package, if it says who may.
    fn wrappers<'a>(deny: &'a str, package: &str) -> Option<Vec<&'a str>> {
        let (_, entry) = deny.split_once(&format!("{{ name = \"{package}\", wrappers = ["))?;
        let (names, _) = entry.split_once(']')?;
        let names = names.split('"').skip(1).step_by(2);
        let ours = names.filter(|name| name.starts_with("im-") || *name == "imd");
        Some(ours.collect())
    }

    #[test]
    fn deny_toml_lets_the_same_crates_use_a_package_and_none_but_tests_besides() {
        let metadata = MetadataCommand::new()
            .no_deps()
            .exec()
            .expect("read cargo metadata");
        let path = metadata.workspace_root.join("deny.toml");
        let deny = std::fs::read_to_string(path).expect("read deny.toml");
        let is_for_tests = |name: &str, third: &str| {
            let package = metadata.packages.iter().find(|it| it.name.as_str() == name);
            let uses = package.into_iter().flat_map(|it| &it.dependencies);
            let kinds: Vec<_> = uses
                .filter(|it| it.name == third)
                .map(|it| it.kind)
                .collect();
            kinds == [DependencyKind::Development]
        };
        let mut compared = 0;
        for (third, users) in RESTRICTED {
            let Some(named) = wrappers(&deny, third) else {
                continue;
            };
            compared += 1;
            for user in *users {
                assert!(named.contains(user), "deny.toml keeps {user} from {third}");
            }
            for name in named {
                let may = users.contains(&name) || is_for_tests(name, third);
                assert!(may, "deny.toml lets {name} use {third}");
            }
        }
        assert_eq!(compared, 4, "sqlx, rusqlite, object_store and tonic");
    }

    #[test]
    fn every_listed_crate_exists() {
        let metadata = MetadataCommand::new()
            .no_deps()
            .exec()
            .expect("read cargo metadata");
        for (name, _) in ALLOWED {
            assert!(
                metadata
                    .packages
                    .iter()
                    .any(|package| package.name == *name),
                "{name}"
            );
        }
    }
}
