//! The roles of this platform.

use crate::{
    Drain, Kubernetes, Listener, Reach, Resources, Role, Service, Spec, Table, Told, Workload,
};

/// All roles, and the links between them. Where links leave the order open, it is that of the rows.
pub const TABLE: Table = Table {
    roles: &[
        Role::DB_PROXY,
        Role::ROUTE,
        Role::MSFS,
        Role::MSG,
        Role::LOGIN,
        Role::FILE,
        Role::HTTP_API,
        Role::PUSH,
    ],
    links: &[
        link::DB_PROXY_ATTACH,
        link::ROUTE_ATTACH,
        link::ROUTE_PUBLISH,
        link::LOGIN_REPORT,
        link::FILE_ATTACH,
        link::FOLLOWER_ATTACH,
        link::ROUTE_PRESENCE,
    ],
    reports: &[link::MONITOR_REPORT],
};

impl Role {
    /// Stores everything durable.
    pub const DB_PROXY: Self = Self::new(&Spec {
        name: "db-proxy",
        field: "dbProxy",
        section: "db_proxy",
        more_sections: &["sqlite", "mysql"],
        about: "every durable fact",
        listeners: &[
            Listener {
                in_all: true,
                ..Listener::grpc(10_600)
            },
            Listener {
                name: "admin",
                field: "admin",
                key: "admin_listen",
                port: 10_601,
                reach: Reach::Administrators,
                service: Service::None,
                in_all: true,
            },
        ],
        admin_port: 10_704,
        optional: false,
        administers: None,
        kubernetes: Kubernetes {
            workload: Workload::StatefulSet,
            resources: Resources {
                cpu: "100m",
                memory: "192Mi",
                memory_limit: "1Gi",
            },
            // It may read a long log before it serves; the others are there at once.
            startup_seconds: 600,
            reads: &["/cache"],
            ..Kubernetes::PLAIN
        },
    });

    /// Passes messages between msg servers.
    pub const ROUTE: Self = Self::new(&Spec {
        name: "route",
        field: "route",
        section: "route",
        about: "presence and message bus",
        listeners: &[Listener {
            field: "peer",
            ..Listener::grpc(8200)
        }],
        admin_port: 10_703,
        optional: false,
        ..Spec::PLAIN
    });

    /// Keeps pictures and avatars.
    pub const MSFS: Self = Self::new(&Spec {
        name: "msfs",
        field: "msfs",
        section: "msfs",
        about: "pictures and avatars over HTTP",
        listeners: &[Listener::client("http", "listen", 8700)],
        admin_port: 10_706,
        kubernetes: Kubernetes {
            workload: Workload::StatefulSet,
            blobs: true,
            drain: Some(Drain {
                key: "stop_grace",
                seconds: 20,
                most_seconds: 60,
            }),
            told: Told::Url,
            tls: true,
            ..Kubernetes::PLAIN
        },
        ..Spec::PLAIN
    });

    /// Holds the connections of clients.
    pub const MSG: Self = Self::new(&Spec {
        name: "msg",
        field: "msg",
        section: "msg",
        about: "holds client connections",
        listeners: &[
            Listener::client("client", "listen", 8000).behind(""),
            Listener {
                name: "admin",
                field: "admin",
                key: "admin_listen",
                port: 10_602,
                reach: Reach::Administrators,
                service: Service::None,
                in_all: false,
            },
        ],
        admin_port: 10_702,
        optional: false,
        kubernetes: Kubernetes {
            workload: Workload::Planned,
            resources: Resources {
                cpu: "100m",
                memory: "128Mi",
                memory_limit: "1Gi",
            },
            reads: &["/load/reportIntervalSeconds"],
            ..Kubernetes::PLAIN
        },
        ..Spec::PLAIN
    });

    /// Tells clients which msg server to use.
    pub const LOGIN: Self = Self::new(&Spec {
        name: "login",
        field: "login",
        section: "login",
        about: "tells clients which msg server to use",
        listeners: &[
            Listener::client("client", "client_listen", 8008),
            Listener::client("http", "http_listen", 8080),
            Listener {
                name: "control",
                field: "control",
                key: "control_listen",
                ..Listener::grpc(8100).behind("-control")
            },
        ],
        admin_port: 10_701,
        optional: false,
        kubernetes: Kubernetes {
            resources: Resources {
                cpu: "50m",
                memory: "32Mi",
                memory_limit: "256Mi",
            },
            pre_stop_seconds: 5,
            tells_load: true,
            knows_replicas: true,
            reads: &["/load/reportIntervalSeconds", "/load/staleAfterSeconds"],
            ..Kubernetes::PLAIN
        },
        ..Spec::PLAIN
    });

