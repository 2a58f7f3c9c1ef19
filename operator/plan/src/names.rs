//! Names of the children of an ImCluster.

use im_operator_api::IpFamily;

use crate::Role;

/// What belongs to a role as a whole: workload, Service, ConfigMap, ServiceAccount, policies.
pub fn component(cluster: &str, role: Role) -> String {
    format!("{cluster}-{role}")
}

/// The headless Service that leads to a listener of a role.
pub fn behind(cluster: &str, role: Role, listener: &str) -> String {
    let behind = match role.listener(listener).map(|it| it.service) {
        Some(im_role::Service::Headless(behind)) => behind,
        _ => "",
    };
    format!("{cluster}-{role}{behind}")
}

/// The Service of a slot.
pub fn slot(cluster: &str, index: u32) -> String {
    format!("{cluster}-msg-slot-{index}")
}

/// The Service of the mirror.
pub fn mirror(cluster: &str) -> String {
    format!("{cluster}-msg-public")
}

/// An EndpointSlice of the mirror.
pub fn mirror_slice(cluster: &str, family: IpFamily, number: usize) -> String {
    match family {
        IpFamily::V4 => format!("{cluster}-msg-public-{number}"),
        IpFamily::V6 => format!("{cluster}-msg-public-ipv6-{number}"),
    }
}

/// The ReplicaSet or ControllerRevision of a revision.
pub fn revision(cluster: &str, role: Role, revision: &str) -> String {
    format!("{cluster}-{role}-{revision}")
}

/// Role and RoleBinding of the servers that read EndpointSlices.
pub fn discovery(cluster: &str) -> String {
    format!("{cluster}-discovery")
}

/// The ReplicaSet that proves a new image of db-proxy.
pub fn proof(cluster: &str) -> String {
    format!("{cluster}-{}", crate::proof::COMPONENT)
}

/// The claim of the volume of a role that has one.
pub fn claim(cluster: &str, role: Role) -> String {
    format!("data-{}-0", component(cluster, role))
}

/// The Secret that the servers show each other.
pub fn internal_secret(cluster: &str) -> String {
    format!("{cluster}-internal")
}

/// The Secret of administrators, which db-proxy has, and who administers it over HTTP.
pub fn admin_secret(cluster: &str) -> String {
    format!("{cluster}-admin")
}

/// The Secret with the key of remembered logins, which only db-proxy has.
pub fn remember_secret(cluster: &str) -> String {
    format!("{cluster}-remember")
}

/// The NetworkPolicy that denies what no other allows.
pub fn default_deny(cluster: &str) -> String {
    format!("{cluster}-default-deny")
}
