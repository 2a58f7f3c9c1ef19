//! Announcements made, seen and cancelled.

use bytes::Bytes;
use im_config::units::ByteSize;
use im_proto_rpc::v1::admin_server::Admin as _;
use im_proto_rpc::v1::announcements_server::Announcements as _;
use im_proto_rpc::v1::{
    AnnouncementRecord, AnnouncementState, CancelAnnouncementRequest, CreateAnnouncementRequest,
    GetAnnouncementRequest, ListAnnouncementsRequest, ListAuditRequest,
};
use tonic::{Request, Response, Status};

use super::super::caller::tests::asked;
use super::*;

fn to_everybody() -> CreateAnnouncementRequest {
    CreateAnnouncementRequest {
        sender: "user1".to_owned(),
        everybody: true,
        body: Bytes::from_static(b"lunch is ready"),
        ..CreateAnnouncementRequest::default()
    }
}

fn to_people(names: &[&str]) -> CreateAnnouncementRequest {
    CreateAnnouncementRequest {
        everybody: false,
        people: names.iter().map(|name| (*name).to_owned()).collect(),
        ..to_everybody()
    }
}

fn by_ann<T>(message: T) -> Request<T> {
    asked(message, &[("im-actor-bin", b"ann")])
}

async fn make(rig: &Rig, request: CreateAnnouncementRequest) -> Result<AnnouncementRecord, Status> {
    let made = rig.admin.create_announcement(by_ann(request)).await;
    made.map(Response::into_inner)
}

async fn refused(rig: &Rig, request: CreateAnnouncementRequest) -> Code {
    make(rig, request).await.unwrap_err().code()
}

async fn cancel(rig: &Rig, id: u32, dry_run: bool) -> Result<AnnouncementRecord, Status> {
    let request = CancelAnnouncementRequest { id, dry_run };
    let cancelled = rig.admin.cancel_announcement(by_ann(request)).await;
    cancelled.map(Response::into_inner)
}

