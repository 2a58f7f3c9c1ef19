//! Who is online (S-26, D9).

use im_proto_teamtalk::base::UserStatType;
use im_proto_teamtalk::buddy::{ImUserStatNotify, ImUsersStatReq, ImUsersStatRsp};

use crate::support::*;

const ONLINE: i32 = UserStatType::UserStatusOnline as i32;
const OFFLINE: i32 = UserStatType::UserStatusOffline as i32;

async fn statuses(asker: &mut Terminal, wanted: &[u32]) -> Vec<(u32, i32)> {
    let request = ImUsersStatReq {
        user_id: 99,
        user_id_list: wanted.to_vec(),
        attach_data: None,
    };
    let answer: ImUsersStatRsp = asker.ask(Command::UsersStatReq, &request).await;
    assert_eq!(answer.user_id, asker.user());
    answer
        .user_stat_list
        .iter()
        .map(|stat| (stat.user_id, stat.status))
        .collect()
}

/// S-26, D44: one entry for each id, in the order of the request, unknown ones included and
/// repetitions left out; a phone alone is offline.
#[tokio::test]
async fn statuses_come_in_the_order_of_the_question() {
    let shared = platform().await;
    let [asker, on_pc, on_phone, away] = users();
    let mut pc = shared.pc(asker).await;
    let _a = shared.login(on_pc, Mac).await;
    let mut phone = shared.phone(on_phone).await;
    let wanted = [away, on_phone, on_pc, 3_999_999, on_pc, asker];
    let expected = [
        (away, OFFLINE),
        (on_phone, OFFLINE),
        (on_pc, ONLINE),
        (3_999_999, OFFLINE),
        (asker, ONLINE),
    ];
    assert_eq!(statuses(&mut pc, &wanted).await, expected);
    assert_eq!(
        statuses(&mut phone, &wanted).await,
        expected,
        "whoever asks"
    );
    assert_eq!(statuses(&mut pc, &[]).await, []);
}

/// The Mac asks for everybody in one frame and gets one frame in the same order.
#[tokio::test]
async fn the_mac_asks_for_everybody_at_once() {
    let shared = platform().await;
    let [user] = users();
    let mut mac = shared.login(user, Mac).await;
    let everybody: Vec<u32> = (1..=50_000).rev().collect();
    let found = statuses(&mut mac, &everybody).await;
    assert_eq!(found.len(), everybody.len());
    assert!(found.iter().map(|(id, _)| id).eq(&everybody));
    assert!(found.contains(&(user, ONLINE)));
}

/// F26: every PC hears of a PC's coming and going, the own one too and after its login
/// answer; phones hear nothing, and a phone's coming is no news.
#[tokio::test]
async fn pcs_are_told_who_comes_and_goes() {
    let shared = platform().await;
    let [a, b, c] = users();
    let mut observer = shared.pc(a).await;
    let mut phone = shared.phone(c).await;
    let mut pc = shared.pc(b).await;
    assert_eq!(pc.presence_of(b).await.status, ONLINE, "told about itself");
    assert_eq!(observer.presence_of(b).await.status, ONLINE);
    drop(pc);
    assert_eq!(observer.presence_of(b).await.status, OFFLINE);
    let mobile = shared.phone(b).await;
    drop(mobile);
    let _pc = shared.login(b, Mac).await;
    let status = observer.presence_of(b).await.status;
    assert_eq!(status, ONLINE, "the phone in between was no news");
    phone.fence(&mut observer).await;
    assert_eq!(commands(&phone.take_notices()), [], "nothing to phones");
}

/// D9: within a tick changes are gathered, but each user has a frame of his own (F26), and what he was
/// last is what is told last.
#[tokio::test]
async fn many_who_come_at_once_are_told_one_by_one() {
    let mut platform = own_platform(40, &[]).await;
    let address = platform.msg_address("all");
    let mut observer = Terminal::login(address, 1, Windows).await;
    let logins = (2..=40).map(|user| Terminal::login(address, user, Windows));
    let terminals = futures::future::join_all(logins).await;
    for user in 2..=40 {
        assert_eq!(observer.presence_of(user).await.status, ONLINE);
    }
    drop(terminals);
    for user in 2..=40 {
        assert_eq!(observer.presence_of(user).await.status, OFFLINE);
    }
    // Comes, goes and comes again: the last word is right.
    for _ in 0..5 {
        Terminal::login(address, 7, Windows).await;
    }
    let _stays = Terminal::login(address, 7, Windows).await;
    let mut last = observer.presence_of(7).await;
    observer.settle().await;
    let _fence = Terminal::login(address, 8, Windows).await;
    while let Some(frame) = {
        let about = |user: u32| {
            move |frame: &Frame| {
                frame.command() == Some(Command::UserStatNotify)
                    && body::<ImUserStatNotify>(frame).user_stat.user_id == user
            }
        };
        let frame = observer
            .find("a notice", |frame| about(7)(frame) || about(8)(frame))
            .await;
        (!about(8)(&frame)).then_some(frame)
    } {
        last = body::<ImUserStatNotify>(&frame).user_stat;
    }
    assert_eq!(last.status, ONLINE);
}

/// `presence.notify = none`: nobody is told, everybody may ask.
#[tokio::test]
async fn notices_can_be_switched_off() {
    let mut platform = own_platform(3, &["msg.presence.notify=none"]).await;
    let address = platform.msg_address("all");
    let mut a = Terminal::login(address, 1, Windows).await;
    let mut b = Terminal::login(address, 2, Windows).await;
    assert_eq!(statuses(&mut a, &[2]).await, [(2, ONLINE)]);
    a.fence(&mut b).await;
    assert_eq!(commands(&a.take_notices()), []);
}

/// `presence.notify = related`: a conversation, a group or the department make the difference.
#[tokio::test]
async fn notices_can_be_limited_to_related_people() {
    let mut platform = own_platform(8, &["msg.presence.notify=related"]).await;
    let address = platform.msg_address("all");
    // u1 is in Sales with the odd ones; u2 talks to u1, u4 shares a group, u6 has nothing in common.
    let mut observer = Terminal::login(address, 1, Windows).await;
    observer.say(with_user(2), "hello").await;
    make_group(&mut observer, "g", &[1, 4]).await;
    for stranger in [6, 8] {
        Terminal::login(address, stranger, Windows).await;
    }
    for related in [2, 4, 3] {
        let mut pc = Terminal::login(address, related, Windows).await;
        assert_eq!(
            observer.presence_of(related).await.status,
            ONLINE,
            "u{related}"
        );
        observer.fence(&mut pc).await;
    }
    for frame in observer.take_notices() {
        let about = body::<ImUserStatNotify>(&frame).user_stat.user_id;
        assert!(
            ![6, 8].contains(&about),
            "u{about} has nothing to do with u1"
        );
    }
}
