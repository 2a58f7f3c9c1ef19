//! All roles and the links between them.

use crate::{Link, Role, Rollout};

/// Roles and the links between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// The roles. Where links leave the order open, it is this one.
    pub roles: &'static [Role],
    /// The links between them.
    pub links: &'static [Link],
    /// Links that every role opens, whatever [`from`](Link::from) says, to say what it is: neither end needs the
    /// other, so that nobody waits for anybody because of them.
    pub reports: &'static [Link],
}

impl Table {
    /// The role of this name.
    pub fn role(&self, name: &str) -> Option<Role> {
        self.roles.iter().copied().find(|role| role.name == name)
    }

    /// The role that alone reads this table of the configuration file.
    pub fn reader(&self, section: &str) -> Option<Role> {
        let mut roles = self.roles.iter().copied();
        roles.find(|role| role.section == section || role.more_sections.contains(&section))
    }

    /// Links that a role opens.
    pub fn dialed_by(&self, role: Role) -> impl Iterator<Item = &'static Link> + use<> {
        self.links.iter().filter(move |link| link.from == role)
    }

    /// Links that a role serves.
    pub fn served_by(&self, role: Role) -> impl Iterator<Item = &'static Link> + use<> {
        self.links.iter().filter(move |link| link.to == role)
    }

    /// Whether a role opens links that it needs.
    pub fn dials(&self, role: Role) -> bool {
        self.dialed_by(role).next().is_some()
    }

    /// Roles that a role dials or reports to, each once and with the listener at which it is found; in the order
    /// of the table.
    pub fn peers_of(&self, role: Role) -> Vec<(Role, &'static str)> {
        let mut peers = Vec::new();
        for to in self.roles {
            let links = self.dialed_by(role).chain(self.reports);
            for link in links.filter(|link| link.to == *to) {
                if !peers.contains(&(link.to, link.listener)) {
                    peers.push((link.to, link.listener));
                }
            }
        }
        peers
    }

    /// Whether every role reports to this listener.
    pub fn takes_reports(&self, role: Role, listener: &str) -> bool {
        let mut reports = self.reports.iter();
        reports.any(|link| link.to == role && link.listener == listener)
    }

    /// Roles that dial this listener or report to it, each once; in the order of the links.
    pub fn callers_of(&self, role: Role, listener: &str) -> Vec<Role> {
        if self.takes_reports(role, listener) {
            return self.roles.to_vec();
        }
        let mut callers = Vec::new();
        for link in self
            .served_by(role)
            .filter(|link| link.listener == listener)
        {
            if !callers.contains(&link.from) {
                callers.push(link.from);
            }
        }
        callers
    }

    /// Roles that call a role as its administrators; in the order of the table.
    pub fn administrators_of(&self, role: Role) -> Vec<Role> {
        let roles = self.roles.iter().copied();
        roles
            .filter(|other| other.administers == Some(role))
            .collect()
    }

    /// Who is called by administrators, and who calls.
    fn administered(&self) -> impl Iterator<Item = (Role, Role)> + use<> {
        let roles = self.roles.iter();
        roles.filter_map(|role| Some((role.administers?, *role)))
    }

    /// The roles in the order in which a process that runs all of them binds them: whoever is dialed stands
    /// before whoever dials.
    pub fn in_order_of_start(&self) -> Vec<Role> {
        self.sorted(|link| (link.to, link.from))
    }

    /// The roles in the order in which they are rolled out.
    pub fn in_order_of_rollout(&self) -> Vec<Role> {
        self.sorted(in_order)
    }

    /// The roles that must have their newest revision before a role gets its own; in the order of the
    /// roll-out. `exists` says whether the role runs already.
    pub fn waits_for(&self, role: Role, exists: bool) -> Vec<Role> {
        let mut before = self.before(role);
        if !exists {
            let starts_beside = |caller: &Role| {
                let mut served = self.served_by(role);
                served.any(|link| link.from == *caller && link.rollout == Rollout::CallerUnlessNew)
            };
            before.retain(|other| !starts_beside(other));
        }
        let order = self.in_order_of_rollout().into_iter();
        order.filter(|other| before.contains(other)).collect()
    }

    /// Everything before a role, near and far.
    fn before(&self, role: Role) -> Vec<Role> {
        let mut found = Vec::new();
        let mut open = vec![role];
        while let Some(role) = open.pop() {
            let links = self.links.iter().map(in_order);
            for (first, then) in links.chain(self.administered()) {
                if then == role && !found.contains(&first) {
                    found.push(first);
                    open.push(first);
                }
            }
        }
        found
    }

    /// Always the first row that has nobody left to wait for. Roles that wait for each other in a circle
    /// stand last, as the table has them; a test keeps the table free of them.
    fn sorted(&self, order: impl Fn(&Link) -> (Role, Role)) -> Vec<Role> {
        let mut left = self.roles.to_vec();
        let mut sorted = Vec::with_capacity(left.len());
        while !left.is_empty() {
            let waits = |role: &Role| {
                let links = self.links.iter().map(&order);
                let mut pairs = links.chain(self.administered());
                pairs.any(|(first, then)| then == *role && first != then && left.contains(&first))
            };
            let next = left.iter().position(|role| !waits(role)).unwrap_or(0);
            sorted.push(left.remove(next));
        }
        sorted
    }
}

