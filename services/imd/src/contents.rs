//! `imd export` and `imd import`: everything that a store holds, out of it and into a new one of any kind.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use im_migrate::ContentReport;
use im_store::{StorePlace, store_at, store_in};
use tempfile::NamedTempFile;

use crate::cli::ConfigArgs;
use crate::config::{BadConfig, load};
use crate::kinds::{kinds, sqlite};
use crate::output;
use crate::teamtalk::Progress;

/// Stands for standard output and standard input.
const STREAM: &str = "-";
/// Bytes that are read or written at once.
const AT_ONCE: usize = 256 << 10;

#[derive(Args, Debug)]
#[command(after_help = "\
The servers of the store are ended first; whoever has the store meanwhile is named.

Examples:
  imd export --data-dir data --to im.archive
  imd export --store mysql://im@db/im --set mysql.password_file=password --to im.archive
  imd export --data-dir data --to - | imd import --config cluster.toml --from -")]
pub(crate) struct ExportArgs {
    /// File to write, which must not exist; `-` writes to standard output. It holds hashes of passwords and tokens, and
    /// secrets of subscriptions: keep it as the store itself.
    #[arg(long, value_name = "FILE|-")]
    to: PathBuf,
    #[command(flatten)]
    report: ReportArgs,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Args, Debug)]
#[command(after_help = "\
The store must be new: made by this command, or never used. What fails leaves nothing in it.
Ends with 1 when something has failed, or the store does not hold the same as the archive.

Examples:
  imd import --store mysql://im@db/im --set mysql.password_file=password --from im.archive
  imd import --data-dir data --from im.archive --report report.json
  imd import --data-dir data --from im.archive --verify-only")]
pub(crate) struct ImportArgs {
    /// File that `imd export` wrote; `-` reads standard input.
    #[arg(long, value_name = "FILE|-")]
    from: PathBuf,
    /// Does not read the store again to compare it with the archive.
    #[arg(long, conflicts_with = "verify_only", help_heading = "How")]
    no_verify: bool,
    /// Compares the store with the archive, and writes nothing.
    #[arg(long, help_heading = "How")]
    verify_only: bool,
    #[command(flatten)]
    report: ReportArgs,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Args, Debug)]
#[command(next_help_heading = "The report")]
struct ReportArgs {
    /// Receives the report as JSON.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Prints the report as JSON.
    #[arg(long)]
    json: bool,
}

/// The store that is configured, and how it is named.
pub(crate) fn place(
    args: &ConfigArgs,
    why: &'static str,
) -> anyhow::Result<(Box<dyn StorePlace>, String)> {
    let config = load(args, Vec::new())?;
    match (&config.store.url, &config.data_dir) {
        (Some(url), _) => {
            let place = store_at(url, &kinds(&config)).map_err(BadConfig::Store)?;
            Ok((place, url.clone()))
        }
        (None, Some(dir)) => {
            let name = format!("sqlite:{}", dir.display());
            Ok((store_in(dir, &sqlite(&config.sqlite)), name))
        }
        (None, None) => Err(BadConfig::Missing {
            key: "data_dir or store.url",
            why,
        }
        .into()),
    }
}

pub(crate) async fn export(args: ExportArgs) -> anyhow::Result<ExitCode> {
    let is_stream = args.to == Path::new(STREAM);
    if is_stream && io::stdout().is_terminal() {
        bail!("standard output is a terminal: redirect the archive into a file, or into a program");
    }
    if !is_stream && args.to.try_exists()? {
        bail!("{} exists: name a new file", args.to.display());
    }
    let (place, name) = place(&args.config, "there must be a store to read")?;
    if place.schema().await?.found.is_none() {
        bail!("there is no store at {name}");
    }
    let store = place.open().await?;
    let step = place.schema().await?.needed;
    let kind = name.split(':').next().unwrap_or_default();
    let source = format!("{kind}, step {step} of its schema");
    let mut progress = Progress::start();
    let tell = &mut |told| progress.show(told);
    let exported = if is_stream {
        let out = BufWriter::with_capacity(AT_ONCE, io::stdout());
        im_migrate::export(store.as_ref(), &source, out, tell).await
    } else {
        to_file(&args.to, async |file| {
            let out = BufWriter::with_capacity(AT_ONCE, file);
            im_migrate::export(store.as_ref(), &source, out, tell).await
        })
        .await?
    };
    let closed = store.close().await;
    progress.end();
    let report = exported?;
    closed?;
    // Standard output is the archive's.
    show(&args.report, &report, is_stream)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes a file for its owner only, which has its name once it is whole and on disk.
async fn to_file<T>(
    path: &Path,
    write: impl AsyncFnOnce(File) -> Result<T, im_migrate::MigrateError>,
) -> anyhow::Result<Result<T, im_migrate::MigrateError>> {
    let writing = || format!("write {}", path.display());
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let file =
        NamedTempFile::new_in(dir.unwrap_or_else(|| Path::new("."))).with_context(writing)?;
    let done = write(file.as_file().try_clone().with_context(writing)?).await;
    if done.is_ok() {
        file.as_file().sync_all().with_context(writing)?;
        file.persist_noclobber(path).with_context(writing)?;
    }
    Ok(done)
}

pub(crate) async fn import(args: ImportArgs) -> anyhow::Result<ExitCode> {
    let is_stream = args.from == Path::new(STREAM);
    if is_stream && io::stdin().is_terminal() {
        bail!("standard input is a terminal: redirect it from an archive");
    }
    let (place, name) = place(&args.config, "there must be a store to fill")?;
    if args.verify_only && place.schema().await?.found.is_none() {
        bail!("there is no store at {name}");
    }
    let input: Box<dyn io::Read + Send> = if is_stream {
        Box::new(io::stdin())
    } else {
        let file = File::open(&args.from);
        Box::new(file.with_context(|| format!("read {}", args.from.display()))?)
    };
    let input = BufReader::with_capacity(AT_ONCE, input);
    let store = place.open().await?;
    let mut progress = Progress::start();
    let tell = &mut |told| progress.show(told);
    let done = if args.verify_only {
        im_migrate::compare_contents(store.as_ref(), input, tell).await
    } else {
        im_migrate::import_contents(store.as_ref(), input, !args.no_verify, tell).await
    };
    let closed = store.close().await;
    progress.end();
    let report = done?;
    closed?;
    show(&args.report, &report, false)?;
    Ok(if report.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn show(args: &ReportArgs, report: &ContentReport, aside: bool) -> anyhow::Result<()> {
    let value = serde_json::to_value(report)?;
    if let Some(path) = &args.report {
        std::fs::write(path, format!("{}\n", output::json(&value)))
            .with_context(|| format!("write {}", path.display()))?;
    }
    let say = if aside { output::note } else { output::print };
    if args.json {
        say(&output::json(&value));
    } else {
        for line in report.words() {
            say(&line);
        }
    }
    Ok(())
}
