//! The calls about devices, of a service of their own on the administrators' port.

use im_proto_rpc::v1::devices_server::Devices;
use im_proto_rpc::v1::{
    ListPushTargetsRequest, PushTargetList, PushTargetRecord, PushTestRecord,
    RemovePushTargetRequest, TestPushRequest,
};
use tonic::{Request, Response, Status};

use super::AdminService;

#[tonic::async_trait]
impl Devices for AdminService {
    async fn list_push_targets(
        &self,
        request: Request<ListPushTargetsRequest>,
    ) -> Result<Response<PushTargetList>, Status> {
        let user = request.into_inner().user;
        Ok(Response::new(self.devices_of(&user).await?))
    }

    async fn remove_push_target(
        &self,
        request: Request<RemovePushTargetRequest>,
    ) -> Result<Response<PushTargetRecord>, Status> {
        let work = |admin: Self, it| async move { admin.forget_device(it).await };
        self.administer(request, work).await
    }

    async fn test_push(
        &self,
        request: Request<TestPushRequest>,
    ) -> Result<Response<PushTestRecord>, Status> {
        let work = |admin: Self, it| async move { admin.test_device(it).await };
        // To its end, whoever waits for it: what was sent is written down, and until then its key is taken.
        let admin = self.clone();
        let done = tokio::spawn(async move { admin.administer(request, work).await });
        let fault = |_| Status::internal("the test ended by a fault");
        done.await.map_err(fault)?
    }
}
