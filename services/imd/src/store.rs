//! `imd backup` and `imd restore`.

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use im_config::units::ByteSize;

use crate::output;

/// Stands for standard output and standard input.
const STREAM: &str = "-";

#[derive(Args, Debug)]
pub(crate) struct BackupArgs {
    /// Data directory; a server may be using it.
    #[arg(long, env = "IMD_DATA_DIR", value_name = "DIR")]
    data_dir: PathBuf,
    /// File to write, which must not exist; `-` writes to standard output what is copied into the data
    /// directory first.
    #[arg(long, value_name = "FILE|-")]
    to: PathBuf,
    /// With `--to -`: room that the copy must leave in the data directory's file system.
    #[arg(long, value_name = "SIZE", default_value_t = ByteSize::mib(64))]
    keep_free: ByteSize,
}

#[derive(Args, Debug)]
pub(crate) struct RestoreArgs {
    /// Data directory, empty or missing.
    #[arg(long, env = "IMD_DATA_DIR", value_name = "DIR")]
    data_dir: PathBuf,
    /// File that a backup wrote; `-` reads standard input.
    #[arg(long, value_name = "FILE|-")]
    from: PathBuf,
    /// Ids that every conversation skips, so that no new message gets one under which clients hold a
    /// message that the backup did not know. 0 skips none.
    #[arg(long, value_name = "N", default_value_t = im_store::SKIPPED_IDS)]
    skip_ids: u32,
}

pub(crate) async fn backup(args: BackupArgs) -> anyhow::Result<ExitCode> {
    if args.to == Path::new(STREAM) {
        return stream(&args).await;
    }
    im_store::backup(&args.data_dir, &args.to).await?;
    let bytes = std::fs::metadata(&args.to)?.len();
    output::print(&format!("wrote {} ({bytes} bytes)", args.to.display()));
    Ok(ExitCode::SUCCESS)
}

/// Writes a backup to standard output; whatever is said goes to standard error.
async fn stream(args: &BackupArgs) -> anyhow::Result<ExitCode> {
    if io::stdout().is_terminal() {
        bail!("standard output is a terminal: redirect the backup into a file, or into a program");
    }
    let copy = im_store::spool(&args.data_dir, args.keep_free.as_u64()).await?;
    output::note(&format!(
        "copied and checked: {} bytes follow",
        copy.bytes()?
    ));
    let bytes = copy
        .write_to(&mut io::stdout().lock())
        .context("write the backup to standard output")?;
    output::note(&format!("wrote {bytes} bytes"));
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn restore(args: RestoreArgs) -> anyhow::Result<ExitCode> {
    if args.from == Path::new(STREAM) {
        if io::stdin().is_terminal() {
            bail!("standard input is a terminal: redirect it from a backup");
        }
        let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let name = Path::new("standard input");
        im_store::restore_stream(input, name, &args.data_dir, args.skip_ids).await?;
    } else {
        im_store::restore(&args.from, &args.data_dir, args.skip_ids).await?;
    }
    output::print(&format!("restored {}", args.data_dir.display()));
    if args.skip_ids > 0 {
        output::print(&format!(
            "every conversation skips {} ids: messages that clients hold and the backup does not know keep theirs",
            args.skip_ids
        ));
    }
    Ok(ExitCode::SUCCESS)
}