#[tokio::test]
async fn an_announcement_is_to_everybody_a_department_with_those_below_it_or_people() {
    let rig = Rig::new().await;
    for (name, department) in [
        ("ann", "Company"),
        ("ben", "Company/Research/Lab"),
        ("cat", "Shop"),
    ] {
        let row = DirectoryRow {
            department: Some(department.to_owned()),
            ..row(0, name)
        };
        rig.admin.add_person(request(row)).await.unwrap();
    }
    let department = |path: &str| CreateAnnouncementRequest {
        everybody: false,
        department: path.to_owned(),
        ..to_everybody()
    };
    for (request, total) in [
        (to_everybody(), 11),
        (department("Company"), 2),
        (department("Company/Research"), 1),
        (department("Shop"), 1),
        (to_people(&["user2", "user3", "user2", "user1"]), 2),
    ] {
        let judged = CreateAnnouncementRequest {
            dry_run: true,
            ..request.clone()
        };
        let judged = make(&rig, judged).await.unwrap();
        assert_eq!((judged.id, judged.total), (0, total), "{request:?}");
        let made = make(&rig, request).await.unwrap();
        assert_eq!(
            (made.total, made.state()),
            (total, AnnouncementState::Waiting)
        );
        assert_eq!((made.sender, made.made_by.as_str()), (1, "ann"));
        let found = GetAnnouncementRequest { id: made.id };
        let found = rig.admin.get_announcement(Request::new(found)).await;
        assert_eq!(found.unwrap().into_inner(), made);
    }
    let list = Request::new(ListAnnouncementsRequest {});
    let list = rig.admin.list_announcements(list).await.unwrap();
    assert_eq!(
        list.into_inner().announcements.len(),
        5,
        "none of a dry run"
    );
    let unknown = GetAnnouncementRequest { id: 99 };
    let unknown = rig.admin.get_announcement(Request::new(unknown)).await;
    assert_eq!(unknown.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn an_announcement_that_cannot_be_sent_is_refused() {
    let rig = Rig::new().await;
    let both = CreateAnnouncementRequest {
        everybody: true,
        ..to_people(&["user2"])
    };
    assert_eq!(refused(&rig, both).await, Code::InvalidArgument);
    assert_eq!(refused(&rig, to_people(&[])).await, Code::InvalidArgument);
    assert_eq!(refused(&rig, to_people(&["nobody"])).await, Code::NotFound);
    let to_oneself = to_people(&["user1"]);
    assert_eq!(refused(&rig, to_oneself).await, Code::FailedPrecondition);
    let of_nobody = CreateAnnouncementRequest {
        sender: "nobody".to_owned(),
        ..to_everybody()
    };
    assert_eq!(refused(&rig, of_nobody).await, Code::NotFound);
    let nowhere = CreateAnnouncementRequest {
        everybody: false,
        department: "Nowhere".to_owned(),
        ..to_everybody()
    };
    assert_eq!(refused(&rig, nowhere).await, Code::NotFound);
    let left = SetUserStatusRequest {
        name: "user1".to_owned(),
        status: "left".to_owned(),
        dry_run: false,
    };
    rig.admin.change_status(left).await.unwrap();
    assert_eq!(
        refused(&rig, to_everybody()).await,
        Code::FailedPrecondition
    );
}

#[tokio::test]
async fn text_people_and_announcements_have_their_bounds() {
    let mut config = small_config();
    config.administration.max_announcement = ByteSize::bytes(64);
    config.administration.announcement_people = 2;
    config.administration.announcements = 3;
    let rig = Rig::with(config).await;
    let of = |bytes: usize| CreateAnnouncementRequest {
        body: vec![b'x'; bytes].into(),
        ..to_everybody()
    };
    make(&rig, of(64)).await.unwrap();
    assert_eq!(refused(&rig, of(65)).await, Code::InvalidArgument);
    assert_eq!(refused(&rig, of(0)).await, Code::InvalidArgument);
    make(&rig, to_people(&["user2", "user3"])).await.unwrap();
    let three = to_people(&["user2", "user3", "user4"]);
    assert_eq!(refused(&rig, three).await, Code::InvalidArgument);
    let third = make(&rig, to_everybody()).await.unwrap();
    assert_eq!(refused(&rig, to_everybody()).await, Code::ResourceExhausted);
    cancel(&rig, third.id, false).await.unwrap();
    make(&rig, to_everybody()).await.unwrap();
}

#[tokio::test]
async fn an_announcement_is_cancelled_once_and_leaves_its_rows() {
    let rig = Rig::new().await;
    let made = make(&rig, to_everybody()).await.unwrap();
    let judged = cancel(&rig, made.id, true).await.unwrap();
    assert_eq!(judged.state(), AnnouncementState::Waiting);
    let cancelled = cancel(&rig, made.id, false).await.unwrap();
    assert_eq!(cancelled.state(), AnnouncementState::Cancelled);
    assert!(cancelled.ended > 0);
    let again = cancel(&rig, made.id, false).await.unwrap_err();
    assert_eq!(again.code(), Code::FailedPrecondition);
    let unknown = cancel(&rig, 99, false).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    let rows = Request::new(ListAuditRequest::default());
    let rows = rig.admin.list_audit(rows).await.unwrap().into_inner().rows;
    let said: Vec<_> = rows.iter().map(|row| row.action.as_str()).collect();
    assert_eq!(said, ["CancelAnnouncement", "CreateAnnouncement"]);
    assert_eq!(rows[1].target, format!("announcement {}", made.id));
    assert!(!rows[1].after.contains("lunch"), "{}", rows[1].after);
}

/// The same request under the same key is one announcement.
#[tokio::test]
async fn an_announcement_under_a_key_is_one() {
    let rig = Rig::new().await;
    let under_key = || {
        let metadata: [(&str, &[u8]); 2] =
            [("im-actor-bin", b"ann"), ("im-idempotency-key-bin", b"k")];
        asked(to_everybody(), &metadata)
    };
    let first = rig.admin.create_announcement(under_key()).await.unwrap();
    let again = rig.admin.create_announcement(under_key()).await.unwrap();
    assert!(first.get_ref().id > 0);
    assert_eq!(first.into_inner(), again.into_inner());
    let list = Request::new(ListAnnouncementsRequest {});
    let list = rig.admin.list_announcements(list).await.unwrap();
    assert_eq!(list.into_inner().announcements.len(), 1);
}
