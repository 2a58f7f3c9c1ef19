//! Configuration of the msfs role.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{ByteSize, Span};
use crate::{Check, Checker};

/// The store of pictures and avatars.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MsfsConfig {
    /// Whether all-in-one runs this role.
    pub enabled: bool,
    /// Where clients fetch and send pictures by HTTP; port 0 lets the kernel choose.
    pub listen: String,
    /// Folder of the pictures. Without it, `pictures` in `data_dir`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dir: Option<PathBuf>,
    /// PEM file with the certificate chain for HTTPS; with it the port takes HTTPS beside HTTP, which is all
    /// that original clients speak. A changed file counts within seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<PathBuf>,
    /// PEM file with its private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// Base URL under which clients reach this server, with the trailing slash: what uploads are answered
    /// with begins with it. Empty: the address at which the client has come, and the listening port.
    pub public_url: String,
    /// Whether a probe is fetched through `public_url` when the server starts.
    pub probe: Probe,
    /// Time for that, attempts included.
    pub probe_timeout: Span,
    /// Largest body of an upload, all parts of a form together.
    pub max_upload: ByteSize,
    /// Longest head of a request, its first line included.
    pub max_head: ByteSize,
    /// Heads of the parts of a form, and parts that are no file, together.
    pub max_form: ByteSize,
    /// Free space of the file system below which uploads are refused; on a small file system a tenth of it,
    /// if that is less. More than `db_proxy.writer.free_space_floor` leaves the rest to messages. 0B = off.
    pub free_space_floor: ByteSize,
    /// Bytes that one IPv4 address or IPv6 /64 may upload at once, beyond what `upload_per_minute` gives.
    pub upload_burst: ByteSize,
    /// Bytes per minute that such an address may upload.
    pub upload_per_minute: ByteSize,
    /// Addresses whose uploads are counted; beyond it those that have sent nothing for longest are forgotten.
    pub counted_addresses: usize,
    /// Open connections; then a newcomer takes the place of the one silent longest.
    pub max_connections: usize,
    /// Open connections of one IPv4 address or IPv6 /64, and a quarter of those of a /24 or /56; then a
    /// newcomer takes the place of the one from there that has been silent longest.
    pub max_connections_per_address: usize,
    /// Places that only networks (/24, /56) with few connections get; half of the places at most.
    pub reserved_connections: usize,
    /// Connections up to which a network may use what is reserved.
    pub reserved_per_network: usize,
    /// Time for the head of a request, and between two requests of a connection.
    pub head_timeout: Span,
    /// How long a client may send a body or take an answer more slowly than `least_rate`.
    pub body_grace: Span,
    /// Bytes per second that a client must send or take, on average over `body_grace`.
    pub least_rate: ByteSize,
    /// Time a client has to take its answer and close.
    pub linger: Span,
    /// Time that requests have to end at a stop.
    pub stop_grace: Span,
    /// Pictures that are scaled at the same time, each on a thread of its own.
    pub scale_workers: usize,
    /// Pictures that wait to be scaled.
    pub max_scaling: usize,
    /// The same of one IPv4 address or IPv6 /64, those at work included.
    pub max_scaling_per_address: usize,
    /// Longest side of a picture, pixels.
    pub max_side: u32,
    /// Pixels of a picture.
    pub max_pixels: u32,
    /// Memory for the pixels of one picture that is scaled; one that needs more is served as it is.
    pub decode_memory: ByteSize,
}

/// Whether a probe is fetched through the public URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Probe {
    /// No.
    Off,
    /// Yes; when it fails, the log says so.
    Warn,
    /// Yes; when it fails, the server ends.
    Require,
}

impl Default for MsfsConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: "0.0.0.0:8700".to_owned(),
            dir: None,
            certificate_file: None,
            key_file: None,
            public_url: String::new(),
            probe: Probe::Warn,
            probe_timeout: Span::seconds(10),
            max_upload: ByteSize::mib(10),
            max_head: ByteSize::kib(16),
            max_form: ByteSize::kib(16),
            free_space_floor: ByteSize::mib(1_024),
            upload_burst: ByteSize::mib(256),
            upload_per_minute: ByteSize::mib(64),
            counted_addresses: 10_000,
            max_connections: 1_024,
            max_connections_per_address: 256,
            reserved_connections: 128,
            reserved_per_network: 8,
            head_timeout: Span::seconds(10),
            body_grace: Span::seconds(10),
            least_rate: ByteSize::kib(4),
            linger: Span::seconds(2),
            stop_grace: Span::seconds(3),
            scale_workers: 2,
            max_scaling: 64,
            max_scaling_per_address: 8,
            max_side: 8_192,
            max_pixels: 40_000_000,
            decode_memory: ByteSize::mib(64),
        }
    }
}

/// The original cuts the answer that carries it at 1023 bytes.
const MAX_URL: usize = 256;

