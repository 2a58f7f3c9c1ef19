//! Verified credentials that outlive the process.
//!
//! What is stored with an account is a keyed MAC over the user, the stored hash and the digest that
//! fits it, so that whoever logs in again with the same password costs no argon2. The key is in a file
//! that no other process reads, beside the database by default.
//!
//! *What it costs.* A MAC is as fast as argon2 is slow. Whoever has the database alone gains nothing by
//! it: without the key, guesses cannot be compared. Whoever has the database *and* the key can try
//! passwords of those who logged in, or were imported with a password, within the remembered time at full speed, as if their hashes were
//! not argon2. Who wants to rule that out for a stolen disk keeps the key file elsewhere
//! (`remember_key_file`), or turns remembering off (`remember_for = "0s"`). Backups do not hold the key.
//!
//! *Rotation.* The file holds one key per line: the first is used, a second one is accepted still, and a
//! change of the file counts once it is loaded again. Put the new key before the old one; whoever logs in
//! then gets a MAC of the new key. Drop the second line when the remembered time is over, or earlier:
//! a lost key costs one argon2 computation per person, no more.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::{fmt, fs, io};

use im_core::UserId;
use im_store::MAC_BYTES;
use subtle::ConstantTimeEq as _;

/// Shortest and longest line that is taken for a key, bytes.
const MIN_KEY_BYTES: usize = 32;
const MAX_KEY_BYTES: usize = 1_024;
/// The key in use and the one before it.
const MAX_KEYS: usize = 2;
/// Bytes of a MAC that tell which key made it.
const ID_BYTES: usize = 4;

const KEY_CONTEXT: &str = "imcluster db-proxy remembered logins 2026-11 key";
const ID_CONTEXT: &str = "imcluster db-proxy remembered logins 2026-11 id";

/// Keys under which verified logins are remembered, from a file that only db-proxy reads. Clones share
/// them, also after a change.
#[derive(Clone)]
pub struct RememberKeys {
    /// The first one makes MACs, all are accepted. Empty: nothing is remembered.
    keys: Arc<RwLock<Vec<MacKey>>>,
}

#[derive(Clone, PartialEq, Eq)]
struct MacKey {
    id: [u8; ID_BYTES],
    key: [u8; 32],
}

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RememberKeyError {
    /// It cannot be read.
    #[error("read key file {}", .path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something else is in it.
    #[error(
        "{} must hold one or two lines of {MIN_KEY_BYTES} to {MAX_KEY_BYTES} bytes", .path.display()
    )]
    Form {
        /// Which file.
        path: PathBuf,
    },
}

/// What a stored MAC says of a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recall {
    /// The digest is the one that was verified. `renew`: the MAC was made under the old key.
    Right { renew: bool },
    /// It is another one.
    Wrong,
    /// Nothing: the key has gone.
    Unknown,
}

impl RememberKeys {
    /// No keys: nothing is remembered beyond the process.
    pub fn none() -> Self {
        Self::of(Vec::new())
    }

