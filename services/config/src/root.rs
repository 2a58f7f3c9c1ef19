//! The whole configuration file: one table per role, and what all roles share.
//!
//! One file serves a process that runs all roles and processes that run one each: a process reads
//! its own table and the common ones, and the whole file must be valid.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bounds::{self, Declared};
use crate::{
    AdminConfig, BlobsConfig, Check, Checker, DbProxyConfig, FileConfig, HttpApiConfig, LogConfig,
    LoginConfig, MsfsConfig, MsgConfig, MysqlConfig, PeersConfig, ProcessConfig, PushConfig,
    RouteConfig, SqliteConfig, StoreConfig, TraceConfig, TrustConfig,
};

/// Configuration of a process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ImdConfig {
    /// Directory of what a server keeps: its secrets, files, and the embedded store unless `store.url` says
    /// otherwise. Used by db-proxy, file and all-in-one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,
    /// File with the installation's secret. all-in-one makes `secret` in its data directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// Log lines.
    pub log: LogConfig,
    /// Traces.
    pub trace: TraceConfig,
    /// The process itself.
    pub process: ProcessConfig,
    /// The admin port.
    pub admin: AdminConfig,
    /// Where the other roles are; not used by all-in-one.
    pub peers: PeersConfig,
    /// Which store is used, by db-proxy and all-in-one.
    pub store: StoreConfig,
    /// The embedded store; used by db-proxy and all-in-one.
    pub sqlite: SqliteConfig,
    /// A store on a MariaDB or MySQL server; used by db-proxy and all-in-one.
    pub mysql: MysqlConfig,
    /// Whose certificates are trusted outside, and where subscriptions may send; used by db-proxy, push
    /// and http-api.
    pub trust: TrustConfig,
    /// Where files and pictures are kept; used by file, msfs and all-in-one.
    pub blobs: BlobsConfig,
    /// The login role.
    pub login: LoginConfig,
    /// The msfs role.
    pub msfs: MsfsConfig,
    /// The msg role.
    pub msg: MsgConfig,
    /// The route role.
    pub route: RouteConfig,
    /// The db-proxy role.
    pub db_proxy: DbProxyConfig,
    /// The file role.
    pub file: FileConfig,
    /// The http-api role.
    pub http_api: HttpApiConfig,
    /// The push role.
    pub push: PushConfig,
}

impl Check for ImdConfig {
    fn check(&self, checker: &mut Checker) {
        let Self {
            data_dir: _,
            secret_file: _,
            log,
            trace,
            process,
            admin,
            peers,
            store,
            sqlite,
            mysql,
            trust,
            blobs,
            login,
            msfs,
            msg,
            route,
            db_proxy,
            file,
            http_api,
            push,
        } = self;
        checker.table("log", log);
        checker.table("trace", trace);
        checker.table("process", process);
        checker.table("admin", admin);
        checker.table("peers", peers);
        checker.table("store", store);
        checker.table("sqlite", sqlite);
        checker.table("mysql", mysql);
        checker.table("trust", trust);
        checker.table("blobs", blobs);
        checker.table("login", login);
        checker.table("msfs", msfs);
        checker.table("msg", msg);
        checker.table("route", route);
        checker.table("db_proxy", db_proxy);
        checker.table("file", file);
        checker.table("http_api", http_api);
        checker.table("push", push);
    }
}

impl ImdConfig {
    /// The schema of the configuration file, as JSON Schema, with the bounds of its keys.
    pub fn schema() -> Value {
        let mut schema = schemars::schema_for!(Self).to_value();
        bounds::write(&mut schema, &Self::declared());
        schema
    }

    /// The bounds of all keys.
    pub fn declared() -> Vec<Declared> {
        let mut checker = Checker::default();
        Self::default().check(&mut checker);
        checker.declared()
    }

    /// Every address at which a role listens, by its key.
    pub fn listeners(&mut self) -> Vec<(&'static str, &mut String)> {
        vec![
            ("login.http_listen", &mut self.login.http_listen),
            ("login.client_listen", &mut self.login.client_listen),
            ("login.control_listen", &mut self.login.control_listen),
            ("msfs.listen", &mut self.msfs.listen),
            ("msg.listen", &mut self.msg.listen),
            ("msg.admin_listen", &mut self.msg.admin_listen),
            ("route.listen", &mut self.route.listen),
            ("db_proxy.listen", &mut self.db_proxy.listen),
            ("db_proxy.admin_listen", &mut self.db_proxy.admin_listen),
            ("file.client_listen", &mut self.file.client_listen),
            ("file.listen", &mut self.file.listen),
            ("http_api.listen", &mut self.http_api.listen),
            ("http_api.monitor_listen", &mut self.http_api.monitor_listen),
        ]
    }

