//! The address that clients are told, from configuration or from a file that may change.
//!
//! In a cluster the address belongs to a slot, which is bound to this server after its start and may
//! be bound to another one later; the file always shows the present one.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use im_config::MsgConfig;
use tokio::io::AsyncReadExt;
use tokio::time::Duration;
use tracing::{info, warn};

use crate::shared::Shared;

/// The file is read this often. Its directory is not watched: a mounted volume changes by links,
/// and a file this small costs less to read than to watch.
const PERIOD: Duration = Duration::from_secs(1);

/// Longest file; a name has at most 253 characters.
const MAX_BYTES: u64 = 1_024;

/// Longest name of a host.
const MAX_HOST: usize = 253;

/// Where clients connect. Hosts are addresses or names; whoever dials looks names up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Public {
    pub(crate) ip1: String,
    pub(crate) ip2: String,
    pub(crate) port: u16,
}

impl Public {
    /// What configuration says, or the address of the listening port.
    pub(crate) fn of(config: &MsgConfig, bound: SocketAddr) -> Self {
        let ip1 = match config.public_ip1.as_str() {
            "" if bound.ip().is_unspecified() => IpAddr::from([127, 0, 0, 1]).to_string(),
            "" => bound.ip().to_string(),
            ip => ip.to_owned(),
        };
        let ip2 = match config.public_ip2.as_str() {
            "" => ip1.clone(),
            ip => ip.to_owned(),
        };
        let port = match config.public_port {
            0 => bound.port(),
            port => port,
        };
        Self { ip1, ip2, port }
    }

    /// Reads `host:port`, an IPv6 address in brackets.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.trim().rsplit_once(':')?;
        let port = port.parse().ok().filter(|port| *port != 0)?;
        let host = match host.strip_prefix('[') {
            Some(rest) => {
                let address = rest.strip_suffix(']')?;
                address.parse::<std::net::Ipv6Addr>().ok()?;
                address
            }
            None => host,
        };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let is_name = (1..=MAX_HOST).contains(&host.len()) && host.chars().all(is_plain);
        if !is_name && host.parse::<std::net::Ipv6Addr>().is_err() {
            return None;
        }
        Some(Self {
            ip1: host.to_owned(),
            ip2: host.to_owned(),
            port,
        })
    }
}

/// Reads the file again and again until everything stops.
pub(crate) async fn follow(shared: Arc<Shared>) {
    let stop = shared.stop.clone();
    let mut known: Option<String> = None;
    loop {
        let text = read(&shared.config.public_endpoint_file).await;
        if known.as_ref() != Some(&text) {
            take(&shared, &text);
            known = Some(text);
        }
        let pause = tokio::time::sleep(PERIOD);
        if stop.run_until_cancelled(pause).await.is_none() {
            return;
        }
    }
}

/// The text of the file; empty when there is none.
async fn read(path: &Path) -> String {
    let mut bytes = Vec::new();
    match tokio::fs::File::open(path).await {
        // What cannot be read to its end is no address either.
        Ok(file) => drop(file.take(MAX_BYTES).read_to_end(&mut bytes).await),
        Err(_) => return String::new(),
    }
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

fn take(shared: &Shared, text: &str) {
    let file = shared.config.public_endpoint_file.display();
    let public = Public::parse(text);
    match &public {
        Some(_) => info!(%file, address = text, "clients are told this address"),
        None if text.is_empty() => info!(%file, "waiting for the address that clients are told"),
        None => warn!(%file, text, "read the address that clients are told as host:port failed"),
    }
    let changed = shared.public.send_if_modified(|known| {
        let is_new = *known != public;
        *known = public;
        is_new
    });
    if changed {
        shared.load_changed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_are_understood() {
        for (text, host, port) in [
            ("192.0.2.7:30123\n", "192.0.2.7", 30_123),
            (
                " msg-0.chat.example.com:8000 ",
                "msg-0.chat.example.com",
                8_000,
            ),
            ("[2001:db8::7]:8000", "2001:db8::7", 8_000),
        ] {
            let public = Public::parse(text).unwrap();
            assert_eq!((public.ip1.as_str(), public.port), (host, port));
            assert_eq!(public.ip2, host);
        }
    }

    #[test]
    fn what_is_no_address_is_none() {
        for text in [
            "",
            "host",
            "host:",
            ":80",
            "host:0",
            "host:65536",
            "[host]:80",
            "[::1:80",
            "a b:80",
            "a:1\nb:2",
            "http://a:80",
        ] {
            assert_eq!(Public::parse(text), None, "{text:?}");
        }
    }
}
