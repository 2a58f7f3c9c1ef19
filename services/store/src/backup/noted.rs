//! When a store was last copied: a line in its data directory, which whoever makes a backup writes and
//! whoever serves the store shows.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use im_core::Chain;
use im_core::time::UnixSeconds;

/// Holds the Unix seconds of the last backup as text.
const FILE: &str = "last-backup";

/// Longest text that is read, bytes.
const MAX_BYTES: u64 = 16;

fn file_of(data_dir: &Path) -> PathBuf {
    data_dir.join(FILE)
}

/// Notes that a backup of a data directory has just become whole. A backup is one also where this cannot be
/// noted, as by somebody who may only read.
pub(super) fn note(data_dir: &Path) {
    let path = file_of(data_dir);
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)?;
        write!(file, "{}", UnixSeconds::now().get())
    };
    if let Err(error) = write() {
        tracing::warn!(path = %path.display(), error = %Chain(&error), "the time of the backup is not noted");
    }
}

/// When a backup of a data directory was last made, as far as that was noted. Reads a small file.
pub(crate) fn last(data_dir: &Path) -> Option<UnixSeconds> {
    let mut text = String::new();
    let file = File::open(file_of(data_dir)).ok()?;
    file.take(MAX_BYTES).read_to_string(&mut text).ok()?;
    text.trim().parse().ok().map(UnixSeconds::from_wire)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_last_backup_is_noted_for_the_owner_only_and_rubbish_is_no_time() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(last(dir.path()), None);
        let before = UnixSeconds::now();
        note(dir.path());
        assert!(last(dir.path()).is_some_and(|at| at >= before));
        let mode = fs::metadata(file_of(dir.path())).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        for text in ["", "never", "99999999999999999999"] {
            fs::write(file_of(dir.path()), text).unwrap();
            assert_eq!(last(dir.path()), None, "{text}");
        }
    }
}
