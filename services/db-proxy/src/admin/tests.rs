//! Administration over a real store and writer (imports, people,
//! groups, sessions).

use im_accounts::{RememberKeys, digest_of};
use im_answers::testing::{self, small_config, user};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use futures::{StreamExt as _, stream};
use im_codec::Command;
use im_config::DbProxyConfig;
use im_core::ClientType;
use im_proto_rpc::v1::{
    AddUserRequest, Audience, ChangeGroupMembersRequest, CreateGroupRequest, DirectoryRow,
    ImportItem, ImportOptions, ImportProgress, ImportReport, KickSessionRequest, ListGroupsRequest,
    ListSessionsRequest, ListUsersRequest, LoginCall, SessionInfo, SessionsReply,
    SetPasswordRequest, SetUserStatusRequest, import_item::Item,
};
use im_proto_teamtalk::group::ImGroupChangeMemberNotify;
use im_store::AccountStore as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

mod announcements;
mod audited;
mod bots;
mod devices;
mod discovery_items;
mod hooks;
mod imported;
mod incoming;
mod messages;
mod moved;
mod names;
mod paged;
mod reads;
mod rehearsed;
mod removal;
mod servers;
mod tokens;

use super::AdminService;
use super::audit::Entry;
use crate::announce::{AnnounceMetrics, Announcer};
use crate::test_push::{TestMetrics, TestNotices};

/// Administration over the parts that answer.
struct Rig {
    parts: testing::Rig,
    admin: AdminService,
}

impl Deref for Rig {
    type Target = testing::Rig;

    fn deref(&self) -> &testing::Rig {
        &self.parts
    }
}

impl DerefMut for Rig {
    fn deref_mut(&mut self) -> &mut testing::Rig {
        &mut self.parts
    }
}

impl Rig {
    async fn new() -> Self {
        Self::over(testing::Rig::new().await)
    }

    async fn with(config: DbProxyConfig) -> Self {
        Self::over(testing::Rig::with(config).await)
    }

    /// Remembers verified logins under these keys.
    async fn remembering(keys: RememberKeys) -> Self {
        Self::over(testing::Rig::remembering(keys).await)
    }

    fn over(parts: testing::Rig) -> Self {
        let accounts = Arc::clone(&parts.accounts);
        let secret = im_rpc::Secret::generate();
        let metrics = super::AdminMetrics::default();
        let announcer = Announcer::new(&parts.context, AnnounceMetrics::default());
        let tests = TestNotices::new(&parts.context.config.follow, TestMetrics::default());
        let admin = AdminService::new(
            &parts.context,
            accounts,
            announcer,
            &secret,
            tests,
            metrics,
            CancellationToken::new(),
        );
        Self { parts, admin }
    }
}

fn row(line: u32, name: &str) -> DirectoryRow {
    DirectoryRow {
        line,
        name: name.to_owned(),
        ..DirectoryRow::default()
    }
}

fn request(row: DirectoryRow) -> AddUserRequest {
    AddUserRequest {
        user: Some(row),
        dry_run: false,
    }
}

async fn import(rig: &Rig, rows: Vec<DirectoryRow>) -> (Vec<ImportProgress>, ImportReport) {
    run(rig, false, rows).await
}

/// What an import, or its dry run, tells.
async fn run(
    rig: &Rig,
    dry_run: bool,
    rows: Vec<DirectoryRow>,
) -> (Vec<ImportProgress>, ImportReport) {
    let options = Item::Options(ImportOptions { dry_run });
    let items = std::iter::once(options).chain(rows.into_iter().map(Item::Row));
    let items = items.map(|item| Ok::<_, Status>(ImportItem { item: Some(item) }));
    let items: Vec<_> = rig
        .admin
        .import(stream::iter(items), Entry::of_test())
        .map(Result::unwrap)
        .collect()
        .await;
    let report = items.last().unwrap().report.clone().unwrap();
    assert!(
        items.iter().rev().skip(1).all(|item| item.report.is_none()),
        "the report is last"
    );
    (items, report)
}

async fn login(rig: &Rig, name: &str, password: &str) -> u32 {
    let call = LoginCall {
        user_name: name.to_owned(),
        password: digest_of(password),
        client_type: 1,
        client_version: String::new(),
        address: "192.0.2.1".to_owned(),
    };
    rig.accounts.login(call).await.result_code
}

fn code<T>(result: Result<T, super::AdminError>) -> Code {
    Status::from(result.err().expect("it is refused")).code()
}

