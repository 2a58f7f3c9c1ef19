//! Whoever delivers to subscriptions.

use im_core::UserId;
use im_core::time::UnixSeconds;
use im_order::{CommitSeq, Partition};
use im_store::{
    BotBounds, BotStore as _, FollowerStore as _, NewBot, NewSubscription, NewToken,
    SubscriptionStore as _,
};

use super::*;

impl Rig {
    pub(super) async fn deliverer(&self) -> End {
        let mut end = self.link();
        let name = "subscriptions".to_owned();
        let held = ask(
            &mut end,
            Call::Hold(v1::FollowHold {
                name,
                ..Default::default()
            }),
        )
        .await;
        assert!(matches!(held, Item::Held(_)), "{held:?}");
        end
    }

    async fn subscription(&self) -> u32 {
        self.subscription_of(None).await
    }

    async fn subscription_of(&self, bot: Option<UserId>) -> u32 {
        let new = NewSubscription {
            url: "https://a.example/".into(),
            label: String::new(),
            kinds: vec!["message.stored".into()],
            groups: vec![7],
            senders: Vec::new(),
            bot,
            secret: "now".into(),
            created: UnixSeconds::from_wire(1),
            made_by: "ann".into(),
        };
        let store = &self.temp.store;
        let start = CommitSeq::from_wire(0);
        let made = store.create_subscription(&new, Partition::ONLY, start, 9);
        made.await.unwrap()
    }
}

pub(super) async fn hooks(end: &mut End) -> v1::HookList {
    match ask(end, Call::Hooks(v1::HooksOf::default())).await {
        Item::Hooks(list) => list,
        other => panic!("{other:?}"),
    }
}

pub(super) fn delivery() -> v1::DeliveryRecord {
    v1::DeliveryRecord {
        state: v1::DeliveryState::Open.into(),
        through: 1,
        events: 1,
        ..v1::DeliveryRecord::default()
    }
}

pub(super) fn hook_step(
    hook: u32,
    epoch: u64,
    deliveries: Vec<v1::DeliveryRecord>,
) -> v1::HookStep {
    v1::HookStep {
        hook,
        epoch,
        position: 1,
        deliveries,
        ..v1::HookStep::default()
    }
}

#[tokio::test]
async fn whoever_holds_the_name_hears_of_subscriptions_and_what_is_being_delivered() {
    let rig = rig(|_| {}).await;
    rig.say(1, 2, 1, "one").await;
    let id = rig.subscription().await;
    let mut end = rig.deliverer().await;
    let step = hook_step(id, 1, vec![delivery()]);
    let Item::Hook(stepped) = ask(&mut end, Call::Hook(step)).await else {
        panic!("a step")
    };
    assert_eq!((stepped.is_stale, stepped.added.len()), (false, 1));
    let until = UnixSeconds::from_wire(u32::MAX);
    let store = &rig.temp.store;
    store
        .set_subscription_secret(id, "next", until)
        .await
        .unwrap();
    let list = hooks(&mut end).await;
    let expected = v1::Hook {
        log: v1::SubscribedLog::Messages.into(),
        id,
        url: "https://a.example/".into(),
        kinds: vec!["message.stored".into()],
        groups: vec![7],
        senders: Vec::new(),
        bot: 0,
        secret: "next".into(),
        former_secret: "now".into(),
        former_until: u32::MAX,
        epoch: 2,
        position: 1,
        deliveries: vec![v1::DeliveryRecord {
            id: stepped.added[0],
            subscription: id,
            ..delivery()
        }],
    };
    assert_eq!((list.end, list.hooks), (1, vec![expected]));

    let (mut push, _) = rig.holder().await;
    for call in [
        Call::Hooks(v1::HooksOf::default()),
        Call::Hook(hook_step(id, 2, vec![])),
    ] {
        assert!(
            is_refused(&ask(&mut push, call).await),
            "push delivers nothing"
        );
    }
}

