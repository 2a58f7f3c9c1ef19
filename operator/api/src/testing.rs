//! The manifests of `operator/api/tests/manifests`, for the tests that must judge them alike: without a
//! cluster, in the operator, and on a real API server.
//!
//! A bad one begins with `# expect: <part of the message>` and `# by: schema|cel|validate`; those by
//! `validate` only the operator can see. Files of `good-updates` and `bad-updates` hold two
//! manifests: the second is a change of the first.

use std::fs;
use std::io;
use std::path::Path;

/// A file, and what its head says.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The file's name without its ending.
    pub name: String,
    /// Part of the message that refuses it; empty for a good one.
    pub expect: String,
    /// Who refuses it.
    pub by: String,
    /// The manifests in it, as YAML.
    pub documents: Vec<String>,
}

/// All of a folder, `good`, `bad`, `good-updates` or `bad-updates`, in the order of their names.
///
/// # Errors
/// The folder or a file cannot be read.
pub fn manifests(folder: &str) -> io::Result<Vec<Manifest>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/manifests");
    let mut found = Vec::new();
    for entry in fs::read_dir(root.join(folder))? {
        let path = entry?.path();
        let text = fs::read_to_string(&path)?;
        let head = |key: &str| {
            let prefix = format!("# {key}: ");
            let line = text.lines().find_map(|line| line.strip_prefix(&prefix));
            line.unwrap_or_default().to_owned()
        };
        let name = path.file_stem().unwrap_or_default();
        found.push(Manifest {
            name: name.to_string_lossy().into_owned(),
            expect: head("expect"),
            by: head("by"),
            documents: text.split("\n---\n").map(str::to_owned).collect(),
        });
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}
