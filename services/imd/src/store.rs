//! `imd backup` and `imd restore`.

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use im_config::ImdConfig;
use im_config::units::ByteSize;
use im_store::{StorePlace, store_at, store_in};

use crate::kinds::{kinds, sqlite};
use crate::output;

/// Stands for standard output and standard input.
const STREAM: &str = "-";

/// Which store.
#[derive(Args, Debug)]
struct Place {
    /// Data directory with the embedded store, or for it.
    #[arg(
        long,
        env = "IMD_DATA_DIR",
        value_name = "DIR",
        required_unless_present = "store"
    )]
    data_dir: Option<PathBuf>,
    /// The store, such as `sqlite:///var/lib/im`; wins over the data directory. One on a MySQL server is copied with the
    /// server's own tools.
    #[arg(long, env = "IMD_STORE__URL", value_name = "URL")]
    store: Option<String>,
}

impl Place {
    fn find(&self) -> anyhow::Result<Box<dyn StorePlace>> {
        let config = ImdConfig::default();
        match (&self.store, &self.data_dir) {
            (Some(url), _) => Ok(store_at(url, &kinds(&config))?),
            (None, Some(dir)) => Ok(store_in(dir, &sqlite(&config.sqlite))),
            (None, None) => bail!("give --data-dir or --store"),
        }
    }

    /// How it was named.
    fn name(&self) -> String {
        let dir = self.data_dir.as_ref().map(|dir| dir.display().to_string());
        self.store.clone().or(dir).unwrap_or_default()
    }
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imd backup --data-dir data --to im-2026-11-29.backup")]
pub(crate) struct BackupArgs {
    #[command(flatten)]
    place: Place,
    /// File to write, which must not exist; `-` writes to standard output what is copied into the store's
    /// directory first.
    #[arg(long, value_name = "FILE|-")]
    to: PathBuf,
    /// With `--to -`: room that the copy must leave in the file system of the store's directory.
    #[arg(long, value_name = "SIZE", default_value_t = ByteSize::mib(64), help_heading = "Room on the disk")]
    keep_free: ByteSize,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imd restore --data-dir new --from im-2026-11-29.backup
  imd restore --data-dir new --from im-2026-11-29.backup --skip-ids 200000     the same backup again")]
pub(crate) struct RestoreArgs {
    #[command(flatten)]
    place: Place,
    /// File that a backup wrote; `-` reads standard input.
    #[arg(long, value_name = "FILE|-")]
    from: PathBuf,
    /// Ids that every conversation skips, so that no new message gets one under which clients hold a
    /// message that the backup did not know. 0 skips none.
    #[arg(
        long,
        value_name = "N",
        default_value_t = im_store::SKIPPED_IDS,
        help_heading = "Ids of messages"
    )]
    skip_ids: u32,
}

pub(crate) async fn backup(args: BackupArgs) -> anyhow::Result<ExitCode> {
    let place = args.place.find()?;
    if args.to == Path::new(STREAM) {
        return stream(place.as_ref(), args.keep_free.as_u64()).await;
    }
    place.back_up(&args.to).await?;
    let bytes = std::fs::metadata(&args.to)?.len();
    output::print(&format!("wrote {} ({bytes} bytes)", args.to.display()));
    Ok(ExitCode::SUCCESS)
}

/// Writes a backup to standard output; whatever is said goes to standard error.
async fn stream(place: &dyn StorePlace, keep_free: u64) -> anyhow::Result<ExitCode> {
    if io::stdout().is_terminal() {
        bail!("standard output is a terminal: redirect the backup into a file, or into a program");
    }
    let copy = place.spool(keep_free).await?;
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
    let place = args.place.find()?;
    if args.from == Path::new(STREAM) {
        if io::stdin().is_terminal() {
            bail!("standard input is a terminal: redirect it from a backup");
        }
        let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
        let name = Path::new("standard input");
        place.restore_stream(input, name, args.skip_ids).await?;
    } else {
        place.restore(&args.from, args.skip_ids).await?;
    }
    output::print(&format!("restored {}", args.place.name()));
    if args.skip_ids > 0 {
        output::print(&format!(
            "every conversation skips {} ids: messages that clients hold and the backup does not know keep theirs",
            args.skip_ids
        ));
    }
    Ok(ExitCode::SUCCESS)
}
