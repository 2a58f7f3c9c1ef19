//! Bots made, changed, removed, and told of what others write.

use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use im_proto_rpc::v1::admin_server::Admin as _;
use im_proto_rpc::v1::bots_server::Bots as _;
use im_proto_rpc::v1::{
    BotRecord, CreateBotRequest, CreateTokenRequest, CreatedBot, GetBotRequest, GetUserRequest,
    ListAuditRequest, ListBotsRequest, LookUpTokenRequest, MessageRecord, ReadUpdatesRequest,
    RemoveBotRequest, ReplaceBotTokenRequest, RevokeTokenRequest, SendMessageRequest, TokenRecord,
    UpdateBotRequest, UpdateList,
};
use tokio::time::timeout;
use tonic::{Request, Response};

use super::super::caller::tests::asked;
use super::*;

fn by_ann<T>(message: T) -> Request<T> {
    asked(message, &[("im-actor-bin", b"ann")])
}

fn new(name: &str) -> CreateBotRequest {
    CreateBotRequest {
        name: name.to_owned(),
        ..CreateBotRequest::default()
    }
}

async fn make(rig: &Rig, request: CreateBotRequest) -> Result<CreatedBot, Status> {
    let made = rig.admin.create_bot(by_ann(request)).await;
    made.map(Response::into_inner)
}

/// A bot, and the id of its token.
async fn bot(rig: &Rig, name: &str) -> (BotRecord, u32) {
    let made = make(rig, new(name)).await.unwrap();
    (made.bot.unwrap(), token_id(&made.secret))
}

fn token_id(secret: &str) -> u32 {
    secret.split('_').nth(1).unwrap().parse().unwrap()
}

async fn say(rig: &Rig, sender: u32, receiver: u32, text: &str) -> MessageRecord {
    let message = SendMessageRequest {
        sender,
        receiver,
        r#type: 1,
        body: Bytes::copy_from_slice(text.as_bytes()),
        ..SendMessageRequest::default()
    };
    rig.admin.send_message_of(message).await.unwrap()
}

fn behind(token: u32, after: u64, wait_ms: u32) -> ReadUpdatesRequest {
    ReadUpdatesRequest {
        token,
        after,
        limit: 0,
        wait_ms,
    }
}

async fn read(rig: &Rig, request: ReadUpdatesRequest) -> Result<UpdateList, Status> {
    let read = rig.admin.read_updates(Request::new(request)).await;
    read.map(Response::into_inner)
}

fn texts(list: &UpdateList) -> Vec<&str> {
    let bodies = list.messages.iter().map(|it| &it.body);
    bodies.map(|it| std::str::from_utf8(it).unwrap()).collect()
}

fn reason_of<T: std::fmt::Debug>(result: Result<T, Status>) -> String {
    let status = result.unwrap_err();
    let reason = status.metadata().get("im-reason");
    reason.map_or_else(String::new, |it| it.to_str().unwrap().to_owned())
}

async fn grant(rig: &Rig, id: u32) -> TokenRecord {
    let grant = rig.admin.grant(LookUpTokenRequest { id }).await.unwrap();
    grant.token.unwrap()
}

