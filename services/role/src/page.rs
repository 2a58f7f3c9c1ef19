//! The table of roles as a page of the reference.

use std::fmt::Write as _;

use crate::{Reach, Role, Service, Table, Workload};

/// The page, in Markdown.
pub fn page(table: &Table) -> String {
    let mut page = HEAD.to_owned();
    for role in table.roles {
        let runs = match role.kubernetes.workload {
            Workload::Deployment => "Deployment",
            Workload::StatefulSet => "StatefulSet",
            Workload::Planned => "ReplicaSets, pod by pod",
        };
        let number = if role.optional {
            "any number, or none"
        } else {
            "any number"
        };
        let named = if role.optional {
            ", where it is named"
        } else {
            ""
        };
        let field = role.field;
        let waits = names(&table.waits_for(*role, true));
        let _infallible = writeln!(
            page,
            "| {role} | {} | `{}` | `spec.roles.{field}`{named} | {number} | {runs} | {waits} | {} s | {} |",
            role.about, role.section, role.kubernetes.startup_seconds, role.admin_port,
        );
    }
    page.push_str(LISTENERS);
    for role in table.roles {
        for listener in role.listeners {
            let who = match listener.reach {
                Reach::Clients => "clients".to_owned(),
                Reach::Roles if table.takes_reports(*role, listener.name) => EVERYBODY.to_owned(),
                Reach::Roles => names(&table.callers_of(*role, listener.name)),
                Reach::Administrators => {
                    let roles = table.administrators_of(*role);
                    let roles = roles.iter().map(|role| format!(", {role}"));
                    format!(
                        "administrators, in the same pod{}",
                        roles.collect::<String>()
                    )
                }
            };
            let service = match listener.service {
                Service::None => "none".to_owned(),
                Service::Headless(behind) => format!("`<cluster>-{role}{behind}`, headless"),
                Service::Front => format!("`<cluster>-{role}`"),
            };
            let _infallible = writeln!(
                page,
                "| {role} | {} | {} | `{}.{}` | {who} | {service} |",
                listener.name, listener.port, role.section, listener.key,
            );
        }
    }
    page.push_str(LINKS);
    let links = table.links.iter().map(|link| (link, link.from.name()));
    let reports = table.reports.iter().map(|link| (link, EVERYBODY));
    for (link, from) in links.chain(reports) {
        let _infallible = writeln!(
            page,
            "| `{}` | {from} | {}, {} | `{}` |",
            link.kind, link.to, link.listener, link.path,
        );
    }
    page
}

const EVERYBODY: &str = "every role";

fn names(roles: &[Role]) -> String {
    if roles.is_empty() {
        return "nobody".to_owned();
    }
    let names: Vec<_> = roles.iter().map(|role| role.name).collect();
    names.join(", ")
}

const HEAD: &str = "# Roles

Made from the table in `services/role` by `IM_UPDATE=1 cargo test -p im-role`; a test says when it is old.

`imd <role>` runs one role, `imd all-in-one` all of them in one process, but for those that are switched off
(`<configuration>.enabled = false`, where an installation can do without the role). A role gets a new revision when all pods of
those it waits for have theirs. With the embedded store there is one db-proxy; where several share a store, one has the log and the others stand by.

| Role | Does | Configuration | In an ImCluster | Pods | Run by | Waits for | First probe within | Admin port |
|---|---|---|---|---|---|---|---|---|
";

const LISTENERS: &str = "
Every process also has the admin port (`admin.listen`) for probes, metrics and dumps: the one of the table above, 10700 where all roles share a
process, 9090 in an ImCluster.

| Role | Listener | Port | Key | Reached by | Service |
|---|---|---|---|---|---|
";

const LINKS: &str = "
| Link | Dialed by | Served by | Method |
|---|---|---|---|
";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::TABLE;

    #[test]
    fn the_reference_is_the_table() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/roles.md");
        let page = super::page(&TABLE);
        if std::env::var_os("IM_UPDATE").is_some() {
            std::fs::write(&file, &page).unwrap();
        }
        let present = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            present == page,
            "{} is old; IM_UPDATE=1 cargo test -p im-role writes it",
            file.display()
        );
    }
}
