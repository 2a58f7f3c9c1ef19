//! Where a list of peers comes from: the list itself, or a Service of Kubernetes.

use std::fmt;

/// Begins the entry that names a Service of Kubernetes.
pub const KUBERNETES_PREFIX: &str = "kubernetes:";

/// What the lists under `peers` can say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerSource {
    /// The entries are the peers.
    List,
    /// The pods of this Service are the peers.
    Kubernetes(ServicePort),
}

/// A port of a Service, `kubernetes:<service>:<port name>` in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Name of the Service, in the namespace of the process.
    pub service: String,
    /// Name of the port.
    pub port: String,
}

/// Why a list of peers names no Service although it has an entry with the prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerSourceError {
    /// The entry is malformed.
    #[error("must be kubernetes:<service>:<port name>, has {0:?}")]
    Malformed(String),
    /// The entry stands beside others.
    #[error("must have nothing beside {0:?}")]
    NotAlone(String),
}

impl fmt::Display for ServicePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{KUBERNETES_PREFIX}{}:{}", self.service, self.port)
    }
}

impl PeerSource {
    /// Reads a list of peers. Addresses are not looked at.
    ///
    /// # Errors
    /// A Service of Kubernetes is not well-formed, or has other entries beside it.
    pub fn of<S: AsRef<str>>(list: &[S]) -> Result<Self, PeerSourceError> {
        let mut entries = list.iter().map(|entry| entry.as_ref().trim());
        let Some(entry) = entries.find(|entry| entry.starts_with(KUBERNETES_PREFIX)) else {
            return Ok(Self::List);
        };
        if list.len() > 1 {
            return Err(PeerSourceError::NotAlone(entry.to_owned()));
        }
        entry
            .strip_prefix(KUBERNETES_PREFIX)
            .and_then(|rest| rest.split_once(':'))
            .filter(|(service, port)| is_label(service, 63) && is_label(port, 15))
            .map(|(service, port)| {
                Self::Kubernetes(ServicePort {
                    service: service.to_owned(),
                    port: port.to_owned(),
                })
            })
            .ok_or_else(|| PeerSourceError::Malformed(entry.to_owned()))
    }
}

/// Lower-case letters, digits and hyphens within, as Kubernetes wants names of Services and ports.
fn is_label(text: &str, longest: usize) -> bool {
    let is_letter = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.len() <= longest
        && bytes.first().copied().is_some_and(is_letter)
        && bytes.last().copied().is_some_and(is_letter)
        && bytes.iter().all(|&c| is_letter(c) || c == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_entry_can_name_a_service_and_its_port() {
        let source = PeerSource::of(&["kubernetes:demo-route:grpc"]).unwrap();
        let PeerSource::Kubernetes(port) = source else {
            panic!("{source:?}");
        };
        assert_eq!(
            (port.service.as_str(), port.port.as_str()),
            ("demo-route", "grpc")
        );
        assert_eq!(port.to_string(), "kubernetes:demo-route:grpc");
        assert_eq!(PeerSource::of(&["a=h:1", "h:2"]), Ok(PeerSource::List));
        assert_eq!(PeerSource::of::<&str>(&[]), Ok(PeerSource::List));
    }

    #[test]
    fn what_names_no_service_is_refused_by_its_text() {
        let long = format!("kubernetes:{}:grpc", "a".repeat(64));
        for entry in [
            "kubernetes:",
            "kubernetes:demo-route",
            "kubernetes::grpc",
            "kubernetes:demo-route:",
            "kubernetes:Demo:grpc",
            "kubernetes:demo.chat:grpc",
            "kubernetes:-a:grpc",
            "kubernetes:a:grpc:1",
            "kubernetes:a:sixteen-letters-",
            &long,
        ] {
            assert_eq!(
                PeerSource::of(&[entry]),
                Err(PeerSourceError::Malformed(entry.to_owned()))
            );
        }
        assert_eq!(
            PeerSource::of(&["h:1", "kubernetes:a:b"]),
            Err(PeerSourceError::NotAlone("kubernetes:a:b".to_owned()))
        );
    }
}
