//! What a platform is to be.

/// Ports as documented.
pub mod ports {
    /// login: HTTP.
    pub const LOGIN_HTTP: u16 = 8080;
    /// login: binary dispatch.
    pub const LOGIN_BINARY: u16 = 8008;
    /// login: load reports.
    pub const LOGIN_CONTROL: u16 = 8100;
    /// msfs: pictures.
    pub const MSFS: u16 = 8700;
    /// msg: clients.
    pub const MSG: u16 = 8000;
    /// msg: its administrators.
    pub const MSG_ADMIN: u16 = 10602;
    /// route.
    pub const ROUTE: u16 = 8200;
    /// db-proxy.
    pub const DB_PROXY: u16 = 10600;
    /// Administrators' tools.
    pub const DB_PROXY_ADMIN: u16 = 10601;
    /// file: clients.
    pub const FILE: u16 = 8600;
    /// file: msg servers.
    pub const FILE_LINK: u16 = 8601;
    /// http-api.
    pub const HTTP_API: u16 = 8400;
    /// http-api: servers that report.
    pub const MONITOR: u16 = 8410;
    /// Admin port that the harness gives to every process.
    pub const ADMIN: u16 = 9100;
}

/// Options of a platform.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `key=value` pairs as for `--set`.
    pub set: Vec<String>,
    /// How many people to import.
    pub people: u32,
    /// Whether roles that run as separate processes reach each other through cables that
    /// [`super::Platform::cable`] can cut.
    pub cables: bool,
    /// File servers `file1`… where roles are separate processes; one process has one unless it is switched
    /// off.
    pub files: usize,
    /// Whether processes of their own report to an http-api server `api`, which may be started later.
    pub reports: bool,
    /// Whether processes of their own know of a second db-proxy `db2`, which may be started later.
    pub standby: bool,
}

impl Options {
    /// With this many people `u1`, `u2`, ….
    pub fn people(count: u32) -> Self {
        Self {
            people: count,
            ..Self::default()
        }
    }

    /// With cables between the roles.
    #[must_use]
    pub fn cables(mut self) -> Self {
        self.cables = true;
        self
    }

    /// Reporting to `api`.
    #[must_use]
    pub fn reports(mut self) -> Self {
        self.reports = true;
        self
    }

    /// With room for a second db-proxy.
    #[must_use]
    pub fn standby(mut self) -> Self {
        self.standby = true;
        self
    }

    /// With this many file servers.
    #[must_use]
    pub fn files(mut self, count: usize) -> Self {
        self.files = count;
        self
    }

    /// Adds a setting.
    #[must_use]
    pub fn set(mut self, key_value: &str) -> Self {
        self.set.push(key_value.to_owned());
        self
    }
}

/// How many processes of each role; db-proxy is one on the embedded store.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// login servers.
    pub login: usize,
    /// msg servers.
    pub msg: usize,
    /// route servers.
    pub route: usize,
}