#[tokio::test]
async fn a_bot_is_made_with_a_token_changed_and_removed_and_each_leaves_its_row() {
    let rig = Rig::new().await;
    let dry = CreateBotRequest {
        dry_run: true,
        ..new("helper")
    };
    let would_be = make(&rig, dry).await.unwrap();
    assert_eq!(
        (would_be.bot.unwrap().id, would_be.secret.as_str()),
        (0, "")
    );
    let (made, token) = bot(&rig, "helper").await;
    assert_eq!((made.nick.as_str(), made.active), ("helper", true));
    let record = grant(&rig, token).await;
    assert_eq!((record.bot, record.owner.as_str()), (made.id, "bot helper"));
    assert_eq!(record.scopes, ["bot"]);
    let taken = make(&rig, new("Helper")).await;
    assert_eq!(taken.unwrap_err().code(), Code::AlreadyExists);
    let taken = make(&rig, new("user1")).await;
    assert_eq!(taken.unwrap_err().code(), Code::AlreadyExists);
    let nowhere = CreateBotRequest {
        department: "Nowhere".to_owned(),
        ..new("other")
    };
    let nowhere = make(&rig, nowhere).await;
    assert_eq!(nowhere.unwrap_err().code(), Code::NotFound);

    let patch = UpdateBotRequest {
        name: "helper".to_owned(),
        nick: Some("Helper".to_owned()),
        signature: Some("at your service".to_owned()),
        ..UpdateBotRequest::default()
    };
    let changed = rig.admin.update_bot(by_ann(patch)).await.unwrap();
    assert_eq!(changed.get_ref().nick, "Helper");
    let emptied = UpdateBotRequest {
        name: "helper".to_owned(),
        signature: Some(String::new()),
        ..UpdateBotRequest::default()
    };
    let emptied = rig.admin.update_bot(by_ann(emptied)).await.unwrap();
    let emptied = emptied.into_inner();
    assert_eq!(
        (emptied.nick.as_str(), emptied.signature.as_str()),
        ("Helper", "")
    );
    let get = GetBotRequest {
        name: "helper".to_owned(),
    };
    let shown = rig.admin.get_bot(Request::new(get.clone())).await.unwrap();
    assert_eq!(shown.into_inner(), emptied);

    // People stand apart.
    let person = GetUserRequest {
        name: "helper".to_owned(),
        ..GetUserRequest::default()
    };
    let missing = rig.admin.get_person(person.clone()).await;
    assert_eq!(code(missing), Code::NotFound);
    let any = GetUserRequest {
        any_account: true,
        ..person
    };
    assert_eq!(rig.admin.get_person(any).await.unwrap().id, made.id);
    let password = SetPasswordRequest {
        name: "helper".to_owned(),
        password: "secret".to_owned(),
        dry_run: false,
    };
    let refused = rig.admin.change_password(password).await;
    assert_eq!(code(refused), Code::NotFound);

    let group = CreateGroupRequest {
        name: "All".to_owned(),
        members: vec!["user1".to_owned(), "helper".to_owned()],
        ..CreateGroupRequest::default()
    };
    let group = rig.admin.make_group(group).await.unwrap();
    assert_eq!(group.members, ["user1", "helper"]);
    let remove = RemoveBotRequest {
        name: "helper".to_owned(),
        dry_run: false,
    };
    rig.admin.remove_bot(by_ann(remove)).await.unwrap();
    let gone = rig.admin.get_bot(Request::new(get)).await;
    assert_eq!(gone.unwrap_err().code(), Code::NotFound);
    assert_ne!(grant(&rig, token).await.revoked, 0);
    let list = rig
        .admin
        .list_bots(Request::new(ListBotsRequest::default()));
    assert_eq!(list.await.unwrap().into_inner().bots, []);

    let rows = rig
        .admin
        .list_audit(Request::new(ListAuditRequest::default()));
    let rows = rows.await.unwrap().into_inner().rows;
    let actions: Vec<_> = { rows.iter() }
        .map(|row| (row.action.as_str(), row.target.as_str()))
        .collect();
    let expected = [
        ("RemoveBot", "bot helper"),
        ("RemoveBot", &format!("group {}", group.id)),
        ("UpdateBot", "bot helper"),
        ("UpdateBot", "bot helper"),
        ("CreateBot", "bot helper"),
    ];
    assert_eq!(actions, expected);
}

