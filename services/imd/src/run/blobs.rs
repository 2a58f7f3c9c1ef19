//! Where files and pictures of a process are kept.

use std::path::PathBuf;

use im_blob::{BlobPlace, S3Options};
use im_config::ImdConfig;

/// The bucket that is configured, below `kind`, with a folder for what is on its way; without one the
/// folder.
pub(super) fn place(config: &ImdConfig, kind: &str, folder: PathBuf) -> BlobPlace {
    let blobs = &config.blobs;
    let Some((name, prefix)) = blobs.bucket() else {
        return BlobPlace::Directory(folder);
    };
    let mut bucket = S3Options::new(name, &blobs.endpoint);
    bucket.region.clone_from(&blobs.region);
    bucket.virtual_hosted = blobs.virtual_hosted;
    bucket.prefix = match prefix {
        "" => kind.to_owned(),
        prefix => format!("{prefix}/{kind}"),
    };
    bucket.keys = blobs
        .access_key_file
        .clone()
        .zip(blobs.secret_key_file.clone());
    bucket.ca_file.clone_from(&blobs.ca_file);
    bucket.uploads = blobs.uploads;
    bucket.timeout = blobs.timeout.duration();
    BlobPlace::Bucket { bucket, folder }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_a_part_of_the_bucket_that_is_configured() {
        let mut config = ImdConfig::default();
        let shown = |config: &ImdConfig| place(config, "files", "/data/files".into()).to_string();
        assert_eq!(shown(&config), "/data/files");
        config.blobs.url = Some(String::from("s3://chat"));
        assert_eq!(shown(&config), "s3://chat/files");
        config.blobs.url = Some(String::from("s3://chat/one/"));
        assert_eq!(shown(&config), "s3://chat/one/files");
        assert_eq!(
            place(&config, "files", "/data/files".into()).folder(),
            "/data/files"
        );
    }
}
