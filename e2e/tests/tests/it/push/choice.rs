//! Who is told: shields, the night, the rule of the original.

use super::provider::{By, Provider};
use super::webhook::with_webhook;
use super::*;
use im_proto_teamtalk::group::{ImGroupShieldReq, ImGroupShieldRsp};

#[tokio::test]
async fn who_silenced_a_group_or_rests_at_night_is_not_told() {
    let provider = Provider::start(By::Tcp).await;
    // It is night now and for two hours.
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let hour = since.unwrap().as_secs() / 3_600 % 24;
    let from = format!("push.night_from={hour}");
    let until = format!("push.night_until={}", (hour + 2) % 24);
    let night = [from.as_str(), &until, "push.time_zone=\"UTC\""];
    let (mut platform, _dir) = with_webhook(5, &provider, &night).await;
    let address = platform.msg_address("all");
    for user in [2, 3, 4, 5] {
        let mut phone = Terminal::login(address, user, if user == 4 { Android } else { Ios }).await;
        set_token(&mut phone, &ios_token(user as u8)).await;
        if user != 5 {
            shield_the_night(&mut phone).await;
        }
    }
    let mut ann = Terminal::login(address, 1, Windows).await;
    let group = make_group(&mut ann, "g", &[1, 4, 5]).await;
    let mut five = Terminal::login(address, 5, Windows).await;
    let silent = ImGroupShieldReq {
        user_id: 0,
        group_id: group,
        shield_status: 1,
        attach_data: None,
    };
    let answer: ImGroupShieldRsp = five.ask(Command::GroupShieldReq, &silent).await;
    assert_eq!(answer.result_code, 0);
    drop(five);
    for user in [2, 3, 4, 5] {
        gone(&platform, user);
    }
    ann.say(with_user(2), "rests").await;
    ann.say(in_group(group), "all").await;
    ann.say(with_user(5), "has no shield against this").await;
    let heard = provider.requests(2).await;
    let mut users: Vec<u64> = heard
        .iter()
        .map(|it| it.json()["user_id"].as_u64().unwrap())
        .collect();
    users.sort_unstable();
    assert_eq!(users, [4, 5], "Android sees to the night itself");
    let of_group = heard
        .iter()
        .find(|it| it.json()["user_id"] == 4)
        .unwrap()
        .json();
    let custom = of_group["payload"]["custom"].as_str().unwrap();
    assert!(
        custom.contains(&format!("\"group_id\": {group}")),
        "{custom}"
    );
    // What was left out would have come before this.
    ann.say(with_user(5), "the last").await;
    assert_eq!(provider.requests(3).await.len(), 3);
}

#[tokio::test]
async fn as_in_the_original_everybody_is_told_and_without_a_sound_at_a_pc() {
    let provider = Provider::start(By::Tcp).await;
    let (mut platform, _dir) = with_webhook(3, &provider, &["push.when=original"]).await;
    let address = platform.msg_address("all");
    let mut phone = Terminal::login(address, 2, Ios).await;
    set_token(&mut phone, &ios_token(2)).await;
    let mut ann = Terminal::login(address, 1, Windows).await;
    ann.say(with_user(2), "to the phone").await;
    let loud = provider.requests(1).await[0].json();
    assert_eq!(loud["silent"], false);
    let _pc = Terminal::login(address, 2, Windows).await;
    ann.say(with_user(2), "to the PC").await;
    let silent = provider.requests(2).await[1].json();
    assert_eq!(silent["silent"], true);
    let aps = silent["payload"]["aps"].as_object().unwrap();
    assert_eq!(aps.keys().collect::<Vec<_>>(), ["badge"]);
}
