//! `imd admin`: users, groups and sessions of a running platform.

mod group;
mod session;
mod user;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::connect::ServerArgs;

#[derive(Args, Debug)]
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
        What::Group(command) => group::run(command, &server, json).await?,
        What::Session(command) => session::run(command, &server, json).await?,
    }
    Ok(ExitCode::SUCCESS)
}
