//! TLS from files that may change while the server runs.

mod validity;

use std::fmt;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use im_core::Chain;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use tokio::time::{MissedTickBehavior, interval};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Longest file of a certificate chain or of a key, bytes.
const MAX_FILE: u64 = 1 << 20;

/// How often the files are looked at. Their content is compared: a mounted volume changes by links, and a
/// renewal may keep size and time.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// First byte of a TLS connection: a record with a handshake (RFC 8446, 5.1). No method of HTTP begins so.
pub(crate) const FIRST_BYTE: u8 = 0x16;

/// The files of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM: the server's certificate, then those between it and the root.
    pub certificate: PathBuf,
    /// PEM: its private key.
    pub key: PathBuf,
}

/// Why files cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read, or has more than 1 MiB.
    #[error("read {path}", path = path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// A file holds no certificate, or no key, as PEM.
    #[error("find a certificate or a key in {path}", path = path.display())]
    Pem {
        /// Which file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: pem::Error,
    },
    /// The key is not that of the certificate, or of a kind that nobody uses.
    #[error("use the key of {certificate}", certificate = certificate.display())]
    Pair {
        /// The file with the certificate.
        certificate: PathBuf,
        /// Cause.
        #[source]
        source: rustls::Error,
    },
}

/// A certificate that is in use. Clones share it.
#[derive(Clone)]
pub struct Tls {
    files: TlsFiles,
    current: Arc<RwLock<Arc<ServerConfig>>>,
    /// Unix seconds at which the certificate in use ends, 0 when it does not say so in a way that is known.
    end: Arc<AtomicI64>,
    /// Of the files when they were last looked at.
    digest: [u8; 32],
}

/// What a pair of files is good for.
struct Usable {
    config: Arc<ServerConfig>,
    /// See [`Tls`].
    end: i64,
}

/// What two files hold.
struct Pair {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Pair {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        Ok(Self {
            certificate: read(&files.certificate)?,
            key: read(&files.key)?,
        })
    }

    fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(self.certificate.len() as u64).to_le_bytes());
        hasher.update(&self.certificate);
        hasher.update(&self.key);
        *hasher.finalize().as_bytes()
    }

    fn config(&self, files: &TlsFiles) -> Result<Usable, TlsError> {
        let of = |path: &Path| {
            let path = path.to_owned();
            move |source| TlsError::Pem { path, source }
        };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.certificate).collect();
        let chain = chain.map_err(of(&files.certificate))?;
        let end = chain.first().and_then(|own| validity::end(own));
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(of(&files.key))?;
        let unusable = |source| TlsError::Pair {
            certificate: files.certificate.clone(),
            source,
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(unusable)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Usable {
            config: Arc::new(config),
            end: end.unwrap_or(0),
        })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::Read {
        path: path.to_owned(),
        source,
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(failed(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(bytes)
}

impl Tls {
    /// Reads the files. Waits for the disk: not on a thread of connections.
    ///
    /// # Errors
    /// A file cannot be read, or both are no certificate and its key.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let pair = Pair::read(&files)?;
        let Usable { config, end } = pair.config(&files)?;
        Ok(Self {
            digest: pair.digest(),
            current: Arc::new(RwLock::new(config)),
            end: Arc::new(AtomicI64::new(end)),
            files,
        })
    }

    /// What new connections are served with.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&current))
    }

    /// Unix seconds at which the certificate in use ends; 0 when it does not say so in a way that is known.
    pub fn certificate_end(&self) -> i64 {
        self.end.load(Ordering::Relaxed)
    }

    /// Looks at the files every two seconds until `stop`: a new pair counts for the next connection, and
    /// those that stand keep theirs. `tell` hears after each change whether the files can be used; while
    /// they cannot, what was used last stays.
    pub async fn follow(mut self, stop: CancellationToken, tell: impl Fn(bool) + Send) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut failing = false;
        while stop.run_until_cancelled(looks.tick()).await.is_some() {
            let (files, known) = (self.files.clone(), self.digest);
            // Reading may wait for a disk.
            let look = tokio::task::spawn_blocking(move || look(&files, known));
            match look.await {
                Ok(Ok(None)) => {}
                Ok(Ok(Some((digest, Ok(Usable { config, end }))))) => {
                    self.digest = digest;
                    *self.current.write().unwrap_or_else(PoisonError::into_inner) = config;
                    self.end.store(end, Ordering::Relaxed);
                    failing = false;
                    info!(file = %self.files.certificate.display(), "a new certificate is used");
                    tell(true);
                }
                Ok(Ok(Some((digest, Err(error))))) => {
                    self.digest = digest;
                    failing = true;
                    warn!(error = %Chain(&error), "the former certificate stays in use");
                    tell(false);
                }
                Ok(Err(error)) => {
                    // A renewal may take one away before it puts another there.
                    if !std::mem::replace(&mut failing, true) {
                        warn!(error = %Chain(&error), "the former certificate stays in use");
                        tell(false);
                    }
                    self.digest = [0; 32];
                }
                // The runtime ends.
                Err(_) => return,
            }
        }
    }
}

/// A pair that is another than the known one, and what it is good for.
type Found = ([u8; 32], Result<Usable, TlsError>);

fn look(files: &TlsFiles, known: [u8; 32]) -> Result<Option<Found>, TlsError> {
    let pair = Pair::read(files)?;
    let digest = pair.digest();
    Ok((digest != known).then(|| (digest, pair.config(files))))
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}