#[tokio::test]
async fn people_are_added_found_and_given_passwords() {
    let rig = Rig::new().await;
    let ann = DirectoryRow {
        password: "secret".to_owned(),
        nick: Some("Ann".to_owned()),
        department: Some("Company/Research".to_owned()),
        ..row(0, "ann")
    };
    let record = rig.admin.add_person(request(ann.clone())).await.unwrap();
    assert_eq!((record.name.as_str(), record.nick.as_str()), ("ann", "Ann"));
    assert_eq!(
        (record.status.as_str(), record.department.as_str()),
        ("active", "Company/Research")
    );
    assert_eq!(login(&rig, "ann", "secret").await, 0);
    assert_eq!(
        code(rig.admin.add_person(request(ann)).await),
        Code::AlreadyExists
    );
    assert_eq!(
        code(rig.admin.add_person(request(row(0, ""))).await),
        Code::InvalidArgument
    );

    let find = |matching: &str| ListUsersRequest {
        matching: matching.to_owned(),
        ..ListUsersRequest::default()
    };
    let found = rig.admin.list_people(find("Ann")).await.unwrap();
    assert_eq!((found.users, found.next.as_str()), (vec![record], ""));

    let set = |name: &str, password: &str| SetPasswordRequest {
        name: name.to_owned(),
        password: password.to_owned(),
        dry_run: false,
    };
    rig.admin
        .change_password(set("ann", "changed"))
        .await
        .unwrap();
    assert_eq!(login(&rig, "ann", "secret").await, 1);
    assert_eq!(login(&rig, "ann", "changed").await, 0);
    assert_eq!(
        code(rig.admin.change_password(set("nobody", "x")).await),
        Code::NotFound
    );
    assert_eq!(
        code(rig.admin.change_password(set("ann", "")).await),
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn a_disabled_person_loses_sessions_and_login() {
    let mut rig = Rig::new().await;
    let set = |name: &str, status: &str| SetUserStatusRequest {
        name: name.to_owned(),
        status: status.to_owned(),
        dry_run: false,
    };
    let password = SetPasswordRequest {
        name: "user2".to_owned(),
        password: "x".to_owned(),
        dry_run: false,
    };
    rig.admin.change_password(password).await.unwrap();
    assert_eq!(login(&rig, "user2", "x").await, 0);
    for status in ["left", "trial", "regular", "intern"] {
        let record = rig.admin.change_status(set("user2", status)).await.unwrap();
        assert_eq!(record.status, status);
        assert_eq!(
            (rig.kicked().await.user, login(&rig, "user2", "x").await),
            (2, 1)
        );
    }
    rig.admin
        .change_status(set("user2", "active"))
        .await
        .unwrap();
    rig.no_event().await;
    assert_eq!(login(&rig, "user2", "x").await, 0);
    assert_eq!(
        code(rig.admin.change_status(set("user2", "fired")).await),
        Code::InvalidArgument
    );
    assert_eq!(
        code(rig.admin.change_status(set("nobody", "left")).await),
        Code::NotFound
    );
}

#[tokio::test]
async fn fixed_groups_are_made_and_changed_and_members_are_told() {
    let mut rig = Rig::new().await;
    let names = |ids: &[u32]| ids.iter().map(|id| format!("user{id}")).collect::<Vec<_>>();
    let request = CreateGroupRequest {
        name: "All".to_owned(),
        avatar: String::new(),
        owner: "user1".to_owned(),
        members: names(&[3, 2]),
        fixed: true,
        ..CreateGroupRequest::default()
    };
    let group = rig.admin.make_group(request.clone()).await.unwrap();
    assert_eq!(
        (group.version, group.fixed, group.owner.as_str()),
        (1, true, "user1")
    );
    assert_eq!(group.members, names(&[1, 2, 3]));

    let change = ChangeGroupMembersRequest {
        group: group.id,
        add: names(&[2, 4]),
        remove: names(&[3, 9]),
        ..ChangeGroupMembersRequest::default()
    };
    let changed = rig.admin.change_group(change.clone()).await.unwrap();
    assert_eq!((changed.version, changed.members), (3, names(&[1, 2, 4])));
    let (event, notify): (_, ImGroupChangeMemberNotify) =
        rig.event(Command::GroupChangeMemberNotify).await;
    assert_eq!(
        (notify.user_id, notify.change_type, notify.chg_user_id_list),
        (0, 1, vec![4])
    );
    assert_eq!((event.users, event.except), (vec![1, 2, 3, 4], 0));
    let (event, notify): (_, ImGroupChangeMemberNotify) =
        rig.event(Command::GroupChangeMemberNotify).await;
    assert_eq!((notify.change_type, notify.chg_user_id_list), (2, vec![3]));
    assert_eq!(event.users, [1, 2, 3, 4]);

    // The same again is no error.
    assert_eq!(
        rig.admin
            .change_group(change.clone())
            .await
            .unwrap()
            .members,
        names(&[1, 2, 4])
    );
    rig.no_event().await;

    let list = |user: &str| ListGroupsRequest {
        user: user.to_owned(),
        ..ListGroupsRequest::default()
    };
    assert_eq!(
        rig.admin.groups(list("user4")).await.unwrap().groups.len(),
        1
    );
    assert_eq!(rig.admin.groups(list("user3")).await.unwrap().groups, []);
    assert_eq!(rig.admin.groups(list("")).await.unwrap().groups.len(), 1);

    let no_group = ChangeGroupMembersRequest {
        group: 999,
        ..change.clone()
    };
    assert_eq!(code(rig.admin.change_group(no_group).await), Code::NotFound);
    let nobody = ChangeGroupMembersRequest {
        add: vec!["nobody".to_owned()],
        ..change
    };
    assert_eq!(code(rig.admin.change_group(nobody).await), Code::NotFound);
    let unnamed = CreateGroupRequest {
        name: String::new(),
        ..request
    };
    assert_eq!(
        code(rig.admin.make_group(unnamed).await),
        Code::InvalidArgument
    );
}

#[tokio::test]
async fn sessions_are_listed_by_name_and_kicked() {
    let mut rig = Rig::new().await;
    let info = |user: u32, epoch: u64| SessionInfo {
        user,
        epoch,
        client_type: ClientType::Windows.to_wire(),
        status: 1,
        login_ms: epoch,
        server: "msg-1".to_owned(),
        address: "192.0.2.1".to_owned(),
        client_version: "1".to_owned(),
    };
    let writer = rig.context.writer.clone();
    let admin = AdminService::new(
        &rig.context,
        Arc::clone(&rig.accounts),
        rig.admin.announcer.clone(),
        &im_rpc::Secret::generate(),
        TestNotices::new(&rig.context.config.follow, TestMetrics::default()),
        super::AdminMetrics::default(),
        CancellationToken::new(),
    );
    // Two pages, the second one by the cursor of the first.
    let online = || vec![info(2, 22), info(1, 12), info(1, 11)];
    let mut request = ListSessionsRequest {
        limit: 2,
        ..ListSessionsRequest::default()
    };
    for (expected, more) in [
        (&[("user1", 11), ("user1", 12)][..], true),
        (&[("user2", 22)], false),
    ] {
        let list = admin.sessions(request.clone());
        let ((), reply) = tokio::join!(rig.answer_sessions(online()), list);
        let SessionsReply { sessions, next } = reply.unwrap();
        let sessions: Vec<_> = sessions
            .iter()
            .map(|session| (session.user.as_str(), session.info.as_ref().unwrap().epoch))
            .collect();
        assert_eq!(sessions, expected);
        assert_eq!(!next.is_empty(), more);
        request.cursor = next;
    }
    drop(writer);

    for (epoch, count) in [(0, 2), (12, 1), (99, 0)] {
        let kick = admin.kick(KickSessionRequest {
            user: "user1".to_owned(),
            epoch,
            ..KickSessionRequest::default()
        });
        let ((), reply) = tokio::join!(rig.answer_sessions(vec![info(1, 12), info(1, 11)]), kick);
        assert_eq!(reply.unwrap().sessions, count);
        let kick = rig.kicked().await;
        assert_eq!((kick.user, kick.epoch), (user(1).get(), epoch));
    }
    let unknown = admin.kick(KickSessionRequest {
        user: "nobody".to_owned(),
        ..KickSessionRequest::default()
    });
    assert_eq!(code(unknown.await), Code::NotFound);
    // By id it ends also where there is no account: another backup may have been restored meanwhile.
    let kick = admin.kick(KickSessionRequest {
        user_id: 999,
        epoch: 13,
        ..KickSessionRequest::default()
    });
    let ((), reply) = tokio::join!(rig.answer_sessions(vec![info(999, 13)]), kick);
    assert_eq!(reply.unwrap().sessions, 1);
}
