//! Limits of the operating system.

use std::io;

/// Raises the limit of open files to its maximum and tells what it is now.
///
/// # Errors
/// The operating system does not tell the limit, or does not raise it.
pub fn raise_open_files() -> io::Result<u64> {
    rlimit::increase_nofile_limit(u64::MAX)
}
