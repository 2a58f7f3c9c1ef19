//! Servers that report, played over real links inside the process.

use std::time::Duration;

use im_config::units::{ByteSize, Span};
use im_proto_rpc::v1::monitor_call::Call;
use im_proto_rpc::v1::{
    MonitorAnswer, MonitorAsk, MonitorCall, MonitorSessions, MsgState, SessionEvent,
};
use im_rpc::link::pair;

use super::*;

fn monitor(change: impl FnOnce(&mut MonitorConfig)) -> Monitor {
    let mut config = MonitorConfig {
        question_timeout: Span::millis(200),
        ..MonitorConfig::default()
    };
    change(&mut config);
    Monitor::new(&config, Metrics::default())
}

/// A server that reports.
struct Server {
    link: Link<MonitorCalls, MonitorAsks>,
    report: ServerReport,
}

impl Server {
    fn dial(monitor: &Monitor, name: &str, role: &str) -> Self {
        let (link, far) = pair("server", "http-api", 16);
        monitor.accept(far);
        let report = ServerReport {
            name: name.to_owned(),
            role: role.to_owned(),
            instance: 1,
            ..ServerReport::default()
        };
        Self { link, report }
    }

    async fn say(&self, call: Call) {
        let calls = vec![MonitorCall { call: Some(call) }];
        self.link.tx.send(MonitorCalls { calls }).await.unwrap();
    }

    async fn report(&self) {
        self.say(Call::Report(self.report.clone())).await;
    }

    /// Reports, and is known.
    async fn start(monitor: &Monitor, name: &str, role: &str) -> Self {
        let this = Self::dial(monitor, name, role);
        this.report().await;
        until(|| monitor.server(name).is_some()).await;
        this
    }

    async fn asked(&mut self) -> MonitorAsk {
        let asks = timeout(PATIENCE, self.link.rx.recv()).await.unwrap();
        asks.unwrap().asks.pop().unwrap()
    }

    async fn answer(&self, tag: u64, answer: Answer) {
        let answer = Some(answer);
        self.say(Call::Answer(MonitorAnswer { tag, answer })).await;
    }

    async fn is_cut(&mut self) {
        let ended = timeout(PATIENCE, self.link.closed.cancelled()).await;
        ended.expect("the link is cut");
    }
}

const PATIENCE: Duration = Duration::from_secs(10);

async fn until(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, waiting).await.expect("in time");
}

fn cordon() -> Ask {
    Ask::Cordon(im_proto_rpc::v1::CordonRequest {})
}

#[tokio::test]
async fn a_server_is_asked_on_the_link_on_which_it_reports() {
    let monitor = monitor(|_| {});
    let mut one = Server::start(&monitor, "msg1", MSG).await;
    let _two = Server::start(&monitor, "login1", "login").await;
    assert_eq!(monitor.len(), 2);
    assert_eq!(monitor.servers("", 9).len(), 2);
    assert_eq!(monitor.servers("login1", 9).len(), 1);
    let asking = tokio::spawn({
        let monitor = monitor.clone();
        async move { monitor.ask("msg1", cordon()).await }
    });
    let asked = one.asked().await;
    assert_eq!(asked.ask, Some(cordon()));
    let state = MsgState {
        cordoned: true,
        ..MsgState::default()
    };
    one.answer(asked.tag, Answer::State(state.clone())).await;
    assert_eq!(asking.await.unwrap(), Ok(Answer::State(state)));
    let nobody = monitor.ask("msg2", cordon()).await;
    assert_eq!(nobody, Err(NoAnswer::NoSuchServer));
    drop(one);
    until(|| monitor.server("msg1").is_none()).await;
}

#[tokio::test]
async fn who_asks_waits_for_a_bounded_time_and_questions_are_counted() {
    let monitor = monitor(|config| config.questions = 2);
    let mut slow = Server::start(&monitor, "msg1", MSG).await;
    let ask = || monitor.ask("msg1", cordon());
    let (one, two, three) = tokio::join!(ask(), ask(), ask());
    let mut answers = [one, two, three];
    answers.sort_by_key(|answer| *answer == Err(NoAnswer::Late));
    assert_eq!(answers[0], Err(NoAnswer::Busy));
    assert_eq!(answers[1..], [Err(NoAnswer::Late), Err(NoAnswer::Late)]);
    // They wait for nobody any more: there is room again.
    let asking = tokio::spawn({
        let monitor = monitor.clone();
        async move { monitor.ask("msg1", cordon()).await }
    });
    let tags = [slow.asked().await.tag, slow.asked().await.tag];
    let asked = slow.asked().await;
    // An answer that comes too late is not taken for another one.
    slow.answer(tags[0], Answer::Sessions(MonitorSessions::default()))
        .await;
    let state = MsgState::default();
    slow.answer(asked.tag, Answer::State(state.clone())).await;
    assert_eq!(asking.await.unwrap(), Ok(Answer::State(state)));
    // A link that ends lets nobody wait.
    let asking = tokio::spawn({
        let monitor = monitor.clone();
        async move { monitor.ask("msg1", cordon()).await }
    });
    slow.asked().await;
    drop(slow);
    assert_eq!(asking.await.unwrap(), Err(NoAnswer::Gone));
}

