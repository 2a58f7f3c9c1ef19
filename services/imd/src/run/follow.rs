//! Follows the files of secrets while the process runs.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use im_core::Chain;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::secret::Kept;

/// Time between two looks at a file.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Looks at the file of a secret until `stop`: what it holds counts within seconds of its change. `reload`
/// takes it over and tells whether something has changed. A file that cannot be used is logged once, and
/// what was taken over last stays.
pub(super) async fn follow<S, E>(
    Kept { secret, file }: Kept<S>,
    reload: fn(&S, &Path) -> Result<bool, E>,
    stop: CancellationToken,
) where
    S: Clone + Send + 'static,
    E: Error + Send + 'static,
{
    let mut failing = false;
    let mut looks = tokio::time::interval(LOOK_EVERY);
    while stop.run_until_cancelled(looks.tick()).await.is_some() {
        let (secret, path) = (secret.clone(), file.clone());
        // Reading may wait for a disk.
        let look = tokio::task::spawn_blocking(move || reload(&secret, &path));
        match look.await {
            Ok(Ok(changed)) => {
                if changed {
                    info!(file = %file.display(), "what this secret file holds has changed");
                }
                failing = false;
            }
            Ok(Err(error)) => {
                if !std::mem::replace(&mut failing, true) {
                    warn!(file = %file.display(), error = %Chain(&error), "the former secret stays");
                }
            }
            // The runtime ends.
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use im_rpc::Secret;

    use super::*;

    const OLD: &str = "the old secret, long enough";
    const NEW: &str = "the new secret, long enough";

    /// Whether the values of the secret become so many, the first of them this one.
    async fn becomes(secret: &Secret, first: &str, values: usize) {
        while secret.expose() != first || secret.values() != values {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_file_counts_at_once_and_an_unusable_one_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, OLD).unwrap();
        let secret = Secret::load(&path).unwrap();
        let stop = CancellationToken::new();
        let kept = Kept {
            secret: secret.clone(),
            file: path.clone(),
        };
        let following = tokio::spawn(follow(kept, Secret::reload, stop.clone()));
        std::fs::write(&path, format!("{OLD}\n{NEW}")).unwrap();
        becomes(&secret, OLD, 2).await;
        std::fs::write(&path, "short").unwrap();
        tokio::time::sleep(LOOK_EVERY * 3).await;
        assert_eq!((secret.expose().as_str(), secret.values()), (OLD, 2));
        std::fs::write(&path, NEW).unwrap();
        becomes(&secret, NEW, 1).await;
        stop.cancel();
        following.await.unwrap();
    }
}
