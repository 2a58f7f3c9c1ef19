//! `kubectl im`: what administrators of an ImCluster do by hand, from a shell or a script.
//!
//! Each command has a page: what it decides from objects is pure and tested by itself, what it asks goes
//! through [`access`]. Nothing is kept between two calls but what stands in the cluster, so that whoever
//! calls next goes on. Exit codes: 0 done, 1 failed, 2 cannot be understood, 3 not ready or refused.
#![forbid(unsafe_code)]

mod access;
mod backup;
mod cli;
mod drain;
mod head;
mod kubectl;
mod output;
mod rebalance;
mod report;
mod restart;
mod restore;
mod rotate;
mod status;
#[cfg(test)]
mod testing;
mod validate;

use std::process::ExitCode;

use clap::Parser;

use access::Access;
use cli::{Cli, Command};
use output::{Outcome, Refusal, complain};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(outcome) => outcome.into(),
        Err(error) => {
            complain(&format!("{error:#}"));
            if error.downcast_ref::<Refusal>().is_some() {
                Outcome::NotSo.into()
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<Outcome> {
    // kube and others may each bring a provider; this one is chosen.
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        anyhow::bail!("a TLS provider was installed already");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(Box::pin(dispatch(cli)))
}

async fn dispatch(cli: &Cli) -> anyhow::Result<Outcome> {
    let connect = async || Access::connect(&cli.global).await;
    match &cli.command {
        Command::Status(args) => status::run(&connect().await?, args).await,
        Command::Drain(args) => drain::run(&connect().await?, args).await,
        Command::Undrain(args) => drain::undo(&connect().await?, args).await,
        Command::Restart(args) => restart::run(&connect().await?, args).await,
        Command::Rotate(args) => rotate::run(&connect().await?, args).await,
        Command::Rebalance(args) => rebalance::run(&connect().await?, args).await,
        Command::Backup(args) => backup::run(&connect().await?, &cli.global, args).await,
        Command::Restore(args) => Box::pin(restore::run(&cli.global, args)).await,
        Command::Validate(args) => validate::run(&cli.global, args).await,
        Command::Report(args) => report::run(&connect().await?, args).await,
    }
}
