//! The reference of bounds, `docs/reference/bounds.md`, against the configuration.
//!
//! Keys, ranges, defaults and meanings in its tables are made from the schema; what happens at a bound
//! and what counts it are written by hand in the table itself and kept. `IM_UPDATE=1` writes the file:
//! a key that is new gets a row with empty cells, which this test then wants filled, or the row moved
//! to the table of settings that bound nothing.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests fail by panicking, and their helpers are not marked as tests"
)]

mod enforced;
mod keys;
mod metrics;
mod page;
mod spelled;

use std::path::{Path, PathBuf};

use keys::{Key, keys};
use page::Page;

const COMMAND: &str = "IM_UPDATE=1 cargo test -p im-config --test bounds";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn page() -> (PathBuf, Page) {
    let path = root().join("docs/reference/bounds.md");
    let text = std::fs::read_to_string(&path).unwrap();
    (path, Page::parse(&text))
}

#[test]
fn the_page_has_every_key_of_the_configuration_and_no_other() {
    let (path, page) = page();
    let expected = page.render(&keys());
    if std::env::var_os("IM_UPDATE").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let present = std::fs::read_to_string(&path).unwrap();
    if present != expected {
        let line = present
            .lines()
            .zip(expected.lines())
            .find(|(present, expected)| present != expected);
        panic!(
            "{} is not what the configuration says, first at {line:#?}; {COMMAND} writes it",
            path.display()
        );
    }
}

#[test]
fn every_bound_says_what_happens_and_what_counts_it() {
    let (_, page) = page();
    // As it is written, whether or not the other test has written it yet.
    let page = Page::parse(&page.render(&keys()));
    let empty: Vec<&str> = page
        .bounds
        .iter()
        .filter(|(_, cells)| cells.at.is_empty() || cells.counted.is_empty())
        .map(|(key, _)| key.as_str())
        .collect();
    assert!(
        empty.is_empty(),
        "fill the last two cells of these rows, or move the row to the settings that bound nothing: \
         {empty:#?}"
    );
}

#[test]
fn every_metric_that_the_page_names_is_one_of_the_servers() {
    let (_, page) = page();
    let known = metrics::Metrics::of_sources(&root().join("services"));
    let unknown: Vec<String> = page
        .named_metrics()
        .into_iter()
        .filter(|name| !known.has(name))
        .collect();
    assert!(unknown.is_empty(), "no metric of the servers: {unknown:#?}");
}

/// The table of the operations page that tells how long what is kept.
#[test]
fn what_the_operations_page_says_of_retention_is_the_default() {
    let text = std::fs::read_to_string(root().join("docs/kubernetes.md")).unwrap();
    let (_, table) = text.split_once("<!-- kept -->\n").unwrap();
    let (table, _) = table.split_once("<!-- end -->").unwrap();
    let keys = keys();
    let rows = table.lines().skip(2).map(|row| {
        let mut cells = row.trim_matches('|').rsplit('|').map(str::trim);
        let key = cells.next().unwrap().trim_matches('`');
        (key, cells.next().unwrap())
    });
    let rows: Vec<_> = rows.collect();
    assert!(rows.len() >= 10, "{rows:?}");
    for (path, kept) in rows {
        let key = keys.iter().find(|key| key.path == path);
        assert_eq!(key.map(|key| key.default.as_str()), Some(kept), "{path}");
    }
}

#[test]
fn a_new_key_needs_a_row_and_a_lost_one_loses_it() {
    let text = "# Bounds\n\n<!-- bounds -->\n| a.gone | | 1 | x | closed | `im_x` |\n\
                | `a.kept` | 1ms | 1 | old | closed | `im_x` |\n<!-- end -->\n\nRest\n\n\
                <!-- settings -->\n| `b.port` | | 1 | x |\n<!-- end -->\nEnd\n";
    let key = |path: &str, range: &str| Key {
        path: path.to_owned(),
        range: range.to_owned(),
        default: "7".to_owned(),
        meaning: "new".to_owned(),
    };
    let keys = [
        key("a.kept", "1ms to 1s"),
        key("a.new", ""),
        key("b.port", ""),
    ];
    let page = Page::parse(text).render(&keys);
    assert!(page.contains("| `a.kept` | 1ms to 1s | 7 | new | closed | `im_x` |\n"));
    assert!(page.contains("| `a.new` |  | 7 | new |  |  |\n"));
    assert!(!page.contains("a.gone"));
    assert!(page.contains("| `b.port` |  | 7 | new |\n"));
    assert!(page.contains("\nRest\n") && page.ends_with("End\n"));
    let again = Page::parse(&page);
    assert_eq!(again.render(&keys), page);
    assert_eq!(again.bounds.len(), 2);
}
