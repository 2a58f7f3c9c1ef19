//! Where what others send is kept: one folder, under names that lead nowhere else.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use tempfile::NamedTempFile;

/// Longest name of a file here, bytes; those of others may be longer.
const MAX_NAME: usize = 200;
/// Files of one name, which get numbers.
const MAX_SAME: u32 = 10_000;

/// A file that is not there yet: it disappears unless it is kept.
pub(super) struct Draft {
    file: NamedTempFile,
    folder: PathBuf,
    name: String,
}

impl Draft {
    /// Begins a file in the folder, which is made if need be. Blocks.
    pub(super) fn begin(folder: &Path, name: &str) -> anyhow::Result<Self> {
        let begin = || {
            std::fs::create_dir_all(folder)?;
            tempfile::Builder::new()
                .prefix(".receiving-")
                .tempfile_in(folder)
        };
        Ok(Self {
            file: begin().with_context(|| format!("write to {}", folder.display()))?,
            folder: folder.to_owned(),
            name: plain(name),
        })
    }

    /// What it is written to.
    pub(super) fn writer(&self) -> anyhow::Result<tokio::fs::File> {
        let file = self.file.as_file().try_clone();
        Ok(tokio::fs::File::from_std(file.context("write")?))
    }

    /// Keeps it under its name, or under one with a number where that is taken. Blocks.
    pub(super) fn keep(self) -> anyhow::Result<PathBuf> {
        let Self {
            mut file,
            folder,
            name,
        } = self;
        for number in 0..MAX_SAME {
            let path = folder.join(numbered(&name, number));
            match file.persist_noclobber(&path) {
                Ok(_) => return Ok(path),
                Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => {
                    file = error.file;
                }
                Err(error) => {
                    return Err(error.error).with_context(|| format!("keep {}", path.display()));
                }
            }
        }
        bail!("there are {MAX_SAME} files called {name}");
    }
}

/// The last part of a path of any system, without what a terminal or a folder would take for something else.
pub(super) fn plain(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let last = im_core::text::printable(last);
    let mut plain = String::new();
    for c in last.trim().trim_start_matches('.').chars() {
        let c = if "\\:*?\"<>|".contains(c) { '_' } else { c };
        if plain.len() + c.len_utf8() > MAX_NAME {
            break;
        }
        plain.push(c);
    }
    if plain.is_empty() {
        plain.push_str("file");
    }
    plain
}

/// The same name with a number before its ending; without one for 0.
fn numbered(name: &str, number: u32) -> String {
    if number == 0 {
        return name.to_owned();
    }
    match name.rsplit_once('.') {
        Some((stem, ending)) if !stem.is_empty() => format!("{stem} ({number}).{ending}"),
        _ => format!("{name} ({number})"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_name_leads_to_no_other_folder_and_drives_no_terminal() {
        for (name, expected) in [
            ("C:/Users/Ann/Budget 2026.xlsx", "Budget 2026.xlsx"),
            ("C:\\a\\b.txt", "b.txt"),
            ("../../etc/passwd", "passwd"),
            ("..", "file"),
            ("/", "file"),
            ("", "file"),
            (".bashrc", "bashrc"),
            ("报告 😀.pdf", "报告 😀.pdf"),
            ("a:b*c.txt", "a_b_c.txt"),
        ] {
            assert_eq!(plain(name), expected, "{name}");
        }
        let escape = plain("a\u{1b}[2J\n.txt");
        assert!(!escape.contains(['\u{1b}', '\n']), "{escape:?}");
        assert!(plain(&"长".repeat(300)).len() <= MAX_NAME);
    }

    #[test]
    fn nothing_is_overwritten_and_what_was_begun_disappears() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/b");
        let mut paths = Vec::new();
        for content in ["one", "two", "three"] {
            let mut draft = Draft::begin(&folder, "x/a.txt").unwrap();
            draft.file.write_all(content.as_bytes()).unwrap();
            paths.push(draft.keep().unwrap());
        }
        drop(Draft::begin(&folder, "b.txt").unwrap());
        let names = ["a.txt", "a (1).txt", "a (2).txt"];
        assert_eq!(paths, names.map(|name| folder.join(name)));
        assert_eq!(std::fs::read_to_string(&paths[1]).unwrap(), "two");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 3);
        assert_eq!(numbered("noending", 2), "noending (2)");
    }
}
