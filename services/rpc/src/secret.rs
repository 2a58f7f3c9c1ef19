//! The installation's secret: every internal port asks for it, every internal caller presents it.
//!
//! It travels as `authorization: Bearer …` in the metadata of each call, is compared in constant
//! time, and never appears in a log or in `Debug`. Its file may hold several values, one a line: the
//! first is presented, all are accepted, and a change of the file counts once it is loaded again. So a secret is
//! replaced without a pause: add the new value as a second line everywhere, swap the lines everywhere,
//! take the old value away. Links that stand are not asked again.

mod guard;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use rand::Rng;
use secrecy::{ExposeSecret, SecretString};
use subtle::{ConditionallySelectable as _, ConstantTimeEq as _};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

pub use guard::{Credential, Guard};

/// Shortest secret that is accepted, bytes.
pub const MIN_SECRET_BYTES: usize = 16;

/// Longest secret that is accepted, bytes: it is a line, not a document.
pub const MAX_SECRET_BYTES: usize = 4096;

/// Values of a secret that are accepted at a time: the old one, the new one, and those of a rotation
/// that was given up half way.
pub const MAX_SECRET_VALUES: usize = 4;

/// A secret of an installation, with all its values. Clones share them, also after a change.
#[derive(Clone)]
pub struct Secret(Arc<RwLock<Values>>);

struct Values {
    /// Presented to others.
    first: SecretString,
    /// Accepted from others, the first one among them.
    digests: Vec<[u8; 32]>,
}

/// Why a secret cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The file cannot be read.
    #[error("read secret file {path}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// A value is too short or too long.
    #[error("secret must have {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes, has {0}")]
    Length(usize),
    /// It holds what cannot travel in a header.
    #[error("secret must be lines of visible ascii characters and spaces")]
    Characters,
    /// Too many values.
    #[error("secret must have 1 to {MAX_SECRET_VALUES} lines, has {0}")]
    Values(usize),
}

impl Values {
    fn parse(text: &str) -> Result<Self, SecretError> {
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        let first = *lines.first().ok_or(SecretError::Length(0))?;
        if lines.len() > MAX_SECRET_VALUES {
            return Err(SecretError::Values(lines.len()));
        }
        for line in &lines {
            if !(MIN_SECRET_BYTES..=MAX_SECRET_BYTES).contains(&line.len()) {
                return Err(SecretError::Length(line.len()));
            }
            if !line
                .bytes()
                .all(|byte| byte.is_ascii_graphic() || byte == b' ')
            {
                return Err(SecretError::Characters);
            }
        }
        Ok(Self {
            first: SecretString::from(first),
            digests: lines.into_iter().map(digest).collect(),
        })
    }

    fn load(path: &Path) -> Result<Self, SecretError> {
        let text = std::fs::read_to_string(path).map_err(|source| SecretError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text)
    }
}

impl Secret {
    /// Takes the values of a secret as text, one a line; white space around them is dropped.
    ///
    /// # Errors
    /// It is no text of visible ASCII characters, or the number or length of its lines is out of bounds.
    pub fn new(text: &str) -> Result<Self, SecretError> {
        Values::parse(text).map(|values| Self(Arc::new(RwLock::new(values))))
    }

    /// Reads the values from a file.
    ///
    /// # Errors
    /// The file cannot be read, or holds no secret.
    pub fn load(path: &Path) -> Result<Self, SecretError> {
        Values::load(path).map(|values| Self(Arc::new(RwLock::new(values))))
    }

    /// Makes a new one: 256 random bits in hex.
    pub fn generate() -> Self {
        let mut bytes = [0_u8; 32];
        rand::rng().fill(&mut bytes);
        let hex = blake3::Hash::from_bytes(bytes).to_hex();
        let values = Values {
            first: SecretString::from(hex.as_str()),
            digests: vec![digest(hex.as_str())],
        };
        Self(Arc::new(RwLock::new(values)))
    }

    /// The value that is presented, for writing it to a file of the installation.
    pub fn expose(&self) -> String {
        self.read().first.expose_secret().to_owned()
    }

    /// How many values are accepted.
    pub fn values(&self) -> usize {
        self.read().digests.len()
    }

    /// Takes over the values of the file when they are others. A file that cannot be used changes
    /// nothing. Returns whether something changed.
    ///
    /// # Errors
    /// As [`Secret::load`]; nothing is changed then.
    pub fn reload(&self, path: &Path) -> Result<bool, SecretError> {
        let values = Values::load(path)?;
        if values.digests == self.read().digests {
            return Ok(false);
        }
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = values;
        Ok(true)
    }

