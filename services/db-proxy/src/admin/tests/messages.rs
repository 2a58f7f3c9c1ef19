//! Messages read and sent for those without a client.

use bytes::Bytes;
use im_proto_rpc::v1::admin_server::Admin as _;
use im_proto_rpc::v1::{
    ConversationKey, CreateGroupRequest, GetMessageRequest, ListAuditRequest, ListMessagesRequest,
    SendMessageRequest,
};
use tonic::{Code, Request};

use super::super::caller::tests::asked;
use super::{Rig, code};

const TEXT: u32 = 1;
const GROUP_TEXT: u32 = 0x11;

fn text(sender: u32, receiver: u32, body: &str) -> SendMessageRequest {
    SendMessageRequest {
        sender,
        receiver,
        r#type: TEXT,
        body: Bytes::copy_from_slice(body.as_bytes()),
        ..SendMessageRequest::default()
    }
}

fn pair(user: u32, other: u32) -> ConversationKey {
    ConversationKey {
        user,
        other,
        group: 0,
    }
}

#[tokio::test]
async fn messages_are_read_backwards_and_forwards_in_pages() {
    let rig = Rig::new().await;
    for n in 1..=5 {
        let sent = rig
            .admin
            .send_message_of(text(1, 2, &format!("m{n}")))
            .await
            .unwrap();
        assert_eq!((sent.id, sent.sender), (n, 1));
    }
    rig.admin
        .send_message_of(text(3, 2, "other"))
        .await
        .unwrap();
    let ask = |before, after, limit| ListMessagesRequest {
        conversation: Some(pair(2, 1)),
        before,
        after,
        limit,
        at: 0,
    };
    for (request, ids, more) in [
        (ask(0, 0, 0), vec![5, 4, 3, 2, 1], false),
        (ask(0, 0, 2), vec![5, 4], true),
        (ask(4, 0, 2), vec![3, 2], true),
        (ask(2, 0, 2), vec![1], false),
        (ask(1, 0, 2), vec![], false),
        (ask(0, 2, 2), vec![3, 4], true),
        (ask(0, 4, 2), vec![5], false),
        (ask(0, 5, 2), vec![], false),
    ] {
        let list = rig.admin.list_messages_of(request).await.unwrap();
        let found: Vec<u32> = list.messages.iter().map(|message| message.id).collect();
        assert_eq!((found, list.more), (ids, more), "{request:?}");
    }
    let both = rig.admin.list_messages_of(ask(4, 2, 0)).await;
    assert_eq!(code(both), Code::InvalidArgument);
    let from = |at, after| ListMessagesRequest {
        at,
        ..ask(0, after, 2)
    };
    let newest = rig.admin.list_messages_of(ask(0, 0, 1)).await.unwrap();
    let now = newest.messages.first().unwrap().time;
    for (at, ids, more) in [(1, vec![1, 2], true), (now + 60, vec![], false)] {
        let list = rig.admin.list_messages_of(from(at, 0)).await.unwrap();
        let found: Vec<u32> = list.messages.iter().map(|message| message.id).collect();
        assert_eq!((found, list.more), (ids, more), "{at}");
    }
    let both = rig.admin.list_messages_of(from(now, 2)).await;
    assert_eq!(code(both), Code::InvalidArgument);
    let none = rig
        .admin
        .list_messages_of(ListMessagesRequest::default())
        .await;
    assert_eq!(code(none), Code::InvalidArgument);

    let list = rig.admin.list_messages_of(ask(0, 0, 1)).await.unwrap();
    let newest = list.messages.first().unwrap();
    assert_eq!(
        (&newest.body[..], &newest.conversation),
        (&b"m5"[..], &Some(pair(1, 2)))
    );
    let position = newest.position;
    let one = rig
        .admin
        .message(GetMessageRequest { position })
        .await
        .unwrap();
    assert_eq!(one, *newest);
    for position in [0, 99, u64::MAX] {
        let nothing = rig.admin.message(GetMessageRequest { position }).await;
        assert!(nothing.is_err(), "{position}");
    }
}

#[tokio::test]
async fn a_message_under_a_key_is_one_message_and_one_row() {
    let rig = Rig::new().await;
    let under_key = |body: &str| {
        let words: [(&'static str, &[u8]); 2] =
            [("im-actor-bin", b"ann"), ("im-idempotency-key-bin", b"k")];
        asked(text(1, 2, body), &words)
    };
    let first = rig
        .admin
        .send_message(under_key("once"))
        .await
        .unwrap()
        .into_inner();
    for _ in 0..3 {
        let again = rig.admin.send_message(under_key("once")).await.unwrap();
        assert_eq!(again.into_inner(), first);
    }
    let other = rig
        .admin
        .send_message(under_key("twice"))
        .await
        .unwrap_err();
    assert_eq!(other.code(), Code::InvalidArgument);
    let list = ListMessagesRequest {
        conversation: Some(pair(1, 2)),
        ..ListMessagesRequest::default()
    };
    assert_eq!(
        rig.admin
            .list_messages_of(list)
            .await
            .unwrap()
            .messages
            .len(),
        1
    );
    let rows = rig
        .admin
        .list_audit(Request::new(ListAuditRequest::default()))
        .await;
    let rows = rows.unwrap().into_inner().rows;
    assert_eq!(rows.len(), 1);
    assert!(
        !rows[0].after.contains("once"),
        "the text is not in the audit log"
    );
}

#[tokio::test]
async fn who_cannot_write_there_sends_nothing() {
    let rig = Rig::new().await;
    let group = CreateGroupRequest {
        name: "A".to_owned(),
        member_ids: vec![2, 3],
        ..CreateGroupRequest::default()
    };
    let group = rig.admin.make_group(group).await.unwrap().id;
    let to_group = |sender| SendMessageRequest {
        receiver: 0,
        group,
        r#type: GROUP_TEXT,
        ..text(sender, 0, "x")
    };
    rig.admin.send_message_of(to_group(2)).await.unwrap();
    let cases = [
        (to_group(1), Code::FailedPrecondition),
        (text(1, 9_999, "x"), Code::FailedPrecondition),
        (text(9_999, 1, "x"), Code::NotFound),
        (text(1, 1, "x"), Code::InvalidArgument),
        (text(1, 0, "x"), Code::InvalidArgument),
        (text(1, 2, ""), Code::InvalidArgument),
        (
            SendMessageRequest {
                r#type: 99,
                ..text(1, 2, "x")
            },
            Code::InvalidArgument,
        ),
        (
            SendMessageRequest {
                group,
                ..text(2, 3, "x")
            },
            Code::InvalidArgument,
        ),
    ];
    for (request, expected) in cases {
        let refused = rig.admin.send_message_of(request.clone()).await;
        assert_eq!(code(refused), expected, "{request:?}");
    }
    let rehearsal = SendMessageRequest {
        dry_run: true,
        ..text(1, 2, "x")
    };
    assert_eq!(
        rig.admin.send_message_of(rehearsal).await.unwrap().position,
        0
    );
    let list = ListMessagesRequest {
        conversation: Some(pair(1, 2)),
        ..ListMessagesRequest::default()
    };
    assert_eq!(rig.admin.list_messages_of(list).await.unwrap().messages, []);
}
