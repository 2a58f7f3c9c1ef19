//! Commands and flags.

mod role;

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::{
    admin, audit, chat, check, config, contents, directory, doctor, migrate, prober, store,
    teamtalk, token,
};

pub(crate) use role::RoleCommand;

/// Instant messaging servers that speak the TeamTalk protocol, and their tools.
#[derive(Debug, Parser)]
#[command(
    name = "imd",
    version,
    about,
    propagate_version = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs every role in one process, on a data directory.
    AllInOne(AllInOneArgs),
    /// Runs one role.
    #[command(flatten)]
    Role(RoleCommand),
    /// Shows or checks the configuration.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Copies a store into a file or a stream, also while a server uses it.
    Backup(store::BackupArgs),
    /// Puts a backup where there is no store yet.
    Restore(store::RestoreArgs),
    /// Writes everything that a store holds, for a store of any kind.
    Export(contents::ExportArgs),
    /// Fills a new store with what an export wrote.
    Import(contents::ImportArgs),
    /// Shows and makes the steps of a store's schema.
    #[command(subcommand)]
    Migrate(migrate::MigrateCommand),
    /// Takes over what an original TeamTalk installation has stored.
    ImportTeamtalk(Box<teamtalk::ImportArgs>),
    /// Changes the directory of people.
    #[command(subcommand)]
    Directory(directory::DirectoryCommand),
    /// Manages users, groups and sessions of a running platform.
    Admin(admin::AdminArgs),
    /// Makes, lists and revokes tokens of the HTTP API.
    Token(token::TokenArgs),
    /// Lists who changed what, and proves that the list is as it was written.
    Audit(audit::AuditArgs),
    /// Chats from the terminal.
    Chat(chat::Args),
    /// Chats by the lines of a file, for tests and programs.
    Script(chat::ScriptArgs),
    /// Passes a message from one person to another, or says whether a store fits together.
    Check(check::Args),
    /// Passes messages between two people for ever, and shows figures of it.
    Probe(Box<prober::Args>),
    /// Does what a client does, and says what is wrong and what to do.
    Doctor(doctor::Args),
}

/// Where configuration comes from. Precedence: flag, environment, file, default.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Configuration")]
pub(crate) struct ConfigArgs {
    /// Configuration file (TOML).
    #[arg(long, env = "IMD_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Sets one key, such as `msg.rate_limit=0`; repeatable. The environment does the same with
    /// `IMD_MSG__RATE_LIMIT=0`.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Data directory: secrets, and the embedded store (key `data_dir`).
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The store, such as `sqlite:///var/lib/im` or `mysql://im@db.example.com:3306/im` (key `store.url`); without it, the
    /// embedded one in the data directory.
    #[arg(long, value_name = "URL")]
    pub(crate) store: Option<String>,
    /// File with the installation's secret (key `secret_file`).
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,
    /// Log levels, such as `info,im_msg=debug` (key `log.filter`, also IMD_LOG).
    #[arg(long, value_name = "FILTER")]
    pub(crate) log: Option<String>,
}

#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "The process")]
pub(crate) struct RoleArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Receives the bound addresses as JSON once the process is ready.
    #[arg(long, env = "IMD_READY_FILE", value_name = "FILE")]
    pub(crate) ready_file: Option<PathBuf>,
}

#[derive(Args, Clone, Debug, Default)]
#[command(
    next_help_heading = "The process",
    after_help = "\
Examples:
  imd all-in-one --data-dir data
  imd all-in-one --data-dir data --bind 0.0.0.0       for clients in the network too
  imd all-in-one --data-dir data -f imcluster.yaml    as it will run in a cluster
  imd all-in-one --data-dir data 2> imd.log &         its log apart from the shell"
)]
pub(crate) struct AllInOneArgs {
    #[command(flatten)]
    pub(crate) role: RoleArgs,
    /// Runs what this ImCluster (YAML) describes, and names what only a cluster can do; `-` reads
    /// standard input. File, environment and flags of the configuration win over it.
    #[arg(short = 'f', long = "file", value_name = "MANIFEST|-")]
    pub(crate) manifest: Option<PathBuf>,
    /// Address for clients; db-proxy's port follows it only within loopback.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) bind: Option<IpAddr>,
}

#[cfg(test)]
mod tests;
