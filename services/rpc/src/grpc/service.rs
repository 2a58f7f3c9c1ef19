//! Server side: one service for every kind of link, which hands the links it gets to an [`Accept`].

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::{Stream, StreamExt};
use im_config::LinkConfig;
use tonic::body::Body;
use tonic::codegen::{self, BoxFuture, Service, StdError, http};
use tonic::server::{Grpc, StreamingService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use super::{LinkKind, couple};
use crate::link::Accept;
use crate::metrics::LinkMetrics;

/// The method of one kind of link.
pub(crate) struct LinkService<K: LinkKind> {
    accept: Arc<dyn Accept<K::Item, K::Call>>,
    /// Batches that may wait in each direction.
    queue: usize,
    /// Bytes of a batch.
    batch_bytes: usize,
    metrics: LinkMetrics,
}

impl<K: LinkKind> LinkService<K> {
    /// Hands every link to `accept`.
    pub(crate) fn new(
        accept: Arc<dyn Accept<K::Item, K::Call>>,
        config: &LinkConfig,
        metrics: LinkMetrics,
    ) -> Self {
        Self {
            accept,
            queue: config.queue_batches,
            batch_bytes: config.max_batch.as_usize(),
            metrics,
        }
    }

    fn couple(&self, request: Request<Streaming<K::Call>>) -> Response<Answers<K::Item>> {
        let peer = request
            .remote_addr()
            .map_or_else(String::new, |address| address.to_string());
        let (link, half) = couple::open(peer, self.queue);
        let (outbound, inbound) = half.split(self.batch_bytes);
        inbound.spawn(
            request.into_inner(),
            Some(self.metrics.hold_accepted(K::LINK)),
        );
        self.accept.accept(link);
        Response::new(Box::pin(outbound.map(Ok)))
    }
}

impl<K: LinkKind> Clone for LinkService<K> {
    fn clone(&self) -> Self {
        Self {
            accept: Arc::clone(&self.accept),
            queue: self.queue,
            batch_bytes: self.batch_bytes,
            metrics: self.metrics.clone(),
        }
    }
}

impl<K: LinkKind, B> Service<http::Request<B>> for LinkService<K>
where
    B: codegen::Body + Send + 'static,
    B::Error: Into<StdError> + Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let method = Method(self.clone());
        let limit = Some(self.batch_bytes);
        Box::pin(async move {
            let codec = ProstCodec::<K::Item, K::Call>::default();
            let mut grpc = Grpc::new(codec).apply_max_message_size_config(limit, limit);
            Ok(grpc.streaming(method, request).await)
        })
    }
}

/// A boxed stream of what the server sends.
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

struct Method<K: LinkKind>(LinkService<K>);

impl<K: LinkKind> StreamingService<K::Call> for Method<K> {
    type Response = K::Item;
    type ResponseStream = Answers<K::Item>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<K::Call>>) -> Self::Future {
        ready(Ok(self.0.couple(request)))
    }
}
