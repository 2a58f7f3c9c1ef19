//! The Helm charts: what they render, what they refuse, and that what is generated is up to date.
//!
//! The tests need Helm: the variable HELM names the program, and without it `helm` must be on the
//! PATH. With `UPDATE_CHARTS=1` they write golden files and generated parts instead of comparing.

#![allow(
    clippy::panic,
    clippy::indexing_slicing,
    reason = "functions of tests; the exemption of clippy.toml covers only those marked as tests"
)]

mod crds;
mod docs;
mod golden;
mod helm;
mod monitoring;
mod rules;
mod spec_schema;

use std::path::{Path, PathBuf};

/// Every chart.
const CHARTS: [&str; 3] = ["im-crds", "im-operator", "im-cluster"];

/// A path in the repository.
fn repository(path: &str) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("repository").join(path)
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Files of a folder that end so, in order.
fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let entries =
        std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("read folder").path())
        .filter(|path| path.to_str().is_some_and(|path| path.ends_with(end)))
        .collect();
    files.sort();
    files
}

/// Compares a file with what it should hold, or writes it.
fn compare(path: &Path, wanted: &str) {
    if std::env::var_os("UPDATE_CHARTS").is_some() {
        let folder = path.parent().expect("a folder");
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(path, wanted))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        return;
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    if found == wanted {
        return;
    }
    let line = found
        .lines()
        .zip(wanted.lines())
        .take_while(|(found, wanted)| found == wanted)
        .count();
    panic!(
        "{} differs in line {}:\n  found  {:?}\n  wanted {:?}\nUPDATE_CHARTS=1 writes it",
        path.display(),
        line + 1,
        found.lines().nth(line),
        wanted.lines().nth(line),
    );
}
