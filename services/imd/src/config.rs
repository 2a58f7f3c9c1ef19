//! Brings flags, environment and file together, and shows the result.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use im_config::{ImdConfig, Sources, WHERE_ASKED};
use im_role::{Reach, Role};
use im_store::{StoreUrlError, store_at};

use crate::cli::{AllInOneArgs, ConfigArgs};
use crate::kinds::kinds;
use crate::manifest::{self, BadManifest};
use crate::output;
use crate::run::listeners;

/// A configuration that cannot be used; its causes name the key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadConfig {
    /// A value, a key or a bound.
    #[error(transparent)]
    Load(#[from] im_config::LoadError),
    /// The file cannot be read.
    #[error("read configuration file {path}")]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The ImCluster manifest cannot be used.
    #[error("use manifest {path}")]
    Manifest {
        path: PathBuf,
        #[source]
        source: BadManifest,
    },
    /// A key that this command needs is not set.
    #[error("set {key}: {why}")]
    Missing {
        key: &'static str,
        why: &'static str,
    },
    /// The URL names no store.
    #[error("use key store.url")]
    Store(#[from] StoreUrlError),
    /// The secret cannot be used.
    #[error("use key secret_file")]
    Secret(#[from] im_rpc::secret::SecretError),
    /// The key of remembered logins cannot be used.
    #[error("use key db_proxy.accounts.remember_key_file")]
    RememberKey(#[from] im_db_proxy::RememberKeyError),
    /// A list of peers cannot be used.
    #[error("use key {key}")]
    Peers {
        key: String,
        #[source]
        source: im_discovery::EndpointError,
    },
    /// A list of peers names a Service where there is no Kubernetes.
    #[error("use key {key}, which names a Service of Kubernetes")]
    Kubernetes {
        key: String,
        #[source]
        source: im_discovery::KubernetesError,
    },
    /// The log filter or the trace endpoint cannot be used.
    #[error("use keys of log and trace")]
    Telemetry(#[from] im_runtime::telemetry::TelemetryError),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Prints the configuration in effect, as TOML.
    Show(ConfigArgs),
    /// Checks the configuration and names each key that cannot be used.
    Check(ConfigArgs),
    /// Prints the JSON Schema of the configuration file.
    Schema,
}

/// `imd config …`.
pub(crate) fn command(command: &ConfigCommand) -> anyhow::Result<ExitCode> {
    match command {
        ConfigCommand::Show(args) => output::print(load(args, Vec::new())?.to_toml()?.trim_end()),
        ConfigCommand::Check(args) => {
            load(args, Vec::new())?;
            output::print("ok");
        }
        ConfigCommand::Schema => {
            output::print(&serde_json::to_string_pretty(&ImdConfig::schema())?);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Addresses of an all-in-one process unless something else is configured: nobody from outside.
/// Port of probes and metrics of a process that runs everything; each role alone has another
/// ([`im_role::Spec::admin_port`]).
const ADMIN_PORT: u16 = 10_700;

fn within_loopback() -> Vec<(String, String)> {
    let listeners = listeners::of_all().into_iter();
    let ports = listeners.map(|(key, listener)| (key, listener.port));
    ports
        .chain([("admin.listen".to_owned(), ADMIN_PORT)])
        .map(|(key, port)| (key, format!("127.0.0.1:{port}")))
        .collect()
}

/// The configuration of a process that runs one role, whose port for probes and metrics has a number of
/// its own, so that all roles have room on one machine.
pub(crate) fn load_role(args: &ConfigArgs, role: Role) -> Result<ImdConfig, BadConfig> {
    let admin = format!("127.0.0.1:{}", role.admin_port);
    load(args, vec![("admin.listen".to_owned(), admin)])
}

/// The configuration of a process that runs everything.
pub(crate) fn load_all_in_one(args: &AllInOneArgs) -> Result<ImdConfig, BadConfig> {
    let mut presets = within_loopback();
    // That of the msfs server of the same process, once it is bound.
    presets.push(("login.msfs".to_owned(), String::new()));
    // That of its http-api server.
    presets.push(("login.discovery".to_owned(), String::new()));
    if let Some(path) = &args.manifest {
        let manifest = manifest::read(path).map_err(|source| BadConfig::Manifest {
            path: path.clone(),
            source,
        })?;
        for note in &manifest.notes {
            output::note(&format!("warning: {}: {note}", path.display()));
        }
        presets.extend(manifest.presets);
    }
    let mut config = load(&args.role.config, presets)?;
    if let Some(address) = args.bind {
        // Internal ports never become visible by accident.
        let moved = listeners::of_all()
            .into_iter()
            .filter(|(_, listener)| listener.reach == Reach::Clients || address.is_loopback());
        let moved: BTreeMap<_, _> = moved.collect();
        for (key, listen) in config.listeners() {
            if moved.contains_key(key) && !listen.is_empty() {
                rebind(listen, address);
            }
        }
        if address.is_loopback() && !config.admin.listen.is_empty() {
            rebind(&mut config.admin.listen, address);
        }
    }
    // Whoever finds the login server finds the msg server, which is the same process.
    let msg = &mut config.msg;
    let everywhere = ["0.0.0.0:", "[::]:"];
    if msg.public_ip1.is_empty() && everywhere.iter().any(|all| msg.listen.starts_with(all)) {
        WHERE_ASKED.clone_into(&mut msg.public_ip1);
        if msg.name.is_empty() {
            "msg".clone_into(&mut msg.name);
        }
    }
    // Whoever finds the msg server finds the file server.
    let file = &mut config.file;
    if file.public_ip1.is_empty()
        && everywhere
            .iter()
            .any(|all| file.client_listen.starts_with(all))
    {
        WHERE_ASKED.clone_into(&mut file.public_ip1);
    }
    Ok(config)
}

/// Puts another host into `host:port`.
fn rebind(listen: &mut String, address: IpAddr) {
    let port = listen.rsplit_once(':').map_or("0", |(_, port)| port);
    *listen = match address {
        IpAddr::V4(address) => format!("{address}:{port}"),
        IpAddr::V6(address) => format!("[{address}]:{port}"),
    };
}

/// Reads the configuration. Only here are environment and file read.
pub(crate) fn load(
    args: &ConfigArgs,
    presets: Vec<(String, String)>,
) -> Result<ImdConfig, BadConfig> {
    let ConfigArgs {
        config,
        set,
        data_dir,
        store,
        secret_file,
        log,
    } = args;
    let file = match config {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|source| BadConfig::File {
                path: path.clone(),
                source,
            })?;
            Some((path.clone(), text))
        }
        None => None,
    };
    let sources = Sources {
        presets,
        file,
        env: environment(),
        sets: set.clone(),
    };
    let loaded = sources.load()?;
    for warning in &loaded.warnings {
        output::note(&format!("warning: {warning}"));
    }
    let mut loaded = loaded.config;
    if data_dir.is_some() {
        loaded.data_dir.clone_from(data_dir);
    }
    if store.is_some() {
        loaded.store.url.clone_from(store);
    }
    if let Some(url) = &loaded.store.url {
        store_at(url, &kinds(&loaded))?;
    }
    if secret_file.is_some() {
        loaded.secret_file.clone_from(secret_file);
    }
    if let Some(filter) = log {
        loaded.log.filter.clone_from(filter);
    }
    Ok(loaded)
}

fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| name.starts_with(im_config::ENV_PREFIX))
        .map(|(name, value)| (name, value.to_string_lossy().into_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_in_one(bind: Option<&str>, set: &[&str]) -> ImdConfig {
        let mut args = AllInOneArgs {
            bind: bind.map(|address| address.parse().unwrap()),
            ..AllInOneArgs::default()
        };
        args.role.config.set = set.iter().map(|set| (*set).to_owned()).collect();
        load_all_in_one(&args).unwrap()
    }

    #[test]
    fn all_in_one_listens_on_loopback_unless_told_otherwise() {
        let config = all_in_one(None, &["msg.listen=0.0.0.0:9000"]);
        assert_eq!(config.login.http_listen, "127.0.0.1:8080");
        assert_eq!(config.msg.listen, "0.0.0.0:9000");
    }

    #[test]
    fn bind_moves_the_client_ports_and_keeps_their_numbers() {
        let config = all_in_one(Some("0.0.0.0"), &["msg.listen=127.0.0.1:0"]);
        assert_eq!(config.msg.listen, "0.0.0.0:0");
        assert_eq!(config.login.client_listen, "0.0.0.0:8008");
        assert_eq!(config.msfs.listen, "0.0.0.0:8700");
        assert_eq!(
            config.db_proxy.listen, "127.0.0.1:10600",
            "internal ports stay inside"
        );
        let config = all_in_one(Some("127.3.2.1"), &[]);
        assert_eq!(config.db_proxy.listen, "127.3.2.1:10600");
        assert_eq!(config.db_proxy.admin_listen, "127.3.2.1:10601");
        assert_eq!(config.admin.listen, "127.3.2.1:10700");
        assert_eq!(all_in_one(Some("::1"), &[]).msg.listen, "[::1]:8000");
    }

    #[test]
    fn clients_are_told_where_they_came_when_everything_is_on_all_addresses() {
        for bind in ["0.0.0.0", "::"] {
            let config = all_in_one(Some(bind), &[]);
            assert_eq!(config.msg.public_ip1, "*");
            assert_eq!(config.file.public_ip1, "*");
        }
        assert_eq!(all_in_one(None, &[]).msg.public_ip1, "");
        assert_eq!(all_in_one(None, &[]).file.public_ip1, "");
        let said = all_in_one(Some("0.0.0.0"), &["msg.public_ip1=chat.example.com"]);
        assert_eq!(said.msg.public_ip1, "chat.example.com");
    }

    #[test]
    fn every_role_has_a_port_of_its_own_for_probes_and_metrics() {
        let args = ConfigArgs::default();
        let roles = [
            Role::LOGIN,
            Role::MSG,
            Role::ROUTE,
            Role::DB_PROXY,
            Role::FILE,
            Role::MSFS,
            Role::HTTP_API,
            Role::PUSH,
        ];
        let ports = roles.map(|role| load_role(&args, role).unwrap().admin.listen);
        assert_eq!(
            ports,
            [
                "127.0.0.1:10701",
                "127.0.0.1:10702",
                "127.0.0.1:10703",
                "127.0.0.1:10704",
                "127.0.0.1:10705",
                "127.0.0.1:10706",
                "127.0.0.1:10707",
                "127.0.0.1:10708"
            ]
        );
        assert_eq!(all_in_one(None, &[]).admin.listen, "127.0.0.1:10700");
    }

    #[test]
    fn named_flags_win() {
        let args = ConfigArgs {
            set: vec!["secret_file=/a".to_owned(), "log.filter=warn".to_owned()],
            secret_file: Some("/b".into()),
            log: Some("debug".to_owned()),
            ..ConfigArgs::default()
        };
        let config = load(&args, Vec::new()).unwrap();
        assert_eq!(config.secret_file, Some("/b".into()));
        assert_eq!(config.log.filter, "debug");
    }
}
