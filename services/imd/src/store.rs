//! `imd backup` and `imd restore`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use im_store::{StoreOptions, StorePlace, store_at, store_in};

use crate::output;

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
    /// The store, such as `sqlite:///var/lib/im`; wins over the data directory.
    #[arg(long, env = "IMD_STORE__URL", value_name = "URL")]
    store: Option<String>,
}

impl Place {
    fn find(&self) -> anyhow::Result<Box<dyn StorePlace>> {
        let options = StoreOptions::default();
        match (&self.store, &self.data_dir) {
            (Some(url), _) => Ok(store_at(url, &options)?),
            (None, Some(dir)) => Ok(store_in(dir, &options)),
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
pub(crate) struct BackupArgs {
    #[command(flatten)]
    place: Place,
    /// File to write, which must not exist.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

#[derive(Args, Debug)]
pub(crate) struct RestoreArgs {
    #[command(flatten)]
    place: Place,
    /// File that a backup wrote.
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// Ids that every conversation skips, so that no new message gets one under which clients hold a
    /// message that the backup did not know. 0 skips none.
    #[arg(long, value_name = "N", default_value_t = im_store::SKIPPED_IDS)]
    skip_ids: u32,
}

pub(crate) async fn backup(args: BackupArgs) -> anyhow::Result<ExitCode> {
    args.place.find()?.back_up(&args.to).await?;
    let bytes = std::fs::metadata(&args.to)?.len();
    output::print(&format!("wrote {} ({bytes} bytes)", args.to.display()));
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn restore(args: RestoreArgs) -> anyhow::Result<ExitCode> {
    let place = args.place.find()?;
    place.restore(&args.from, args.skip_ids).await?;
    output::print(&format!("restored {}", args.place.name()));
    if args.skip_ids > 0 {
        output::print(&format!(
            "every conversation skips {} ids: messages that clients hold and the backup does not know keep theirs",
            args.skip_ids
        ));
    }
    Ok(ExitCode::SUCCESS)
}
