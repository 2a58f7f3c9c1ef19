//! Sessions that are online: listing and ending them.

use im_core::UserId;
use im_proto_rpc::v1::{
    Audience, Kick, KickReply, KickSessionRequest, ListSessionsRequest, SessionInfo, SessionsReply,
    sessions_reply,
};
use im_proto_teamtalk::base::KickReasonType;
use tracing::info;

use super::{AdminError, AdminService};
use crate::publication::Publication;

/// Ends all sessions of a user. Clients have no reason for "by an administrator"; after either of
/// the two that exist they stay offline until the person acts.
pub(super) fn kick_everywhere(user: UserId) -> Kick {
    Kick {
        user: user.get(),
        epoch: 0,
        audience: Audience::All.into(),
        except: 0,
        reason: i32::from(KickReasonType::KickReasonMobileKick).unsigned_abs(),
    }
}

impl AdminService {
    pub(super) async fn sessions(
        &self,
        request: ListSessionsRequest,
    ) -> Result<SessionsReply, AdminError> {
        let user = match request.user.as_str() {
            "" => None,
            name => Some(self.person(name).await?.id),
        };
        let mut infos = self.publisher.list_sessions(user).await?;
        infos.sort_by_key(|info| (info.user, info.login_ms));
        let mut users: Vec<UserId> = infos.iter().filter_map(user_of).collect();
        users.dedup();
        let names = self.names(&users).await?;
        let sessions = infos
            .into_iter()
            .map(|info| sessions_reply::Session {
                user: user_of(&info)
                    .and_then(|user| names.get(&user).cloned())
                    .unwrap_or_default(),
                info: Some(info),
            })
            .collect();
        Ok(SessionsReply { sessions })
    }

    /// Says how many sessions were online and meant; they end within the time of two hops.
    pub(super) async fn kick(&self, request: KickSessionRequest) -> Result<KickReply, AdminError> {
        let user = self.person(&request.user).await?.id;
        let infos = self.publisher.list_sessions(Some(user)).await?;
        let meant = |info: &&SessionInfo| request.epoch == 0 || info.epoch == request.epoch;
        let sessions = infos.iter().filter(meant).count();
        let kick = Kick {
            epoch: request.epoch,
            ..kick_everywhere(user)
        };
        self.publisher.publish(vec![Publication::Kick(kick)]);
        info!(%user, sessions, "sessions kicked");
        Ok(KickReply {
            sessions: u32::try_from(sessions).unwrap_or(u32::MAX),
        })
    }
}

fn user_of(info: &SessionInfo) -> Option<UserId> {
    UserId::from_wire(info.user)
}
