use crate::{
    AccountKind, BotBounds, BotRead, BotShown, DirectoryImport, MESSAGE_BYTES, MadeBot,
    MemberChange, NewBot, NewSubscription, NewToken, PeopleQuery, ReadLimit, Store, StoreError,
    SubscribedLog,
};
use im_core::{Conversation, UserId};
use im_order::{CommitSeq, Partition};

use super::accounts::{import, person};
use super::groups::change;
use crate::contract::log::{Log, at, pair, standing, user};

const BOUNDS: BotBounds = BotBounds {
    bots: 10,
    tokens: 10,
    tokens_since: im_core::time::UnixSeconds::EPOCH,
};

fn token(created: u32) -> NewToken {
    NewToken {
        hash: [9; 32],
        owner: "bot".to_owned(),
        label: String::new(),
        scopes: vec!["bot".to_owned()],
        addresses: Vec::new(),
        created: at(created),
        expires: at(created + 1_000),
        made_by: "ann".to_owned(),
        bot: None,
    }
}

fn bot(name: &str) -> NewBot {
    NewBot {
        name: name.to_owned(),
        shown: BotShown {
            nick: name.to_uppercase(),
            department: 3,
            avatar: "a".to_owned(),
            signature: "s".to_owned(),
        },
    }
}

async fn make(store: &dyn Store, name: &str) -> MadeBot {
    let (bot, token) = (bot(name), token(10));
    let made = store.create_bot(&bot, &token, BOUNDS, at(20));
    made.await.unwrap()
}

async fn names(store: &dyn Store) -> Vec<String> {
    let bots = store.bots("", 10).await.unwrap();
    bots.into_iter().map(|bot| bot.name).collect()
}

pub async fn a_bot_is_made_with_its_token_listed_apart_changed_and_removed(store: &dyn Store) {
    import(store, vec![person("zoe")], 5).await;
    let second = make(store, "b").await;
    let first = make(store, "a").await;
    assert!(first.user > second.user && second.user > user(1));
    assert_eq!(names(store).await, ["a", "b"]);
    assert_eq!(store.bots("a", 10).await.unwrap().len(), 1);
    assert_eq!(store.bots("", 1).await.unwrap()[0].name, "a");
    let kept = store.token(first.token).await.unwrap().unwrap();
    assert_eq!(kept.token.bot, Some(first.user));
    let everybody = PeopleQuery {
        limit: 10,
        ..PeopleQuery::default()
    };
    let people = store.people_by_name(&everybody).await.unwrap();
    assert_eq!(people.len(), 1, "people stand apart");
    assert_eq!(store.find_profiles("", 0, 10).await.unwrap().len(), 1);
    // Clients see it among the others.
    let seen = store.users_since(at(0), 10).await.unwrap().users;
    assert_eq!(seen.len(), 3);
    let profile = store.profile_by_name("a").await.unwrap().unwrap();
    assert_eq!(profile.kind, AccountKind::Bot);
    assert_eq!((profile.nick.as_str(), profile.department), ("A", 3));

    let shown = BotShown {
        nick: "Helper".to_owned(),
        ..bot("a").shown
    };
    let stamp = store.directory_stamp().await.unwrap();
    store
        .change_bot(first.user, &shown, 0, at(21))
        .await
        .unwrap();
    let changed = store.users_since(stamp, 10).await.unwrap().users;
    assert_eq!(changed.len(), 1);
    assert_eq!(changed[0].profile.nick, "Helper");
    store
        .remove_bot(first.user, "a#gone", at(22))
        .await
        .unwrap();
    assert_eq!(names(store).await, ["b"]);
    let gone = store.profile_by_name("a#gone").await.unwrap().unwrap();
    assert_eq!((gone.kind, gone.status), (AccountKind::FormerBot, 3));
    assert_eq!(store.people_by_name(&everybody).await.unwrap().len(), 1);
    for error in [
        store.change_bot(first.user, &shown, 0, at(23)).await,
        store.remove_bot(first.user, "x", at(23)).await,
        store.change_bot(user(1), &shown, 0, at(23)).await,
        store.remove_bot(user(1), "x", at(23)).await,
    ] {
        assert!(
            matches!(error, Err(StoreError::NotFound { .. })),
            "{error:?}"
        );
    }
    make(store, "a").await;
}

pub async fn a_bot_that_is_switched_off_or_removed_has_no_token(store: &dyn Store) {
    let (first, second) = (make(store, "a").await, make(store, "b").await);
    let revoked = |token| async move { store.token(token).await.unwrap().unwrap().revoked };
    let shown = bot("a").shown;
    store
        .change_bot(first.user, &shown, 0, at(30))
        .await
        .unwrap();
    assert_eq!(revoked(first.token).await, None);
    store
        .change_bot(first.user, &shown, 3, at(31))
        .await
        .unwrap();
    assert_eq!(revoked(first.token).await, Some(at(31)));
    assert_eq!(revoked(second.token).await, None);
    let refused = store
        .replace_bot_token(first.user, &token(32), at(0), BOUNDS)
        .await;
    assert!(matches!(refused, Err(StoreError::NotFound { .. })));
    store
        .change_bot(first.user, &shown, 0, at(33))
        .await
        .unwrap();
    assert_eq!(revoked(first.token).await, Some(at(31)), "it stays so");
    store.remove_bot(second.user, "b#", at(34)).await.unwrap();
    assert_eq!(revoked(second.token).await, Some(at(34)));
}

