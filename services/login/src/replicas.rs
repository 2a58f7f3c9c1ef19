//! Follows the file that says how many login servers there are.
//!
//! In a cluster their number changes without a restart of those that stay.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::table::LoadTable;

/// The file is read this often. Its directory is not watched: a mounted volume changes by links, and a file
/// this small costs less to read than to watch.
const PERIOD: Duration = Duration::from_secs(1);

/// Longest file, bytes.
const MAX_BYTES: u64 = 64;

/// Most login servers, as in the configuration.
const MOST: u32 = 1_000;

/// Reads the file again and again until `stop` fires. What is no number changes nothing.
pub(crate) async fn follow(file: PathBuf, table: Arc<Mutex<LoadTable>>, stop: CancellationToken) {
    let mut known: Option<String> = None;
    loop {
        let text = read(&file).await;
        if known.as_ref() != Some(&text) {
            take(&file, &text, &table);
            known = Some(text);
        }
        let pause = tokio::time::sleep(PERIOD);
        if stop.run_until_cancelled(pause).await.is_none() {
            return;
        }
    }
}

/// The text of the file; empty when there is none.
async fn read(path: &Path) -> String {
    let mut bytes = Vec::new();
    match tokio::fs::File::open(path).await {
        Ok(file) => drop(file.take(MAX_BYTES).read_to_end(&mut bytes).await),
        Err(_) => return String::new(),
    }
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

fn take(file: &Path, text: &str, table: &Mutex<LoadTable>) {
    let file = file.display();
    match text.parse().ok().filter(|count| (1..=MOST).contains(count)) {
        Some(count) => {
            info!(%file, count, "so many login servers hand out addresses");
            let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
            table.set_replicas(count);
        }
        None => warn!(%file, text, "read the number of login servers, 1 to {MOST}, failed"),
    }
}

#[cfg(test)]
mod tests {
    use im_config::LoginConfig;

    use super::*;
    use crate::table::Rules;

    fn table() -> Arc<Mutex<LoadTable>> {
        let config = LoginConfig {
            replicas: 2,
            ..LoginConfig::default()
        };
        Arc::new(Mutex::new(LoadTable::new(Rules::from(&config))))
    }

    fn replicas(table: &Mutex<LoadTable>) -> u32 {
        table.lock().unwrap().replicas()
    }

    #[test]
    fn a_number_within_bounds_counts_and_nothing_else_does() {
        let table = table();
        for (text, expected) in [
            ("5", 5),
            ("", 5),
            ("0", 5),
            ("many", 5),
            ("1001", 5),
            ("1000", 1_000),
            ("1", 1),
        ] {
            take(Path::new("f"), text, &table);
            assert_eq!(replicas(&table), expected, "{text:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn another_number_in_the_file_counts_without_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("replicas");
        let (table, stop) = (table(), CancellationToken::new());
        let follower = tokio::spawn(follow(file.clone(), Arc::clone(&table), stop.clone()));
        tokio::time::sleep(PERIOD).await;
        assert_eq!(
            replicas(&table),
            2,
            "without a file that of the configuration"
        );
        for count in [3, 7] {
            std::fs::write(&file, format!("{count}\n")).unwrap();
            let seen = async {
                while replicas(&table) != count {
                    tokio::time::sleep(PERIOD).await;
                }
            };
            tokio::time::timeout(100 * PERIOD, seen).await.unwrap();
        }
        stop.cancel();
        follower.await.unwrap();
    }
}