    /// Passes files from one client to another, and keeps those for people who are not there.
    pub const FILE: Self = Self::new(&Spec {
        name: "file",
        field: "file",
        section: "file",
        about: "passes files on, and keeps them for people who are not there",
        listeners: &[
            Listener::client("client", "client_listen", 8600),
            Listener::grpc(8601).behind("-link"),
        ],
        admin_port: 10_705,
        kubernetes: Kubernetes {
            // It keeps files, and a task names the server that has it.
            workload: Workload::StatefulSet,
            blobs: true,
            drain: Some(Drain {
                key: "drain_time",
                seconds: 60,
                most_seconds: 3_540,
            }),
            told: Told::Address,
            ..Kubernetes::PLAIN
        },
        ..Spec::PLAIN
    });

    /// Answers back offices and administrators: it calls db-proxy's administrators' port, and nobody calls it but
    /// clients and, with their reports, all roles.
    pub const HTTP_API: Self = Self::new(&Spec {
        name: "http-api",
        field: "httpApi",
        section: "http_api",
        about: "answers back offices over HTTP",
        listeners: &[
            Listener::client("http", "listen", 8400),
            Listener {
                name: "monitor",
                field: "monitor",
                key: "monitor_listen",
                ..Listener::grpc(8410).behind("-monitor")
            },
        ],
        admin_port: 10_707,
        administers: Some(Self::DB_PROXY),
        kubernetes: Kubernetes {
            pre_stop_seconds: 5,
            tls: true,
            ..Kubernetes::PLAIN
        },
        ..Spec::PLAIN
    });

    /// Tells phones of messages while nobody is there to get them, and subscribers of what is stored.
    pub const PUSH: Self = Self::new(&Spec {
        name: "push",
        field: "push",
        section: "push",
        about: "tells phones of messages by APNs, FCM or a webhook, and subscribers of what is stored",
        admin_port: 10_708,
        ..Spec::PLAIN
    });
}

/// The links between the roles.
pub mod link {
    use crate::{Link, Role, Rollout};

    /// Sends, questions and logins of clients.
    pub const DB_PROXY_ATTACH: Link = Link {
        kind: "db_proxy_attach",
        path: "/im.v1.DbProxy/Attach",
        from: Role::MSG,
        to: Role::DB_PROXY,
        listener: "grpc",
        rollout: Rollout::Server,
    };

    /// Sessions and signals one way, messages and presence the other.
    pub const ROUTE_ATTACH: Link = Link {
        kind: "route_attach",
        path: "/im.v1.Route/Attach",
        from: Role::MSG,
        to: Role::ROUTE,
        listener: "grpc",
        rollout: Rollout::Server,
    };

    /// What was committed.
    pub const ROUTE_PUBLISH: Link = Link {
        kind: "route_publish",
        path: "/im.v1.Route/Publish",
        from: Role::DB_PROXY,
        to: Role::ROUTE,
        listener: "grpc",
        rollout: Rollout::Caller,
    };

    /// Reports of load.
    pub const LOGIN_REPORT: Link = Link {
        kind: "login_report",
        path: "/im.v1.Login/Report",
        from: Role::MSG,
        to: Role::LOGIN,
        listener: "control",
        rollout: Rollout::CallerUnlessNew,
    };

    /// Tasks of files, and what waits for whom.
    pub const FILE_ATTACH: Link = Link {
        kind: "file_attach",
        path: "/im.v1.File/Attach",
        from: Role::MSG,
        to: Role::FILE,
        listener: "grpc",
        rollout: Rollout::Server,
    };

    /// The log, and what a follower keeps of it.
    pub const FOLLOWER_ATTACH: Link = Link {
        kind: "follower_attach",
        path: "/im.v1.Follower/Attach",
        from: Role::PUSH,
        to: Role::DB_PROXY,
        listener: "grpc",
        rollout: Rollout::Server,
    };

    /// What a role says of itself, and what it is asked: every role opens it, msg as well as any other, where the
    /// configuration names http-api servers.
    pub const MONITOR_REPORT: Link = Link {
        kind: "monitor_report",
        path: "/im.v1.Monitor/Report",
        from: Role::MSG,
        to: Role::HTTP_API,
        listener: "monitor",
        rollout: Rollout::Server,
    };

    /// Who is online.
    pub const ROUTE_PRESENCE: Link = Link {
        kind: "route_presence",
        path: "/im.v1.Route/Presence",
        from: Role::PUSH,
        to: Role::ROUTE,
        listener: "grpc",
        rollout: Rollout::Server,
    };
}
