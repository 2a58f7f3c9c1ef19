//! `imd admin`: users, departments, groups and sessions of a running platform.

mod department;
mod group;
mod session;
mod user;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::connect::ServerArgs;

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imd admin user list --data-dir data
  imd admin user refusals ann --data-dir data      why can ann not log in?
  imd admin group create \"The team\" --owner ann --member ben --data-dir data
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
