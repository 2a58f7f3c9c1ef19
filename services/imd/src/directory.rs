//! `imd directory import`: people and departments from a table or YAML.
//!
//! All or nothing: a file with a bad line changes nothing, and each bad line is named.

mod progress;
mod report;

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::{Args, Subcommand, ValueEnum};
use im_directory_file::{BadLine, Encoding, Reading};
use im_proto_rpc::v1::{DirectoryRow, ImportItem, ImportOptions, ImportReport, import_item::Item};

use crate::connect::{ServerArgs, refusal};
use crate::output;
use progress::Progress;
use report::{Outcome, ReportFile};

/// Largest file: a quarter of a million people with long texts.
const MAX_FILE_BYTES: u64 = 256 << 20;

#[derive(Debug, Subcommand)]
pub(crate) enum DirectoryCommand {
    /// Adds and updates people by name; never deletes anybody.
    Import(ImportArgs),
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imd directory import people.csv --data-dir data --dry-run
  imd directory import people.csv --data-dir data --report changes.txt
  mysql --batch -e 'SELECT * FROM IMUser' teamtalk > users.tsv
  mysql --batch -e 'SELECT * FROM IMDepart' teamtalk > departments.tsv
  imd directory import users.tsv --departments departments.tsv --data-dir data")]
pub(crate) struct ImportArgs {
    /// Table (separated by commas, semicolons or tabs), YAML or JSON by lines with the columns id, name, password,
    /// password_hash, nick, sex, department, phone, email, domain, avatar, status, signature, or usual
    /// words for them; all but name may be missing. `-` reads standard input.
    #[arg(value_name = "FILE|-")]
    file: PathBuf,
    /// Format; by default that of the file's name, and a table for standard input.
    #[arg(long, help_heading = "The file")]
    format: Option<Format>,
    /// Encoding of the file, such as gb18030 or windows-1252; by default UTF-8 or UTF-16, and what is
    /// guessed is named.
    #[arg(long, value_name = "NAME", value_parser = im_directory_file::encoding, help_heading = "The file")]
    encoding: Option<&'static Encoding>,
    /// Table IMDepart of a TeamTalk database, for the column departId.
    #[arg(long, value_name = "FILE", help_heading = "The file")]
    departments: Option<PathBuf>,
    /// Takes passwords that look like hashes for passwords.
    #[arg(long, help_heading = "The file")]
    clear_passwords: bool,
    /// Says what would be added and changed, field by field, and changes nothing.
    #[arg(long, help_heading = "The report")]
    dry_run: bool,
    /// Receives the whole report; a terminal shows the beginning of it.
    #[arg(long, value_name = "FILE", help_heading = "The report")]
    report: Option<PathBuf>,
    /// Prints the report as JSON.
    #[arg(long, help_heading = "The report")]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Csv,
    Yaml,
    Ndjson,
}

impl From<Format> for im_directory_file::Format {
    fn from(format: Format) -> Self {
        match format {
            Format::Csv => Self::Table,
            Format::Yaml => Self::Yaml,
            Format::Ndjson => Self::Ndjson,
        }
    }
}

pub(crate) async fn command(command: DirectoryCommand) -> anyhow::Result<ExitCode> {
    let DirectoryCommand::Import(args) = command;
    let report_file = ReportFile::create(args.report.as_deref())?;
    let outcome = match rows(&args)? {
        Ok(rows) => import(&args, rows).await?,
        Err(bad) => Outcome {
            report: ImportReport {
                dry_run: args.dry_run,
                errors: bad.into_iter().map(BadLine::into_error).collect(),
                ..ImportReport::default()
            },
            ..Outcome::default()
        },
    };
    report_file.write(&outcome, args.json)?;
    outcome.show(args.json);
    Ok(if outcome.report.errors.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The people of the file, or its bad lines.
fn rows(args: &ImportArgs) -> anyhow::Result<Result<Vec<DirectoryRow>, Vec<BadLine>>> {
    let mut reading = Reading {
        clear_passwords: args.clear_passwords,
        ..Reading::default()
    };
    if let Some(file) = &args.departments {
        match im_directory_file::paths(&read(file, args.encoding)?) {
            Ok(paths) => reading.departments = paths,
            Err(bad) => return Ok(Err(bad)),
        }
    }
    let text = read(&args.file, args.encoding)?;
    let format = args.format.unwrap_or_else(|| format_of(&args.file));
    Ok(im_directory_file::rows(&text, format.into(), &reading))
}

fn format_of(path: &Path) -> Format {
    match path.extension().and_then(OsStr::to_str) {
        Some("yaml" | "yml") => Format::Yaml,
        Some("ndjson" | "jsonl") => Format::Ndjson,
        _ => Format::Csv,
    }
}

fn read(path: &Path, encoding: Option<&'static Encoding>) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    let what = || format!("read {}", path.display());
    if path == Path::new("-") {
        std::io::stdin()
            .lock()
            .take(MAX_FILE_BYTES + 1)
            .read_to_end(&mut bytes)
    } else {
        let file = std::fs::File::open(path).with_context(what)?;
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)
    }
    .with_context(what)?;
    ensure!(
        bytes.len() as u64 <= MAX_FILE_BYTES,
        "{} is larger than {MAX_FILE_BYTES} bytes",
        path.display()
    );
    let text = im_directory_file::decode(&bytes, encoding)
        .map_err(anyhow::Error::msg)
        .with_context(what)?;
    if let Some(guess) = text.guess {
        output::note(&format!(
            "{} is no UTF-8: read as {guess}, which is a guess; --encoding names another",
            path.display()
        ));
    }
    Ok(text.text)
}

async fn import(args: &ImportArgs, rows: Vec<DirectoryRow>) -> anyhow::Result<Outcome> {
    let mut admin = args.server.connect().await?;
    let mut progress = Progress::start();
    let options = Item::Options(ImportOptions {
        dry_run: args.dry_run,
    });
    let items = std::iter::once(options).chain(rows.into_iter().map(Item::Row));
    let items = items.map(|item| ImportItem { item: Some(item) });
    let mut answer = admin
        .import_directory(futures::stream::iter(items))
        .await
        .map_err(|status| refusal(&status))?
        .into_inner();
    let mut report = None;
    let mut changes = Vec::new();
    while let Some(item) = answer.message().await.map_err(|status| refusal(&status))? {
        progress.show(&item);
        changes.extend(item.changes);
        report = item.report.or(report);
    }
    progress.end();
    let report = report.context("the server ended the import without a report")?;
    Ok(Outcome { report, changes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_file_tells_its_format() {
        assert_eq!(format_of(Path::new("a/people.YAML.yml")), Format::Yaml);
        assert_eq!(format_of(Path::new("people.csv")), Format::Csv);
        assert_eq!(format_of(Path::new("people.jsonl")), Format::Ndjson);
        assert_eq!(format_of(Path::new("-")), Format::Csv);
    }
}
