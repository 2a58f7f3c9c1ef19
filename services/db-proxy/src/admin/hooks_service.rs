//! The calls about subscriptions and followers, of a service of their own on the administrators' port.

use im_proto_rpc::v1::hooks_server::Hooks;
use im_proto_rpc::v1::{
    CreateSubscriptionRequest, CreatedSubscription, DeliverAgainRequest, DeliveryList,
    DeliveryRecord, FollowerList, FollowerRecord, GetSubscriptionRequest, ListDeliveriesRequest,
    ListFollowersRequest, ListSubscriptionsRequest, RemoveSubscriptionRequest,
    RewindFollowerRequest, RotateSubscriptionSecretRequest, SubscriptionList, SubscriptionRecord,
};
use tonic::{Request, Response, Status};

use super::AdminService;

#[tonic::async_trait]
impl Hooks for AdminService {
    async fn create_subscription(
        &self,
        request: Request<CreateSubscriptionRequest>,
    ) -> Result<Response<CreatedSubscription>, Status> {
        let work = |admin: Self, it| async move { admin.make_subscription(it).await };
        self.administer(request, work).await
    }

    async fn list_subscriptions(
        &self,
        _: Request<ListSubscriptionsRequest>,
    ) -> Result<Response<SubscriptionList>, Status> {
        Ok(Response::new(self.all_subscriptions().await?))
    }

    async fn get_subscription(
        &self,
        request: Request<GetSubscriptionRequest>,
    ) -> Result<Response<SubscriptionRecord>, Status> {
        Ok(Response::new(
            self.one_subscription(request.into_inner()).await?,
        ))
    }

    async fn rotate_subscription_secret(
        &self,
        request: Request<RotateSubscriptionSecretRequest>,
    ) -> Result<Response<CreatedSubscription>, Status> {
        let work = |admin: Self, it| async move { admin.rotate_secret(it).await };
        self.administer(request, work).await
    }

    async fn remove_subscription(
        &self,
        request: Request<RemoveSubscriptionRequest>,
    ) -> Result<Response<SubscriptionRecord>, Status> {
        let work = |admin: Self, it| async move { admin.end_subscription(it).await };
        self.administer(request, work).await
    }

    async fn list_deliveries(
        &self,
        request: Request<ListDeliveriesRequest>,
    ) -> Result<Response<DeliveryList>, Status> {
        Ok(Response::new(
            self.list_deliveries_of(request.into_inner()).await?,
        ))
    }

    async fn deliver_again(
        &self,
        request: Request<DeliverAgainRequest>,
    ) -> Result<Response<DeliveryRecord>, Status> {
        let work = |admin: Self, it| async move { admin.deliver_once_more(it).await };
        self.administer(request, work).await
    }

    async fn list_followers(
        &self,
        _: Request<ListFollowersRequest>,
    ) -> Result<Response<FollowerList>, Status> {
        Ok(Response::new(self.all_followers().await?))
    }

    async fn rewind_follower(
        &self,
        request: Request<RewindFollowerRequest>,
    ) -> Result<Response<FollowerRecord>, Status> {
        let work = |admin: Self, it| async move { admin.rewind(it).await };
        self.administer(request, work).await
    }
}