impl Check for MsfsConfig {
    fn check(&self, checker: &mut Checker) {
        let Self {
            enabled: _,
            listen,
            dir: _,
            certificate_file,
            key_file,
            public_url,
            probe: _,
            probe_timeout,
            max_upload,
            max_head,
            max_form,
            free_space_floor,
            upload_burst,
            upload_per_minute,
            counted_addresses,
            max_connections,
            max_connections_per_address,
            reserved_connections,
            reserved_per_network,
            head_timeout,
            body_grace,
            least_rate,
            linger,
            stop_grace,
            scale_workers,
            max_scaling,
            max_scaling_per_address,
            max_side,
            max_pixels,
            decode_memory,
        } = self;
        checker.listen("listen", listen);
        checker.require(
            "key_file",
            certificate_file.is_some() == key_file.is_some(),
            "stand beside certificate_file, and not without it",
        );
        checker.require(
            "public_url",
            public_url.is_empty() || is_base_url(public_url),
            "be http://HOST/ or https://HOST/, with a path or without, and end with a slash",
        );
        checker.length("public_url", public_url, MAX_URL);
        let time = Span::millis(10)..=Span::seconds(3_600);
        checker.range("probe_timeout", probe_timeout, &time);
        let (kib, mib) = (ByteSize::kib(1), ByteSize::mib(1));
        checker.range("max_upload", max_upload, &(kib..=ByteSize::mib(64)));
        let head = ByteSize::kib(8)..=ByteSize::kib(64);
        checker.range("max_head", max_head, &head);
        checker.range("max_form", max_form, &(kib..=mib));
        let space = ByteSize::ZERO..=ByteSize::mib(1 << 24);
        checker.range("free_space_floor", free_space_floor, &space);
        let bytes = kib..=ByteSize::mib(1 << 20);
        checker.range("upload_burst", upload_burst, &bytes);
        checker.not_below("upload_burst", upload_burst, "max_upload", max_upload);
        checker.range("upload_per_minute", upload_per_minute, &bytes);
        checker.range("counted_addresses", counted_addresses, &(1..=10_000_000));
        let connections = 1..=1_000_000;
        checker.range("max_connections", max_connections, &connections);
        checker.range(
            "max_connections_per_address",
            max_connections_per_address,
            &connections,
        );
        let reserve = 0..=1_000_000;
        checker.range("reserved_connections", reserved_connections, &reserve);
        checker.range("reserved_per_network", reserved_per_network, &reserve);
        checker.range("head_timeout", head_timeout, &time);
        checker.range("body_grace", body_grace, &time);
        checker.range("least_rate", least_rate, &(ByteSize::bytes(1)..=mib));
        let short = Span::millis(1)..=Span::seconds(60);
        checker.range("linger", linger, &short);
        checker.range("stop_grace", stop_grace, &short);
        checker.range("scale_workers", scale_workers, &(1..=64));
        checker.range("max_scaling", max_scaling, &(1..=100_000));
        checker.range(
            "max_scaling_per_address",
            max_scaling_per_address,
            &(1..=100_000),
        );
        checker.range("max_side", max_side, &(310..=65_535));
        checker.range("max_pixels", max_pixels, &(96_100..=1_000_000_000));
        checker.range(
            "decode_memory",
            decode_memory,
            &(mib..=ByteSize::mib(4_096)),
        );
    }
}

/// Whether a file name can stand right behind this text and both are a URL.
fn is_base_url(url: &str) -> bool {
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"));
    let Some((host, path)) = rest.and_then(|rest| rest.split_once('/')) else {
        return false;
    };
    let is_plain = |c: u8| c.is_ascii_alphanumeric() || b"-._~:[]/%".contains(&c);
    let is_path = path.is_empty() || path.ends_with('/');
    !host.is_empty()
        && is_path
        && !url.contains("..")
        && rest.is_some_and(|it| it.bytes().all(is_plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(config: MsfsConfig) -> Result<(), String> {
        config.validate().map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_within_their_bounds() {
        assert_eq!(judged(MsfsConfig::default()), Ok(()));
    }

    #[test]
    fn what_clients_are_told_is_a_url_that_a_name_can_follow() {
        let judge = |url: &str| {
            judged(MsfsConfig {
                public_url: url.to_owned(),
                ..MsfsConfig::default()
            })
        };
        for url in [
            "",
            "http://files.example.com/",
            "https://[2001:db8::1]:8700/a/b/",
        ] {
            assert_eq!(judge(url), Ok(()), "{url}");
        }
        for url in [
            "files.example.com",
            "http://files.example.com",
            "http:///",
            "http://a/b",
            "http://a/../",
            "http://a/?x=/",
            "http://a b/",
            "ftp://a/",
        ] {
            assert!(judge(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_certificate_has_a_key_and_a_key_a_certificate() {
        let judge = |certificate: bool, key: bool| {
            judged(MsfsConfig {
                certificate_file: certificate.then(|| "c.pem".into()),
                key_file: key.then(|| "k.pem".into()),
                ..MsfsConfig::default()
            })
        };
        assert_eq!(judge(true, true), Ok(()));
        assert!(judge(true, false).is_err() && judge(false, true).is_err());
    }

    #[test]
    fn what_may_come_at_once_is_an_upload_at_least() {
        let error = judged(MsfsConfig {
            upload_burst: ByteSize::mib(5),
            ..MsfsConfig::default()
        });
        let expected = "upload_burst: must be at least max_upload (10MiB), is 5MiB";
        assert_eq!(error, Err(expected.to_owned()));
    }
}
