//! `imd directory import`: people and departments from CSV or YAML.
//!
//! All or nothing: a file with a bad line changes nothing, and each bad line is named.

mod csv_file;
mod row;
mod yaml_file;

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use clap::{Args, Subcommand, ValueEnum};
use im_proto_rpc::v1::{DirectoryRow, ImportReport};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::connect::{ServerArgs, refusal};
use crate::output;
use row::BadLine;

/// Largest file: a quarter of a million people with long texts.
const MAX_FILE_BYTES: u64 = 256 << 20;

#[derive(Debug, Subcommand)]
pub(crate) enum DirectoryCommand {
    /// Adds and updates people by name; never deletes anybody.
    Import(ImportArgs),
}

#[derive(Args, Debug)]
pub(crate) struct ImportArgs {
    /// CSV or YAML file with the columns id, name, password, password_hash, nick, sex, department,
    /// phone, email, domain, avatar, status, signature; `-` reads standard input.
    #[arg(value_name = "FILE|-")]
    file: PathBuf,
    /// Format; by default that of the file's name, and CSV for standard input.
    #[arg(long)]
    format: Option<Format>,
    /// Prints the report as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Csv,
    Yaml,
}

pub(crate) async fn command(command: DirectoryCommand) -> anyhow::Result<ExitCode> {
    let DirectoryCommand::Import(args) = command;
    let text = read(&args.file)?;
    let rows = match args.format.unwrap_or_else(|| format_of(&args.file)) {
        Format::Csv => csv_file::rows(&text),
        Format::Yaml => yaml_file::rows(&text),
    };
    let report = match rows {
        Ok(rows) => import(&args.server, rows).await?,
        Err(bad) => ImportReport {
            errors: bad.into_iter().map(BadLine::into_error).collect(),
            ..ImportReport::default()
        },
    };
    Ok(show(&report, args.json))
}

fn format_of(path: &Path) -> Format {
    match path.extension().and_then(OsStr::to_str) {
        Some("yaml" | "yml") => Format::Yaml,
        _ => Format::Csv,
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
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
        "the file is larger than {MAX_FILE_BYTES} bytes"
    );
    let text = String::from_utf8(bytes).with_context(what)?;
    // Spreadsheets like to begin with a byte order mark.
    Ok(text
        .strip_prefix('\u{feff}')
        .map(str::to_owned)
        .unwrap_or(text))
}

async fn import(server: &ServerArgs, rows: Vec<DirectoryRow>) -> anyhow::Result<ImportReport> {
    let total = rows.len() as u64;
    let mut admin = server.connect().await?;
    let bar = progress_bar(total);
    let mut progress = admin
        .import_directory(futures::stream::iter(rows))
        .await
        .map_err(|status| refusal(&status))?
        .into_inner();
    let mut report = None;
    while let Some(item) = progress
        .message()
        .await
        .map_err(|status| refusal(&status))?
    {
        bar.set_position(u64::from(item.hashed));
        bar.set_message(format!("{} received", item.received));
        report = item.report.or(report);
    }
    bar.finish_and_clear();
    report.context("the server ended the import without a report")
}

/// On standard error, and only when that is a terminal.
fn progress_bar(total: u64) -> ProgressBar {
    let bar = ProgressBar::new(total);
    if let Ok(style) =
        ProgressStyle::with_template("{bar:40} {pos}/{len} passwords, {msg} {elapsed}")
    {
        bar.set_style(style);
    }
    bar
}

fn show(report: &ImportReport, json: bool) -> ExitCode {
    if json {
        let errors: Vec<_> = report
            .errors
            .iter()
            .map(|error| json!({"line": error.line, "message": error.message}))
            .collect();
        let value = json!({
            "applied": report.applied,
            "added": report.added,
            "updated": report.updated,
            "unchanged": report.unchanged,
            "departments_added": report.departments_added,
            "errors": errors,
        });
        output::print(&format!("{value:#}"));
    } else {
        for error in &report.errors {
            output::note(&format!("line {}: {}", error.line, error.message));
        }
        if report.applied {
            output::print(&format!(
                "{} added, {} updated, {} unchanged, {} departments added",
                report.added, report.updated, report.unchanged, report.departments_added
            ));
        } else {
            output::note(&format!(
                "nothing imported, bad lines: {}",
                report.errors.len()
            ));
        }
    }
    if report.applied {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_file_tells_its_format() {
        assert_eq!(format_of(Path::new("a/people.YAML.yml")), Format::Yaml);
        assert_eq!(format_of(Path::new("people.csv")), Format::Csv);
        assert_eq!(format_of(Path::new("-")), Format::Csv);
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.csv");
        std::fs::write(&path, "\u{feff}name\nann\n").unwrap();
        assert_eq!(read(&path).unwrap(), "name\nann\n");
    }
}
