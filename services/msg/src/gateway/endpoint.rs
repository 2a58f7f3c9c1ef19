//! Follows the file that says which address clients are told.
//!
//! In a cluster the address belongs to a slot, which is bound to this server after its start and may
//! be bound to another one later; the file always shows the present one.

use std::path::Path;
use std::sync::Arc;

use tokio::io::AsyncReadExt;
use tokio::time::Duration;
use tracing::{info, warn};

use super::public::Public;
use super::state::Gateway;

/// The file is read this often. Its directory is not watched: a mounted volume changes by links,
/// and a file this small costs less to read than to watch.
const PERIOD: Duration = Duration::from_secs(1);

/// Longest file; a name has at most 253 characters.
const MAX_BYTES: u64 = 1_024;

/// Reads the file again and again until everything stops.
pub(crate) async fn follow(gateway: Arc<Gateway>) {
    let stop = gateway.env.stop.clone();
    let mut known: Option<String> = None;
    loop {
        let text = read(&gateway.env.config.public_endpoint_file).await;
        if known.as_ref() != Some(&text) {
            take(&gateway, &text);
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
        // What cannot be read to its end is no address either.
        Ok(file) => drop(file.take(MAX_BYTES).read_to_end(&mut bytes).await),
        Err(_) => return String::new(),
    }
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

fn take(gateway: &Gateway, text: &str) {
    let file = gateway.env.config.public_endpoint_file.display();
    let public = Public::parse(text);
    match &public {
        Some(_) => info!(%file, address = text, "clients are told this address"),
        None if text.is_empty() => info!(%file, "waiting for the address that clients are told"),
        None => warn!(%file, text, "read the address that clients are told as host:port failed"),
    }
    let changed = gateway.public.send_if_modified(|known| {
        let is_new = *known != public;
        *known = public;
        is_new
    });
    if changed {
        gateway.load_changed();
    }
}