#[tokio::test]
async fn a_subscription_of_a_bot_is_told_to_who_knows_them_while_the_bot_may_act() {
    let rig = rig(|_| {}).await;
    let store = &rig.temp.store;
    let token = NewToken {
        hash: [9; 32],
        owner: "bot".into(),
        label: String::new(),
        scopes: vec!["bot".into()],
        addresses: Vec::new(),
        created: UnixSeconds::from_wire(1),
        expires: UnixSeconds::from_wire(9),
        made_by: "ann".into(),
        bot: None,
    };
    let bounds = BotBounds {
        bots: 1,
        tokens: 1,
        tokens_since: UnixSeconds::EPOCH,
    };
    let (bot, now) = (NewBot::default(), UnixSeconds::from_wire(2));
    let made = store.create_bot(&bot, &token, bounds, now).await.unwrap();
    let everybodys = rig.subscription().await;
    let its = rig.subscription_of(Some(made.user)).await;
    let mut end = rig.deliverer().await;
    let mut told = async |bots: bool| -> Vec<(u32, u32)> {
        let Item::Hooks(list) = ask(&mut end, Call::Hooks(v1::HooksOf { bots })).await else {
            panic!("a list")
        };
        list.hooks.iter().map(|hook| (hook.id, hook.bot)).collect()
    };
    assert_eq!(told(false).await, [(everybodys, 0)], "to one of before");
    let both = [(everybodys, 0), (its, made.user.get())];
    assert_eq!(told(true).await, both);
    let shown = bot.shown;
    store.change_bot(made.user, &shown, 2, now).await.unwrap();
    assert_eq!(told(true).await, [(everybodys, 0)], "it may not act");
    store.change_bot(made.user, &shown, 0, now).await.unwrap();
    assert_eq!(told(true).await, both);
}

#[tokio::test]
async fn a_step_of_a_subscription_that_changed_is_stale_and_one_of_a_former_holder_fenced() {
    let rig = rig(|_| {}).await;
    rig.say(1, 2, 1, "one").await;
    let id = rig.subscription().await;
    let mut end = rig.deliverer().await;
    let stale = Call::Hook(hook_step(id, 5, vec![delivery()]));
    let expected = v1::HookStepped {
        is_stale: true,
        added: Vec::new(),
    };
    assert_eq!(ask(&mut end, stale).await, Item::Hook(expected));
    assert_eq!(hooks(&mut end).await.hooks[0].position, 0);
    let store = &rig.temp.store;
    let start = CommitSeq::from_wire(0);
    let taken = store.hold_follower("subscriptions", Partition::ONLY, start);
    taken.await.unwrap();
    let late = ask(&mut end, Call::Hook(hook_step(id, 1, vec![]))).await;
    assert!(matches!(late, Item::Fenced(_)), "{late:?}");
}

#[tokio::test]
async fn steps_of_no_sense_and_beyond_their_bounds_are_refused() {
    let rig = rig(|_| {}).await;
    rig.say(1, 2, 1, "one").await;
    let id = rig.subscription().await;
    let mut end = rig.deliverer().await;
    let answer = |length: usize| v1::DeliveryRecord {
        answer: "x".repeat(length),
        ..delivery()
    };
    let any = v1::DeliveryRecord {
        state: v1::DeliveryState::Any.into(),
        ..delivery()
    };
    let backwards = v1::DeliveryRecord {
        after: 2,
        ..delivery()
    };
    let beyond = v1::HookStep {
        position: 2,
        ..hook_step(id, 1, vec![])
    };
    for refused in [
        hook_step(id, 1, vec![delivery(); 5]),
        hook_step(id, 1, vec![answer(513)]),
        hook_step(id, 1, vec![any]),
        hook_step(id, 1, vec![backwards]),
        beyond,
    ] {
        let item = ask(&mut end, Call::Hook(refused.clone())).await;
        assert!(is_refused(&item), "{refused:?}");
    }
    let most = hook_step(id, 1, vec![answer(512), delivery(), delivery(), delivery()]);
    let stored = ask(&mut end, Call::Hook(most)).await;
    assert!(matches!(stored, Item::Hook(it) if it.added.len() == 4));
}

/// Also one that stores nothing hears of it, with the next page that it reads.
#[tokio::test]
async fn a_follower_that_is_rewound_loses_its_name_and_goes_on_there() {
    let rig = rig(|_| {}).await;
    rig.say(1, 2, 1, "one").await;
    rig.say(1, 2, 1, "two").await;
    let (mut first, held) = rig.holder().await;
    assert_eq!(held.position, 2);
    let store = &rig.temp.store;
    let back = CommitSeq::from_wire(1);
    let rewound = store.rewind_follower("push", Partition::ONLY, back);
    rewound.await.unwrap();
    let fenced = ask(&mut first, read(2, 0)).await;
    assert!(matches!(fenced, Item::Fenced(_)), "{fenced:?}");
    drop(first);
    let (mut second, held) = rig.holder().await;
    assert_eq!(held.position, 1);
    assert_eq!(page(&mut second, held.position, 0).await.messages.len(), 1);
}
