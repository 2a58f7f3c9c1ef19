//! The code blocks of the documents, and what is done with each: what people paste is what the tests run.
//!
//! The words behind the opening fence say it: a language, and then
//!
//! * `run`: run on this machine, in the order of the document (`sh`), or checked (`toml`);
//! * `cluster`: run on a Kubernetes cluster, in the order of the document;
//! * `skip, because …`: neither, for the reason given.
//!
//! `frame` blocks have a name instead: the codec's tests read them.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// What is done with a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Use {
    /// It is run on this machine.
    Run,
    /// It is run on a cluster.
    Cluster,
    /// It is left out.
    Skip {
        /// Why.
        reason: String,
    },
    /// The codec's tests read it.
    Frame,
}

/// A code block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Number of the line of its opening fence, from 1.
    pub line: usize,
    /// The first word behind the fence.
    pub language: String,
    /// What is done with it.
    pub is_for: Use,
    /// What stands in it.
    pub text: String,
}

/// The blocks of a document, in order.
///
/// # Errors
/// A block is not marked, or not closed; the error names its line.
pub fn blocks(text: &str) -> anyhow::Result<Vec<Block>> {
    let mut found = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in (1..).zip(text.lines()) {
        let fence = line.trim_start().strip_prefix("```");
        match (&mut open, fence) {
            (None, None) => {}
            (None, Some(info)) => open = Some(opened(number, info)?),
            (Some(block), None) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (Some(_), Some(_)) => found.extend(open.take()),
        }
    }
    if let Some(block) = open {
        bail!("line {}: the block is not closed", block.line);
    }
    Ok(found)
}

fn opened(line: usize, info: &str) -> anyhow::Result<Block> {
    let (language, mark) = info.split_once(' ').unwrap_or((info, ""));
    let is_for = match (language, mark) {
        ("frame", _) => Use::Frame,
        ("sh" | "toml", "run") => Use::Run,
        ("sh", "cluster") => Use::Cluster,
        (_, mark) => {
            let reason = mark.strip_prefix("skip, because ").unwrap_or_default();
            if language.is_empty() || reason.is_empty() {
                bail!(
                    "line {line}: a code block needs a language and one of \"run\" (sh, toml), \
                     \"cluster\" (sh) and \"skip, because …\" behind it, not {info:?}"
                );
            }
            Use::Skip {
                reason: reason.to_owned(),
            }
        }
    };
    Ok(Block {
        line,
        language: language.to_owned(),
        is_for,
        text: String::new(),
    })
}

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every document with its blocks, by its path from the root.
///
/// # Errors
/// A document cannot be read, or a block of it is not marked.
pub fn all() -> anyhow::Result<Vec<(String, Vec<Block>)>> {
    let mut found = Vec::new();
    read(&root(), "", &mut found)?;
    for folder in ["docs", "charts"] {
        read(&root().join(folder), folder, &mut found)?;
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(found)
}

/// Reads the documents of a folder; of the root without its folders.
fn read(folder: &Path, name: &str, found: &mut Vec<(String, Vec<Block>)>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry?.path();
        let file = path.file_name().and_then(|name| name.to_str());
        let file = file.context("a name that is text")?;
        let inner = match name {
            "" => file.to_owned(),
            name => format!("{name}/{file}"),
        };
        if path.is_dir() && !name.is_empty() {
            read(&path, &inner, found)?;
        } else if path.extension().is_some_and(|ending| ending == "md") {
            let text = std::fs::read_to_string(&path).with_context(|| format!("read {inner}"))?;
            let blocks = blocks(&text).with_context(|| inner.clone())?;
            found.push((inner, blocks));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_of_every_document_is_marked() {
        let documents = all().unwrap();
        let count = |wanted: fn(&Use) -> bool| {
            let blocks = documents.iter().flat_map(|(_, blocks)| blocks);
            blocks.filter(|block| wanted(&block.is_for)).count()
        };
        // They were found.
        assert!(count(|found| *found == Use::Run) >= 2);
        assert!(count(|found| *found == Use::Cluster) >= 3);
        assert!(count(|found| *found == Use::Frame) >= 40);
    }

    #[test]
    fn a_mark_says_what_a_block_is_for() {
        let text = "a\n```sh run\none\n\ntwo\n```\n```text skip, because a drawing\nx\n```\n";
        let found = blocks(text).unwrap();
        let [run, skip] = found.as_slice() else {
            panic!("{found:?}");
        };
        assert_eq!((run.line, run.text.as_str()), (2, "one\n\ntwo\n"));
        assert_eq!((run.language.as_str(), &run.is_for), ("sh", &Use::Run));
        let reason = "a drawing".to_owned();
        assert_eq!(skip.is_for, Use::Skip { reason });
    }

    #[test]
    fn a_block_without_a_use_is_named_by_its_line() {
        for (text, line) in [
            ("\n```\nx\n```\n", 2),
            ("```sh\nx\n```\n", 1),
            ("```yaml run\nx\n```\n", 1),
            ("```sh skip\nx\n```\n", 1),
            ("```sh skip, because \nx\n```\n", 1),
            ("a\nb\n```sh run\nx\n", 3),
        ] {
            let error = blocks(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!("line {line}: ")), "{error}");
        }
    }
}
