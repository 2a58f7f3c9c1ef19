//! Flags and environment of the program. Nothing below `main` reads either.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Runs instant-messaging platforms from `ImCluster` objects.
#[derive(Debug, Parser)]
#[command(name = "im-operator", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Watch ImClusters and keep their objects as they should be.
    Run(Box<RunArgs>),
    /// Print the custom resource definition as YAML.
    Crd,
    /// Print what the operator must be allowed to do, as YAML.
    Rules,
    /// Check an ImCluster manifest without a cluster; every error names its field.
    Validate(ValidateArgs),
}

#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct RunArgs {
    /// Namespace to watch; repeat for several. Default: the operator's own.
    #[arg(
        long = "namespace",
        env = "IM_OPERATOR_NAMESPACES",
        value_delimiter = ',',
        conflicts_with = "all_namespaces"
    )]
    pub(crate) namespaces: Vec<String>,
    /// Watch every namespace. Needs a ClusterRole.
    #[arg(long, env = "IM_OPERATOR_ALL_NAMESPACES")]
    pub(crate) all_namespaces: bool,
    /// Image repository of the servers where an ImCluster names none.
    #[arg(
        long,
        env = "IM_OPERATOR_IMAGE_REPOSITORY",
        default_value = "imcluster/imd"
    )]
    pub(crate) image_repository: String,
    /// Nodes may be read, so that NodePort needs no hostTemplate. Needs get and list on nodes.
    #[arg(long, env = "IM_OPERATOR_NODE_ACCESS")]
    pub(crate) node_access: bool,
    /// Port at which the servers reach the API server; repeat for several.
    #[arg(
        long = "api-server-port",
        env = "IM_OPERATOR_API_SERVER_PORTS",
        value_delimiter = ',',
        default_values_t = im_operator_plan::settings::API_SERVER_PORTS,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub(crate) api_server_ports: Vec<u16>,
    /// Address range of the API server or of its Service; repeat for several. Default: anywhere.
    #[arg(
        long = "api-server-cidr",
        env = "IM_OPERATOR_API_SERVER_CIDRS",
        value_delimiter = ',',
        value_parser = cidr
    )]
    pub(crate) api_server_cidrs: Vec<String>,
    /// Watches that one connection to the API server carries: 14 for each watched namespace. An API
    /// server allows 1,000 unless told otherwise.
    #[arg(long, env = "IM_OPERATOR_WATCHES_PER_CONNECTION", default_value_t = 490,
          value_parser = clap::value_parser!(u16).range(14..=10_000))]
    pub(crate) watches_per_connection: u16,
    /// Clusters that are worked on at the same time.
    #[arg(long, env = "IM_OPERATOR_CONCURRENCY", default_value_t = 16,
          value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) concurrency: u16,
    /// How long changes of one cluster are gathered, milliseconds.
    #[arg(long, env = "IM_OPERATOR_DEBOUNCE_MILLIS", default_value_t = 100,
          value_parser = clap::value_parser!(u64).range(0..=10_000))]
    pub(crate) debounce_millis: u64,
    /// Every cluster is looked at this often at least, seconds; up to a tenth is added at random.
    #[arg(long, env = "IM_OPERATOR_RESYNC_SECONDS", default_value_t = 600,
          value_parser = clap::value_parser!(u64).range(30..=86_400))]
    pub(crate) resync_seconds: u64,
    /// Name of the Lease that chooses the one working replica.
    #[arg(long, env = "IM_OPERATOR_LEASE_NAME", default_value = "im-operator")]
    pub(crate) lease_name: String,
    /// Namespace of the Lease. Default: the operator's own.
    #[arg(long, env = "POD_NAMESPACE")]
    pub(crate) lease_namespace: Option<String>,
    /// This replica's name in the Lease. Default: the host name and a random suffix.
    #[arg(long, env = "POD_NAME")]
    pub(crate) identity: Option<String>,
    /// How long the Lease is good for without a renewal, seconds: another replica takes over then.
    #[arg(long, env = "IM_OPERATOR_LEASE_DURATION_SECONDS", default_value_t = 15,
          value_parser = clap::value_parser!(u64).range(3..=3_600))]
    pub(crate) lease_duration_seconds: u64,
    /// A holder that could not renew for so long stops writing and stands again, seconds. Less than
    /// the duration.
    #[arg(long, env = "IM_OPERATOR_LEASE_RENEW_DEADLINE_SECONDS", default_value_t = 12,
          value_parser = clap::value_parser!(u64).range(2..=3_599))]
    pub(crate) lease_renew_deadline_seconds: u64,
    /// Time between two tries when a renewal fails, seconds. Less than the deadline.
    #[arg(long, env = "IM_OPERATOR_LEASE_RETRY_SECONDS", default_value_t = 1,
          value_parser = clap::value_parser!(u64).range(1..=60))]
    pub(crate) lease_retry_seconds: u64,
    /// How long the claim of a watched namespace is good for without a renewal, seconds: another
    /// installation of the operator takes the namespace over then.
    #[arg(long, env = "IM_OPERATOR_CLAIM_DURATION_SECONDS", default_value_t = 60,
          value_parser = clap::value_parser!(u64).range(6..=3_600))]
    pub(crate) claim_duration_seconds: u64,
    /// Work without a Lease, and without claiming namespaces. Never with two replicas.
    #[arg(long, env = "IM_OPERATOR_NO_LEASE")]
    pub(crate) no_lease: bool,
    /// Address of /livez, /readyz, /metrics and /debug/dump.
    #[arg(long, env = "IM_OPERATOR_ADMIN_LISTEN", default_value = "[::]:9090")]
    pub(crate) admin_listen: String,
    /// What is logged, in the syntax of tracing's EnvFilter.
    #[arg(long, env = "IM_OPERATOR_LOG", default_value = "info")]
    pub(crate) log: String,
    /// How log lines look.
    #[arg(
        long,
        env = "IM_OPERATOR_LOG_FORMAT",
        value_enum,
        default_value = "json"
    )]
    pub(crate) log_format: LogFormat,
    /// Where spans go over OTLP/gRPC, such as `http://collector:4317`; empty = nowhere.
    #[arg(long, env = "IM_OPERATOR_TRACE_ENDPOINT", default_value = "")]
    pub(crate) trace_endpoint: String,
    /// Part of the looks at ImClusters that make a span, 0 to 1.
    #[arg(long, env = "IM_OPERATOR_TRACE_RATIO", default_value_t = 1.0)]
    pub(crate) trace_ratio: f64,
    /// For tests: end the process after this many writes to the API server (events, the Lease and
    /// what was refused aside), with exit code 86.
    #[arg(long, env = "IM_OPERATOR_STOP_AFTER_WRITES", hide = true)]
    pub(crate) stop_after_writes: Option<u64>,
}

fn cidr(text: &str) -> Result<String, String> {
    if im_operator_plan::validate::is_cidr(text) {
        return Ok(text.to_owned());
    }
    Err("expected an address range such as 10.0.0.0/8".to_owned())
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogFormat {
    /// For eyes.
    Human,
    /// One JSON object per line.
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct ValidateArgs {
    /// The manifest; `-` is standard input.
    #[arg(short, long)]
    pub(crate) file: PathBuf,
    /// Nodes may be read by the operator that will run it.
    #[arg(long)]
    pub(crate) node_access: bool,
}
