//! Verified credentials that outlive the process.
//!
//! What is stored with an account is a keyed MAC over the user, the stored hash and the digest that
//! fits it, so that whoever logs in again with the same password costs no argon2. The key is in a file
//! that no other process reads, beside the database by default.
//!
//! *What it costs.* A MAC is as fast as argon2 is slow. Whoever has the database alone gains nothing by
//! it: without the key, guesses cannot be compared. Whoever has the database *and* the key can try
//! passwords of those who logged in within the remembered time at full speed, as if their hashes were
//! not argon2. Who wants to rule that out for a stolen disk keeps the key file elsewhere
//! (`remember_key_file`), or turns remembering off (`remember_for = "0s"`). Backups do not hold the key.
//!
//! *Rotation.* The file holds one key per line: the first is used, a second one is accepted still. Put
//! the new key before the old one and restart; when everybody's MAC has been renewed, or the remembered
//! time is over, drop the second line. A lost key costs one argon2 computation per person, no more.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

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

/// Keys under which verified logins are remembered, from a file that only db-proxy reads.
#[derive(Clone)]
pub struct RememberKeys {
    /// The first one makes MACs, all are accepted. Empty: nothing is remembered.
    keys: Vec<MacKey>,
}

#[derive(Clone)]
struct MacKey {
    id: [u8; ID_BYTES],
    key: [u8; 32],
}

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RememberKeyError {
    /// It cannot be read or made.
    #[error("use key file {}", .path.display())]
    Io {
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
        Self { keys: Vec::new() }
    }

    /// Keys of a file that somebody else has made.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or holds something else than keys.
    pub fn open(path: &Path) -> Result<Self, RememberKeyError> {
        let text = fs::read_to_string(path).map_err(|source| RememberKeyError::Io {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text).ok_or_else(|| RememberKeyError::Form {
            path: path.to_owned(),
        })
    }

    /// Keys of a file, which is made with mode 0600 when it is missing. Its directory must exist.
    ///
    /// # Errors
    ///
    /// As [`RememberKeys::open`]; or the file cannot be made.
    pub fn open_or_make(path: &Path) -> Result<Self, RememberKeyError> {
        make(path).map_err(|source| RememberKeyError::Io {
            path: path.to_owned(),
            source,
        })?;
        Self::open(path)
    }

    fn parse(text: &str) -> Option<Self> {
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        let fits = (1..=MAX_KEYS).contains(&lines.len())
            && lines
                .iter()
                .all(|line| (MIN_KEY_BYTES..=MAX_KEY_BYTES).contains(&line.len()));
        fits.then(|| Self {
            keys: lines.into_iter().map(MacKey::of).collect(),
        })
    }

    /// What is to be stored for verified credentials.
    pub(super) fn mac(&self, user: UserId, hash: &str, digest: &str) -> Option<[u8; MAC_BYTES]> {
        self.keys.first().map(|key| key.mac(user, hash, digest))
    }

    /// Compares a digest with what was stored.
    pub(super) fn recall(
        &self,
        stored: &[u8; MAC_BYTES],
        user: UserId,
        hash: &str,
        digest: &str,
    ) -> Recall {
        let made = self
            .keys
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

/// Writes a new key unless there is a file. It appears under its name only when it is whole.
fn make(path: &Path) -> io::Result<()> {
    if path.try_exists()? {
        return Ok(());
    }
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}", std::process::id()));
    let draft = PathBuf::from(draft);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)?;
    let key: [u8; 32] = rand::random();
    writeln!(file, "{}", blake3::Hash::from_bytes(key).to_hex())?;
    file.sync_all()?;
    // A link, unlike a renaming, never replaces a file that has appeared meanwhile.
    match fs::hard_link(&draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        linked => linked?,
    }
    fs::remove_file(&draft)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const OLD: &str = "an old key of at least thirty-two bytes";
    const NEW: &str = "a new key, which has thirty-two bytes too";

    fn keys(lines: &[&str]) -> RememberKeys {
        RememberKeys::parse(&lines.join("\n")).unwrap()
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
    fn a_missing_file_is_made_for_its_owner_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("remember_key");
        let first = RememberKeys::open_or_make(&path).unwrap();
        let again = RememberKeys::open_or_make(&path).unwrap();
        assert_eq!(first.mac(user(7), "h", "d"), again.mac(user(7), "h", "d"));
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_holds_no_key_is_refused() {
        let three = [OLD, NEW, "a third key of at least thirty-two bytes"].join("\n");
        for text in ["", "\n\n", "short", three.as_str()] {
            assert!(RememberKeys::parse(text).is_none(), "{text}");
        }
        let missing = RememberKeys::open(Path::new("/nowhere/at/all"));
        assert!(matches!(missing, Err(RememberKeyError::Io { .. })));
    }
}