    /// What a caller puts under `authorization`.
    pub(crate) fn bearer(&self) -> Option<MetadataValue<Ascii>> {
        let mut value: MetadataValue<Ascii> = format!("Bearer {}", self.expose()).parse().ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// Which of the values this is, from 1, in the order of the lines; `None` when it is none. Digests
    /// have one length and all are compared, so that the time tells nothing about them.
    fn accepts(&self, presented: &[u8]) -> Option<u8> {
        let presented = blake3::hash(presented);
        let values = self.read();
        let numbered = (1_u8..).zip(&values.digests);
        let found = numbered.fold(0, |found: u8, (number, digest)| {
            let same = presented.as_bytes().ct_eq(digest);
            u8::conditional_select(&found, &number, same)
        });
        (found > 0).then_some(found)
    }

    /// Keys for a purpose, one of each value, the first value's first: whoever has none of the values
    /// cannot make them.
    pub fn keys(&self, purpose: &'static str) -> Vec<[u8; 32]> {
        let values = self.read();
        let key = |digest: &[u8; 32]| blake3::derive_key(purpose, digest);
        values.digests.iter().map(key).collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, Values> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn digest(value: &str) -> [u8; 32] {
    *blake3::hash(value.as_bytes()).as_bytes()
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret([redacted])")
    }
}

/// Adds the secret to every call of a generated client.
#[derive(Clone, Debug)]
pub struct Present(Secret);

impl Present {
    /// An interceptor that presents this secret, as it is at each call.
    pub fn new(secret: &Secret) -> Self {
        Self(secret.clone())
    }
}

impl Interceptor for Present {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = self.0.bearer() {
            request.metadata_mut().insert("authorization", value);
        }
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "the old secret, long enough";
    const NEW: &str = "the new secret, long enough";

    #[test]
    fn a_secret_is_read_from_its_file_without_the_white_space_around() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, "  0123456789abcdef\n").unwrap();
        assert_eq!(Secret::load(&path).unwrap().expose(), "0123456789abcdef");
    }

    #[test]
    fn an_unusable_secret_is_refused_with_its_reason() {
        assert_eq!(
            Secret::new("short").unwrap_err().to_string(),
            "secret must have 16 to 4096 bytes, has 5"
        );
        assert!(matches!(Secret::new(" \n"), Err(SecretError::Length(0))));
        assert!(matches!(
            Secret::new(&format!("{OLD}\nshort")),
            Err(SecretError::Length(5))
        ));
        assert!(matches!(
            Secret::new("0123456789\u{e9}abcdef"),
            Err(SecretError::Characters)
        ));
        assert!(matches!(
            Secret::new(&[OLD; 5].join("\n")),
            Err(SecretError::Values(5))
        ));
        let missing = Secret::load(Path::new("/does/not/exist")).unwrap_err();
        assert_eq!(missing.to_string(), "read secret file /does/not/exist");
    }

    #[test]
    fn the_first_line_is_presented_and_every_line_accepted() {
        let secret = Secret::new(&format!("{NEW}\r\n\n  {OLD}  \n")).unwrap();
        assert_eq!(secret.expose(), NEW);
        assert!(
            secret.accepts(NEW.as_bytes()).is_some() && secret.accepts(OLD.as_bytes()).is_some()
        );
        assert!(
            secret.accepts(b"").is_none()
                && secret.accepts(format!("{NEW}\n{OLD}").as_bytes()).is_none()
        );
    }

    #[test]
    fn made_secrets_differ_and_are_never_shown() {
        let (a, b) = (Secret::generate(), Secret::generate());
        assert_ne!(a.expose(), b.expose());
        assert_eq!(a.expose().len(), 64);
        assert_eq!(format!("{a:?}"), "Secret([redacted])");
        assert!(!format!("{:?}", Present::new(&a)).contains(&a.expose()));
    }

    #[test]
    fn a_changed_file_is_taken_over_by_every_clone_and_an_unusable_one_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, OLD).unwrap();
        let secret = Secret::load(&path).unwrap();
        let reloaded = secret.clone();
        assert!(!reloaded.reload(&path).unwrap(), "nothing has changed");
        std::fs::write(&path, format!("{OLD}\n{NEW}")).unwrap();
        assert!(reloaded.reload(&path).unwrap());
        assert!(secret.accepts(NEW.as_bytes()).is_some() && secret.expose() == OLD);
        std::fs::write(&path, "short").unwrap();
        assert!(reloaded.reload(&path).is_err());
        assert!(
            secret.accepts(OLD.as_bytes()).is_some() && secret.accepts(NEW.as_bytes()).is_some()
        );
        std::fs::write(&path, NEW).unwrap();
        assert!(reloaded.reload(&path).unwrap());
        assert!(secret.expose() == NEW && secret.accepts(OLD.as_bytes()).is_none());
    }
}
