//! Passwords that an administrator has imported: whoever has one already costs no hash.

use im_core::{Chain, time::UnixSeconds};
use im_store::{Credentials, Remembered, VerifiedLogin};
use tracing::warn;

use super::Accounts;
use super::remember::Recall;

/// Logins that are stored in one transaction.
const AT_ONCE: usize = 500;

/// A password that is known to fit a hash.
pub struct Imported {
    /// The stored login name.
    pub name: String,
    /// The hash.
    pub hash: String,
    /// The digest that fits it.
    pub digest: String,
}

impl Accounts {
    /// Whether this digest is known to fit the stored hash. How long ago that was found does not
    /// matter here: nobody logs in by it.
    pub fn is_remembered(&self, stored: &Credentials, digest: &str) -> bool {
        stored.remembered.is_some_and(|Remembered { mac, .. }| {
            let recall = self.keys.recall(&mac, stored.user, &stored.hash, digest);
            matches!(recall, Recall::Right { .. })
        })
    }

    /// Remembers imported passwords as if their owners had logged in, so that neither they nor the
    /// next import cost a hash. What cannot be stored costs one later.
    pub async fn remember_imported(&self, imported: &[Imported]) {
        if self.remember_seconds == 0 {
            return;
        }
        for imported in imported.chunks(AT_ONCE) {
            let mut logins = Vec::with_capacity(imported.len());
            for Imported { name, hash, digest } in imported {
                let Ok(Some(stored)) = self.store.credentials(name).await else {
                    continue;
                };
                let mac = self.keys.mac(stored.user, hash, digest);
                logins.extend(mac.map(|mac| VerifiedLogin {
                    user: stored.user,
                    hash: hash.clone(),
                    new_hash: None,
                    remembered: Some(Remembered {
                        mac,
                        at: UnixSeconds::now(),
                    }),
                }));
            }
            if let Err(error) = self.store.store_logins(&logins).await {
                warn!(error = %Chain(&error), "imported passwords are not remembered");
                return;
            }
        }
        self.forget_everybody();
    }
}
