//! Server side: the generated services, each handing the links it gets to an [`Accept`].

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use im_proto_rpc::v1::db_proxy_server::DbProxy;
use im_proto_rpc::v1::login_server::Login;
use im_proto_rpc::v1::route_server::Route;
use im_proto_rpc::v1::{
    DbCalls, DbResults, LoadReport, LoadSeen, PublishBatch, PublishReplies, RouteCalls, RouteItems,
};
use tonic::{Request, Response, Status, Streaming};

use super::couple;
use crate::batch::Batch;
use crate::link::Accept;
use crate::metrics::{LinkKind, LinkMetrics};

/// A boxed response stream, as the generated traits want it.
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Turns calls of one method into links.
struct Coupler<Out, In> {
    accept: Arc<dyn Accept<Out, In>>,
    kind: LinkKind,
    bounds: Bounds,
    metrics: LinkMetrics,
}

/// Bounds of each link of a service.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Batches that may wait in each direction.
    pub queue: usize,
    /// Bytes of a batch.
    pub batch_bytes: usize,
}

impl From<&im_config::LinkConfig> for Bounds {
    fn from(config: &im_config::LinkConfig) -> Self {
        Self {
            queue: config.queue_batches,
            batch_bytes: config.max_batch.as_usize(),
        }
    }
}

impl<Out: Batch + Send + Unpin + 'static, In: Send + 'static> Coupler<Out, In> {
    fn couple(&self, request: Request<Streaming<In>>) -> Response<Answers<Out>> {
        let peer = request
            .remote_addr()
            .map_or_else(String::new, |address| address.to_string());
        let (link, half) = couple::open(peer, self.bounds.queue);
        let (outbound, inbound) = half.split(self.bounds.batch_bytes);
        inbound.spawn(
            request.into_inner(),
            Some(self.metrics.hold_accepted(self.kind)),
        );
        self.accept.accept(link);
        Response::new(Box::pin(outbound.map(Ok)))
    }
}

/// `im.v1.DbProxy` on top of an [`Accept`].
pub struct DbProxyService {
    attach: Coupler<DbResults, DbCalls>,
}

impl DbProxyService {
    /// Hands every link to `attach`.
    pub fn new(
        attach: Arc<dyn Accept<DbResults, DbCalls>>,
        bounds: Bounds,
        metrics: LinkMetrics,
    ) -> Self {
        Self {
            attach: Coupler {
                accept: attach,
                kind: LinkKind::DbProxyAttach,
                bounds,
                metrics,
            },
        }
    }
}

#[tonic::async_trait]
impl DbProxy for DbProxyService {
    type AttachStream = Answers<DbResults>;

    async fn attach(
        &self,
        request: Request<Streaming<DbCalls>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        Ok(self.attach.couple(request))
    }
}

/// `im.v1.Route` on top of two [`Accept`]s.
pub struct RouteService {
    attach: Coupler<RouteItems, RouteCalls>,
    publish: Coupler<PublishReplies, PublishBatch>,
}

impl RouteService {
    /// Hands links of msg servers to `attach` and those of writers to `publish`.
    pub fn new(
        attach: Arc<dyn Accept<RouteItems, RouteCalls>>,
        publish: Arc<dyn Accept<PublishReplies, PublishBatch>>,
        bounds: Bounds,
        metrics: LinkMetrics,
    ) -> Self {
        let (one, two) = (metrics.clone(), metrics);
        Self {
            attach: Coupler {
                accept: attach,
                kind: LinkKind::RouteAttach,
                bounds,
                metrics: one,
            },
            publish: Coupler {
                accept: publish,
                kind: LinkKind::RoutePublish,
                bounds,
                metrics: two,
            },
        }
    }
}

#[tonic::async_trait]
impl Route for RouteService {
    type AttachStream = Answers<RouteItems>;
    type PublishStream = Answers<PublishReplies>;

    async fn attach(
        &self,
        request: Request<Streaming<RouteCalls>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        Ok(self.attach.couple(request))
    }

    async fn publish(
        &self,
        request: Request<Streaming<PublishBatch>>,
    ) -> Result<Response<Self::PublishStream>, Status> {
        Ok(self.publish.couple(request))
    }
}

/// `im.v1.Login` on top of an [`Accept`].
pub struct LoginService {
    report: Coupler<LoadSeen, LoadReport>,
}

impl LoginService {
    /// Hands every link to `report`.
    pub fn new(
        report: Arc<dyn Accept<LoadSeen, LoadReport>>,
        bounds: Bounds,
        metrics: LinkMetrics,
    ) -> Self {
        Self {
            report: Coupler {
                accept: report,
                kind: LinkKind::LoginReport,
                bounds,
                metrics,
            },
        }
    }
}

#[tonic::async_trait]
impl Login for LoginService {
    type ReportStream = Answers<LoadSeen>;

    async fn report(
        &self,
        request: Request<Streaming<LoadReport>>,
    ) -> Result<Response<Self::ReportStream>, Status> {
        Ok(self.report.couple(request))
    }
}