    /// Whether a process that runs all roles runs the one with this section: an optional one can be
    /// switched off.
    pub fn runs(&self, section: &str) -> bool {
        match section {
            "file" => self.file.enabled,
            "msfs" => self.msfs.enabled,
            "http_api" => self.http_api.enabled,
            "push" => self.push.enabled,
            _ => true,
        }
    }

    /// This configuration as a file.
    ///
    /// # Errors
    /// Never for a configuration that was read: TOML can hold all of its values.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string_pretty(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_within_their_bounds_and_survive_a_file() {
        let config = ImdConfig::default();
        config.validate().unwrap();
        let text = config.to_toml().unwrap();
        assert_eq!(toml::from_str::<ImdConfig>(&text).unwrap(), config);
    }

    #[test]
    fn default_ports_are_those_of_the_original() {
        let config = ImdConfig::default();
        let port = |address: &str| address.rsplit_once(':').unwrap().1.parse::<u16>().unwrap();
        assert_eq!(port(&config.login.http_listen), 8080);
        assert_eq!(port(&config.login.client_listen), 8008);
        assert_eq!(port(&config.login.control_listen), 8100);
        assert_eq!(port(&config.msg.listen), 8000);
        assert_eq!(port(&config.msfs.listen), 8700);
        assert_eq!(port(&config.route.listen), 8200);
        assert_eq!(port(&config.db_proxy.listen), 10600);
        assert_eq!(port(&config.file.client_listen), 8600);
        assert_eq!(port(&config.file.listen), 8601);
        assert_eq!(port(&config.http_api.listen), 8400);
        assert_eq!(port(&config.http_api.monitor_listen), 8410);
        assert_eq!(
            config.db_proxy.admin_listen, "127.0.0.1:10601",
            "ours alone"
        );
    }

    #[test]
    fn every_listener_of_the_table_of_roles_has_a_key_and_its_port() {
        let mut config = ImdConfig::default();
        let mut known: Vec<_> = config
            .listeners()
            .into_iter()
            .map(|(key, address)| {
                let port = address.rsplit_once(':').map(|(_, port)| port.to_owned());
                (key.to_owned(), port)
            })
            .collect();
        let roles = im_role::TABLE.roles.iter();
        let mut expected: Vec<_> = roles
            .flat_map(|role| {
                let listeners = role.listeners.iter();
                listeners.map(|it| (role.key(it), Some(it.port.to_string())))
            })
            .collect();
        // One is closed unless it is configured: several msg servers may share a machine.
        let closed = expected
            .iter_mut()
            .find(|(key, _)| key == "msg.admin_listen");
        closed.unwrap().1 = None;
        known.sort();
        expected.sort();
        assert_eq!(known, expected);
    }

    #[test]
    fn every_optional_role_can_be_switched_off_and_no_other() {
        let key = |section: &str| crate::table::nest(&format!("{section}.enabled"), false.into());
        for role in im_role::TABLE.roles {
            let off: Result<ImdConfig, _> = key(role.section).try_into();
            assert_eq!(off.is_ok(), role.optional, "{role}");
            if let Ok(off) = off {
                assert!(!off.runs(role.section), "{role}");
            }
            assert!(ImdConfig::default().runs(role.section), "{role}");
        }
    }

    #[test]
    fn every_role_that_is_dialed_has_a_list_of_peers_and_no_other() {
        let peers = PeersConfig::default();
        for role in im_role::TABLE.roles {
            let mut links = im_role::TABLE.links.iter().chain(im_role::TABLE.reports);
            let is_dialed = links.any(|link| link.to == *role);
            assert_eq!(peers.of(role.section).is_some(), is_dialed, "{role}");
        }
    }

    #[test]
    fn the_schema_describes_every_table() {
        let schema = ImdConfig::schema();
        for role in im_role::TABLE.roles {
            for table in role.more_sections.iter().chain([&role.section]) {
                assert!(schema["properties"][table].is_object(), "{table}");
            }
        }
        for table in ["log", "trace", "process", "admin", "peers", "blobs"] {
            assert!(schema["properties"][table].is_object(), "{table}");
        }
    }
}
