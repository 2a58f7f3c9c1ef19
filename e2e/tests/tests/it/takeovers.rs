//! Which of two logins of one user and class stays: the one that arrives at the route server later,
//! whatever the msg servers' clocks say; only a restarted route server, which learns sessions from
//! snapshots, goes by the times of the logins.

use std::net::SocketAddr;

use im_e2e::gauges::Metrics;
use im_e2e::platform::ports;
use im_e2e::proxy::{Cable, Proxy};
use im_e2e::wait;
use im_proto_teamtalk::base::KickReasonType;
use im_proto_teamtalk::login::ImKickUser;

use crate::support::*;

/// Two msg servers, each with a cable of its own to the only route server.
pub(crate) struct World {
    pub(crate) platform: Platform,
    pub(crate) cables: [Proxy; 2],
}

impl World {
    pub(crate) async fn new() -> Self {
        let shape = Shape {
            login: 1,
            msg: 0,
            route: 1,
        };
        let hashes = CHEAP_HASHES.iter();
        let options = hashes.fold(Options::people(3), |options, set| options.set(set));
        // A cable that stands still is no lost one.
        let patient = "link.keepalive_timeout=60s";
        let options = options.set(&format!("route.{patient}"));
        let mut platform = Platform::separate(shape, options).await.unwrap();
        let route = SocketAddr::from((platform.address_of("route1"), ports::ROUTE));
        let peers = platform.peer_settings(&["login1".to_owned()], &["route1".to_owned()]);
        let cables = [
            Proxy::start(route).await.unwrap(),
            Proxy::start(route).await.unwrap(),
        ];
        for (name, cable) in ["msg1", "msg2"].iter().zip(&cables) {
            let mut settings = peers.clone();
            settings.push(format!("peers.route=[\"route1={}\"]", cable.address()));
            let set = [format!("msg.{patient}")];
            platform.start_msg(name, &settings, &set).unwrap();
        }
        platform.all_ready().await.unwrap();
        Self { platform, cables }
    }

    /// Logs u1 in.
    pub(crate) async fn login(&mut self, msg: &str) -> Terminal {
        Terminal::login(self.platform.msg_address(msg), 1, Windows).await
    }

    /// db-proxy has found so many logins good.
    async fn judged(&mut self, count: f64) {
        let db = &*self.platform.process("db").unwrap();
        wait::until("the login to be judged", wait::SOON, || async {
            let metrics = Metrics::read(db).await.ok()?;
            (metrics.sum("im_db_proxy_logins", "\"ok\"") == count).then_some(())
        })
        .await
        .unwrap();
    }

    /// The route server knows so many sessions.
    pub(crate) async fn sessions(&mut self, count: f64) {
        let route = &*self.platform.process("route1").unwrap();
        wait::until(
            "the route server to know the sessions",
            wait::SOON,
            || async {
                let metrics = Metrics::read(route).await.ok()?;
                (metrics.sum("im_route_sessions", "") == count).then_some(())
            },
        )
        .await
        .unwrap();
    }

    /// This terminal is told to leave because of another login, and the other one can talk.
    async fn stays(&mut self, stays: &mut Terminal, leaves: &mut Terminal) {
        let kick: ImKickUser = leaves.push(Command::KickUser).await;
        assert_eq!(
            kick.kick_reason,
            KickReasonType::KickReasonDuplicateUser as i32,
            "{kick:?}"
        );
        leaves.closed().await;
        let mut other = Terminal::login(self.platform.msg_address("msg1"), 2, Windows).await;
        other.say(with_user(1), "who is there?").await;
        assert_eq!(text_of(&stays.message().await), "who is there?");
        self.sessions(2.0).await;
    }
}

/// Somebody logs in on one msg server and then on another one, but of the first login the route server
/// hears last: that one stays. The times of the logins, which the servers' clocks made, say otherwise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_login_that_arrives_later_stays_although_it_was_made_earlier() {
    let mut world = World::new().await;
    world.cables[0].set(Cable::Silent);
    // Its password is good; its answer waits for the route server.
    let earlier = tokio::spawn(Terminal::login(
        world.platform.msg_address("msg1"),
        1,
        Windows,
    ));
    world.judged(1.0).await;
    let mut later = world.login("msg2").await;
    world.sessions(1.0).await;
    world.cables[0].set(Cable::Whole);
    let mut earlier = earlier.await.unwrap();
    world.stays(&mut earlier, &mut later).await;
}

/// A second login ends the first one, but the route server is lost before the first one's msg server
/// hears of it. The new route server learns of both from snapshots, of the later login first: that one
/// stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_of_the_route_server_the_login_that_was_made_later_stays() {
    let mut world = World::new().await;
    let mut earlier = world.login("msg1").await;
    world.cables[0].set(Cable::Silent);
    let mut later = world.login("msg2").await;
    world.platform.process("route1").unwrap().restart().unwrap();
    world.cables[0].set(Cable::Cut);
    world.platform.ready("route1").await.unwrap();
    world.sessions(1.0).await;
    assert_eq!(
        commands(&earlier.settle().await),
        [],
        "not told to leave yet"
    );
    world.cables[0].set(Cable::Whole);
    world.stays(&mut later, &mut earlier).await;
}
