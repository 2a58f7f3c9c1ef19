//! The ports that tell clients where to go.

use std::net::SocketAddr;
use std::time::Duration;

use futures::future::join_all;
use im_client::dispatch;
use im_e2e::attack::{Attacker, Ears};
use im_e2e::platform::ports;
use im_e2e::siege::{Siege, ground, source};
use tokio::time::{Instant, sleep};

/// Connections that say nothing take all places of both ports, from few addresses: others, near and far,
/// are answered all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_take_all_places() {
    const EACH: usize = 1_050;
    const NEAR: u8 = 41;
    const LIMIT: Duration = Duration::from_secs(3);
    let mut siege = Siege::separate(ground(1)).await;
    let login = siege.platform().address_of("login1");
    let url = siege.platform().url();
    let [http, binary] =
        [ports::LOGIN_HTTP, ports::LOGIN_BINARY].map(|port| SocketAddr::from((login, port)));
    for _ in 0..2 {
        let attack = async {
            let mut held = Vec::new();
            for host in 1..=4 {
                let target = if host % 2 == 0 { http } else { binary };
                let conns =
                    (0..EACH).map(|_| Attacker::connect(target, source(NEAR, host), Ears::Open));
                held.push(join_all(conns).await);
            }
            let mut slow = Vec::new();
            for n in 0..6_u8 {
                let from = source(if n % 2 == 0 { NEAR } else { 42 }, 100 + n);
                let begin = Instant::now();
                let answer = dispatch::lookup(&url, Some(from.into()), LIMIT).await;
                if let Err(error) = answer {
                    let after = begin.elapsed();
                    slow.push(format!("{from} after {after:.1?}: {error}"));
                }
                sleep(Duration::from_millis(300)).await;
            }
            drop(held);
            slow
        };
        let slow = siege.round(attack).await;
        siege.expect(slow.is_empty(), || {
            format!("{} of 6 got no address, one {}", slow.len(), slow[0])
        });
    }
    siege.holds().await;
}
