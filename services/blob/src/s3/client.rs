//! How a service is spoken to.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use object_store::aws::{AmazonS3, AmazonS3Builder, AwsCredential, S3CopyIfNotExists};
use object_store::{BackoffConfig, Certificate, ClientOptions, CredentialProvider, RetryConfig};

use super::{S3Options, failed};
use crate::BlobError;

/// Time for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How often a request is tried again that got no answer, or that the service asks to repeat.
const RETRIES: usize = 3;

pub(super) async fn build(options: &S3Options) -> Result<AmazonS3, BlobError> {
    let mut client = ClientOptions::new()
        .with_allow_http(options.endpoint.starts_with("http://"))
        .with_timeout(options.timeout)
        .with_connect_timeout(CONNECT_TIMEOUT)
        // An image has no certificates of a system: the roots travel in the program.
        .with_no_system_certificates(true);
    let trusted = match &options.ca_file {
        Some(file) => {
            let pem = tokio::fs::read(file)
                .await
                .map_err(|error| unread(file, &error))?;
            Certificate::from_pem_bundle(&pem).map_err(failed)?
        }
        None => webpki_root_certs::TLS_SERVER_ROOT_CERTS
            .iter()
            .map(|root| Certificate::from_der(root))
            .collect::<Result<_, _>>()
            .map_err(failed)?,
    };
    for certificate in trusted {
        client = client.with_root_certificate(certificate);
    }
    let mut builder = match &options.keys {
        Some((id, secret)) => AmazonS3Builder::new().with_credentials(Arc::new(KeyFiles {
            id: id.clone(),
            secret: secret.clone(),
        })),
        None => AmazonS3Builder::from_env(),
    };
    if !options.endpoint.is_empty() {
        builder = builder.with_endpoint(endpoint(options));
    }
    let retry = RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: RETRIES,
        retry_timeout: options.timeout,
    };
    builder
        .with_client_options(client)
        .with_bucket_name(&options.bucket)
        .with_region(&options.region)
        .with_virtual_hosted_style_request(options.virtual_hosted)
        .with_retry(retry)
        .with_copy_if_not_exists(S3CopyIfNotExists::Multipart)
        .build()
        .map_err(failed)
}

/// The base URL below which the service has the bucket or, where that is part of the host's name, its keys.
fn endpoint(options: &S3Options) -> String {
    match options.endpoint.split_once("://") {
        Some((scheme, host)) if options.virtual_hosted => {
            format!("{scheme}://{}.{host}", options.bucket)
        }
        _ => options.endpoint.clone(),
    }
}

fn unread(file: &Path, error: &std::io::Error) -> BlobError {
    let text = format!("read {}: {error}", file.display());
    BlobError::Unavailable(std::io::Error::new(error.kind(), text))
}

/// A key in two files, as a Secret is mounted. They are read for every request, so that a new key needs no
/// restart.
#[derive(Debug)]
struct KeyFiles {
    id: PathBuf,
    secret: PathBuf,
}

#[async_trait]
impl CredentialProvider for KeyFiles {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let read = async |file: &Path| {
            let text = tokio::fs::read_to_string(file).await;
            let text = text.map_err(|error| object_store::Error::Generic {
                store: "S3",
                source: format!("read {}: {error}", file.display()).into(),
            })?;
            Ok::<_, object_store::Error>(text.trim_end().to_owned())
        };
        Ok(Arc::new(AwsCredential {
            key_id: read(&self.id).await?,
            secret_key: read(&self.secret).await?,
            token: None,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bucket_stands_in_the_host_only_where_that_is_asked_for() {
        let mut options = S3Options::new("chat", "https://s3.example.com:9000");
        assert_eq!(endpoint(&options), "https://s3.example.com:9000");
        options.virtual_hosted = true;
        assert_eq!(endpoint(&options), "https://chat.s3.example.com:9000");
    }
}