/// Who of a link is rolled out first, and who then.
const fn in_order(link: &Link) -> (Role, Role) {
    match link.rollout {
        Rollout::Server => (link.to, link.from),
        Rollout::Caller | Rollout::CallerUnlessNew => (link.from, link.to),
    }
}

#[cfg(test)]
mod tests {
    use crate::{Role, TABLE, Workload};

    #[test]
    fn whoever_is_dialed_starts_before_whoever_dials() {
        let order = TABLE.in_order_of_start();
        let expected = [
            Role::ROUTE,
            Role::DB_PROXY,
            Role::MSFS,
            Role::LOGIN,
            Role::FILE,
            Role::MSG,
            Role::HTTP_API,
            Role::PUSH,
        ];
        assert_eq!(order, expected);
        let place = |role| order.iter().position(|other| *other == role);
        for link in TABLE.links {
            assert!(place(link.to) < place(link.from), "{}", link.kind);
        }
    }

    #[test]
    fn each_role_is_rolled_out_behind_those_that_its_links_put_before_it() {
        let order = TABLE.in_order_of_rollout();
        let expected = [
            Role::DB_PROXY,
            Role::ROUTE,
            Role::MSFS,
            Role::FILE,
            Role::MSG,
            Role::LOGIN,
            Role::HTTP_API,
            Role::PUSH,
        ];
        assert_eq!(order, expected);
        for (place, role) in order.iter().enumerate() {
            let before = TABLE.waits_for(*role, true);
            assert!(before.iter().all(|other| order[..place].contains(other)));
        }
    }

    #[test]
    fn a_login_server_that_does_not_exist_yet_does_not_wait_for_msg() {
        let all = [Role::DB_PROXY, Role::ROUTE, Role::FILE];
        assert_eq!(TABLE.waits_for(Role::LOGIN, false), all);
        assert_eq!(
            TABLE.waits_for(Role::LOGIN, true),
            [Role::DB_PROXY, Role::ROUTE, Role::FILE, Role::MSG]
        );
        assert_eq!(TABLE.waits_for(Role::MSG, false), all);
        assert_eq!(TABLE.waits_for(Role::ROUTE, false), [Role::DB_PROXY]);
        assert!(TABLE.waits_for(Role::DB_PROXY, true).is_empty());
    }