pub async fn subscriptions_of_a_bot_go_with_it_and_others_stay(store: &dyn Store) {
    let (first, second) = (make(store, "a").await, make(store, "b").await);
    let mut ids = Vec::new();
    for bot in [None, Some(first.user), Some(second.user), Some(first.user)] {
        let new = NewSubscription {
            url: "https://a.example/".to_owned(),
            label: String::new(),
            kinds: vec!["message.stored".to_owned()],
            groups: Vec::new(),
            senders: Vec::new(),
            bot,
            secret: "secret".to_owned(),
            created: at(30),
            made_by: String::new(),
        };
        let made = store.create_subscription(&new, Partition::ONLY, CommitSeq::START, 9);
        ids.push(made.await.unwrap());
    }
    let of = async || -> Vec<(u32, Option<UserId>)> {
        let rows = store.subscriptions(Partition::ONLY).await.unwrap();
        let rows = rows.into_iter();
        rows.map(|row| (row.id, row.subscription.bot)).collect()
    };
    let expected = [None, Some(first.user), Some(second.user), Some(first.user)];
    let expected: Vec<_> = ids.iter().copied().zip(expected).collect();
    assert_eq!(of().await, expected);
    store.remove_bot(first.user, "a#", at(31)).await.unwrap();
    assert_eq!(of().await, [expected[0], expected[2]]);
    for (id, is_there) in ids.iter().zip([true, false, true, false]) {
        for log in [SubscribedLog::Messages, SubscribedLog::Changes] {
            let name = log.follower(*id);
            let epoch = store.follower_epoch(&name, Partition::ONLY).await.unwrap();
            assert_eq!(epoch.is_some(), is_there, "{name}");
        }
    }
}

pub async fn a_bot_has_no_credentials_and_files_of_people_leave_it_alone(store: &dyn Store) {
    let made = make(store, "a").await;
    assert!(store.credentials("a").await.unwrap().is_none());
    let set = store.set_hash(made.user, "hash").await;
    assert!(matches!(set, Err(StoreError::NotFound { .. })), "{set:?}");
    let mut wanted = person("a");
    wanted.hash = Some("hash".to_owned());
    let file = DirectoryImport {
        users: vec![person("new"), wanted],
        now: at(40),
    };
    let outcome = store.import(&file).await.unwrap();
    let conflict = (1, "the name is that of a bot".to_owned());
    assert_eq!(outcome.conflicts, [conflict]);
    assert_eq!(store.profile_by_name("new").await.unwrap(), None);
    assert!(store.credentials("a").await.unwrap().is_none());
}

pub async fn another_token_ends_the_former_one_now_or_later(store: &dyn Store) {
    let made = make(store, "a").await;
    let state = |id| async move {
        let row = store.token(id).await.unwrap().unwrap();
        (row.revoked, row.token.expires)
    };
    let replace = |created, until| async move {
        let new = token(created);
        let id = store.replace_bot_token(made.user, &new, at(until), BOUNDS);
        id.await.unwrap()
    };
    let second = replace(50, 60).await;
    assert_eq!(state(made.token).await, (None, at(60)), "for a while");
    assert_eq!(state(second).await, (None, at(1_050)));
    let third = replace(55, 55).await;
    assert_eq!(state(made.token).await.0, Some(at(55)));
    assert_eq!(state(second).await.0, Some(at(55)));
    assert_eq!(state(third).await, (None, at(1_055)));
    let bots = store.token(third).await.unwrap().unwrap().token.bot;
    assert_eq!(bots, Some(made.user));
}

