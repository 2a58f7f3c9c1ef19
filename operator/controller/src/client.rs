//! The client of the API server, with a layer that counts requests.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use http::{Method, Request, Response};
use kube::client::{Body, ClientBuilder};
use kube::{Client, Config};
use tower::{Layer, Service};

use crate::metrics::{Metrics, RequestLabels};

/// Exit code of a process that was told to stop after so many writes.
const STOPPED_BY_TEST: i32 = 86;

/// A client that counts its requests in `metrics` and, for tests, ends the process after
/// `stop_after` writes.
pub(crate) fn connect(
    config: Config,
    metrics: Metrics,
    stop_after: Option<u64>,
) -> kube::Result<Client> {
    let layer = Counting {
        metrics,
        stop_after,
        writes: Arc::default(),
    };
    Ok(ClientBuilder::try_from(config)?.with_layer(&layer).build())
}

#[derive(Clone, Debug)]
struct Counting {
    metrics: Metrics,
    stop_after: Option<u64>,
    writes: Arc<AtomicU64>,
}

impl<S> Layer<S> for Counting {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted {
            inner,
            counting: self.clone(),
        }
    }
}

#[derive(Clone, Debug)]
struct Counted<S> {
    inner: S,
    counting: Counting,
}

type Boxed<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

impl<S, B> Service<Request<Body>> for Counted<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: 'static,
    B: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Boxed<S::Response, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let method = request.method().clone();
        let writes = is_write(&method, request.uri().path());
        let counting = self.counting.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let code = answer
                .as_ref()
                .map_or_else(|_| "<error>".to_owned(), |r| r.status().as_str().to_owned());
            counting
                .metrics
                .requests
                .get_or_create_owned(&RequestLabels {
                    code,
                    method: method.as_str().to_owned(),
                })
                .inc();
            if writes {
                let so_far = counting.writes.fetch_add(1, Ordering::Relaxed) + 1;
                if counting.stop_after.is_some_and(|limit| so_far >= limit) {
                    tracing::warn!(so_far, "stopping after a write, as a test asked");
                    std::process::exit(STOPPED_BY_TEST);
                }
            }
            answer
        })
    }
}

/// Whether a request changes something that matters: events and the Lease do not.
fn is_write(method: &Method, path: &str) -> bool {
    let changes = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE].contains(method);
    changes && !path.contains("/events") && !path.contains("/leases")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_and_leases_are_no_writes() {
        let write = "/api/v1/namespaces/chat/configmaps/demo-msg";
        assert!(is_write(&Method::PATCH, write));
        assert!(!is_write(&Method::GET, write));
        let lease = "/apis/coordination.k8s.io/v1/namespaces/chat/leases/im-operator";
        assert!(!is_write(&Method::PUT, lease));
        let event = "/apis/events.k8s.io/v1/namespaces/chat/events";
        assert!(!is_write(&Method::POST, event));
    }
}
