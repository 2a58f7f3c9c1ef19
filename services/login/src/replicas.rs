//! Follows the file that says how many login servers there are.
//!
//! In a cluster their number changes without a restart of those that stay.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use im_config::LoginConfig;
use im_runtime::follow;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::table::LoadTable;

/// Longest file, bytes.
const MAX_BYTES: u64 = 64;

/// Follows the file until `stop` fires. What is no number changes nothing.
pub(crate) async fn follow(file: PathBuf, table: Arc<Mutex<LoadTable>>, stop: CancellationToken) {
    follow::text(&file, MAX_BYTES, &stop, |text| take(&file, text, &table)).await;
}

fn take(file: &Path, text: &str, table: &Mutex<LoadTable>) {
    let file = file.display();
    let range = LoginConfig::REPLICAS;
    match text.parse().ok().filter(|count| range.contains(count)) {
        Some(count) => {
            info!(%file, count, "so many login servers hand out addresses");
            let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
            table.set_replicas(count);
        }
        None => warn!(%file, text, ?range, "read the number of login servers failed"),
    }
}

#[cfg(test)]
mod tests {
    use im_runtime::follow::PERIOD;

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
