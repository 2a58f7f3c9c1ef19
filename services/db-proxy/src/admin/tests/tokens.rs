//! Tokens of the HTTP API.

use im_core::time::UnixSeconds;
use im_proto_rpc::v1::{
    CreateTokenRequest, ListTokensRequest, LookUpTokenRequest, NoteTokenUseRequest,
    RevokeTokenRequest, TokenRecord,
};
use tonic::Code;

use super::{Rig, code};

fn wanted(owner: &str) -> CreateTokenRequest {
    CreateTokenRequest {
        owner: owner.to_owned(),
        label: "for the wiki".to_owned(),
        scopes: vec!["users:read".to_owned(), "groups:read".to_owned()],
        addresses: vec!["192.0.2.0/24".to_owned()],
        ..CreateTokenRequest::default()
    }
}

#[tokio::test]
async fn a_token_is_told_once_and_its_hash_is_what_is_kept() {
    let rig = Rig::new().await;
    let made = rig.admin.make_token(wanted("wiki")).await.unwrap();
    let token = made.token.unwrap();
    let mut parts = made.secret.splitn(3, '_');
    assert_eq!(
        (parts.next(), parts.next()),
        (Some("imt"), Some(token.id.to_string().as_str()))
    );
    let secret = parts.next().unwrap();
    assert_eq!(secret.len(), 43);
    assert!(secret.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    assert_eq!(token.scopes, ["groups:read", "users:read"]);
    assert_eq!(token.expires - token.created, 90 * 86_400);

    let grant = rig
        .admin
        .grant(LookUpTokenRequest { id: token.id })
        .await
        .unwrap();
    assert_eq!(*grant.hash, *blake3::hash(secret.as_bytes()).as_bytes());
    assert_eq!(grant.token, Some(token.clone()));
    let nobody = rig.admin.grant(LookUpTokenRequest { id: 99 }).await;
    assert_eq!(code(nobody), Code::NotFound);

    rig.admin
        .note_use(NoteTokenUseRequest { id: token.id })
        .await
        .unwrap();
    rig.admin
        .note_use(NoteTokenUseRequest { id: 99 })
        .await
        .unwrap();
    let revoke = |dry_run| RevokeTokenRequest {
        id: token.id,
        dry_run,
    };
    assert_eq!(rig.admin.end_token(revoke(true)).await.unwrap().revoked, 0);
    let ended = rig.admin.end_token(revoke(false)).await.unwrap();
    let now = UnixSeconds::now().get();
    assert!(ended.revoked <= now && ended.revoked + 60 > now);
    assert_eq!(
        (ended.used % 86_400, ended.used > now - 2 * 86_400),
        (0, true)
    );
    let list = rig
        .admin
        .list_all_tokens(ListTokensRequest::default())
        .await
        .unwrap();
    assert_eq!(list.tokens, std::slice::from_ref(&ended));
    assert_eq!(
        rig.admin.end_token(revoke(false)).await.unwrap(),
        ended,
        "revoked once"
    );
}

#[tokio::test]
async fn tokens_out_of_bounds_are_refused() {
    let mut config = im_answers::testing::small_config();
    config.administration.tokens = 2;
    let most = config.administration.token_lifetime.as_seconds_u32();
    let rig = Rig::with(config).await;
    let cases: [fn(&mut CreateTokenRequest); 7] = [
        |it| it.owner.clear(),
        |it| it.owner = "x".repeat(129),
        |it| it.label = "x".repeat(129),
        |it| it.owner = "a\u{202e}".to_owned(),
        |it| it.scopes.clear(),
        |it| it.scopes.push("everything".to_owned()),
        |it| it.addresses.push("here".to_owned()),
    ];
    for (place, spoil) in cases.iter().enumerate() {
        let mut request = wanted("wiki");
        spoil(&mut request);
        let refused = rig.admin.make_token(request).await;
        assert_eq!(code(refused), Code::InvalidArgument, "{place}");
    }
    let of = |seconds, dry_run| CreateTokenRequest {
        seconds,
        dry_run,
        ..wanted("wiki")
    };
    assert_eq!(
        code(rig.admin.make_token(of(most + 1, false)).await),
        Code::InvalidArgument
    );
    let rehearsed = rig.admin.make_token(of(most, true)).await.unwrap();
    assert_eq!(rehearsed.secret, "");
    for is_made in [true, true, false] {
        assert_eq!(rig.admin.make_token(of(most, false)).await.is_ok(), is_made);
    }
    let full = rig.admin.make_token(of(most, false)).await;
    assert_eq!(code(full), Code::ResourceExhausted);
}

#[tokio::test]
async fn tokens_are_listed_by_page_and_owner() {
    let rig = Rig::new().await;
    for owner in ["a", "b", "a", "a"] {
        rig.admin.make_token(wanted(owner)).await.unwrap();
    }
    let ids = |tokens: &[TokenRecord]| tokens.iter().map(|token| token.id).collect::<Vec<_>>();
    let mut request = ListTokensRequest {
        owner: "a".to_owned(),
        limit: 2,
        ..ListTokensRequest::default()
    };
    let page = rig.admin.list_all_tokens(request.clone()).await.unwrap();
    assert_eq!(ids(&page.tokens), [4, 3]);
    request.cursor = page.next;
    let page = rig.admin.list_all_tokens(request.clone()).await.unwrap();
    assert_eq!((ids(&page.tokens), page.next.as_str()), (vec![1], ""));
    request.owner = "b".to_owned();
    assert_eq!(
        code(rig.admin.list_all_tokens(request).await),
        Code::InvalidArgument
    );
}
