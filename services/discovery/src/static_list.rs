//! A list from configuration.

use tokio::sync::watch;

use crate::{Discover, Endpoint};

/// Endpoints that configuration names, or that a test changes at will.
#[derive(Debug)]
pub struct StaticList {
    endpoints: watch::Sender<Vec<Endpoint>>,
}

/// Why an entry of a list is no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// Not `host:port` or `name=host:port`.
    #[error("read {0:?} as host:port or name=host:port")]
    Malformed(String),
    /// Two entries have one name.
    #[error("name {0:?} appears twice")]
    Repeated(String),
}

impl Endpoint {
    /// Reads `host:port`, whose name is the text itself, or `name=host:port`.
    ///
    /// # Errors
    /// It has neither form, or its port is none.
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        let text = text.trim();
        let (name, address) = text.split_once('=').unwrap_or((text, text));
        let well_formed = address.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0)
        });
        if name.is_empty() || !well_formed || address.contains(char::is_whitespace) {
            return Err(EndpointError::Malformed(text.to_owned()));
        }
        Ok(Self {
            name: name.to_owned(),
            address: address.to_owned(),
        })
    }
}

impl StaticList {
    /// A list of these endpoints.
    pub fn new(endpoints: Vec<Endpoint>) -> Self {
        Self {
            endpoints: watch::Sender::new(endpoints),
        }
    }

    /// Reads a list of `host:port` or `name=host:port`.
    ///
    /// # Errors
    /// An entry is not well-formed, or two have one name.
    pub fn parse<S: AsRef<str>>(entries: &[S]) -> Result<Self, EndpointError> {
        let mut endpoints: Vec<Endpoint> = Vec::with_capacity(entries.len());
        for entry in entries {
            let endpoint = Endpoint::parse(entry.as_ref())?;
            if endpoints.iter().any(|known| known.name == endpoint.name) {
                return Err(EndpointError::Repeated(endpoint.name));
            }
            endpoints.push(endpoint);
        }
        Ok(Self::new(endpoints))
    }

    /// Puts another list in place; watchers learn it.
    pub fn replace(&self, endpoints: Vec<Endpoint>) {
        self.endpoints.send_replace(endpoints);
    }
}

impl Discover for StaticList {
    fn watch(&self) -> watch::Receiver<Vec<Endpoint>> {
        self.endpoints.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (String, String) {
        let endpoint = Endpoint::parse(text).unwrap();
        (endpoint.name, endpoint.address)
    }

    #[test]
    fn an_address_names_itself_unless_it_is_given_a_name() {
        assert_eq!(
            parsed("db:10600"),
            ("db:10600".to_owned(), "db:10600".to_owned())
        );
        assert_eq!(
            parsed(" r1=[::1]:8200 "),
            ("r1".to_owned(), "[::1]:8200".to_owned())
        );
    }

    #[test]
    fn what_is_no_address_is_refused_by_its_text() {
        for text in [
            "",
            "host",
            "host:",
            ":80",
            "host:0",
            "host:99999",
            "=h:1",
            "a b:1",
        ] {
            assert_eq!(
                Endpoint::parse(text),
                Err(EndpointError::Malformed(text.trim().to_owned()))
            );
        }
    }

    #[test]
    fn one_name_stands_once_in_a_list() {
        let error = StaticList::parse(&["a=h:1", "a=h:2"]).unwrap_err();
        assert_eq!(error, EndpointError::Repeated("a".to_owned()));
    }

    #[tokio::test]
    async fn watchers_learn_of_a_replaced_list() {
        let list = StaticList::parse(&["h:1"]).unwrap();
        let mut watch = list.watch();
        assert_eq!(watch.borrow_and_update().len(), 1);
        list.replace(vec![]);
        watch.changed().await.unwrap();
        assert!(watch.borrow().is_empty());
    }
}
