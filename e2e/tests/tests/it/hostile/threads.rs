//! All threads that work for clients are kept busy: links, accepts and probes go on.

use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use im_codec::encode;
use im_e2e::attack::{Attacker, Ears};
use im_e2e::gauges;
use im_e2e::siege::{Siege, attacker, ground, source};
use im_proto_teamtalk::buddy::ImUsersStatReq;
use im_proto_teamtalk::message::ImClientTimeReq;
use tokio::time::{Instant, sleep};

use crate::support::*;

/// Time of one attack.
const TIME: Duration = Duration::from_secs(4);
/// Sessions of each kind: on any machine more than there are threads.
const EACH: u32 = 8;
/// As many people as a question for presence may name.
const ASKED: u32 = 100_000;
/// An acknowledgement is late by 100 ms at most where the machine has nothing else to do (`make bench`,
/// scenario *hostile*); here attackers and other tests take the processor as well.
const SLOWEST_ACK: Duration = Duration::from_millis(1_000);
/// The same for a probe, and for a newcomer who only wants an echo.
const AT_ONCE: Duration = Duration::from_millis(1_000);

/// Sessions and strangers that send the dearest frames as fast as these are taken, and read what comes.
async fn keep_busy(msg: SocketAddr) {
    let presence = ImUsersStatReq {
        user_id: 1,
        user_id_list: (1..=ASKED).collect(),
        attach_data: None,
    };
    let presence = encode(Command::UsersStatReq, 7, &presence);
    let times = encode(Command::ClientTimeReq, 7, &ImClientTimeReq {}).repeat(4_096);
    let echoes = im_codec::heartbeat(7).repeat(4_096);
    let sessions = [presence.to_vec(), times].into_iter().zip(0..);
    let sessions = sessions.flat_map(|(bytes, kind)| {
        (1..=EACH).map(move |n| (bytes.clone(), attacker(kind * EACH + n), n))
    });
    let sessions = sessions.map(|(bytes, user, n)| async move {
        let from = source(80, n as u8);
        let mut conn = Attacker::login(msg, from, user, Ios, Ears::Open).await;
        conn.flood(&bytes, TIME).await;
    });
    let strangers = (1..=EACH).map(|n| {
        let echoes = &echoes;
        async move {
            let from = source(81, n as u8);
            let mut conn = Attacker::connect(msg, from, Ears::Open).await.unwrap();
            conn.flood(echoes, TIME).await;
        }
    });
    tokio::join!(join_all(sessions), join_all(strangers));
}

/// How long each of these took at most.
#[derive(Debug, Default)]
struct Waits {
    probe: Duration,
    metrics: Duration,
    accept: Duration,
    looks: u32,
}

/// Probes of a process and new connections, one after the other, until the attack is over.
async fn look(admin: SocketAddr, msg: SocketAddr, until: Instant) -> Waits {
    let mut waits = Waits::default();
    while Instant::now() < until {
        for (path, longest) in [
            ("/livez", &mut waits.probe),
            ("/metrics", &mut waits.metrics),
        ] {
            let begin = Instant::now();
            let answer = gauges::get(admin, path).await.unwrap();
            assert!(!answer.is_empty());
            *longest = begin.elapsed().max(*longest);
        }
        let begin = Instant::now();
        let mut conn = Attacker::connect(msg, source(82, 1), Ears::Open)
            .await
            .unwrap();
        conn.send(&im_codec::heartbeat(1)).await.unwrap();
        let heard = conn.listen_once(Duration::from_secs(5)).await;
        assert!(heard, "a new connection got no echo");
        waits.accept = begin.elapsed().max(waits.accept);
        waits.looks += 1;
        sleep(Duration::from_millis(50)).await;
    }
    waits
}

async fn busy(mut siege: Siege, process: &str) {
    let msg = siege.msg();
    let addresses = siege.platform().process(process).unwrap().addresses();
    let admin = gauges::admin_of(&addresses.unwrap()).unwrap();
    for _ in 0..2 {
        let until = Instant::now() + TIME;
        // Witnesses have a thread of their own, like bystanders and newcomers.
        let looking = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(look(admin, msg, until))
        });
        siege.round(keep_busy(msg)).await;
        let waits = looking
            .join()
            .expect("probes and new connections are answered");
        siege.note(format!("{waits:?}"));
        siege.expect(waits.looks > 10, || format!("only {} looks", waits.looks));
        for (what, longest) in [
            ("a probe", waits.probe),
            ("the metrics", waits.metrics),
            ("an echo for a new connection", waits.accept),
        ] {
            siege.expect(longest <= AT_ONCE, || format!("{what} took {longest:?}"));
        }
    }
    let slowest = siege.chat().quantile(1.0);
    siege.expect(slowest <= SLOWEST_ACK, || {
        format!("an acknowledgement took {slowest:?}")
    });
    siege.holds().await;
}

/// Without bounds of rate, more connections than threads send the dearest frames without a pause: with
/// threads of their own for clients a msg server's links, probes and accepts go on, and bystanders wait for
/// a turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_threads_of_a_msg_server_are_busy() {
    let options = ground(2 * EACH).set("msg.rate_limit=0");
    let siege = Siege::separate(options.set("msg.client_threads=2")).await;
    busy(siege, "msg1").await;
}

/// The same on the threads that it shares with its links.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_threads_of_a_msg_server_that_shares_them_are_busy() {
    let siege = Siege::separate(ground(2 * EACH).set("msg.rate_limit=0")).await;
    busy(siege, "msg1").await;
}

/// The same on shared threads, with everything in one process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_threads_of_all_in_one_are_busy() {
    let siege = Siege::all_in_one(ground(2 * EACH).set("msg.rate_limit=0")).await;
    busy(siege, "all").await;
}
