//! Honest people who come back in numbers after a server was restarted.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use im_client::RawConn;
use im_e2e::people;
use im_e2e::siege::{Siege, attacker, ground, source};
use im_e2e::wait;
use rand::Rng as _;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::support::*;

/// How a client waits and tries again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// It hangs up after so long without an answer.
    pub(super) answer: Duration,
    /// First pause between attempts; doubled each time.
    pub(super) pause: Duration,
    /// Longest pause.
    pub(super) longest_pause: Duration,
}

/// As the Windows client.
const WINDOWS: Patience = Patience {
    answer: Duration::from_secs(15),
    pause: Duration::from_secs(3),
    longest_pause: Duration::from_secs(15),
};

/// Who came back.
#[derive(Debug, Default)]
pub(super) struct Back {
    /// Time of each login, ascending.
    pub(super) slowest: Vec<Duration>,
    attempts: u32,
    /// They stay for as long as this lives.
    conns: Vec<RawConn>,
}

impl fmt::Display for Back {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let half = self.slowest.get(self.slowest.len() / 2);
        write!(
            f,
            "{} people are back, half in {:.1?}, all in {:.1?}, {} attempts",
            self.slowest.len(),
            half.copied().unwrap_or_default(),
            self.slowest.last().copied().unwrap_or_default(),
            self.attempts
        )
    }
}

/// Everybody connects within two seconds and tries until it works, or until the limit. They come from
/// offices of two hundred.
pub(super) async fn come_back(
    msg: SocketAddr,
    users: impl Iterator<Item = u32>,
    patience: Patience,
    limit: Duration,
) -> Back {
    let begin = Instant::now();
    let mut crowd = JoinSet::new();
    for user in users {
        let n = user - attacker(1);
        let from = source(20 + (n / 200) as u8, 1 + (n % 200) as u8);
        crowd.spawn(timeout_at(begin + limit, async move {
            let late = rand::rng().random_range(0..2_000);
            sleep(Duration::from_millis(late)).await;
            let mut pause = patience.pause;
            let mut attempts = 0;
            loop {
                attempts += 1;
                let login = log_in(msg, from.into(), user, patience.answer);
                if let Ok(Ok(conn)) = timeout(patience.answer, login).await {
                    return (begin.elapsed(), attempts, conn);
                }
                let jitter = rand::rng().random_range(0.8..1.2);
                sleep(pause.mul_f64(jitter)).await;
                pause = (pause * 2).min(patience.longest_pause);
            }
        }));
    }
    let mut back = Back::default();
    for (took, attempts, conn) in crowd.join_all().await.into_iter().flatten() {
        back.slowest.push(took);
        back.attempts += attempts;
        back.conns.push(conn);
    }
    back.slowest.sort_unstable();
    back
}

async fn log_in(
    msg: SocketAddr,
    from: IpAddr,
    user: u32,
    wait: Duration,
) -> Result<RawConn, im_client::RawError> {
    let mut conn = RawConn::connect_from(&msg.to_string(), from).await?;
    let password = Password::clear(people::PASSWORD);
    conn.login(&people::name(user), &password, Android, wait)
        .await?;
    Ok(conn)
}

/// Six thousand people log in for the first time; then their msg server is lost and db-proxy starts
/// anew, and they come back to another msg server. What was verified before is remembered: nobody's
/// password is hashed again. Whoever is on that server notices nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn six_thousand_people_return_after_a_restart() {
    const PEOPLE: u32 = 6_000;
    // What hangs takes longer. How fast they are is measured: scenario *return-many* of `im-load bench`.
    const FIRST: Duration = Duration::from_secs(90);
    const REMEMBERED: Duration = Duration::from_secs(30);
    const NEWCOMERS: Duration = Duration::from_secs(10);
    let shape = Shape {
        login: 1,
        msg: 2,
        route: 1,
    };
    let platform = Platform::separate(shape, ground(PEOPLE).set("msg.presence.notify=none"))
        .await
        .unwrap();
    let siege = Siege::around(platform, "msg1").await;
    let mut siege = siege.newcomers_within(NEWCOMERS);
    let msg = siege.msg();
    let crowd = || (1..=PEOPLE).map(attacker);

    let other = siege.platform().msg_address("msg2");
    let first = siege
        .during(come_back(other, crowd(), WINDOWS, FIRST))
        .await;
    siege.note(format!("for the first time: {first}"));
    siege.expect(first.slowest.len() == PEOPLE as usize, || {
        format!("for the first time only {first}")
    });
    // What was verified is stored about a second later.
    let mut stored = 0.0;
    for _ in 0..100 {
        let metrics = super::metrics(&mut siege, "db").await;
        stored = metrics.sum("im_db_proxy_remembered_logins_stored", "");
        if stored >= f64::from(PEOPLE) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    siege.expect(stored >= f64::from(PEOPLE), || {
        format!("{stored} logins are remembered")
    });

    siege
        .interrupt(async |platform| {
            platform.remove("msg2").unwrap().kill9().unwrap();
            platform.kill_and_restart("db").await.unwrap();
            platform.all_ready().await.unwrap();
            // Roles find each other again.
            wait::until("a login after the restart", wait::SOON, || async {
                let from = source(20, 255).into();
                let login = log_in(msg, from, attacker(1), Duration::from_secs(1)).await;
                login.is_ok().then_some(())
            })
            .await
            .unwrap();
        })
        .await;
    drop(first);
    let again = siege
        .during(come_back(msg, crowd(), WINDOWS, REMEMBERED))
        .await;
    let metrics = super::metrics(&mut siege, "db").await;
    let hashes = metrics.sum("im_db_proxy_password_hashes", "");
    siege.note(format!("remembered: {again}, {hashes} hashes"));
    siege.expect(again.slowest.len() == PEOPLE as usize, || {
        format!("remembered only {again}")
    });
    // Newcomers, who log in for the first time, are hashed.
    siege.expect(hashes < 200.0, || {
        format!("{hashes} hashes of people who are known")
    });
    siege.holds().await;
}
