//! Bots that wait, and who stands beside them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use im_e2e::gauges::resident_kib;
use im_e2e::wait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::{Bot, texts, waiters};
use crate::api::calls::{get, problem};
use crate::api::rig::Rig;
use crate::pictures::web::Answer;
use crate::support::*;

/// A request that waits, as long as this is there.
struct Waiter(TcpStream);

impl Waiter {
    async fn new(bot: &Bot, api: SocketAddr, after: &str) -> Self {
        let mut stream = TcpStream::connect(api).await.unwrap();
        let call = bot.updates(after, 30);
        stream.write_all(&call.bytes()).await.unwrap();
        Self(stream)
    }

    async fn answer(mut self) -> Answer {
        let mut bytes = Vec::new();
        let read = timeout(WAIT, self.0.read_to_end(&mut bytes)).await;
        read.expect("it is answered").unwrap();
        Answer::parse(&bytes)
    }
}

/// Two hundred requests wait, in all and of one bot as many as may; nobody beside them feels it, and those whose
/// clients go are gone.
#[tokio::test]
async fn two_hundred_bots_wait_and_whoever_stands_beside_them_feels_nothing() {
    const BOTS: usize = 50;
    const EACH: usize = 4;
    const ALL: usize = BOTS * EACH;
    /// What one that waits may cost the process with all roles, its connection included.
    const KIB_EACH: u64 = 96;
    let set = [
        "http_api.bot_waiters=200",
        "http_api.max_requests=8",
        "http_api.max_connections_per_address=500",
    ];
    let mut rig = Rig::whole(3, &set).await;
    let (api, address) = (rig.api, rig.platform.msg_address("all"));
    let mut bots = Vec::new();
    for n in 0..BOTS {
        bots.push(rig.bot(&format!("bot{n}")).await);
    }
    let mut ann = Terminal::login(address, 1, Windows).await;
    let mut ben = Terminal::login(address, 2, Windows).await;
    ann.say(with_user(2), "before").await;
    ben.message().await;
    let all = rig.platform.running("all").unwrap();
    let so_many = async |count: usize| {
        wait::until(&format!("{count} wait"), WAIT, || async {
            (waiters(all).await == count).then_some(())
        })
        .await
        .unwrap();
    };
    let before = resident_kib(all.pid()).unwrap();
    let mut waiting: BTreeMap<usize, Vec<Waiter>> = BTreeMap::new();
    for (n, bot) in bots.iter().enumerate() {
        for _ in 0..EACH {
            let waiter = Waiter::new(bot, api, "0").await;
            waiting.entry(n).or_default().push(waiter);
        }
    }
    so_many(ALL).await;
    let grown = resident_kib(all.pid()).unwrap().saturating_sub(before);
    assert!(grown < ALL as u64 * KIB_EACH, "{grown} KiB for {ALL}");
    let one_more = bots[0].updates("0", 30).expect(api, 429).await;
    assert_eq!(problem(&one_more), "rate-limited");
    let another = rig.bot("another").await;
    let one_more = another.updates("0", 30).expect(api, 503).await;
    assert_eq!(problem(&one_more), "overloaded");
    // Chat and the rest of the API go on as if nobody waited.
    let begin = Instant::now();
    for n in 0..50 {
        ann.say(with_user(2), &format!("chat {n}")).await;
        assert_eq!(text_of(&ben.message().await), format!("chat {n}"));
        rig.ask(get("/api/v1/users"), 200).await;
    }
    let slow = begin.elapsed();
    assert!(slow < Duration::from_secs(5), "{slow:?}");
    so_many(ALL).await;
    // A message to one of them is for its requests alone.
    ann.say(with_user(bots[7].id), "hello").await;
    for waiter in waiting.remove(&7).unwrap() {
        let told = waiter.answer().await.json();
        assert_eq!(texts(&told), ["hello"]);
    }
    so_many(ALL - EACH).await;
    another.read(api, "0", 0).await;
    waiting.retain(|n, _| *n < 10);
    so_many(9 * EACH).await;
    drop(waiting);
    so_many(0).await;
    bots[7].read(api, "0", 0).await;
}
