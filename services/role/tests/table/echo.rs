//! A role that only tests have.
use im_role::{Kubernetes, Link, Listener, Role, Spec, links};

pub(crate) const ECHO: Role = Role::new(&Spec {
    name: "echo",
    field: "echo",
    section: "echo",
    about: "says everything twice",
    listeners: &[
        Listener::client("client", "client_listen", 8900),
        Listener::grpc(8901).behind("-peer"),
    ],
    kubernetes: Kubernetes {
        startup_seconds: 30,
        ..Kubernetes::PLAIN
    },
    ..Spec::PLAIN
});
pub(crate) const ATTACH: Link = Link {
    kind: "echo_attach",
    from: ECHO,
    ..links::DB_PROXY_ATTACH
};
pub(crate) const SAY: Link = Link {
    kind: "echo_say",
    path: "/im.v1.Echo/Say",
    to: ECHO,
    ..links::ROUTE_ATTACH
};
