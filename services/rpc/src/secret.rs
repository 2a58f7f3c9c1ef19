//! The installation's secret: every internal port asks for it, every internal caller presents it.
//!
//! It travels as `authorization: Bearer …` in the metadata of each call, is compared in constant
//! time, and never appears in a log or in `Debug`.

use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rand::Rng;
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};
use tracing::warn;

use crate::metrics::LinkMetrics;

/// Shortest secret that is accepted, bytes.
pub const MIN_SECRET_BYTES: usize = 16;

/// Longest secret that is accepted, bytes: it is a line, not a document.
pub const MAX_SECRET_BYTES: usize = 4096;

/// Peer addresses remembered so that each is logged once; beyond it refusals are only counted.
const MAX_LOGGED_PEERS: usize = 1024;

/// The secret of an installation.
#[derive(Clone)]
pub struct Secret(Arc<SecretString>);

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
    /// Too short or too long.
    #[error("secret must have {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES} bytes, has {0}")]
    Length(usize),
    /// It holds what cannot travel in a header.
    #[error("secret must be one line of visible ascii characters and spaces")]
    Characters,
}

impl Secret {
    /// Takes a secret as text; white space around it is dropped.
    pub fn new(text: &str) -> Result<Self, SecretError> {
        let text = text.trim();
        if !(MIN_SECRET_BYTES..=MAX_SECRET_BYTES).contains(&text.len()) {
            return Err(SecretError::Length(text.len()));
        }
        if !text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() || byte == b' ')
        {
            return Err(SecretError::Characters);
        }
        Ok(Self(Arc::new(SecretString::from(text))))
    }

    /// Reads a secret from a file.
    pub fn load(path: &Path) -> Result<Self, SecretError> {
        let text = std::fs::read_to_string(path).map_err(|source| SecretError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::new(&text)
    }

    /// Makes a new one: 256 random bits in hex.
    pub fn generate() -> Self {
        let mut bytes = [0_u8; 32];
        rand::rng().fill(&mut bytes);
        let hex = blake3::Hash::from_bytes(bytes).to_hex();
        Self(Arc::new(SecretString::from(hex.as_str())))
    }

    /// The text, for writing it to a file of the installation.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// What a caller puts under `authorization`.
    pub(crate) fn bearer(&self) -> Option<MetadataValue<Ascii>> {
        let mut value: MetadataValue<Ascii> = format!("Bearer {}", self.expose()).parse().ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    fn digest(&self) -> [u8; 32] {
        *blake3::hash(self.expose().as_bytes()).as_bytes()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret([redacted])")
    }
}

/// Adds the secret to every call of a generated client.
#[derive(Clone, Debug)]
pub struct Present(Option<MetadataValue<Ascii>>);

impl Present {
    /// An interceptor that presents this secret.
    pub fn new(secret: &Secret) -> Self {
        Self(secret.bearer())
    }
}

impl Interceptor for Present {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request
                .metadata_mut()
                .insert("authorization", value.clone());
        }
        Ok(request)
    }
}

/// Lets only callers in that present the secret; counts and logs the others.
#[derive(Clone)]
pub struct Guard {
    expected: [u8; 32],
    metrics: LinkMetrics,
    logged: Arc<Mutex<HashSet<IpAddr>>>,
}

impl Guard {
    /// A guard that asks for this secret.
    pub fn new(secret: &Secret, metrics: LinkMetrics) -> Self {
        Self {
            expected: secret.digest(),
            metrics,
            logged: Arc::default(),
        }
    }

    pub(crate) fn metrics(&self) -> &LinkMetrics {
        &self.metrics
    }

    fn admits(&self, request: &Request<()>) -> bool {
        let presented = request
            .metadata()
            .get("authorization")
            .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "))
            .unwrap_or_default();
        // Digests have one length, so that the comparison tells nothing about the secret's.
        blake3::hash(presented)
            .as_bytes()
            .ct_eq(&self.expected)
            .into()
    }

    fn log_once(&self, request: &Request<()>) {
        let Some(address) = request.remote_addr() else {
            return;
        };
        let mut logged = self
            .logged
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if logged.len() < MAX_LOGGED_PEERS && logged.insert(address.ip()) {
            warn!(peer = %address, "refused a peer without the secret");
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").finish_non_exhaustive()
    }
}

impl Interceptor for Guard {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        if self.admits(&request) {
            return Ok(request);
        }
        self.metrics.refused_secrets().inc();
        self.log_once(&request);
        Err(Status::unauthenticated(
            "the installation's secret is missing or wrong",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(matches!(
            Secret::new("0123456789\nabcdef"),
            Err(SecretError::Characters)
        ));
        let missing = Secret::load(Path::new("/does/not/exist")).unwrap_err();
        assert_eq!(missing.to_string(), "read secret file /does/not/exist");
    }

    #[test]
    fn made_secrets_differ_and_are_never_shown() {
        let (a, b) = (Secret::generate(), Secret::generate());
        assert_ne!(a.expose(), b.expose());
        assert_eq!(a.expose().len(), 64);
        assert_eq!(format!("{a:?}"), "Secret([redacted])");
        assert!(!format!("{:?}", Present::new(&a)).contains(a.expose()));
    }

    #[test]
    fn the_guard_admits_the_secret_alone_and_counts_the_rest() {
        let secret = Secret::generate();
        let mut guard = Guard::new(&secret, LinkMetrics::default());
        let right = Present::new(&secret).call(Request::new(())).unwrap();
        assert!(guard.call(right).is_ok());
        let wrong = Present::new(&Secret::generate())
            .call(Request::new(()))
            .unwrap();
        assert_eq!(
            guard.call(wrong).unwrap_err().code(),
            tonic::Code::Unauthenticated
        );
        assert!(guard.call(Request::new(())).is_err());
        assert_eq!(guard.metrics.refused_secrets().get(), 2);
    }
}
