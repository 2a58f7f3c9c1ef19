//! `imd backup` and `imd restore`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::output;

#[derive(Args, Debug)]
pub(crate) struct BackupArgs {
    /// Data directory; a server may be using it.
    #[arg(long, env = "IMD_DATA_DIR", value_name = "DIR")]
    data_dir: PathBuf,
    /// File to write, which must not exist.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct RestoreArgs {
    /// Data directory, empty or missing.
    #[arg(long, env = "IMD_DATA_DIR", value_name = "DIR")]
    data_dir: PathBuf,
    /// File that a backup wrote.
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
}

pub(crate) async fn backup(args: BackupArgs) -> anyhow::Result<ExitCode> {
    im_store::backup(&args.data_dir, &args.to).await?;
    let bytes = std::fs::metadata(&args.to)?.len();
    output::print(&format!("wrote {} ({bytes} bytes)", args.to.display()));
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn restore(args: RestoreArgs) -> anyhow::Result<ExitCode> {
    im_store::restore(&args.from, &args.data_dir).await?;
    output::print(&format!("restored {}", args.data_dir.display()));
    Ok(ExitCode::SUCCESS)
}
