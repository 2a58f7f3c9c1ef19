//! The operator: watches ImClusters and keeps their objects as they should be.
#![forbid(unsafe_code)]

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

mod apply;
mod backoff;
mod cache;
mod check;
mod claims;
mod cli;
mod client;
mod clusters;
mod context;
mod definition;
mod diff;
mod events;
mod expectations;
mod kinds;
mod lease;
mod load;
mod metrics;
mod msg;
mod nodes;
mod ownership;
mod prune;
mod rbac;
mod reconcile;
mod recorder;
mod run;
mod secret;
mod status;
#[cfg(test)]
mod testing;
mod watch;
mod work_queue;

/// Threads of the runtime: the work is waiting, and 16 reconciliations keep two threads busy.
const WORKERS: usize = 2;

/// Exit code for flags, environment or a manifest that cannot be used (EX_USAGE of sysexits).
const BAD_INPUT: u8 = 64;

fn main() -> ExitCode {
    match dispatch(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Run(args) => {
            // kube and others may each bring a provider; this one is chosen.
            if rustls::crypto::aws_lc_rs::default_provider()
                .install_default()
                .is_err()
            {
                anyhow::bail!("a TLS provider was installed already");
            }
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(WORKERS)
                .enable_all()
                .build()?;
            runtime.block_on(run::run(*args))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Crd => {
            print(&im_operator_api::crd())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Rules => {
            print(&std::collections::BTreeMap::from(rbac::rules()))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Validate(args) => {
            let wrong = check::check(&args)?;
            for line in &wrong {
                complain(line);
            }
            Ok(if wrong.is_empty() {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(BAD_INPUT)
            })
        }
    }
}

fn print(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let text = serde_saphyr::to_string(value)?;
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}

#[allow(clippy::print_stderr, reason = "the one place that speaks to a person")]
fn complain(line: &str) {
    eprintln!("{line}");
}
