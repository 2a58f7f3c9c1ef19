//! The program: every role, all of them in one process, and the tools around them.
//!
//! `main` reads flags, environment and file, and nothing below it does. A configuration that cannot
//! be used ends the program with exit code 64 and a message that names the key.
#![forbid(unsafe_code)]

mod admin;
mod audit;
mod chat;
mod check;
mod cli;
mod config;
mod connect;
mod contents;
mod directory;
mod doctor;
mod kinds;
mod manifest;
mod migrate;
mod output;
mod password;
mod probe;
mod prober;
mod run;
mod store;
#[cfg(test)]
#[path = "../../role/tests/table/mod.rs"]
mod table;
mod teamtalk;
mod token;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command, RoleCommand};

/// Gives memory back after a burst of connections, and fragments little.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Exit code for a configuration that cannot be used (EX_USAGE of sysexits).
const BAD_CONFIGURATION: u8 = 64;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let is_server = matches!(
        cli.command,
        Command::AllInOne(_) | Command::Role(_) | Command::Probe(_)
    );
    match dispatch(cli) {
        Ok(code) => code,
        Err(error) => {
            if is_server {
                output::complain_in_a_line(&error);
            } else {
                output::complain(&error);
            }
            exit_code(&error)
        }
    }
}

/// How the program ends with an error.
fn exit_code(error: &anyhow::Error) -> ExitCode {
    if error.is::<config::BadConfig>() {
        ExitCode::from(BAD_CONFIGURATION)
    } else {
        ExitCode::FAILURE
    }
}

fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::AllInOne(args) => run::all_in_one(&args),
        Command::Role(RoleCommand { role, args }) => run::single(role, &args),
        Command::Config(command) => config::command(&command),
        Command::Backup(args) => tool(store::backup(args)),
        Command::Restore(args) => tool(store::restore(args)),
        Command::Export(args) => threaded(contents::export(args)),
        Command::Import(args) => threaded(contents::import(args)),
        Command::Migrate(command) => tool(migrate::command(command)),
        Command::ImportTeamtalk(args) => threaded(teamtalk::import(*args)),
        Command::Directory(command) => tool(directory::command(command)),
        Command::Admin(command) => tool(admin::command(command)),
        Command::Token(args) => tool(token::command(args)),
        Command::Audit(args) => tool(audit::command(args)),
        Command::Chat(args) => tool(async { chat::run(args).await.map(|()| ExitCode::SUCCESS) }),
        Command::Script(args) => {
            tool(async { chat::script(args).await.map(|()| ExitCode::SUCCESS) })
        }
        Command::Check(args) => tool(check::run(args)),
        Command::Probe(args) => tool(prober::run(*args)),
        Command::Doctor(args) => tool(doctor::run(args)),
    }
}

/// Runs a tool to its end on a runtime of one thread.
fn tool(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(work)
}

/// The same where there is work for several threads.
fn threaded(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(work)
}
