//! What a specification says of any role in the same words.

use im_role::{Listener, Role, Service, TABLE, Table};

use crate::{ClientService, Common, ImClusterSpec, OptionalRole, Pdb};

/// What a specification says of a role that it has.
#[derive(Clone, Debug)]
pub struct Section<'a> {
    /// Pods.
    pub replicas: i32,
    /// Ports, by their fields.
    pub ports: Vec<(&'static str, i32)>,
    /// How many pods may be evicted at a time.
    pub pdb: &'a Pdb,
    /// The Service for clients; `None` for a role that has none to configure.
    pub service: Option<&'a ClientService>,
    /// What every role has.
    pub common: &'a Common,
    /// The rest of what is said of a role that an installation can do without.
    pub optional: Option<&'a OptionalRole>,
}

impl Section<'_> {
    /// The number of a port: as said, or the usual one.
    pub fn port(&self, listener: &Listener) -> i32 {
        let mut ports = self.ports.iter();
        let said = ports.find(|(field, _)| *field == listener.field);
        said.map_or_else(|| listener.port.into(), |(_, port)| *port)
    }
}

impl ImClusterSpec {
    /// What it says of a role; `None` when the installation does not have it.
    pub fn section(&self, role: Role) -> Option<Section<'_>> {
        let crate::Roles {
            login,
            msg,
            route,
            db_proxy,
            optional,
        } = &self.roles;
        if role.optional {
            return optional.get(role.field).map(|said| of_optional(role, said));
        }
        let sections = [
            (
                Role::LOGIN,
                Section {
                    replicas: login.replicas,
                    ports: vec![
                        ("client", login.ports.client),
                        ("http", login.ports.http),
                        ("control", login.ports.control),
                    ],
                    pdb: &login.pdb,
                    service: Some(&login.service),
                    common: &login.common,
                    optional: None,
                },
            ),
            (
                Role::MSG,
                Section {
                    replicas: msg.replicas,
                    ports: vec![("client", msg.ports.client)],
                    pdb: &msg.pdb,
                    service: None,
                    common: &msg.common,
                    optional: None,
                },
            ),
            (
                Role::ROUTE,
                Section {
                    replicas: route.replicas,
                    ports: vec![("peer", route.ports.peer)],
                    pdb: &route.pdb,
                    service: None,
                    common: &route.common,
                    optional: None,
                },
            ),
            (
                Role::DB_PROXY,
                Section {
                    replicas: db_proxy.replicas.unwrap_or(1),
                    ports: vec![("grpc", db_proxy.ports.grpc)],
                    pdb: &db_proxy.pdb,
                    service: None,
                    common: &db_proxy.common,
                    optional: None,
                },
            ),
        ];
        let mut sections = sections.into_iter();
        let found = sections.find(|(of, _)| *of == role);
        found.map(|(_, section)| section)
    }
}

fn of_optional(role: Role, said: &OptionalRole) -> Section<'_> {
    let ports = role.ports();
    let ports = ports.filter_map(|port| Some((port.field, *said.ports.get(port.field)?)));
    let has_front = role.ports().any(|port| port.service == Service::Front);
    Section {
        replicas: said
            .replicas
            .unwrap_or_else(|| role.kubernetes.replicas.into()),
        ports: ports.collect(),
        pdb: &said.pdb,
        service: has_front.then_some(&said.service),
        common: &said.common,
        optional: Some(said),
    }
}

/// The roles that there are, and how a specification speaks of them.
#[derive(Clone, Copy, Debug)]
pub struct KnownRoles {
    /// The roles.
    pub table: Table,
    /// What a specification says of one of them; `None` when the installation does not have it.
    pub section: for<'a> fn(&'a ImClusterSpec, Role) -> Option<Section<'a>>,
}

impl Default for KnownRoles {
    fn default() -> Self {
        Self {
            table: TABLE,
            section: ImClusterSpec::section,
        }
    }
}

impl PartialEq for KnownRoles {
    fn eq(&self, other: &Self) -> bool {
        self.table == other.table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_that_is_not_optional_is_in_the_smallest_specification_with_the_usual_ports() {
        let spec: ImClusterSpec = serde_json::from_str(r#"{"version": "1.0.0"}"#).unwrap();
        for role in TABLE.roles {
            let Some(section) = spec.section(*role) else {
                assert!(role.optional, "{role}");
                continue;
            };
            let known: Vec<_> = role
                .ports()
                .map(|it| (it.field, i32::from(it.port)))
                .collect();
            assert_eq!(section.ports, known, "{role}");
            let value = serde_json::to_value(&spec.roles).unwrap();
            assert!(value[role.field].is_object(), "{role}");
        }
    }
}
