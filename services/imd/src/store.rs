//! `imd backup` and `imd restore`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::output;

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imd backup --data-dir data --to im-2026-11-29.backup")]
pub(crate) struct BackupArgs {
    /// Data directory; a server may be using it.
    #[arg(long, env = "IMD_DATA_DIR", value_name = "DIR")]
    data_dir: PathBuf,
    /// File to write, which must not exist.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imd restore --data-dir new --from im-2026-11-29.backup
  imd restore --data-dir new --from im-2026-11-29.backup --skip-ids 200000     the same backup again")]
pub(crate) struct RestoreArgs {
    /// Data directory, empty or missing.
    #[arg(long, env = "IMD_DATA_DIR", value_name = "DIR")]
    data_dir: PathBuf,
    /// File that a backup wrote.
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// Ids that every conversation skips, so that no new message gets one under which clients hold a
    /// message that the backup did not know. 0 skips none.
    #[arg(long, value_name = "N", default_value_t = im_store::SKIPPED_IDS)]
    skip_ids: u32,
}

pub(crate) async fn backup(args: BackupArgs) -> anyhow::Result<ExitCode> {
    im_store::backup(&args.data_dir, &args.to).await?;
    let bytes = std::fs::metadata(&args.to)?.len();
    output::print(&format!("wrote {} ({bytes} bytes)", args.to.display()));
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn restore(args: RestoreArgs) -> anyhow::Result<ExitCode> {
    im_store::restore(&args.from, &args.data_dir, args.skip_ids).await?;
    output::print(&format!("restored {}", args.data_dir.display()));
    if args.skip_ids > 0 {
        output::print(&format!(
            "every conversation skips {} ids: messages that clients hold and the backup does not know keep theirs",
            args.skip_ids
        ));
    }
    Ok(ExitCode::SUCCESS)
}
