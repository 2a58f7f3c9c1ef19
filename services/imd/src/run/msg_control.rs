//! The administrators' port of a msg server.

use std::time::Duration;

use im_config::LinkConfig;
use im_msg::{Control, ControlError};
use im_proto_rpc::v1::msg_control_server::{MsgControl, MsgControlServer};
use im_proto_rpc::v1::{CordonRequest, MsgState, ShedRequest, ShowStateRequest, UncordonRequest};
use im_rpc::Guard;
use im_rpc::serve::{BoundGrpc, GrpcServer, ServeError};
use im_runtime::listen::{self, ListenError};
use tonic::{Request, Response, Status};

/// Time for calls to end at a stop.
pub(super) const STOP_GRACE: Duration = Duration::from_secs(1);

/// Why the port cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum PortError {
    /// It cannot be bound.
    #[error("open the administrators' port of msg")]
    Listen(#[from] ListenError),
    /// It has no address.
    #[error("serve the administrators' port of msg")]
    Serve(#[from] ServeError),
}

/// Binds the port; whoever shows the installation's secret may administer the server.
///
/// # Errors
/// The port cannot be bound.
pub(super) async fn bind(
    address: &str,
    config: &LinkConfig,
    guard: Guard,
    control: Control,
) -> Result<BoundGrpc, PortError> {
    let listener = listen::tcp(address, listen::LINKS).await?;
    let service = MsgControlServer::new(Administration(control));
    Ok(GrpcServer::new(config, guard)
        .service(service)
        .on(listener)?)
}

#[derive(Debug)]
struct Administration(Control);

#[tonic::async_trait]
impl MsgControl for Administration {
    async fn cordon(&self, _: Request<CordonRequest>) -> Result<Response<MsgState>, Status> {
        Ok(Response::new(self.0.cordon().await))
    }

    async fn uncordon(&self, _: Request<UncordonRequest>) -> Result<Response<MsgState>, Status> {
        Ok(Response::new(self.0.uncordon()))
    }

    async fn shed(&self, request: Request<ShedRequest>) -> Result<Response<MsgState>, Status> {
        let state = self.0.shed(request.into_inner());
        state.map(Response::new).map_err(refusal)
    }

    async fn show_state(&self, _: Request<ShowStateRequest>) -> Result<Response<MsgState>, Status> {
        Ok(Response::new(self.0.state()))
    }
}

fn refusal(error: ControlError) -> Status {
    match error {
        ControlError::Busy | ControlError::Stopping => {
            Status::failed_precondition(error.to_string())
        }
        _ => Status::invalid_argument(error.to_string()),
    }
}
