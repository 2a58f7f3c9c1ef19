//! The roles and the names of their objects.

use std::fmt;

/// A role of the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Stores everything durable.
    DbProxy,
    /// Passes messages between msg servers.
    Route,
    /// Holds the connections of clients.
    Msg,
    /// Tells clients which msg server to use.
    Login,
}

impl Role {
    /// All roles, in the order in which they are rolled out.
    pub const ALL: [Self; 4] = [Self::DbProxy, Self::Route, Self::Msg, Self::Login];

    /// Name in labels and object names, and the word of the command line.
    pub const fn component(self) -> &'static str {
        match self {
            Self::DbProxy => "db-proxy",
            Self::Route => "route",
            Self::Msg => "msg",
            Self::Login => "login",
        }
    }

    /// Name in the specification.
    pub const fn field(self) -> &'static str {
        match self {
            Self::DbProxy => "dbProxy",
            Self::Route => "route",
            Self::Msg => "msg",
            Self::Login => "login",
        }
    }

    /// Whether the role dials others, and so reads EndpointSlices.
    pub const fn dials(self) -> bool {
        matches!(self, Self::DbProxy | Self::Msg)
    }

    /// The role with this value of the component label.
    pub fn from_component(component: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|role| role.component() == component)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.component())
    }
}
