//! `imd admin`: users, departments, groups and sessions of a running platform.

mod department;
mod group;
mod session;
mod user;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::connect::ServerArgs;

/// Flag of every command that changes something.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct Judge {
    /// Only says whether it can be done, and changes nothing.
    #[arg(long, help_heading = "The change")]
    pub(crate) dry_run: bool,
}

/// Which part of a list is shown.
#[derive(Args, Clone, Debug)]
pub(crate) struct Page {
    /// Most lines to list; the server gives fewer of a very long list.
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "N")]
    pub(crate) limit: u32,
    /// Goes on where a list ended, which says how.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) cursor: String,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imd admin user list --data-dir data
  imd admin user refusals ann --data-dir data      why can ann not log in?
  imd admin group create \"The team\" --owner ann --member ben --data-dir data
  imd admin user move ann Company/Sales --data-dir data
  imd admin department move Company/Sales Company/Europe --data-dir data
  imd admin department rename Company/Salse Sales --data-dir data
  imd admin session kick ann --server db:10601 --secret-file admin-secret")]
pub(crate) struct AdminArgs {
    /// Prints results as JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// People's accounts.
    #[command(subcommand)]
    User(user::UserCommand),
    /// Departments, the tree in which clients show people.
    #[command(subcommand)]
    Department(department::DepartmentCommand),
    /// Groups and their members.
    #[command(subcommand)]
    Group(group::GroupCommand),
    /// Logged-in terminals.
    #[command(subcommand)]
    Session(session::SessionCommand),
}

pub(crate) async fn command(args: AdminArgs) -> anyhow::Result<ExitCode> {
    let AdminArgs { json, server, what } = args;
    match what {
        What::User(command) => user::run(command, &server, json).await?,
        What::Department(command) => department::run(command, &server, json).await?,
        What::Group(command) => group::run(command, &server, json).await?,
        What::Session(command) => session::run(command, &server, json).await?,
    }
    Ok(ExitCode::SUCCESS)
}
