//! Sessions that are online: listing and ending them.

use im_core::UserId;
use im_proto_rpc::v1::{
    Audience, Kick, KickReply, KickSessionRequest, ListSessionsRequest, SessionInfo, SessionsReply,
    sessions_reply,
};
use im_proto_teamtalk::base::KickReasonType;
use im_writer::Publication;
use serde_json::json;

use super::cursor::{List, Listed};
use super::notes::Changed;
use super::pages::{Limits, Page};
use super::{AdminError, AdminService};

/// Sessions in one answer: the default, and the most.
const LIMITS: Limits = Limits {
    default: 1_000,
    most: 10_000,
};

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
        let limit = LIMITS.of(request.limit);
        let mut infos = self.publisher.list_sessions(user).await?;
        let filters = [request.user.as_str()];
        let listed = Listed {
            list: List::Sessions,
            filters: &filters,
        };
        // An epoch names one login for ever.
        let place = |info: &SessionInfo| u128::from(info.user) << 64 | u128::from(info.epoch);
        infos.sort_by_key(place);
        if let Some(after) = self.cursors.read(listed, &request.cursor)? {
            infos.retain(|info| place(info) > after);
        }
        infos.truncate(usize::try_from(limit).map_or(usize::MAX, |limit| limit + 1));
        let mut users: Vec<UserId> = infos.iter().filter_map(user_of).collect();
        users.dedup();
        let names = self.names(&users).await?;
        let mut page = Page::new(limit);
        for info in infos {
            let place = place(&info);
            let row = sessions_reply::Session {
                user: user_of(&info)
                    .and_then(|user| names.get(&user).cloned())
                    .unwrap_or_default(),
                info: Some(info),
            };
            if !page.takes(place, row) {
                break;
            }
        }
        let (sessions, next) = self.end_page(listed, page);
        Ok(SessionsReply { sessions, next })
    }

    /// Says how many sessions were online and meant; they end within the time of two hops.
    pub(super) async fn kick(&self, request: KickSessionRequest) -> Result<KickReply, AdminError> {
        let by_id = UserId::from_wire(request.user_id).filter(|_| request.user.is_empty());
        let (user, name) = if let Some(user) = by_id {
            let name = self.names(&[user]).await?.remove(&user);
            (
                user,
                name.unwrap_or_else(|| format!("of id {}", user.get())),
            )
        } else {
            let person = self.person(&request.user).await?;
            (person.id, person.name)
        };
        let infos = self.publisher.list_sessions(Some(user)).await?;
        let meant = |info: &&SessionInfo| request.epoch == 0 || info.epoch == request.epoch;
        let sessions = infos.iter().filter(meant).count();
        let reply = KickReply {
            sessions: u32::try_from(sessions).unwrap_or(u32::MAX),
        };
        if request.dry_run {
            return Ok(reply);
        }
        let what = match request.epoch {
            0 => json!("all"),
            epoch => json!(format!("{epoch:016x}")),
        };
        let changed = Changed::of(format!("user {name}"))
            .after(json!({ "ended_sessions": what, "online": reply.sessions }))
            .answer(&reply);
        // The row first: nobody is kicked of whom it does not tell.
        if let Some(note) = self.note(changed) {
            self.store.note(&note).await?;
        }
        let kick = Kick {
            epoch: request.epoch,
            ..kick_everywhere(user)
        };
        self.publisher.publish(vec![Publication::Kick(kick)]);
        Ok(reply)
    }
}

fn user_of(info: &SessionInfo) -> Option<UserId> {
    UserId::from_wire(info.user)
}
