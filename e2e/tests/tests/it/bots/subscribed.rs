//! Bots that are told by a subscription instead of asking.

use super::*;
use crate::push::provider::{By, Provider};
use crate::push::webhook::is_signed;
use crate::subscriptions::{Rig as Subscribing, told};

/// A bot's subscription tells what others write to it and in its groups, as the bot would read it, also what came
/// while the bot was not active; with the bot it goes.
#[tokio::test]
async fn a_subscription_of_a_bot_tells_what_it_would_read_and_goes_with_it() {
    let mut rig = Subscribing::whole(3, &["push.subscriptions.text=true"]).await;
    let bot = rig.bot("helper").await;
    let path = format!("/api/v1/bots/{}", bot.name);
    let receiver = Provider::start(By::Tcp).await;
    let address = rig.platform.msg_address("all");
    let mut ann = Terminal::login(address, 1, Windows).await;
    let ours = make_group(&mut ann, "ours", &[1, 2, bot.id]).await;
    let theirs = make_group(&mut ann, "theirs", &[1, 2, 3]).await;
    for (field, wrong) in [
        ("bot", json!(1)),
        ("bot", json!(0)),
        ("kinds", json!(["file.ready"])),
    ] {
        let mut wanted = json!({"url": "https://a.example/", "bot": bot.id});
        wanted[field] = wrong;
        let call = post("/api/v1/subscriptions", &wanted).token(&rig.token);
        assert_eq!(
            problem(&call.expect(rig.api, 422).await),
            "invalid",
            "{wanted}"
        );
    }
    let subscribed = rig.subscribe(&receiver, json!({"bot": bot.id})).await;
    let its = format!("/api/v1/subscriptions/{}", subscribed.id);
    assert_eq!(rig.ask(get(&its), 200).await["bot"], bot.id);

    ann.say(with_user(bot.id), "to the bot").await;
    ann.say(with_user(2), "to somebody else").await;
    ann.say(in_group(ours), "to all of us").await;
    ann.say(in_group(theirs), "to all of them").await;
    let says = bot.says(&json!({"to": "u1", "text": "its own"}));
    says.expect(rig.api, 201).await;
    ann.say(with_user(bot.id), "once more").await;
    let heard = receiver.wait(|heard| told(heard).len() >= 3).await;
    assert_eq!(told(&heard), [1, 3, 6], "what it would read");
    let read = bot.read(rig.api, "0", 0).await;
    assert_eq!(texts(&read), ["to the bot", "to all of us", "once more"]);
    let event = &heard[0].json()["events"][0];
    assert_eq!(
        (&event["receiver"], &event["text"]),
        (&json!(bot.id), &json!("to the bot"))
    );
    assert!(heard.iter().all(|it| is_signed(it, &subscribed.secret)));

    // It rests with the bot, and misses nothing.
    let switch = |active: bool| Call::new("PATCH", &path).json(&json!({"active": active}));
    rig.ask(switch(false), 200).await;
    let process = &*rig.platform.process("all").unwrap();
    wait::until("nobody delivers to it", WAIT, || async {
        let metrics = Metrics::read(process).await.unwrap();
        (metrics.sum("im_push_subscriptions_open", "") == 0.0).then_some(())
    })
    .await
    .unwrap();
    let all = Provider::start(By::Tcp).await;
    rig.subscribe(&all, json!({})).await;
    ann.say(with_user(bot.id), "while it was off").await;
    all.wait(|heard| told(heard) == [7]).await;
    assert_eq!(told(&receiver.heard()), [1, 3, 6]);
    rig.ask(switch(true), 200).await;
    receiver.wait(|heard| told(heard) == [1, 3, 6, 7]).await;

    rig.ask(Call::new("DELETE", &path), 200).await;
    let gone = get(&its).token(&rig.token).expect(rig.api, 404).await;
    assert_eq!(problem(&gone), "not-found");
}
