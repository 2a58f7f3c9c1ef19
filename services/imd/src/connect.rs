//! The tools' way to db-proxy's administration service.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use im_config::LinkConfig;
use im_proto_rpc::v1::admin_client::AdminClient;
use im_rpc::Secret;
use im_rpc::secret::{Present, SecretError};
use tokio::time::{Instant, sleep};
use tonic::metadata::{Binary, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::config::BadConfig;
use crate::output;

/// Largest answer: all users of a large directory.
const MAX_ANSWER_BYTES: usize = 256 << 20;

#[derive(Args, Clone, Debug)]
pub(crate) struct ServerArgs {
    /// Administrators' port of db-proxy [default: that of the server on --data-dir, or 127.0.0.1:10601].
    #[arg(
        long,
        global = true,
        env = "IMD_ADMIN_SERVER",
        value_name = "ADDRESS",
        help_heading = HEADING
    )]
    pub(crate) server: Option<String>,
    /// File with the administrators' secret; in a pod that the operator made, the mounted one.
    #[arg(
        long,
        global = true,
        env = "IMD_ADMIN_SECRET_FILE",
        value_name = "FILE",
        help_heading = HEADING
    )]
    pub(crate) secret_file: Option<PathBuf>,
    /// Data directory of a server on this machine, which has the secret and names the port.
    #[arg(
        long,
        global = true,
        env = "IMD_DATA_DIR",
        value_name = "DIR",
        help_heading = HEADING
    )]
    pub(crate) data_dir: Option<PathBuf>,
    /// How long to wait for a server that is just starting, seconds.
    #[arg(
        long,
        global = true,
        default_value_t = WAIT_SECONDS,
        value_name = "SECONDS",
        help_heading = HEADING
    )]
    pub(crate) wait: u16,
    /// Who wants a change, for the server's log [default: the name of this login].
    #[arg(
        long,
        global = true,
        env = "IMD_ACTOR",
        value_name = "NAME",
        help_heading = HEADING
    )]
    pub(crate) actor: Option<String>,
    /// Makes a change once, however often the same command comes with the same key within a day: for
    /// programs that try again. An import needs none.
    #[arg(long, global = true, value_name = "KEY", help_heading = HEADING)]
    pub(crate) idempotency_key: Option<String>,
}

/// Heading of these options in helps.
const HEADING: &str = "The server";

/// A server that starts on an existing store is there in a second; a slow disk takes some more.
pub(crate) const WAIT_SECONDS: u16 = 10;

/// Pause between two attempts to reach a server.
pub(crate) const PAUSE: Duration = Duration::from_millis(100);

/// The administrators' secret in a data directory.
pub(crate) const ADMIN_SECRET: &str = "admin-secret";

/// The file in a data directory that names the administrators' port.
pub(crate) const ADMIN_ADDRESS: &str = "admin-address";

/// Where the operator mounts the administrators' secret into the pod of db-proxy.
const MOUNTED_SECRET: &str = "/run/imcluster/admin/secret";

/// The port where nothing else is said.
const DEFAULT_SERVER: &str = "127.0.0.1:10601";

/// Longest text that can name a port.
const MAX_ADDRESS_BYTES: usize = 256;

pub(crate) type Admin = AdminClient<InterceptedService<Channel, Caller>>;

/// Metadata that names who wants a change.
const ACTOR: &str = "im-actor-bin";

/// Metadata that makes a change once.
const KEY: &str = "im-idempotency-key-bin";

/// Presents the secret and says who calls.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    present: Present,
    actor: MetadataValue<Binary>,
    key: Option<MetadataValue<Binary>>,
}

impl Interceptor for Caller {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let mut request = self.present.call(request)?;
        request.metadata_mut().insert_bin(ACTOR, self.actor.clone());
        if let Some(key) = &self.key {
            request.metadata_mut().insert_bin(KEY, key.clone());
        }
        Ok(request)
    }
}

impl ServerArgs {
    /// Connects to the administration service, and waits for one that is just starting.
    pub(crate) async fn connect(&self) -> anyhow::Result<Admin> {
        let deadline = Instant::now() + Duration::from_secs(self.wait.into());
        let mut said = false;
        loop {
            let error = match self.attempt().await {
                Ok(admin) => return Ok(admin),
                Err(error) => error,
            };
            if !may_pass(&error) || Instant::now() >= deadline {
                return Err(error);
            }
            if !said {
                said = true;
                let wait = self.wait;
                output::note(&format!("waiting up to {wait} s for the server: {error:#}"));
            }
            sleep(PAUSE).await;
        }
    }