#[tokio::test]
async fn a_bot_is_made_once_under_a_key_and_its_token_is_told_once() {
    let rig = Rig::new().await;
    let words: [(&'static str, &[u8]); 2] =
        [("im-actor-bin", b"ann"), ("im-idempotency-key-bin", b"k")];
    let first = rig.admin.create_bot(asked(new("helper"), &words)).await;
    let first = first.unwrap().into_inner();
    let again = rig.admin.create_bot(asked(new("helper"), &words)).await;
    let again = again.unwrap().into_inner();
    assert_ne!(first.secret, "");
    assert_eq!(again.secret, "");
    assert_eq!((again.bot, again.expires), (first.bot, first.expires));
}

#[tokio::test]
async fn pages_of_bots_follow_each_other_by_name() {
    let rig = Rig::new().await;
    for name in ["c", "a", "b"] {
        bot(&rig, name).await;
    }
    let (mut cursor, mut names) = (String::new(), Vec::new());
    loop {
        let part = ListBotsRequest { limit: 2, cursor };
        let list = rig.admin.list_bots(Request::new(part)).await.unwrap();
        let list = list.into_inner();
        names.extend(list.bots.into_iter().map(|bot| bot.name));
        cursor = list.next;
        if cursor.is_empty() {
            break;
        }
    }
    assert_eq!(names, ["a", "b", "c"]);
}

#[tokio::test]
async fn nobody_makes_a_token_that_acts_as_a_bot() {
    let rig = Rig::new().await;
    let wanted = CreateTokenRequest {
        owner: "x".to_owned(),
        scopes: vec!["bot".to_owned()],
        ..CreateTokenRequest::default()
    };
    let made = rig.admin.make_token(wanted).await;
    assert_eq!(code(made), Code::InvalidArgument);
}

#[tokio::test]
async fn a_bot_reads_what_others_write_to_it_from_any_place() {
    let rig = Rig::new().await;
    let (bot, token) = bot(&rig, "helper").await;
    let nothing = read(&rig, behind(token, 0, 0)).await.unwrap();
    assert_eq!((texts(&nothing).len(), nothing.next), (0, 0));
    say(&rig, 1, bot.id, "one").await;
    say(&rig, 1, 2, "to somebody else").await;
    say(&rig, bot.id, 1, "its own").await;
    say(&rig, 2, bot.id, "two").await;
    let list = read(&rig, behind(token, 0, 0)).await.unwrap();
    assert_eq!(texts(&list), ["one", "two"]);
    assert_eq!((list.messages[0].sender, list.next), (1, 4));
    let again = read(&rig, behind(token, 1, 0)).await.unwrap();
    assert_eq!(texts(&again), ["two"]);
    let one = ReadUpdatesRequest {
        limit: 1,
        ..behind(token, 0, 0)
    };
    let page = read(&rig, one).await.unwrap();
    assert_eq!((texts(&page), page.next), (vec!["one"], 1));
    let beyond = read(&rig, behind(token, 5, 0)).await.unwrap_err();
    assert_eq!(beyond.code(), Code::OutOfRange);
}

#[tokio::test]
async fn a_bot_that_waits_is_told_at_once_and_reads_nothing_meanwhile() {
    let rig = Rig::new().await;
    let (bot, token) = bot(&rig, "helper").await;
    let waiting = read(&rig, behind(token, 0, 20_000));
    let talk = async {
        for n in 0..5 {
            say(&rig, 1, 2, &format!("chat {n}")).await;
        }
        say(&rig, 1, bot.id, "hello").await
    };
    let (told, said) = timeout(Duration::from_secs(10), async {
        tokio::join!(waiting, talk)
    })
    .await
    .unwrap();
    let told = told.unwrap();
    assert_eq!((texts(&told), told.next), (vec!["hello"], said.position));
    assert!(rig.context.publisher.bells().is_empty());
    // In a group too, and in vain it ends at its time, behind what was not for it.
    let group = CreateGroupRequest {
        name: "All".to_owned(),
        members: vec!["user1".to_owned(), "helper".to_owned()],
        ..CreateGroupRequest::default()
    };
    let group = rig.admin.make_group(group).await.unwrap().id;
    let to_group = SendMessageRequest {
        sender: 1,
        group,
        r#type: 0x11,
        body: Bytes::from_static(b"to all"),
        ..SendMessageRequest::default()
    };
    let waiting = read(&rig, behind(token, told.next, 20_000));
    let talk = rig.admin.send_message_of(to_group);
    let (told, said) = tokio::join!(waiting, talk);
    let (told, said) = (told.unwrap(), said.unwrap());
    assert_eq!((texts(&told), told.next), (vec!["to all"], said.position));
    let waiting = read(&rig, behind(token, told.next, 50));
    let (told, other) = tokio::join!(waiting, say(&rig, 1, 2, "not for it"));
    let told = told.unwrap();
    assert_eq!((told.messages.len(), told.next), (0, other.position));
}

#[tokio::test]
async fn whoever_waits_is_answered_when_the_token_ends_however_that_is() {
    let rig = Rig::new().await;
    let ended = async |name: &str, end: &str| {
        let (_, token) = bot(&rig, name).await;
        let name = name.to_owned();
        let waiting = read(&rig, behind(token, 0, 20_000));
        let end = async {
            while rig.context.publisher.bells().is_empty() {
                tokio::task::yield_now().await;
            }
            match end {
                "removed" => {
                    let remove = RemoveBotRequest {
                        name,
                        dry_run: false,
                    };
                    rig.admin.remove_bot(by_ann(remove)).await.map(drop)
                }
                "switched off" => {
                    let off = UpdateBotRequest {
                        name,
                        active: Some(false),
                        ..UpdateBotRequest::default()
                    };
                    rig.admin.update_bot(by_ann(off)).await.map(drop)
                }
                "replaced" => {
                    let replace = ReplaceBotTokenRequest {
                        name,
                        ..ReplaceBotTokenRequest::default()
                    };
                    rig.admin.replace_bot_token(by_ann(replace)).await.map(drop)
                }
                _ => {
                    let revoke = RevokeTokenRequest {
                        id: token,
                        dry_run: false,
                    };
                    rig.admin.revoke_token(by_ann(revoke)).await.map(drop)
                }
            }
        };
        let both = async { tokio::join!(waiting, end) };
        let (read, end) = timeout(Duration::from_secs(10), both).await.unwrap();
        end.unwrap();
        reason_of(read)
    };
    for (name, end) in [
        ("a", "removed"),
        ("b", "switched off"),
        ("c", "replaced"),
        ("d", "revoked"),
    ] {
        assert_eq!(ended(name, end).await, "token-revoked", "{end}");
    }
}

#[tokio::test]
async fn a_token_that_is_no_bots_or_has_ended_reads_nothing() {
    let rig = Rig::new().await;
    let wanted = CreateTokenRequest {
        owner: "wiki".to_owned(),
        scopes: vec!["messages:read".to_owned()],
        ..CreateTokenRequest::default()
    };
    let token = rig.admin.make_token(wanted).await.unwrap().token.unwrap();
    let no_bots = read(&rig, behind(token.id, 0, 0)).await;
    assert_eq!(reason_of(no_bots), "token-invalid");
    let unknown = read(&rig, behind(99, 0, 0)).await;
    assert_eq!(reason_of(unknown), "token-invalid");
    let short = CreateBotRequest {
        token_seconds: 1,
        ..new("helper")
    };
    let token = token_id(&make(&rig, short).await.unwrap().secret);
    read(&rig, behind(token, 0, 0)).await.unwrap();
    // It ends while it waits, which is found out at the end of the wait at the latest.
    let ended = read(&rig, behind(token, 0, 2_000)).await;
    assert_eq!(reason_of(ended), "token-expired");
}

#[tokio::test]
async fn another_token_stands_beside_the_former_one_for_its_time() {
    let rig = Rig::new().await;
    let (_, first) = bot(&rig, "helper").await;
    let replace = |overlap, dry_run| {
        let request = ReplaceBotTokenRequest {
            name: "helper".to_owned(),
            overlap,
            dry_run,
            ..ReplaceBotTokenRequest::default()
        };
        rig.admin.replace_bot_token(by_ann(request))
    };
    let judged = replace(60, true).await.unwrap().into_inner();
    assert_eq!(judged.secret, "");
    let second = replace(60, false).await.unwrap().into_inner();
    let second = second.token.unwrap().id;
    for token in [first, second] {
        read(&rig, behind(token, 0, 0)).await.unwrap();
    }
    let (former, now) = (grant(&rig, first).await, grant(&rig, second).await);
    assert!(former.revoked == 0 && former.expires <= now.created + 60);
    let third = replace(0, false).await.unwrap().into_inner();
    let third = third.token.unwrap().id;
    for token in [first, second] {
        let ended = read(&rig, behind(token, 0, 0)).await;
        assert_eq!(reason_of(ended), "token-revoked");
    }
    read(&rig, behind(third, 0, 0)).await.unwrap();
    let long = replace(7 * 86_400 + 1, false).await;
    assert_eq!(long.unwrap_err().code(), Code::InvalidArgument);
    let off = UpdateBotRequest {
        name: "helper".to_owned(),
        active: Some(false),
        ..UpdateBotRequest::default()
    };
    rig.admin.update_bot(by_ann(off)).await.unwrap();
    let refused = replace(0, false).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
}

/// So many wait, one more is refused, and a place is free when somebody goes.
#[tokio::test]
async fn so_many_wait_and_who_goes_leaves_nothing() {
    let mut config = small_config();
    config.administration.bot_waiters = 2;
    let rig = Rig::with(config).await;
    let (_, token) = bot(&rig, "helper").await;
    let mut first = Box::pin(read(&rig, behind(token, 0, 20_000)));
    let mut second = Box::pin(read(&rig, behind(token, 0, 20_000)));
    while rig.context.publisher.bells().len() < 2 {
        assert!((&mut first).now_or_never().is_none());
        assert!((&mut second).now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    let third = read(&rig, behind(token, 0, 20_000)).await.unwrap_err();
    assert_eq!(third.code(), Code::ResourceExhausted);
    drop(first);
    assert_eq!(rig.context.publisher.bells().len(), 1);
    read(&rig, behind(token, 0, 0)).await.unwrap();
    drop(second);
    assert!(rig.context.publisher.bells().is_empty());
}

/// A read looks at so many places; a bot that is far behind comes to the end all the same.
#[tokio::test]
async fn who_is_far_behind_comes_to_the_end_by_steps() {
    let mut config = small_config();
    config.administration.bot_places = 1;
    let rig = Rig::with(config).await;
    let (bot, token) = bot(&rig, "helper").await;
    say(&rig, 1, bot.id, "first").await;
    for n in 0..20 {
        say(&rig, 1, 2, &format!("chat {n}")).await;
    }
    say(&rig, 1, bot.id, "last").await;
    let (mut after, mut seen, mut steps) = (0, Vec::new(), 0);
    while seen.len() < 2 {
        let list = read(&rig, behind(token, after, 20_000)).await.unwrap();
        assert!(list.next > after);
        after = list.next;
        seen.extend(texts(&list).into_iter().map(str::to_owned));
        steps += 1;
    }
    assert_eq!(seen, ["first", "last"]);
    assert_eq!(steps, 4, "8 places each, or up to a message");
}
