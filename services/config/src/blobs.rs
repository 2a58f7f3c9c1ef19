//! Where files and pictures are kept.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Span;
use crate::{Check, Checker};

/// Where the roles file and msfs keep what people send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BlobsConfig {
    /// A bucket of an S3-compatible service, as `s3://BUCKET` or `s3://BUCKET/PREFIX`: files are kept below
    /// `PREFIX/files`, pictures below `PREFIX/pictures`. Each file server needs a prefix of its own; msfs
    /// servers may share one. Without it each role has a folder, which then holds only what is on its way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Base URL of the service, `http://` or `https://`; empty: that of AWS for the region.
    pub endpoint: String,
    /// Region that requests are signed for.
    pub region: String,
    /// Whether the bucket is part of the host's name (`https://BUCKET.HOST/KEY`); otherwise it stands in the
    /// path, as most services other than AWS want it.
    pub virtual_hosted: bool,
    /// File with the access key, read for every request. Without it what AWS's tools look for is used: the
    /// environment, a web identity, the role of the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_key_file: Option<PathBuf>,
    /// File with the secret of the access key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key_file: Option<PathBuf>,
    /// PEM file with the certificates that may have signed the service's; without it the usual roots, which the program has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Uploads to the bucket at a time, of each role; each holds at most 8 MiB of memory.
    pub uploads: usize,
    /// Longest time for one request to the service with its answer.
    pub timeout: Span,
}

impl Default for BlobsConfig {
    fn default() -> Self {
        Self {
            url: None,
            endpoint: String::new(),
            region: "us-east-1".to_owned(),
            virtual_hosted: false,
            access_key_file: None,
            secret_key_file: None,
            ca_file: None,
            uploads: 4,
            timeout: Span::seconds(30),
        }
    }
}

impl BlobsConfig {
    /// Bucket and prefix of the URL; `None` without one, or where it names no bucket.
    pub fn bucket(&self) -> Option<(&str, &str)> {
        let place = self.url.as_deref()?.strip_prefix("s3://")?;
        let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
        (!bucket.is_empty()).then_some((bucket, prefix.trim_matches('/')))
    }
}

impl Check for BlobsConfig {
    fn check(&self, checker: &mut Checker) {
        let Self {
            url,
            endpoint,
            region,
            virtual_hosted: _,
            access_key_file,
            secret_key_file,
            ca_file: _,
            uploads,
            timeout,
        } = self;
        checker.require(
            "url",
            url.is_none() || self.bucket().is_some(),
            "be s3://BUCKET or s3://BUCKET/PREFIX",
        );
        let is_url = ["http://", "https://"]
            .iter()
            .any(|scheme| endpoint.starts_with(scheme));
        checker.require(
            "endpoint",
            endpoint.is_empty() || is_url,
            "begin with http:// or https://",
        );
        checker.require("region", !region.is_empty(), "name a region");
        checker.require(
            "secret_key_file",
            access_key_file.is_some() == secret_key_file.is_some(),
            "be given together with access_key_file",
        );
        checker.range("uploads", uploads, &(1..=256));
        let time = Span::seconds(1)..=Span::seconds(600);
        checker.range("timeout", timeout, &time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_bucket_and_what_keys_begin_with() {
        let bucket = |url: &str| {
            let config = BlobsConfig {
                url: Some(url.to_owned()),
                ..BlobsConfig::default()
            };
            let bucket = config.bucket();
            bucket.map(|(bucket, prefix)| (bucket.to_owned(), prefix.to_owned()))
        };
        let found = |bucket: &str, prefix: &str| Some((bucket.to_owned(), prefix.to_owned()));
        assert_eq!(bucket("s3://chat"), found("chat", ""));
        assert_eq!(bucket("s3://chat/"), found("chat", ""));
        assert_eq!(bucket("s3://chat/a/b/"), found("chat", "a/b"));
        for other in ["", "s3://", "s3:///a", "chat/a", "https://chat/a"] {
            assert_eq!(bucket(other), None, "{other}");
        }
    }
}
