//! Files for their owner only: of mode 0600 from the first byte on, and under their name only when they
//! are whole and on disk.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use im_core::Chain;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use crate::data_dir::sync_dir;

/// Makes a file with this text, unless there is one of that name. Its directory must exist.
///
/// # Errors
///
/// The file cannot be made.
pub fn make_private_file(path: &Path, text: &str) -> io::Result<()> {
    if path.try_exists()? {
        return Ok(());
    }
    let draft = Draft::beside(path)?;
    fs::write(draft.path(), text)?;
    match draft.publish(path) {
        // It has appeared meanwhile.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        published => published,
    }
}

/// A file that is not whole yet; deleted unless published.
#[derive(Debug)]
pub(crate) struct Draft {
    path: PathBuf,
}

impl Draft {
    /// An empty file beside the one that it is to become.
    pub(crate) fn beside(target: &Path) -> io::Result<Self> {
        let mut name = target
            .file_name()
            .ok_or(io::ErrorKind::InvalidInput)?
            .to_os_string();
        name.push(format!(".partial-{}", std::process::id()));
        let path = target.with_file_name(name);
        // Left by a process that had the same id, as each has in a container. Whatever mode it has, and
        // whoever has it open, it is not taken up.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        Ok(Self { path })
    }

    /// Where it is written.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the file durable and gives it its name. The kind of the error is `AlreadyExists` when the
    /// name is not free.
    pub(crate) fn publish(self, target: &Path) -> io::Result<()> {
        File::open(&self.path)?.sync_all()?;
        // A link, unlike a renaming, never replaces a file that has appeared meanwhile.
        match fs::hard_link(&self.path, target) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                // Some file systems have no links, others no such renaming; with neither nothing is
                // replaced, and the caller is told.
                rename_new(&self.path, target)?;
            }
            linked => linked?,
        }
        let parent = target.parent().filter(|it| !it.as_os_str().is_empty());
        sync_dir(parent.unwrap_or_else(|| Path::new(".")))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.path.display(), error = %Chain(&error), "partial file left behind");
        }
    }
}

/// Gives a file a name, unless there is one of that name.
fn rename_new(from: &Path, to: &Path) -> Result<(), Errno> {
    renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_file_is_made_once_for_its_owner_only_and_nothing_lies_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        make_private_file(&path, "first").unwrap();
        make_private_file(&path, "second").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "first");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_process_of_the_same_id_has_left_is_not_taken_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let left = dir
            .path()
            .join(format!("secret.partial-{}", std::process::id()));
        fs::write(&left, "half of a long, long, long text").unwrap();
        fs::set_permissions(&left, fs::Permissions::from_mode(0o644)).unwrap();
        make_private_file(&path, "whole").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole");
        assert_eq!(mode(&path), 0o600);
        assert!(!left.try_exists().unwrap());
    }

    #[test]
    fn a_file_that_has_appeared_meanwhile_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("copy.db");
        let draft = Draft::beside(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        let error = draft.publish(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_renaming_never_replaces_a_file_that_appeared_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::write(&from, "new").unwrap();
        fs::write(&to, "precious").unwrap();
        assert_eq!(rename_new(&from, &to), Err(Errno::EEXIST));
        assert_eq!(fs::read_to_string(&to).unwrap(), "precious");
        fs::remove_file(&to).unwrap();
        rename_new(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), "new");
    }
}
