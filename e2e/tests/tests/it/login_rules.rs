//! Login (S-10, S-11, S-86).

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use im_codec::encode_raw;
use im_e2e::wait;
use im_proto_teamtalk::base::UserStatType;
use im_proto_teamtalk::login::ImLoginReq;
use tokio::time::Instant;

use crate::support::*;

const WRONG: &str = "用户名/密码错误";
const LOCKED: &str = "用户名/密码错误次数太多";
const ABNORMAL: &str = "服务端异常";

fn wrong_password(user: u32) -> ImLoginReq {
    ImLoginReq {
        password: Password::clear("not it").as_wire().to_owned(),
        ..login_request(user, Windows)
    }
}

/// Time, 0, 成功, the wanted state, and all eleven fields of the own record.
#[tokio::test]
async fn a_login_is_answered_with_everything_that_clients_read() {
    let shared = platform().await;
    let [user] = users();
    for kind in [Windows, Android] {
        let mut terminal = Terminal::connect(shared.address).await;
        let answer = terminal
            .try_login(&ImLoginReq {
                online_status: UserStatType::UserStatusLeave.into(),
                ..login_request(user, kind)
            })
            .await;
        assert!(
            answer
                .server_time
                .abs_diff(im_core::time::UnixSeconds::now().get())
                <= 2
        );
        assert_eq!(answer.result_code, 0);
        assert_eq!(answer.result_string.as_deref(), Some("成功"));
        assert_eq!(
            answer.online_status,
            Some(UserStatType::UserStatusLeave.into())
        );
        let info = answer.user_info.unwrap();
        assert_eq!((info.user_id, info.status), (user, 0));
        assert_eq!(
            info.user_real_name,
            format!("u{user}"),
            "the login name, as in the original"
        );
        assert_eq!(info.user_nick_name, format!("Person {user}"));
        assert_eq!(info.user_gender, user % 3);
        assert!(info.department_id > 0);
        assert!(
            info.sign_info.is_some(),
            "the eleventh field is set, even when it is empty"
        );
    }
}

/// S-10, S-11: whatever the reason, result 6 with the original's words, then the end.
#[tokio::test]
async fn wrong_password_and_unknown_name_get_the_same_answer_and_a_close() {
    let shared = platform().await;
    let [user] = users();
    let unknown = ImLoginReq {
        user_name: "nobody-of-that-name".to_owned(),
        ..login_request(user, Windows)
    };
    let empty = ImLoginReq {
        password: String::new(),
        ..login_request(user, Windows)
    };
    for request in [wrong_password(user), unknown, empty] {
        let mut terminal = Terminal::connect(shared.address).await;
        let answer = terminal.try_login(&request).await;
        assert_eq!(answer.result_code, 6, "{answer:?}");
        assert_eq!(answer.result_string.as_deref(), Some(WRONG));
        assert_eq!((answer.user_info, answer.online_status), (None, None));
        let answered = Instant::now();
        assert_eq!(commands(&terminal.closed().await), []);
        // The time for a login, after which everybody is closed, is longer.
        assert!(answered.elapsed() < Duration::from_secs(2));
    }
    shared.pc(user).await;
}

/// D3: after eleven failures within the time the pair of name and address is locked, and a restart
/// does not forget it; another address and another name are not locked. One guess at a time is judged all
/// the same, so that the right password gets in.
#[tokio::test]
async fn eleven_failures_lock_the_name_for_that_address_only_and_over_restarts() {
    let mut platform = own_platform(2, &[]).await;
    let address = platform.msg_address("all");
    let here = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 5));
    let there = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6));
    let attempt = async |from: IpAddr, request: &ImLoginReq| {
        Terminal::connect_from(address, from)
            .await
            .try_login(request)
            .await
    };
    let wrong = wrong_password(1);
    let other = ImLoginReq {
        password: Password::clear("another guess").as_wire().to_owned(),
        ..wrong.clone()
    };
    for n in 1..=11 {
        let answer = attempt(here, &wrong).await;
        assert_eq!(answer.result_string.as_deref(), Some(WRONG), "failure {n}");
    }
    for restarted in [false, true] {
        if restarted {
            assert!(
                platform
                    .process("all")
                    .unwrap()
                    .terminate()
                    .await
                    .unwrap()
                    .success()
            );
            platform.kill_and_restart("all").await.unwrap();
        }
        let (one, two) = tokio::join!(attempt(here, &wrong), attempt(here, &other));
        assert_eq!((one.result_code, two.result_code), (6, 6));
        let texts = [one.result_string.as_deref(), two.result_string.as_deref()];
        assert!(texts.contains(&Some(LOCKED)), "{texts:?}");
        assert_eq!(
            attempt(there, &login_request(1, Windows)).await.result_code,
            0
        );
        assert_eq!(
            attempt(here, &login_request(2, Windows)).await.result_code,
            0
        );
    }
    assert_eq!(
        attempt(here, &login_request(1, Windows)).await.result_code,
        0
    );
}