    async fn attempt(&self) -> anyhow::Result<Admin> {
        let secret = self.secret()?;
        let server = self.address();
        let channel = im_rpc::grpc::channel(&server, &LinkConfig::default())
            .await
            .with_context(|| format!("reach db-proxy at {server}"))?;
        let caller = Caller {
            present: Present::new(&secret),
            actor: MetadataValue::from_bytes(self.actor().as_bytes()),
            key: self
                .idempotency_key
                .as_ref()
                .map(|key| MetadataValue::from_bytes(key.as_bytes())),
        };
        Ok(AdminClient::with_interceptor(channel, caller)
            .max_decoding_message_size(MAX_ANSWER_BYTES))
    }

    /// Who calls: as they say, or as this machine knows them.
    fn actor(&self) -> String {
        let named = |name: &str| std::env::var(name).ok().filter(|name| !name.is_empty());
        let known = || named("USER").or_else(|| named("LOGNAME"));
        self.actor.clone().or_else(known).unwrap_or_else(|| {
            // The owner of a process owns its entry.
            let owner = std::fs::metadata("/proc/self").map(|entry| entry.uid());
            owner.map_or_else(|_| "unknown".to_owned(), |uid| format!("uid {uid}"))
        })
    }

    fn address(&self) -> String {
        if let Some(server) = &self.server {
            return server.clone();
        }
        let noted = self.data_dir.as_ref().and_then(|dir| {
            let text = std::fs::read_to_string(dir.join(ADMIN_ADDRESS)).ok()?;
            let text = text.trim();
            (1..=MAX_ADDRESS_BYTES)
                .contains(&text.len())
                .then(|| text.to_owned())
        });
        noted.unwrap_or_else(|| DEFAULT_SERVER.to_owned())
    }

    fn secret(&self) -> Result<Secret, BadConfig> {
        let path = match (&self.secret_file, &self.data_dir) {
            (Some(file), _) => file.clone(),
            (None, Some(dir)) => dir.join(ADMIN_SECRET),
            (None, None) if Path::new(MOUNTED_SECRET).is_file() => MOUNTED_SECRET.into(),
            (None, None) => {
                return Err(BadConfig::Missing {
                    key: "admin_secret_file",
                    why: "give --secret-file, IMD_ADMIN_SECRET_FILE or --data-dir",
                });
            }
        };
        Ok(Secret::load(&path)?)
    }
}

/// Whether a server that is starting may answer better in a moment: it has not made its secret yet, or
/// does not listen.
fn may_pass(error: &anyhow::Error) -> bool {
    if let Some(bad) = error.downcast_ref::<BadConfig>() {
        return matches!(bad, BadConfig::Secret(SecretError::Read { source, .. })
            if source.kind() == std::io::ErrorKind::NotFound);
    }
    error.is::<tonic::transport::Error>()
        || error
            .chain()
            .any(|cause| cause.downcast_ref::<std::io::Error>().is_some())
}

/// What the server said, without the wrapping of the transport.
pub(crate) fn refusal(status: &Status) -> anyhow::Error {
    match status.code() {
        tonic::Code::Unauthenticated => anyhow::anyhow!("the server refuses the secret"),
        tonic::Code::Unimplemented => anyhow::anyhow!(
            "this port is not the administrators' (Unimplemented): that of db-proxy is 10601 unless \
             db_proxy.admin_listen says otherwise"
        ),
        _ if status.message().is_empty() => {
            anyhow::anyhow!("the server answers {:?}", status.code())
        }
        _ => anyhow::anyhow!("{}", status.message()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_names_port_and_secret_unless_something_else_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let mut args = ServerArgs {
            server: None,
            secret_file: None,
            data_dir: Some(dir.path().to_owned()),
            wait: 0,
            actor: None,
            idempotency_key: None,
        };
        assert_eq!(args.address(), DEFAULT_SERVER);
        assert!(args.secret().is_err());
        std::fs::write(dir.path().join(ADMIN_ADDRESS), "127.0.0.1:4711\n").unwrap();
        let secret = Secret::generate();
        std::fs::write(dir.path().join(ADMIN_SECRET), secret.expose()).unwrap();
        assert_eq!(args.address(), "127.0.0.1:4711");
        assert_eq!(args.secret().unwrap().expose(), secret.expose());
        args.server = Some("db:1".to_owned());
        assert_eq!(args.address(), "db:1");
        assert!(!args.actor().is_empty(), "whoever runs this has a name");
        args.actor = Some("ann".to_owned());
        assert_eq!(args.actor(), "ann");
    }
}
