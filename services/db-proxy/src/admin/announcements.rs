//! Announcements: made, seen, cancelled; and the calls about them, of a service of their own.

use std::collections::BTreeSet;

use im_accounts::ACTIVE;
use im_core::UserId;
use im_core::time::UnixSeconds;
use im_proto_rpc::v1::announcements_server::Announcements;
use im_proto_rpc::v1::{
    self, AnnouncementList, AnnouncementRecord, CancelAnnouncementRequest,
    CreateAnnouncementRequest, GetAnnouncementRequest, ListAnnouncementsRequest,
};
use im_store::{AnnouncementBounds, AnnouncementRow, AnnouncementState, Audience, NewAnnouncement};
use serde_json::json;
use tonic::{Request, Response, Status};

use super::notes::Changed;
use super::{AdminError, AdminService};

impl AdminService {
    async fn make_announcement(
        &self,
        request: CreateAnnouncementRequest,
    ) -> Result<AnnouncementRecord, AdminError> {
        let bounds = &self.config.administration;
        let (bytes, most) = (request.body.len(), bounds.max_announcement.as_usize());
        if !(1..=most).contains(&bytes) {
            return Err(AdminError::Invalid(format!(
                "an announcement has 1 to {most} bytes as clients send it \
                 (db_proxy.administration.max_announcement), not {bytes}"
            )));
        }
        let sender = self.account(&request.sender).await?;
        if sender.status != ACTIVE {
            return Err(AdminError::Refused(format!(
                "{:?} is not active",
                sender.name
            )));
        }
        let audience = self.audience(&request).await?;
        let total = self.store.count_audience(sender.id, &audience).await?;
        if total == 0 {
            return Err(AdminError::Refused(
                "there is nobody to tell: people who are not active and the sender are left out"
                    .to_owned(),
            ));
        }
        let made_by = self.call.as_ref().map(|call| call.caller.actor.clone());
        let new = NewAnnouncement {
            sender: sender.id,
            body: request.body,
            audience,
            created: UnixSeconds::now(),
            made_by: made_by.unwrap_or_default(),
        };
        let would_be = AnnouncementRecord {
            sender: sender.id.get(),
            total,
            created: new.created.get(),
            made_by: new.made_by.clone(),
            ..AnnouncementRecord::default()
        };
        if request.dry_run {
            return Ok(would_be);
        }
        let to = match &new.audience {
            Audience::Everybody => json!("everybody"),
            Audience::Departments(_) => json!({ "department": request.department }),
            Audience::People(people) => json!({ "people": people.len() }),
        };
        let changed = Changed::new_of("announcement")
            .after(json!({ "sender": sender.name, "to": to, "total": total, "bytes": bytes }))
            .answer(&would_be);
        let kept = AnnouncementBounds {
            open: bounds.announcements,
            ended: bounds.ended_announcements,
        };
        let store = self.noting(changed);
        let id = store.create_announcement(&new, kept).await?;
        self.announcer.wake();
        Ok(AnnouncementRecord { id, ..would_be })
    }

    /// For whom an announcement is to be.
    async fn audience(&self, request: &CreateAnnouncementRequest) -> Result<Audience, AdminError> {
        let CreateAnnouncementRequest {
            everybody,
            department,
            people,
            ..
        } = request;
        match (*everybody, department.is_empty(), people.is_empty()) {
            (true, true, true) => Ok(Audience::Everybody),
            (false, false, true) => {
                let tree = self.tree().await?;
                let top = tree.find(department)?;
                Ok(Audience::Departments(tree.below(top)))
            }
            (false, true, false) => {
                let most = self.config.administration.announcement_people;
                if people.len() > most {
                    return Err(AdminError::Invalid(format!(
                        "an announcement names at most {most} people \
                         (db_proxy.administration.announcement_people), not {}",
                        people.len()
                    )));
                }
                let mut ids = BTreeSet::<UserId>::new();
                for name in people {
                    ids.insert(self.account(name).await?.id);
                }
                Ok(Audience::People(ids.into_iter().collect()))
            }
            _ => Err(AdminError::Invalid(
                "an announcement is to one of these: everybody, a department, people".to_owned(),
            )),
        }
    }

    async fn one_announcement(&self, id: u32) -> Result<AnnouncementRecord, AdminError> {
        let found = self.store.announcement(id).await?;
        found
            .map(record)
            .ok_or_else(|| AdminError::NotFound(format!("there is no announcement {id}")))
    }

    async fn cancel(
        &self,
        request: CancelAnnouncementRequest,
    ) -> Result<AnnouncementRecord, AdminError> {
        let CancelAnnouncementRequest { id, dry_run } = request;
        let ended = || AdminError::Refused(format!("announcement {id} has ended"));
        let was = self.one_announcement(id).await?;
        if was.ended != 0 {
            return Err(ended());
        }
        if dry_run {
            return Ok(was);
        }
        let note = Changed::of(format!("announcement {id}"))
            .before(json!({ "sent": was.sent, "total": was.total }))
            .after(json!({ "cancelled": true }));
        let store = self.noting(note);
        if !store.cancel_announcement(id, UnixSeconds::now()).await? {
            return Err(ended());
        }
        self.one_announcement(id).await
    }
}

#[tonic::async_trait]
impl Announcements for AdminService {
    async fn create_announcement(
        &self,
        request: Request<CreateAnnouncementRequest>,
    ) -> Result<Response<AnnouncementRecord>, Status> {
        let work = |admin: Self, it| async move { admin.make_announcement(it).await };
        self.administer(request, work).await
    }

    async fn get_announcement(
        &self,
        request: Request<GetAnnouncementRequest>,
    ) -> Result<Response<AnnouncementRecord>, Status> {
        let found = self.one_announcement(request.into_inner().id).await?;
        Ok(Response::new(found))
    }

    async fn list_announcements(
        &self,
        _: Request<ListAnnouncementsRequest>,
    ) -> Result<Response<AnnouncementList>, Status> {
        let rows = self.store.announcements().await.map_err(AdminError::from)?;
        Ok(Response::new(AnnouncementList {
            announcements: rows.into_iter().map(record).collect(),
        }))
    }

    async fn cancel_announcement(
        &self,
        request: Request<CancelAnnouncementRequest>,
    ) -> Result<Response<AnnouncementRecord>, Status> {
        let work = |admin: Self, it| async move { admin.cancel(it).await };
        self.administer(request, work).await
    }
}

fn record(row: AnnouncementRow) -> AnnouncementRecord {
    let state = match row.state {
        AnnouncementState::Waiting => v1::AnnouncementState::Waiting,
        AnnouncementState::Running => v1::AnnouncementState::Running,
        AnnouncementState::Done => v1::AnnouncementState::Done,
        AnnouncementState::Cancelled => v1::AnnouncementState::Cancelled,
        AnnouncementState::Failed => v1::AnnouncementState::Failed,
    };
    AnnouncementRecord {
        id: row.id,
        sender: row.announcement.sender.get(),
        state: state.into(),
        total: row.total,
        sent: row.sent,
        refused: row.refused,
        created: row.announcement.created.get(),
        ended: row.ended.map_or(0, UnixSeconds::get),
        made_by: row.announcement.made_by,
        failure: row.failure,
    }
}