/// Only the status "active" logs in.
#[tokio::test]
async fn only_active_people_log_in() {
    let mut platform = own_platform(0, &[]).await;
    let digest = Password::clear("123456");
    let salted = Password::clear(&format!("{}7", digest.as_wire()));
    let mut csv = String::from("id,name,password_hash,nick,status\n");
    let statuses = ["active", "trial", "regular", "left", "intern"];
    for (status, id) in statuses.iter().zip(1..) {
        csv += &format!(
            "{id},u{id},$teamtalk$7${},Person {id},{status}\n",
            salted.as_wire()
        );
    }
    let file = platform.dir().join("statuses.csv");
    std::fs::write(&file, csv).unwrap();
    platform.import_file(&file).unwrap();
    let address = platform.msg_address("all");
    for id in 1..=5 {
        let mut terminal = Terminal::connect(address).await;
        let answer = terminal.try_login(&login_request(id, Windows)).await;
        let (code, text) = if id == 1 { (0, "成功") } else { (6, WRONG) };
        assert_eq!(
            answer.result_code,
            code,
            "status {}",
            statuses[id as usize - 1]
        );
        assert_eq!(answer.result_string.as_deref(), Some(text));
    }
}

/// An unparsable request may be followed by a good one; after a good one no
/// other is answered.
#[tokio::test]
async fn one_login_per_connection_and_an_unparsable_one_does_not_count() {
    let shared = platform().await;
    let [user, other] = users();
    let mut terminal = Terminal::connect(shared.address).await;
    terminal
        .send_bytes(&encode_raw(Command::LoginReq, 1, &[0x0a, 200, 1]))
        .await;
    terminal
        .send_bytes(&encode_raw(Command::LoginReq, 2, &[]))
        .await;
    let no_client_type = ImLoginReq {
        client_type: 3,
        ..login_request(user, Windows)
    };
    terminal.send(Command::LoginReq, &no_client_type).await;
    assert_eq!(
        terminal
            .try_login(&login_request(user, Windows))
            .await
            .result_code,
        0
    );
    terminal
        .send(Command::LoginReq, &login_request(other, Windows))
        .await;
    terminal
        .send(Command::LoginReq, &wrong_password(other))
        .await;
    assert_eq!(commands(&terminal.settle().await), []);

    // Two in one write: the second is ignored while the first is pending.
    let mut terminal = Terminal::connect(shared.address).await;
    let first = im_codec::encode(Command::LoginReq, 1, &login_request(user, Windows));
    let second = im_codec::encode(Command::LoginReq, 2, &login_request(other, Windows));
    terminal.send_bytes(&[first, second].concat()).await;
    let answer: im_proto_teamtalk::login::ImLoginRes = terminal.answer(Command::LoginRes, 1).await;
    assert_eq!(answer.user_info.unwrap().user_id, user);
    assert_eq!(commands(&terminal.settle().await), []);
}

/// Refusals 3, 4 and 5 in this order, each with the same words, then the end; as each
/// role comes, the next refusal, and at last success.
#[tokio::test]
async fn what_is_missing_is_told_in_order_database_login_route() {
    let mut platform = Platform::separate(
        Shape {
            login: 0,
            msg: 0,
            route: 0,
        },
        Options::people(1),
    )
    .await
    .unwrap();
    let name = |name: &str| vec![name.to_owned()];
    let peers = platform.peer_settings(&name("login1"), &name("route1"));
    let mut database = platform.remove("db").unwrap();
    database.terminate().await.unwrap();
    platform.start_msg("msg1", &peers, &[]).unwrap();
    let address = platform.msg_address("msg1");

    expect_refusal(address, 3).await;
    platform.start_db_proxy(&peers, &[]).unwrap();
    expect_refusal(address, 4).await;
    platform.start_login("login1", &[]).unwrap();
    expect_refusal(address, 5).await;
    platform.start_route("route1", &[]).unwrap();
    platform.all_ready().await.unwrap();
    Terminal::login(address, 1, Windows).await;
}

/// Logs in until the answer is this refusal; before it only a lower one may come.
async fn expect_refusal(address: std::net::SocketAddr, code: i32) {
    wait::until("the refusal", Duration::from_secs(30), || async {
        // The process may not listen yet.
        let probe = tokio::net::TcpStream::connect(address).await.ok()?;
        drop(probe);
        let mut terminal = Terminal::connect(address).await;
        let answer = terminal.try_login(&login_request(1, Windows)).await;
        assert!((3..=code).contains(&answer.result_code), "{answer:?}");
        assert_eq!(answer.result_string.as_deref(), Some(ABNORMAL));
        assert_eq!((answer.user_info, answer.online_status), (None, None));
        let answered = Instant::now();
        assert_eq!(commands(&terminal.closed().await), []);
        // The time for a login, after which everybody is closed, is longer.
        assert!(answered.elapsed() < Duration::from_secs(2));
        (answer.result_code == code).then_some(())
    })
    .await
    .unwrap();
}
