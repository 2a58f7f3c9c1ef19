//! What a port asks of its callers.

use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tonic::service::Interceptor;
use tonic::{Request, Status};
use tracing::warn;

use super::Secret;
use crate::metrics::LinkMetrics;
use crate::serve::Caller;

/// Peer addresses remembered so that each is logged once; beyond it refusals are only counted.
const MAX_LOGGED_PEERS: usize = 1024;

/// What a caller was admitted by; an extension of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Which line of the secret's file, from 1.
    pub value: u8,
}

/// Lets only callers in that present the secret; counts and logs the others.
#[derive(Clone)]
pub struct Guard {
    secret: Secret,
    metrics: LinkMetrics,
    logged: Arc<Mutex<HashSet<IpAddr>>>,
}

impl Guard {
    /// A guard that asks for this secret.
    pub fn new(secret: &Secret, metrics: LinkMetrics) -> Self {
        Self {
            secret: secret.clone(),
            metrics,
            logged: Arc::default(),
        }
    }

    pub(crate) fn metrics(&self) -> &LinkMetrics {
        &self.metrics
    }

    fn admits(&self, request: &Request<()>) -> Option<Credential> {
        let presented = request
            .metadata()
            .get("authorization")
            .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        let value = self.secret.accepts(presented.unwrap_or_default())?;
        Some(Credential { value })
    }

    fn log_once(&self, request: &Request<()>) {
        let Some(address) = request.remote_addr() else {
            return;
        };
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
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
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let caller = request.extensions().get::<Caller>().cloned();
        if let Some(caller) = &caller {
            // Where tonic looks for the address.
            request.extensions_mut().insert(caller.address());
        }
        let Some(credential) = self.admits(&request) else {
            self.metrics.refused_secrets().inc();
            self.log_once(&request);
            return Err(Status::unauthenticated(
                "the installation's secret is missing or wrong",
            ));
        };
        if caller.is_some_and(|caller| !caller.recognise()) {
            return Err(Status::resource_exhausted("too many peers are connected"));
        }
        request.extensions_mut().insert(credential);
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Present;
    use super::*;

    #[test]
    fn the_guard_admits_the_secret_alone_and_counts_the_rest() {
        let secret = Secret::generate();
        let mut guard = Guard::new(&secret, LinkMetrics::default());
        let right = Present::new(&secret).call(Request::new(())).unwrap();
        let admitted = guard.call(right).unwrap();
        let credential = admitted.extensions().get::<Credential>().copied();
        assert_eq!(credential, Some(Credential { value: 1 }));
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

    #[test]
    fn a_caller_is_known_by_the_line_of_the_secret_that_it_presented() {
        let (old, new) = ("an old value of a secret", "a new value of a secret");
        let mut guard = Guard::new(
            &Secret::new(&format!("{new}\n{old}")).unwrap(),
            LinkMetrics::default(),
        );
        for (value, text) in [(1, new), (2, old)] {
            let secret = Secret::new(text).unwrap();
            let request = Present::new(&secret).call(Request::new(())).unwrap();
            let admitted = guard.call(request).unwrap();
            let credential = admitted.extensions().get::<Credential>().copied();
            assert_eq!(credential, Some(Credential { value }));
        }
    }
}