pub async fn there_are_as_many_bots_and_tokens_as_there_may_be(store: &dyn Store) {
    let bounds = |bots, tokens| BotBounds {
        bots,
        tokens,
        ..BOUNDS
    };
    let create = |name: &str, bounds| {
        let (bot, token) = (bot(name), token(10));
        async move { store.create_bot(&bot, &token, bounds, at(20)).await }
    };
    let first = create("a", bounds(1, 1)).await.unwrap();
    let what = |error| match error {
        Err(StoreError::Full { what }) => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(what(create("b", bounds(1, 9)).await), "bots");
    assert_eq!(what(create("b", bounds(9, 1)).await), "tokens");
    assert_eq!(names(store).await, ["a"], "nothing is left of it");
    let taken = create("a", BOUNDS).await;
    assert!(matches!(taken, Err(StoreError::Taken { .. })), "{taken:?}");
    let new = token(11);
    let another = store.replace_bot_token(first.user, &new, at(0), bounds(1, 1));
    assert!(matches!(another.await, Err(StoreError::Full { .. })));
    let kept = store.token(first.token).await.unwrap().unwrap();
    assert_eq!(kept.revoked, None, "the former one is still there");
}

/// Positions that a bot is told of, and how far that reaches.
async fn read(store: &dyn Store, bot: UserId, after: u64, through: u64) -> (Vec<u64>, u64) {
    read_within(store, bot, (after, through), ReadLimit::rows(100), 1_000).await
}

async fn read_within(
    store: &dyn Store,
    bot: UserId,
    (after, through): (u64, u64),
    limit: ReadLimit,
    places: u32,
) -> (Vec<u64>, u64) {
    let page = store.read_for_bot(BotRead {
        bot,
        after: CommitSeq::from_wire(after),
        through: CommitSeq::from_wire(through),
        limit,
        places,
    });
    let page = page.await.unwrap();
    let positions = page.entries.iter().map(|it| it.message.seq.to_wire());
    (positions.collect(), page.reached.to_wire())
}

pub async fn a_bot_is_told_of_what_others_write_where_it_is(store: &dyn Store) {
    import(store, vec![person("one"), person("two")], 5).await;
    let bot = make(store, "a").await.user;
    let id = bot.get();
    let mut log = Log::default();
    let group = log.group(store, &[1, 2], 5).await;
    let of_group = Conversation::Group(group);
    assert_eq!(read(store, bot, 0, 0).await, (vec![], 0));
    log.send(1, pair(1, 2), 10, "not for it");
    log.send(1, of_group, 10, "before it is there");
    log.commit(store).await.unwrap();
    assert_eq!(read(store, bot, 0, 2).await, (vec![], 2));
    let joins = change(group, MemberChange::Add, &[id], 1);
    let fence = standing(store).await;
    store.change_members(fence, &joins).await.unwrap();
    log.send(1, pair(1, id), 11, "hello");
    log.send(id, pair(1, id), 11, "its own");
    log.send(2, of_group, 11, "to all");
    log.send(2, pair(1, 2), 11, "not for it");
    log.send(2, pair(2, id), 11, "and I");
    log.commit(store).await.unwrap();
    assert_eq!(read(store, bot, 0, 7).await, (vec![3, 5, 7], 7));
    assert_eq!(read(store, bot, 3, 7).await, (vec![5, 7], 7));
    assert_eq!(read(store, bot, 3, 6).await, (vec![5], 5));
    assert_eq!(read(store, bot, 5, 6).await, (vec![], 6));
    assert_eq!(read(store, bot, 7, 7).await, (vec![], 7));
    let page = store.read_for_bot(BotRead {
        bot,
        after: CommitSeq::from_wire(4),
        through: CommitSeq::from_wire(7),
        limit: ReadLimit::rows(1),
        places: 10,
    });
    let entries = page.await.unwrap().entries;
    assert_eq!(entries[0].conversation, of_group);
    assert_eq!(entries[0].message.sender, user(2));
    // Who has left a group is told no more of it.
    let leaves = change(group, MemberChange::Remove, &[id], 2);
    let fence = standing(store).await;
    store.change_members(fence, &leaves).await.unwrap();
    assert_eq!(read(store, bot, 0, 7).await, (vec![3, 7], 7));
}

pub async fn what_a_bot_is_told_of_stops_at_its_bounds(store: &dyn Store) {
    import(store, vec![person("one")], 5).await;
    let bot = make(store, "a").await.user;
    let mut log = Log::default();
    for text in ["one", "two"] {
        log.send(1, pair(1, 9), 10, "to somebody else");
        log.send(1, pair(1, bot.get()), 10, text);
    }
    log.send(1, pair(1, bot.get()), 10, "last");
    log.commit(store).await.unwrap();
    let rows = |rows| (ReadLimit::rows(rows), 1_000);
    let bytes = |bytes| (ReadLimit { rows: 9, bytes }, 1_000);
    let places = |places| (ReadLimit::rows(9), places);
    let two = 2 * (MESSAGE_BYTES + 3);
    for ((limit, places), after, expected, reached) in [
        (rows(1), 0, vec![2], 2),
        (rows(2), 0, vec![2, 4], 4),
        (rows(1), 2, vec![4], 4),
        // The first one comes whatever its size.
        (bytes(1), 0, vec![2], 2),
        (bytes(two - 1), 0, vec![2], 2),
        (bytes(two), 0, vec![2, 4], 4),
        // It begins at the first place that may be for it.
        (places(1), 0, vec![2], 2),
        (places(1), 2, vec![], 3),
        (places(2), 2, vec![4], 4),
        (places(9), 2, vec![4, 5], 5),
    ] {
        let told = read_within(store, bot, (after, 5), limit, places).await;
        assert_eq!(told, (expected, reached), "{limit:?} {places} {after}");
    }
}
