//! Client side: opens a connection and one stream on it.

use std::marker::PhantomData;
use std::sync::Arc;

use async_trait::async_trait;
use im_config::LinkConfig;
use im_discovery::Endpoint;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use super::{CONNECTION_WINDOW_BYTES, LinkKind, STREAM_WINDOW_BYTES, couple};
use crate::link::{Dial, DialError, Link};
use crate::peers::Connect;
use crate::secret::Secret;

/// Makes [`GrpcDialer`]s.
#[derive(Clone, Debug)]
pub struct GrpcConnect<K> {
    secret: Secret,
    config: LinkConfig,
    kind: PhantomData<fn() -> K>,
}

impl<K: LinkKind> GrpcConnect<K> {
    /// Dialers that present this secret.
    pub fn new(secret: Secret, config: LinkConfig) -> Self {
        Self {
            secret,
            config,
            kind: PhantomData,
        }
    }
}

impl<K: LinkKind> Connect<K::Call, K::Item> for GrpcConnect<K> {
    fn dialer(&self, endpoint: &Endpoint) -> Arc<dyn Dial<K::Call, K::Item>> {
        let (secret, config) = (self.secret.clone(), self.config.clone());
        Arc::new(GrpcDialer::<K>::new(endpoint.clone(), secret, config))
    }
}

/// Opens links of one kind to one server.
#[derive(Debug)]
pub struct GrpcDialer<K> {
    endpoint: Endpoint,
    secret: Secret,
    config: LinkConfig,
    kind: PhantomData<fn() -> K>,
}

impl<K: LinkKind> GrpcDialer<K> {
    /// A dialer that presents this secret.
    pub fn new(endpoint: Endpoint, secret: Secret, config: LinkConfig) -> Self {
        Self {
            endpoint,
            secret,
            config,
            kind: PhantomData,
        }
    }

    async fn open(&self) -> Result<Link<K::Call, K::Item>, DialError> {
        let channel = channel(&self.endpoint.address, &self.config)
            .await
            .map_err(|error| self.unreachable(error))?;
        let mut client = tonic::client::Grpc::new(channel)
            .max_decoding_message_size(self.config.max_batch.as_usize())
            .max_encoding_message_size(self.config.max_batch.as_usize());
        client
            .ready()
            .await
            .map_err(|error| self.unreachable(error))?;
        let (link, half) = couple::open(self.endpoint.name.clone(), self.config.queue_batches);
        let (outbound, inbound) = half.split(self.config.max_batch.as_usize());
        let mut request = Request::new(outbound);
        if let Some(bearer) = self.secret.bearer() {
            request.metadata_mut().insert("authorization", bearer);
        }
        let codec = ProstCodec::<K::Call, K::Item>::default();
        let response = client
            .streaming(request, PathAndQuery::from_static(K::LINK.path), codec)
            .await
            .map_err(|status| self.refused(status))?;
        inbound.spawn(response.into_inner(), None);
        Ok(link)
    }

    fn refused(&self, status: Status) -> DialError {
        match status.code() {
            Code::Unauthenticated => DialError::Refused {
                peer: self.endpoint.name.clone(),
            },
            _ => self.unreachable(status),
        }
    }

    fn unreachable(&self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> DialError {
        DialError::Unreachable {
            peer: self.endpoint.name.clone(),
            source: error.into(),
        }
    }
}

#[async_trait]
impl<K: LinkKind> Dial<K::Call, K::Item> for GrpcDialer<K> {
    fn peer(&self) -> &str {
        &self.endpoint.name
    }

    async fn dial(&self) -> Result<Link<K::Call, K::Item>, DialError> {
        // The peer answers the call's headers at once, so one limit covers name, connection and call.
        let limit = self.config.connect_timeout.duration();
        tokio::time::timeout(limit, self.open())
            .await
            .unwrap_or_else(|elapsed| Err(self.unreachable(elapsed)))
    }
}

/// Opens a connection to `host:port`; the name is resolved now.
///
/// # Errors
/// The address is none, or nobody takes the connection in time.
pub async fn channel(
    address: &str,
    config: &LinkConfig,
) -> Result<Channel, tonic::transport::Error> {
    transport(address, config)?.connect().await
}

/// A connection to `host:port` that is opened by the first call, and anew by the first one after it was
/// lost; a call while nobody takes it fails.
///
/// # Errors
/// The address is none.
pub fn lazy_channel(
    address: &str,
    config: &LinkConfig,
) -> Result<Channel, tonic::transport::Error> {
    Ok(transport(address, config)?.connect_lazy())
}

fn transport(
    address: &str,
    config: &LinkConfig,
) -> Result<tonic::transport::Endpoint, tonic::transport::Error> {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(config.connect_timeout.duration())
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keep_alive_interval(config.keepalive.duration())
        .keep_alive_timeout(config.keepalive_timeout.duration())
        .keep_alive_while_idle(true);
    Ok(endpoint)
}
