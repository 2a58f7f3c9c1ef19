//! The tools' way to db-proxy's administration service.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use im_config::LinkConfig;
use im_proto_rpc::v1::admin_client::AdminClient;
use im_rpc::Secret;
use im_rpc::secret::Present;
use tonic::Status;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

use crate::config::BadConfig;

/// Largest answer: all users of a large directory.
const MAX_ANSWER_BYTES: usize = 256 << 20;

#[derive(Args, Clone, Debug)]
pub(crate) struct ServerArgs {
    /// Port of db-proxy.
    #[arg(
        long,
        global = true,
        env = "IMD_ADMIN_SERVER",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:10600"
    )]
    pub(crate) server: String,
    /// File with the installation's secret; in a pod that the operator made, the mounted one.
    #[arg(long, global = true, env = "IMD_SECRET_FILE", value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,
    /// Data directory of an all-in-one server on this machine, which has the secret.
    #[arg(long, global = true, env = "IMD_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

/// Where the operator mounts the secret into every pod.
const MOUNTED_SECRET: &str = "/run/imcluster/secret/secret";

pub(crate) type Admin = AdminClient<InterceptedService<Channel, Present>>;

impl ServerArgs {
    /// Connects to the administration service.
    pub(crate) async fn connect(&self) -> anyhow::Result<Admin> {
        let secret = self.secret()?;
        let channel = im_rpc::grpc::channel(&self.server, &LinkConfig::default())
            .await
            .with_context(|| format!("reach db-proxy at {}", self.server))?;
        Ok(
            AdminClient::with_interceptor(channel, Present::new(&secret))
                .max_decoding_message_size(MAX_ANSWER_BYTES),
        )
    }

    fn secret(&self) -> Result<Secret, BadConfig> {
        let path = match (&self.secret_file, &self.data_dir) {
            (Some(file), _) => file.clone(),
            (None, Some(dir)) => dir.join("secret"),
            (None, None) if Path::new(MOUNTED_SECRET).is_file() => MOUNTED_SECRET.into(),
            (None, None) => {
                return Err(BadConfig::Missing {
                    key: "secret_file",
                    why: "give --secret-file, IMD_SECRET_FILE or --data-dir",
                });
            }
        };
        Ok(Secret::load(&path)?)
    }
}

/// What the server said, without the wrapping of the transport.
pub(crate) fn refusal(status: &Status) -> anyhow::Error {
    match status.code() {
        tonic::Code::Unauthenticated => anyhow::anyhow!("the server refuses the secret"),
        _ if status.message().is_empty() => {
            anyhow::anyhow!("the server answers {:?}", status.code())
        }
        _ => anyhow::anyhow!("{}", status.message()),
    }
}
