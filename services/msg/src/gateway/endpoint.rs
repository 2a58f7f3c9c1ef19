//! Follows the file that says which address clients are told.
//!
//! In a cluster the address belongs to a slot, which is bound to this server after its start and may
//! be bound to another one later; the file always shows the present one.

use std::sync::Arc;

use im_runtime::follow;
use tracing::{info, warn};

use super::public::Public;
use super::state::Gateway;

/// Longest file; a name has at most 253 characters.
const MAX_BYTES: u64 = 1_024;

/// Follows the file until everything stops.
pub(crate) async fn follow(gateway: Arc<Gateway>) {
    let (env, file) = (&gateway.env, &gateway.env.config.public_endpoint_file);
    follow::text(file, MAX_BYTES, &env.stop, |text| take(&gateway, text)).await;
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
