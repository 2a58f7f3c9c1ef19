//! Remembered logins, and the file with the key that they depend on.

use std::path::Path;

use im_e2e::gauges::Metrics;
use im_e2e::wait;

use crate::support::*;

/// Keys as people make them: any line of 32 bytes.
const NEW: &str = "a key that somebody has put there by hand";

async fn metrics(platform: &mut Platform) -> Metrics {
    Metrics::read(platform.process("all").unwrap())
        .await
        .unwrap()
}

/// Somebody logs in, which must work; how many passwords were hashed for it.
async fn hashes_of_login(platform: &mut Platform, user: u32) -> f64 {
    let hashes = "im_db_proxy_password_hashes";
    let before = metrics(platform).await.sum(hashes, "");
    let address = platform.msg_address("all");
    Terminal::login(address, user, Windows).await;
    metrics(platform).await.sum(hashes, "") - before
}

/// So many logins have been stored to be remembered.
async fn stored(platform: &mut Platform, count: f64) {
    let process = &*platform.process("all").unwrap();
    wait::until("logins to be stored", wait::SOON, || async {
        let metrics = Metrics::read(process).await.ok()?;
        let stored = metrics.sum("im_db_proxy_remembered_logins_stored", "");
        (stored >= count).then_some(())
    })
    .await
    .unwrap();
}

/// Replaces the file as a whole, and waits until the process says the n-th time that it has changed.
async fn replace(platform: &mut Platform, file: &Path, lines: &[&str], nth: usize) {
    let beside = file.with_extension("new");
    std::fs::write(&beside, lines.join("\n")).unwrap();
    std::fs::rename(&beside, file).unwrap();
    let process = &*platform.process("all").unwrap();
    wait::until("the change of the key file", wait::SOON, || async {
        let log = process.log();
        let told = log.lines().filter(|line| {
            line.contains("secret file holds has changed") && line.contains("remember_key")
        });
        (told.count() >= nth).then_some(())
    })
    .await
    .unwrap();
}

/// The key is rotated while the server runs: with both keys in the file nobody is hashed who is
/// remembered; when the old one has gone, only those who have not logged in under the new one are.
#[tokio::test]
async fn a_new_key_of_remembered_logins_counts_without_a_restart() {
    // The process itself remembers nothing, so that every login is judged by what is stored.
    let settings = [
        "db_proxy.accounts.verified_ttl=0s",
        "db_proxy.accounts.account_ttl=0s",
    ];
    let mut platform = own_platform(2, &settings).await;
    let file = platform.data_dir().join("remember_key");
    let old = std::fs::read_to_string(&file).unwrap();
    assert_eq!(hashes_of_login(&mut platform, 1).await, 1.0);
    stored(&mut platform, 1.0).await;
    assert_eq!(hashes_of_login(&mut platform, 1).await, 0.0);

    replace(&mut platform, &file, &[NEW, old.trim()], 1).await;
    assert_eq!(hashes_of_login(&mut platform, 1).await, 0.0);
    assert_eq!(hashes_of_login(&mut platform, 2).await, 1.0);
    stored(&mut platform, 2.0).await;

    replace(&mut platform, &file, &[NEW], 2).await;
    assert_eq!(hashes_of_login(&mut platform, 2).await, 0.0);
    assert_eq!(hashes_of_login(&mut platform, 1).await, 1.0);

    // The same process all the time.
    let log = platform.process("all").unwrap().log();
    let starts = log.lines().filter(|line| line.contains("starting")).count();
    assert_eq!(starts, 1, "{log}");
}
