//! One role.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

/// A role: a row of the [`Table`](crate::Table). Two are the same if they have the same name, and they are
/// ordered by it; the order in which roles start and are rolled out is that of the table.
#[derive(Clone, Copy, Debug)]
pub struct Role(&'static Spec);

/// What is known of a role.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// Word of the command line, value of labels, part of the names of objects.
    pub name: &'static str,
    /// Field of `spec.roles` in an ImCluster.
    pub field: &'static str,
    /// Its table of the configuration file.
    pub section: &'static str,
    /// Tables of the configuration file that only this role reads, beside its own.
    pub more_sections: &'static [&'static str],
    /// What it does, to complete "the role that".
    pub about: &'static str,
    /// Where it listens.
    pub listeners: &'static [Listener],
    /// Port of its probes and metrics on loopback, unless another is configured: of its own, so that all
    /// roles have room on one machine. In a cluster the specification says which.
    pub admin_port: u16,
    /// Whether an installation is whole without it. Then it runs only where it is named.
    pub optional: bool,
    /// The role that it calls as one of its administrators: at their port, with their secret.
    pub administers: Option<Role>,
    /// How it runs in a cluster.
    pub kubernetes: Kubernetes,
}

/// Where a role listens.
#[derive(Clone, Copy, Debug)]
pub struct Listener {
    /// Name of the port in pods, Services and the ready file.
    pub name: &'static str,
    /// Field of `spec.roles.<role>.ports`.
    pub field: &'static str,
    /// Key of the address in the role's section of the configuration.
    pub key: &'static str,
    /// Port, unless another is configured.
    pub port: u16,
    /// Who may reach it.
    pub reach: Reach,
    /// The Service that leads to it.
    pub service: Service,
    /// Whether a process that runs all roles opens it too; there they call each other directly.
    pub in_all: bool,
}

/// Who may reach a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Clients.
    Clients,
    /// The roles with a link to it.
    Roles,
    /// Administrators' tools, which run in the same pod, and roles that [administer](Spec::administers) it:
    /// policies open it to these alone, no pod names it.
    Administrators,
}

/// The Service that leads to a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// None.
    None,
    /// A headless one, whose EndpointSlices tell which pods there are. Its name is that of the role with
    /// this behind it.
    Headless(&'static str),
    /// The one for clients, configured by `spec.roles.<role>.service`; it has the role's name.
    Front,
}

/// How a role runs in a cluster.
#[derive(Clone, Copy, Debug)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each says of a role whether it has something that others have not"
)]
pub struct Kubernetes {
    /// What runs its pods.
    pub workload: Workload,
    /// What a container asks for, unless the specification says otherwise.
    pub resources: Resources,
    /// Seconds after which a process that does not answer its first probe is ended.
    pub startup_seconds: u16,
    /// Seconds for which a pod still serves after its end was decided: others learn of it meanwhile.
    pub pre_stop_seconds: u8,
    /// Whether the operator reads what the role knows of the load.
    pub tells_load: bool,
    /// Whether its pods are told how many they are, in a file that follows their number.
    pub knows_replicas: bool,
    /// Parts of the specification that its pods are made from, as JSON pointers, aside from the role's own
    /// and from what all roles read.
    pub reads: &'static [&'static str],
    /// Pods of a role that an installation can do without, unless the specification says otherwise.
    pub replicas: u8,
    /// Whether it keeps blobs, in the directory of its data: then its pod has a volume, or all of its pods
    /// a store that they share, as `spec.storage.blobs` says.
    pub blobs: bool,
    /// How an optional role lets go at a stop; `None`: at once.
    pub drain: Option<Drain>,
    /// What clients are told of where an optional role is.
    pub told: Told,
    /// Whether the port for clients takes HTTPS: the keys `certificate_file` and `key_file` of its section.
    pub tls: bool,
}

/// How a role lets go of its clients at a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// Key of the time that clients have, in the role's section of the configuration.
    pub key: &'static str,
    /// That time in a cluster unless the specification says otherwise, seconds.
    pub seconds: i32,
    /// Longest such time, seconds.
    pub most_seconds: i32,
}

/// What clients are told of where a role is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nothing by the platform.
    Nothing,
    /// Host and port of its listener for clients: the keys `public_ip1` and `public_port` of its section.
    Address,
    /// A base URL: the key `public_url` of its section.
    Url,
}

/// What runs the pods of a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// A Deployment.
    Deployment,
    /// A StatefulSet: pods with names and volumes of their own.
    StatefulSet,
    /// ReplicaSets, of which a planner decides pod by pod.
    Planned,
}

/// Resources of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resources {
    /// CPU that it asks for.
    pub cpu: &'static str,
    /// Memory that it asks for.
    pub memory: &'static str,
    /// Memory that it may take.
    pub memory_limit: &'static str,
}

impl Spec {
    /// A role that runs where it is named, without listeners, in a Deployment of usual size. A row of the
    /// table says what is otherwise, and its names.
    pub const PLAIN: Self = Self {
        name: "",
        field: "",
        section: "",
        more_sections: &[],
        about: "",
        listeners: &[],
        admin_port: 0,
        optional: true,
        administers: None,
        kubernetes: Kubernetes::PLAIN,
    };

    /// The listener of this name.
    pub fn listener(&self, name: &str) -> Option<&'static Listener> {
        self.listeners.iter().find(|listener| listener.name == name)
    }

    /// Key of a listener's address in the whole configuration, such as `login.http_listen`.
    pub fn key(&self, listener: &Listener) -> String {
        format!("{}.{}", self.section, listener.key)
    }

    /// Listeners that pods name and others reach through the network.
    pub fn ports(&self) -> impl Iterator<Item = &'static Listener> + use<> {
        let listeners = self.listeners.iter();
        listeners.filter(|listener| listener.reach != Reach::Administrators)
    }
}

impl Kubernetes {
    /// A Deployment of usual size.
    pub const PLAIN: Self = Self {
        workload: Workload::Deployment,
        resources: Resources {
            cpu: "50m",
            memory: "64Mi",
            memory_limit: "512Mi",
        },
        startup_seconds: 120,
        pre_stop_seconds: 0,
        tells_load: false,
        knows_replicas: false,
        reads: &[],
        replicas: 1,
        blobs: false,
        drain: None,
        told: Told::Nothing,
        tls: false,
    };
}

impl Listener {
    /// A port for clients, reached through the role's Service for them.
    pub const fn client(name: &'static str, key: &'static str, port: u16) -> Self {
        Self {
            name,
            field: name,
            key,
            port,
            reach: Reach::Clients,
            service: Service::Front,
            in_all: true,
        }
    }

    /// A port for gRPC, reached by the roles with a link to it through the role's headless Service.
    pub const fn grpc(port: u16) -> Self {
        Self {
            name: "grpc",
            field: "grpc",
            key: "listen",
            port,
            reach: Reach::Roles,
            service: Service::Headless(""),
            in_all: false,
        }
    }

    /// The same listener, reached through a headless Service with the role's name and this behind it.
    #[must_use]
    pub const fn behind(self, suffix: &'static str) -> Self {
        Self {
            service: Service::Headless(suffix),
            ..self
        }
    }
}

impl Role {
    /// The role that this says.
    pub const fn new(spec: &'static Spec) -> Self {
        Self(spec)
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        self.0.name
    }
}

impl Deref for Role {
    type Target = Spec;

    fn deref(&self) -> &Spec {
        self.0
    }
}

impl PartialEq for Role {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for Role {}

impl Hash for Role {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.name.hash(state);
    }
}

impl PartialOrd for Role {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Role {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.name.cmp(other.0.name)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name)
    }
}