    /// Keys of a file.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or holds something else than keys.
    pub fn load(path: &Path) -> Result<Self, RememberKeyError> {
        let text = fs::read_to_string(path).map_err(|source| RememberKeyError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::new(&text).ok_or_else(|| RememberKeyError::Form {
            path: path.to_owned(),
        })
    }

    /// Takes over the keys of the file when they are others: whether something has changed.
    ///
    /// # Errors
    ///
    /// As [`RememberKeys::load`]; nothing is changed then.
    pub fn reload(&self, path: &Path) -> Result<bool, RememberKeyError> {
        let keys = Self::load(path)?.read().clone();
        if *self.read() == keys {
            return Ok(false);
        }
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(true)
    }

    /// Keys as a file has them, one or two lines; `None` when it is something else.
    pub fn new(text: &str) -> Option<Self> {
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        let fits = (1..=MAX_KEYS).contains(&lines.len())
            && lines
                .iter()
                .all(|line| (MIN_KEY_BYTES..=MAX_KEY_BYTES).contains(&line.len()));
        fits.then(|| Self::of(lines.into_iter().map(MacKey::of).collect()))
    }

    fn of(keys: Vec<MacKey>) -> Self {
        Self {
            keys: Arc::new(RwLock::new(keys)),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Vec<MacKey>> {
        // Keys are replaced as a whole.
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be stored for verified credentials.
    pub(super) fn mac(&self, user: UserId, hash: &str, digest: &str) -> Option<[u8; MAC_BYTES]> {
        self.read().first().map(|key| key.mac(user, hash, digest))
    }

    /// Compares a digest with what was stored.
    pub(super) fn recall(
        &self,
        stored: &[u8; MAC_BYTES],
        user: UserId,
        hash: &str,
        digest: &str,
    ) -> Recall {
        let keys = self.read();
        let made = keys
            .iter()
            .enumerate()
            .find(|(_, key)| stored.starts_with(&key.id));
        let Some((place, key)) = made else {
            return Recall::Unknown;
        };
        if key.mac(user, hash, digest).ct_eq(stored).into() {
            Recall::Right { renew: place > 0 }
        } else {
            Recall::Wrong
        }
    }
}

impl fmt::Debug for RememberKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RememberKeys([redacted])")
    }
}

impl MacKey {
    fn of(line: &str) -> Self {
        let mut id = [0; ID_BYTES];
        blake3::Hasher::new_derive_key(ID_CONTEXT)
            .update(line.as_bytes())
            .finalize_xof()
            .fill(&mut id);
        Self {
            id,
            key: blake3::derive_key(KEY_CONTEXT, line.as_bytes()),
        }
    }

    fn mac(&self, user: UserId, hash: &str, digest: &str) -> [u8; MAC_BYTES] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(&user.get().to_le_bytes());
        for part in [hash, digest] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        let mut mac = [0; MAC_BYTES];
        let (id, rest) = mac.split_at_mut(ID_BYTES);
        id.copy_from_slice(&self.id);
        hasher.finalize_xof().fill(rest);
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "an old key of at least thirty-two bytes";
    const NEW: &str = "a new key, which has thirty-two bytes too";

    fn keys(lines: &[&str]) -> RememberKeys {
        RememberKeys::new(&lines.join("\n")).unwrap()
    }

    fn user(id: u32) -> UserId {
        UserId::from_wire(id).unwrap()
    }

    #[test]
    fn a_digest_is_recalled_for_its_user_and_hash_only() {
        let keys = keys(&[OLD]);
        let mac = keys.mac(user(7), "hash", "digest").unwrap();
        let recall = |id, hash, digest| keys.recall(&mac, user(id), hash, digest);
        assert_eq!(recall(7, "hash", "digest"), Recall::Right { renew: false });
        for (id, hash, digest) in [
            (8, "hash", "digest"),
            (7, "other", "digest"),
            (7, "hash", "other"),
            (7, "hashd", "igest"),
        ] {
            assert_eq!(
                recall(id, hash, digest),
                Recall::Wrong,
                "{id} {hash} {digest}"
            );
        }
    }

    #[test]
    fn during_a_rotation_both_keys_are_good_and_the_old_one_is_to_be_replaced() {
        let mac = keys(&[OLD]).mac(user(7), "hash", "digest").unwrap();
        let recall = |lines: &[&str]| keys(lines).recall(&mac, user(7), "hash", "digest");
        assert_eq!(recall(&[NEW, OLD]), Recall::Right { renew: true });
        assert_eq!(
            recall(&[NEW]),
            Recall::Unknown,
            "not wrong: nothing is known"
        );
        let both = keys(&[NEW, OLD]).mac(user(7), "hash", "digest");
        assert_eq!(both, keys(&[NEW]).mac(user(7), "hash", "digest"));
        assert!(
            RememberKeys::none()
                .mac(user(7), "hash", "digest")
                .is_none()
        );
    }

    #[test]
    fn a_changed_file_is_taken_over_by_every_clone_and_an_unusable_one_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        fs::write(&path, OLD).unwrap();
        let keys = RememberKeys::load(&path).unwrap();
        let reloaded = keys.clone();
        assert!(!reloaded.reload(&path).unwrap(), "nothing has changed");
        let mac = keys.mac(user(7), "hash", "digest").unwrap();
        let recall = || keys.recall(&mac, user(7), "hash", "digest");
        fs::write(&path, format!("{NEW}\n{OLD}\n")).unwrap();
        assert!(reloaded.reload(&path).unwrap());
        assert_eq!(recall(), Recall::Right { renew: true });
        fs::write(&path, "short").unwrap();
        assert!(reloaded.reload(&path).is_err());
        assert_eq!(recall(), Recall::Right { renew: true });
        fs::write(&path, NEW).unwrap();
        assert!(reloaded.reload(&path).unwrap());
        assert_eq!(recall(), Recall::Unknown);
    }

    #[test]
    fn what_holds_no_key_is_refused() {
        let three = [OLD, NEW, "a third key of at least thirty-two bytes"].join("\n");
        for text in ["", "\n\n", "short", three.as_str()] {
            assert!(RememberKeys::new(text).is_none(), "{text}");
        }
        let missing = RememberKeys::load(Path::new("/nowhere/at/all"));
        assert!(matches!(missing, Err(RememberKeyError::Read { .. })));
        assert!(!format!("{:?}", keys(&[OLD])).contains(OLD));
    }
}