    #[test]
    fn whoever_administers_a_role_waits_for_it_and_is_let_in_where_administrators_are() {
        assert_eq!(TABLE.administrators_of(Role::DB_PROXY), [Role::HTTP_API]);
        assert_eq!(TABLE.waits_for(Role::HTTP_API, true), [Role::DB_PROXY]);
        for role in TABLE.roles {
            let mut listeners = role.listeners.iter();
            let has_port = listeners.any(|it| it.reach == crate::Reach::Administrators);
            let is_called = !TABLE.administrators_of(*role).is_empty();
            assert!(has_port || !is_called, "{role}");
            let mut ports = role.ports();
            let fronts = ports.any(|port| port.service == crate::Service::Front);
            assert!(fronts || !role.kubernetes.tls, "{role}");
        }
    }

    #[test]
    fn names_fields_sections_and_ports_are_each_of_one_role() {
        let mut seen = Vec::new();
        for role in TABLE.roles {
            let sections = role.more_sections.iter().chain([&role.section]);
            let names = sections.map(|section| format!("section {section}"));
            let names = names.chain([
                format!("name {}", role.name),
                format!("field {}", role.field),
            ]);
            let listeners = role.listeners.iter();
            let ports = listeners.clone();
            let ports = ports.map(|listener| listener.port).chain([role.admin_port]);
            let ports = ports.map(|port| format!("port {port}"));
            let keys = listeners.map(|listener| role.key(listener));
            for name in names.chain(ports).chain(keys) {
                assert!(!seen.contains(&name), "{name} twice");
                seen.push(name);
            }
        }
    }

    #[test]
    fn links_are_between_roles_of_the_table_at_a_listener_for_roles() {
        for link in TABLE.links.iter().chain(TABLE.reports) {
            for role in [link.from, link.to] {
                assert_eq!(TABLE.role(role.name), Some(role));
            }
            let listener = link.to.listener(link.listener).expect(link.kind);
            assert_eq!(listener.reach, crate::Reach::Roles, "{}", link.kind);
        }
        let planned = TABLE.roles.iter();
        let planned = planned.filter(|role| role.kubernetes.workload == Workload::Planned);
        assert_eq!(planned.count(), 1, "one planner, for one role");
    }

    #[test]
    fn every_role_reports_to_http_api_and_none_waits_for_it() {
        let monitor = (Role::HTTP_API, "monitor");
        assert_eq!(TABLE.callers_of(monitor.0, monitor.1), TABLE.roles);
        for role in TABLE.roles {
            assert!(TABLE.peers_of(*role).contains(&monitor), "{role}");
            assert!(!TABLE.waits_for(*role, true).contains(&monitor.0), "{role}");
        }
        assert_eq!(TABLE.peers_of(Role::MSFS), [monitor]);
        assert!(!TABLE.dials(Role::MSFS));
    }

    /// In a cluster, what keeps blobs has a volume of its own, and what is told of has a port for clients.
    #[test]
    fn a_role_that_keeps_blobs_or_is_told_of_has_what_that_needs() {
        for role in TABLE.roles {
            let kubernetes = role.kubernetes;
            let own_volume = kubernetes.workload == Workload::StatefulSet;
            assert!(own_volume || !kubernetes.blobs, "{role}");
            let is_told = kubernetes.told != crate::Told::Nothing;
            let mut ports = role.ports();
            let fronts = ports.any(|port| port.service == crate::Service::Front);
            assert!(role.optional && fronts || !is_told, "{role}");
            if let Some(drain) = kubernetes.drain {
                assert!(
                    role.optional,
                    "{role}: others say it in fields of their own"
                );
                assert!((1..=drain.most_seconds).contains(&drain.seconds), "{role}");
            }
        }
    }

    #[test]
    fn a_table_of_the_configuration_has_one_reader() {
        assert_eq!(TABLE.reader("sqlite"), Some(Role::DB_PROXY));
        assert_eq!(TABLE.reader("msg"), Some(Role::MSG));
        assert_eq!(TABLE.reader("peers"), None);
    }
}