#[tokio::test]
async fn a_server_that_takes_no_questions_loses_its_link() {
    let monitor = monitor(|config| config.questions = 100);
    let mut deaf = Server::start(&monitor, "msg1", MSG).await;
    // Sixteen wait in the link, which nobody reads.
    let asks = (0..40).map(|_| monitor.ask("msg1", cordon()));
    join_all(asks).await;
    deaf.is_cut().await;
    until(|| monitor.server("msg1").is_none()).await;
    assert_eq!(monitor.metrics.cuts(Cut::Slow), 1);
}

#[tokio::test]
async fn a_server_that_says_too_much_or_nonsense_loses_its_link_and_no_other_does() {
    let monitor = monitor(|config| config.report_rate = ByteSize::kib(16));
    let good = Server::start(&monitor, "msg1", MSG).await;
    let mut loud = Server::start(&monitor, "msg2", MSG).await;
    // 128 KiB at once; nobody has asked.
    let sessions = vec![im_proto_rpc::v1::PlacedSession::default(); 100_000];
    let page = MonitorSessions {
        sessions,
        more: false,
    };
    loud.answer(99, Answer::Sessions(page)).await;
    loud.is_cut().await;
    let mut renamed = Server::start(&monitor, "msg3", MSG).await;
    "msg1".clone_into(&mut renamed.report.name);
    renamed.report().await;
    renamed.is_cut().await;
    let mut odd = Server::dial(&monitor, "a\nb", MSG);
    odd.report().await;
    odd.is_cut().await;
    let mut wordy = Server::start(&monitor, "msg4", MSG).await;
    let session = SessionInfo {
        address: "x".repeat(1_024),
        ..SessionInfo::default()
    };
    let session = Some(session);
    wordy
        .say(Call::Event(SessionEvent { up: true, session }))
        .await;
    wordy.is_cut().await;
    assert_eq!(monitor.metrics.cuts(Cut::Flood), 1);
    assert_eq!(monitor.metrics.cuts(Cut::Malformed), 3);
    good.report().await;
    until(|| monitor.len() == 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_loses_its_link() {
    let monitor = monitor(|config| config.silence = Span::seconds(10));
    let one = Server::start(&monitor, "msg1", MSG).await;
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(9)).await;
        one.report().await;
    }
    assert!(monitor.server("msg1").is_some());
    let begin = Instant::now();
    one.link.closed.cancelled().await;
    assert!(begin.elapsed() >= Duration::from_secs(10));
    assert_eq!(monitor.metrics.cuts(Cut::Silent), 1);
}

#[tokio::test]
async fn subscribers_are_told_and_msg_servers_tell_while_there_are_some() {
    let monitor = monitor(|config| {
        config.subscribers = 2;
        config.events = 4;
    });
    let mut one = Server::start(&monitor, "msg1", MSG).await;
    let mut first = monitor.subscribe(1).unwrap();
    assert_eq!(monitor.subscribe(1).unwrap_err(), NoSlot::Caller);
    let other = monitor.subscribe(2).unwrap();
    assert_eq!(monitor.subscribe(3).unwrap_err(), NoSlot::Total);
    drop(other);
    let wanted = |ask: MonitorAsk| match ask.ask {
        Some(Ask::Events(events)) => events.wanted,
        other => panic!("{other:?}"),
    };
    assert!(wanted(one.asked().await));
    let session = SessionEvent {
        up: true,
        session: Some(SessionInfo {
            user: 7,
            ..SessionInfo::default()
        }),
    };
    one.say(Call::Event(session)).await;
    let told = first.next().await.unwrap();
    assert!(matches!(&*told, Happening::Session { up: true, session } if session.user == 7));
    let two = Server::start(&monitor, "msg2", MSG).await;
    let told = first.next().await.unwrap();
    assert!(matches!(&*told, Happening::Server { up: true, report } if report.name == "msg2"));
    drop(two);
    let told = first.next().await.unwrap();
    assert!(matches!(&*told, Happening::Server { up: false, report } if report.name == "msg2"));
    // Who does not listen misses some, and hears how many.
    for n in 0..10 {
        monitor.tell(Happening::LeftOut(1_000 + n));
    }
    let told = first.next().await.unwrap();
    assert!(matches!(&*told, Happening::LeftOut(6)), "{told:?}");
    drop(first);
    assert!(!wanted(one.asked().await));
    let mut second = monitor.subscribe(1).unwrap();
    monitor.stop().cancel();
    assert!(second.next().await.is_none());
}
