//! Whose certificates are trusted, and which are shown.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use im_config::TrustConfig;
use rustls::client::WantsClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore};

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// A file has no certificate or key, or cannot be read.
    #[error("read certificates from {path}")]
    Pem {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// A file holds no certificate.
    #[error("find a certificate in {path}")]
    Empty {
        /// Which.
        path: PathBuf,
    },
    /// A certificate or key is of no use.
    #[error("use certificates")]
    Tls(#[from] rustls::Error),
}

/// TLS that trusts what is configured, or the roots that the program carries.
///
/// # Errors
/// The file cannot be read, or holds no certificate.
pub fn client(trust: &TrustConfig) -> Result<ClientConfig, TrustError> {
    Ok(builder(trust)?.with_no_client_auth())
}

/// The same, showing a certificate of its own.
///
/// # Errors
/// A file cannot be read, or what it holds is of no use.
pub fn client_with(
    trust: &TrustConfig,
    certificate: &Path,
    key: &Path,
) -> Result<ClientConfig, TrustError> {
    let chain = certificates(certificate)?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|source| TrustError::Pem {
        path: key.to_owned(),
        source,
    })?;
    Ok(builder(trust)?.with_client_auth_cert(chain, key)?)
}

fn builder(
    trust: &TrustConfig,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, TrustError> {
    let mut roots = RootCertStore::empty();
    match &trust.ca_file {
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate)?;
            }
        }
        None => {
            roots.add_parsable_certificates(
                webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned(),
            );
        }
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let failed = |source| TrustError::Pem {
        path: path.to_owned(),
        source,
    };
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(failed)?
        .collect();
    let found = found.map_err(failed)?;
    if found.is_empty() {
        return Err(TrustError::Empty {
            path: path.to_owned(),
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_file_the_roots_of_the_web_are_trusted() {
        let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS.len();
        assert!(roots > 50, "{roots}");
        assert!(client(&TrustConfig::default()).is_ok());
    }

    #[test]
    fn a_file_without_certificates_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let trust = TrustConfig {
            ca_file: Some(path.clone()),
            ..TrustConfig::default()
        };
        assert!(
            matches!(client(&trust), Err(TrustError::Pem { .. })),
            "missing"
        );
        std::fs::write(&path, "nothing of use\n").unwrap();
        let error = client(&trust).unwrap_err();
        assert!(matches!(&error, TrustError::Empty { .. }), "{error}");
        assert!(error.to_string().contains("ca.pem"));
    }
}
