//! What is weighed in bytes: batches on links, partial frames, answers.

use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use im_codec::{Header, encode};
use im_e2e::attack::{Attacker, Ears};
use im_e2e::siege::{Siege, attacker, ground, source};
use im_proto_teamtalk::login::ImLoginReq;
use im_proto_teamtalk::switch::Imp2pCmdMsg;
use tokio::time::{sleep, timeout};

use crate::support::*;

/// Nearly as much as a frame may have.
const LARGE: usize = (1 << 20) - 200;
/// Time for the server to take what it is given.
const TAKE: Duration = Duration::from_secs(3);

/// Sends a frame but for its last byte on each connection, then all last bytes together.
async fn complete_together(conns: Vec<Attacker>, frame: &[u8]) -> Vec<Attacker> {
    let (last, most) = frame.split_last().unwrap();
    let held = conns.into_iter().map(|mut conn| async {
        // The server may refuse to wait for so much.
        drop(timeout(TAKE, conn.send(most)).await);
        conn
    });
    let mut held = join_all(held).await;
    for conn in &mut held {
        drop(timeout(TAKE, conn.send(&[*last])).await);
    }
    sleep(Duration::from_millis(500)).await;
    held
}

async fn strangers(msg: SocketAddr, count: usize, ears: Ears) -> Vec<Attacker> {
    let conns = (0..count).map(|n| async move {
        let from = source(30, 1 + (n % 4) as u8);
        Attacker::connect(msg, from, ears).await.unwrap()
    });
    join_all(conns).await
}

async fn sessions(msg: SocketAddr, count: u32, ears: Ears) -> Vec<Attacker> {
    let mut conns = Vec::new();
    for n in 1..=count {
        conns.push(Attacker::login(msg, source(31, 1), attacker(n), Windows, ears).await);
    }
    conns
}

/// Logins of a MiB each that become whole at the same time do not end the link to db-proxy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_logins_that_are_complete_together() {
    const CONNECTIONS: usize = 150;
    let mut siege = Siege::separate(ground(1)).await;
    let msg = siege.msg();
    let request = ImLoginReq {
        password: "p".repeat(LARGE),
        ..login_request(attacker(1), Windows)
    };
    let frame = encode(Command::LoginReq, 1, &request);
    for _ in 0..2 {
        let attack = async {
            let conns = strangers(msg, CONNECTIONS, Ears::Open).await;
            complete_together(conns, &frame).await;
        };
        siege.round(attack).await;
    }
    siege.holds().await;
}

/// The same with signals and the link to the route server, and with requests and that to db-proxy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_signals_and_requests_that_are_complete_together() {
    const SESSIONS: u32 = 100;
    let mut siege = Siege::separate(ground(SESSIONS)).await;
    let msg = siege.msg();
    let signal = Imp2pCmdMsg {
        from_user_id: 1,
        to_user_id: 999_999,
        cmd_msg_data: "x".repeat(LARGE),
    };
    let signature = im_proto_teamtalk::buddy::ImChangeSignInfoReq {
        user_id: 1,
        sign_info: "x".repeat(LARGE),
        attach_data: None,
    };
    let frames = [
        encode(Command::P2pCmdMsg, 1, &signal),
        encode(Command::ChangeSignInfoReq, 1, &signature),
    ];
    for _ in 0..2 {
        let attack = async {
            for frame in &frames {
                let conns = sessions(msg, SESSIONS, Ears::Open).await;
                complete_together(conns, frame).await;
            }
        };
        siege.round(attack).await;
    }
    siege.holds().await;
}

/// Half a MiB of a frame on each of a thousand connections without an account.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partial_frames_before_login() {
    const CONNECTIONS: usize = 1_000;
    /// Just beyond a power of two, where buffers that double have their worst ratio.
    const PART: usize = (512 << 10) + 70_000;
    let mut siege = Siege::separate(ground(1)).await;
    let msg = siege.msg();
    let mut part = Header::new(Command::LoginReq, 1, LARGE).to_bytes().to_vec();
    part.resize(PART, 0);
    for _ in 0..2 {
        let attack = async {
            let conns = strangers(msg, CONNECTIONS, Ears::Open).await;
            let sent = conns.into_iter().map(|mut conn| async {
                drop(timeout(TAKE, conn.send(&part)).await);
                conn
            });
            let held = join_all(sent).await;
            sleep(Duration::from_secs(1)).await;
            drop(held);
        };
        siege.round(attack).await;
    }
    siege.holds().await;
}

/// Heartbeats on connections without an account that never read the echoes: what waits is counted with
/// everything that it costs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn echoes_that_nobody_reads() {
    const CONNECTIONS: usize = 600;
    let mut siege = Siege::separate(ground(1)).await;
    let msg = siege.msg();
    let chunk = im_codec::heartbeat(1).repeat(256);
    for _ in 0..2 {
        let attack = async {
            let mut conns = strangers(msg, CONNECTIONS, Ears::Closed).await;
            let floods = conns
                .iter_mut()
                .map(|conn| conn.flood(&chunk, Duration::from_secs(4)));
            join_all(floods).await;
        };
        siege.round(attack).await;
    }
    siege.holds().await;
}

/// Presence questions with a million ids, 16 open per connection, answers unread.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn presence_of_a_million_ids() {
    const SESSIONS: u32 = 8;
    let mut siege = Siege::separate(ground(SESSIONS)).await;
    let msg = siege.msg();
    let ids = LARGE - 100;
    let mut body = vec![8, 1, 0x12];
    prost::encoding::encode_varint(ids as u64, &mut body);
    body.resize(body.len() + ids, 1);
    let frame = im_codec::encode_raw(Command::UsersStatReq, 1, &body);
    for _ in 0..2 {
        let attack = async {
            let conns = sessions(msg, SESSIONS, Ears::Closed).await;
            let asked = conns.into_iter().map(|mut conn| async {
                let asks = async {
                    for _ in 0..16 {
                        drop(conn.send(&frame).await);
                    }
                };
                drop(timeout(Duration::from_secs(4), asks).await);
                conn
            });
            let held = join_all(asked).await;
            sleep(Duration::from_secs(1)).await;
            drop(held);
        };
        siege.round(attack).await;
    }
    siege.holds().await;
}
