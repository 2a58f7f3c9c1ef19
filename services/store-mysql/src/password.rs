//! The password of the database, from a file that is followed: a new one counts for connections that are made from then on.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use im_core::Chain;
use sqlx::mysql::MySqlPool;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Between two looks at the file.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Longest file that is taken for one with a password, bytes.
const LONGEST: usize = 4096;

/// Reads the password: the first line.
pub(crate) async fn read(path: &Path) -> io::Result<String> {
    let text = tokio::fs::read_to_string(path).await?;
    if text.len() > LONGEST {
        let reason = format!("it has more than {LONGEST} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    }
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// The password that is in use, and where it comes from.
#[derive(Clone)]
pub(crate) struct Password {
    pub(crate) file: PathBuf,
    pub(crate) text: String,
}

impl Password {
    /// Tells the pools of each new password until `stop`. A file that cannot be read is logged once, and the last password
    /// stays.
    pub(crate) async fn follow(mut self, pools: &[&MySqlPool], stop: &CancellationToken) {
        let mut is_failing = false;
        while stop.run_until_cancelled(sleep(LOOK_EVERY)).await.is_some() {
            match read(&self.file).await {
                Ok(text) => {
                    is_failing = false;
                    if text == self.text {
                        continue;
                    }
                    for pool in pools {
                        let options = pool.connect_options().as_ref().clone();
                        pool.set_connect_options(options.password(&text));
                    }
                    self.text = text;
                    tracing::info!(file = %self.file.display(), "the password of the database has changed");
                }
                Err(error) if !std::mem::replace(&mut is_failing, true) => {
                    tracing::warn!(
                        file = %self.file.display(),
                        error = %Chain(&error),
                        "the former password of the database stays"
                    );
                }
                Err(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_password_is_the_first_line_of_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        for (text, password) in [
            ("secret", "secret"),
            ("secret\n", "secret"),
            (" with signs #'\"\\ 密\r\nmore\n", " with signs #'\"\\ 密"),
            ("", ""),
        ] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(read(&file).await.unwrap(), password);
        }
        std::fs::write(&file, "x".repeat(LONGEST)).unwrap();
        assert_eq!(read(&file).await.unwrap().len(), LONGEST);
        std::fs::write(&file, "x".repeat(LONGEST + 1)).unwrap();
        assert!(read(&file).await.is_err());
        assert!(read(&dir.path().join("none")).await.is_err());
    }
}
