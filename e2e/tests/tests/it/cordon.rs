//! Cordoned msg servers, and sessions that are asked to go, over the administrators' port of msg (S-101).

use std::time::Duration;

use im_e2e::traffic::{Plan, Traffic};
use im_e2e::{gauges, wait};
use im_proto_rpc::v1::msg_control_client::MsgControlClient;
use im_proto_rpc::v1::{CordonRequest, MsgState, ShedRequest, ShowStateRequest, UncordonRequest};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::dispatch::named;
use crate::support::*;

const TWO: Shape = Shape {
    login: 1,
    msg: 2,
    route: 1,
};

/// Longest time in which people are back elsewhere on a busy two-core machine.
const BACK: Duration = Duration::from_mins(1);

/// The administrators' port of a msg server, and what its callers show.
struct Control {
    client: MsgControlClient<Channel>,
    secret: String,
}

impl Control {
    async fn of(platform: &mut Platform, name: &str) -> Self {
        let address = platform.msg_admin_address(name);
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let secret = std::fs::read_to_string(platform.secret_file()).unwrap();
        Self {
            client: MsgControlClient::new(endpoint.connect().await.unwrap()),
            secret: secret.trim().to_owned(),
        }
    }

    fn call<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let bearer = format!("Bearer {}", self.secret).parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
        request
    }

    async fn cordon(&mut self) -> MsgState {
        let call = self.call(CordonRequest {});
        self.client.cordon(call).await.unwrap().into_inner()
    }

    async fn uncordon(&mut self) -> MsgState {
        let call = self.call(UncordonRequest {});
        self.client.uncordon(call).await.unwrap().into_inner()
    }

    async fn shed(
        &mut self,
        key: &str,
        sessions: u32,
        per_second: u32,
    ) -> Result<MsgState, Status> {
        let call = self.call(ShedRequest {
            key: key.to_owned(),
            sessions,
            per_second,
        });
        self.client
            .shed(call)
            .await
            .map(tonic::Response::into_inner)
    }

    async fn state(&mut self) -> MsgState {
        let call = self.call(ShowStateRequest {});
        self.client.show_state(call).await.unwrap().into_inner()
    }

    /// Waits until its state is such.
    async fn until(&mut self, holds: impl Fn(&MsgState) -> bool) {
        let deadline = tokio::time::Instant::now() + BACK;
        loop {
            let state = self.state().await;
            if holds(&state) {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "{state:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until it has so many sessions.
    async fn has(&mut self, sessions: u32) {
        self.until(|state| state.sessions == sessions).await;
    }
}

/// A cordoned server is handed out no more, closes whoever comes, keeps whoever is there, and has forgotten
/// it after a restart. Whoever asks for a server is sent to another one.
#[tokio::test]
async fn a_cordoned_msg_server_takes_nobody_new_while_a_newcomer_gets_another() {
    let mut platform = Platform::separate(TWO, Options::people(4)).await.unwrap();
    let url = platform.login_url("login1");
    let (first, second) = (platform.msg_address("msg1"), platform.msg_address("msg2"));
    // The second has more sessions: without a cordon everybody is sent to the first.
    let mut there = Terminal::login(first, 1, Windows).await;
    let mut others = Vec::new();
    for user in 2..=3 {
        others.push(Terminal::login(second, user, Windows).await);
    }
    wait::until("the first is named", wait::SOON, || async {
        (named(&url).await == Ok(first.to_string())).then_some(())
    })
    .await
    .unwrap();

    let mut control = Control::of(&mut platform, "msg1").await;
    let state = control.cordon().await;
    assert!(
        state.cordoned && state.closed && state.sessions == 1,
        "{state:?}"
    );
    for _ in 0..20 {
        assert_eq!(named(&url).await, Ok(second.to_string()));
    }
    Terminal::connect(first).await.closed().await;
    let newcomer = Terminal::login(second, 4, Windows).await;
    others[0].say(with_user(1), "still there").await;
    assert_eq!(text_of(&there.message().await), "still there");
    assert!(control.cordon().await.cordoned, "asked twice");
    let dump = gauges::dump(platform.process("msg1").unwrap())
        .await
        .unwrap();
    assert_eq!(dump["msg"]["cordoned"], true);
    let process = platform.process("msg1").unwrap();
    let metrics = gauges::Metrics::read(process).await.unwrap();
    assert_eq!(metrics.sum("im_msg_cordoned", ""), 1.0);
    assert_eq!(metrics.sum("im_msg_refused", "reason=\"cordoned\""), 1.0);
    let login = gauges::dump(platform.process("login1").unwrap())
        .await
        .unwrap();
    assert_eq!(login["login"]["servers"][0]["state"], "cordoned");

    control.uncordon().await;
    wait::until("the first is named again", wait::SOON, || async {
        (named(&url).await == Ok(first.to_string())).then_some(())
    })
    .await
    .unwrap();
    control.cordon().await;
    platform.kill_and_restart("msg1").await.unwrap();
    wait::until("a restart undoes it", wait::SOON, || async {
        (named(&url).await == Ok(first.to_string())).then_some(())
    })
    .await
    .unwrap();
    drop((others, newcomer));
}

/// Fifty people who talk to each other are shed from one server, and are on the other with every message
/// once and in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_people_who_are_shed_are_elsewhere_with_every_message() {
    let options = CHEAP_HASHES
        .iter()
        .fold(Options::people(50), |options, set| options.set(set));
    let mut platform = Platform::separate(TWO, options).await.unwrap();
    let mut first = Control::of(&mut platform, "msg1").await;
    let mut second = Control::of(&mut platform, "msg2").await;
    second.cordon().await;
    let plan = Plan {
        users: 50,
        pause: Duration::from_secs(1),
        ..Plan::small(&platform.url())
    };
    let traffic = Traffic::start(plan).await.unwrap();
    first.has(50).await;
    traffic.progress(20, BACK).await.unwrap();

    second.uncordon().await;
    first.cordon().await;
    first.shed("all", 50, 50).await.unwrap();
    let again = first.shed("all", 50, 50).await.unwrap();
    assert_eq!(again.shed.unwrap().order.unwrap().sessions, 50);
    second.has(50).await;
    first.has(0).await;
    traffic.progress(20, BACK).await.unwrap();

    // The same by a file, as the operator asks for it: back to the first, at its rate.
    first.uncordon().await;
    let orders = platform.orders_file("msg2");
    std::fs::write(&orders, "drain a 20").unwrap();
    second.until(|state| state.sessions < 50).await;
    let began = tokio::time::Instant::now();
    assert!(second.state().await.cordoned);
    second.has(0).await;
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(1_800), "{took:?}");
    first.has(50).await;
    std::fs::remove_file(&orders).unwrap();
    second.until(|state| !state.cordoned).await;
    traffic.progress(20, BACK).await.unwrap();
    let outcome = traffic.finish(BACK).await.unwrap();
    assert!(outcome.faults.is_empty(), "{:?}", outcome.faults);
    assert!(outcome.stored > 40);
    let shed = first.state().await.shed.unwrap();
    assert!(shed.over && shed.chosen == 50, "{shed:?}");
    assert_eq!(shed.gone + shed.ended, 50, "{shed:?}");
    let metrics = gauges::Metrics::read(platform.process("msg1").unwrap()).await;
    let metrics = metrics.unwrap();
    assert_eq!(
        metrics.sum("im_msg_shed_sessions", ""),
        f64::from(shed.gone)
    );
}

/// The port asks for the installation's secret, and says what is wrong with an order.
#[tokio::test]
async fn the_administrators_port_of_msg_refuses_strangers_and_what_is_out_of_bounds() {
    let shape = Shape { msg: 1, ..TWO };
    let mut platform = Platform::separate(shape, Options::people(1)).await.unwrap();
    let mut control = Control::of(&mut platform, "msg1").await;
    for (key, sessions, rate, part) in [
        ("", 1, 1, "key must have 1 to 128 bytes"),
        ("k", 1_000_001, 1, "sessions must be"),
        ("k", 1, 0, "per_second must be"),
    ] {
        let refused = control.shed(key, sessions, rate).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(part), "{refused}");
    }
    "a secret of somebody else".clone_into(&mut control.secret);
    let refused = control.shed("k", 1, 1).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}
