//! `imd import-teamtalk`: what an original installation has stored, taken over into a store of ours.

mod progress;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use im_config::units::ByteSize;
use im_migrate::{ImportOptions, Report};
use im_store::OpenStore;
use im_store_mysql::{MysqlOptions, MysqlServer, TlsMode};

use crate::cli::ConfigArgs;
use crate::contents::place;
use crate::output;
pub(crate) use progress::Progress;

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imd import-teamtalk --from mysql://reader@old-db/teamtalk --from-password-file password --dry-run
  imd import-teamtalk --from mysql://reader@old-db/teamtalk --from-password-file password --data-dir data
  imd import-teamtalk --from mysql://reader@old-db/teamtalk --from-password-file password \\
    --config cluster.toml --files /srv/msfs --redis keys.txt --report report.json
  imd import-teamtalk --from mysql://reader@old-db/teamtalk --from-password-file password --data-dir data --verify-only")]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct ImportArgs {
    /// The database of the original, which is only read.
    #[arg(long, value_name = "mysql://USER@HOST:PORT/DATABASE", value_parser = MysqlServer::from_url)]
    from: MysqlServer,
    /// Reads everything, says what is odd, and writes nothing.
    #[arg(long, conflicts_with = "verify_only")]
    dry_run: bool,
    /// Compares the store with the original, and writes nothing.
    #[arg(long)]
    verify_only: bool,
    /// File whose first line is the password for the original's database.
    #[arg(long, value_name = "FILE", help_heading = "The original")]
    from_password_file: Option<PathBuf>,
    /// Whether the connection to it is encrypted.
    #[arg(
        long,
        value_name = "MODE",
        default_value = "preferred",
        help_heading = "The original"
    )]
    from_tls: Tls,
    /// Certificates that may have signed its own, beside the usual roots.
    #[arg(long, value_name = "FILE", help_heading = "The original")]
    from_ca_file: Option<PathBuf>,
    /// A copy of the folder of its msfs (BaseDir), for the sound of audio messages.
    #[arg(long, value_name = "DIR", help_heading = "The original")]
    files: Option<PathBuf>,
    /// Keys of its Redis, lines of key, field and value: unread counts and silenced groups.
    #[arg(long, value_name = "FILE", help_heading = "The original")]
    redis: Option<PathBuf>,
    /// What avatars without a host begin with, such as `http://pictures.example.com:8700`
    #[arg(long, value_name = "URL", help_heading = "The original")]
    avatar_base: Option<String>,
    /// Messages of one transaction.
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u16).range(1..=20_000), help_heading = "How")]
    rows: u16,
    /// Longest message; the sound of a longer one is left out.
    #[arg(long, value_name = "SIZE", default_value_t = ByteSize::kib(256), help_heading = "How")]
    max_body: ByteSize,
    /// Does not compare both sides at the end.
    #[arg(long, help_heading = "How")]
    no_verify: bool,
    /// Receives the report as JSON.
    #[arg(long, value_name = "FILE", help_heading = "The report")]
    report: Option<PathBuf>,
    /// Prints the report as JSON.
    #[arg(long, help_heading = "The report")]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// As the key `mysql.tls`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Tls {
    Disabled,
    Preferred,
    Required,
    VerifyCa,
    VerifyIdentity,
}

impl From<Tls> for TlsMode {
    fn from(tls: Tls) -> Self {
        match tls {
            Tls::Disabled => Self::Disabled,
            Tls::Preferred => Self::Preferred,
            Tls::Required => Self::Required,
            Tls::VerifyCa => Self::VerifyCa,
            Tls::VerifyIdentity => Self::VerifyIdentity,
        }
    }
}

impl ImportArgs {
    fn options(&self) -> ImportOptions {
        let connection = MysqlOptions {
            password_file: self.from_password_file.clone(),
            tls: self.from_tls.into(),
            ca_file: self.from_ca_file.clone(),
            ..MysqlOptions::default()
        };
        ImportOptions {
            files: self.files.clone(),
            avatar_base: self.avatar_base.clone(),
            redis: self.redis.clone(),
            rows: usize::from(self.rows),
            max_body: self.max_body.as_usize(),
            verify: !self.no_verify,
            ..ImportOptions::new(self.from.clone(), connection)
        }
    }
}

/// Ends with a failure when both sides are not the same.
pub(crate) async fn import(args: ImportArgs) -> anyhow::Result<ExitCode> {
    let options = args.options();
    let mut progress = Progress::start();
    let tell = &mut |told| progress.show(told);
    let report = if args.dry_run {
        im_migrate::dry_run(&options, tell).await?
    } else {
        let store = open(&args.config).await?;
        let done = if args.verify_only {
            im_migrate::verify(store.as_ref(), &options, tell).await
        } else {
            im_migrate::import(store.as_ref(), &options, tell).await
        };
        let closed = store.close().await;
        let report = done?;
        closed?;
        report
    };
    progress.end();
    show(&args, &report)?;
    Ok(if report.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The store that is configured.
async fn open(args: &ConfigArgs) -> anyhow::Result<Arc<dyn OpenStore>> {
    let (place, _) = place(args, "the import needs a store to write into")?;
    Ok(place.open().await?)
}

fn show(args: &ImportArgs, report: &Report) -> anyhow::Result<()> {
    let value = serde_json::to_value(report)?;
    if let Some(path) = &args.report {
        write(path, &output::json(&value))?;
    }
    if args.json {
        output::print_json(&value);
    } else {
        for line in report.words() {
            output::print(&line);
        }
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, format!("{text}\n")).with_context(|| format!("write {}", path.display()))
}
