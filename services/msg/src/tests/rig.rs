//! A msg server under test, the players around it, and a bare client.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use im_codec::{Command, DEFAULT_MAX_FROM_SERVER, Frame, TeamtalkMessage, encode, next_frame};
use im_config::{LinkConfig, MsgConfig};
use im_discovery::{Endpoint, StaticList};
use im_proto_rpc::v1::{
    Answer, DbCall, DbCalls, DbResult, DbResults, LiveMessage, LoadReport, LoadSeen, LogPage,
    LoginDone, RelatedDone, RouteCall, RouteCalls, RouteItem, RouteItems, Send, SendDone,
    SessionInfo, SessionReady, SnapshotDone, StatusResult, answer, db_call, db_result,
    related_done, route_call, route_item, send_done,
};
use im_proto_teamtalk::base::UserInfo;
use im_proto_teamtalk::login::{ImLoginReq, ImLoginRes};
use im_proto_teamtalk::message::{ImMsgData, ImMsgDataAck};
use im_rpc::local::LocalDialer;
use im_rpc::{Accept, Connect, Dial, Link, LinkMetrics, Peers, Ring};
use im_runtime::Context;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::server::{Deps, Server, ServerError};
use crate::shared::Shared;

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) const WINDOWS: i32 = 1;
pub(super) const MAC: i32 = 2;
pub(super) const IOS: i32 = 17;
pub(super) const ANDROID: i32 = 18;

/// Waits until something holds.
pub(super) async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    assert!(waited.is_ok(), "waited in vain until {what}");
}

// ---- db-proxy ---------------------------------------------------------------

/// What the player of db-proxy knows and does.
#[derive(Default)]
pub(super) struct Db {
    pub(super) log: Vec<LiveMessage>,
    pub(super) sends: Vec<Send>,
    pub(super) queries: Vec<im_proto_rpc::v1::Query>,
    pub(super) reads: Vec<u64>,
    pub(super) related: HashMap<u32, Vec<u32>>,
    pub(super) related_asked: Vec<u32>,
    pub(super) logins: u32,
    /// Bodies of further frames of every answer.
    pub(super) more: Vec<Bytes>,
    /// Messages, queries and logins are not answered while set.
    pub(super) holds: bool,
    held: Vec<DbCall>,
    /// Outcome of messages by receiver; the rest is stored.
    pub(super) outcomes: HashMap<u32, send_done::Outcome>,
    batches: Vec<usize>,
    accepts: bool,
    link: Option<(tokio::sync::mpsc::Sender<DbResults>, CancellationToken)>,
}

impl Db {
    /// Users are called u1, u2, …; their password is "ok".
    fn answer(&mut self, call: DbCall) -> DbResult {
        let result = match call.call.unwrap() {
            db_call::Call::Login(login) => db_result::Result::Login(self.login(&login)),
            db_call::Call::Send(send) => db_result::Result::Send(self.store(send)),
            db_call::Call::Query(query) => {
                let answer = self.answer_query(&query);
                self.queries.push(query);
                db_result::Result::Answer(answer)
            }
            db_call::Call::ReadLog(read) => {
                self.reads.push(read.after);
                let messages: Vec<LiveMessage> = self
                    .log
                    .iter()
                    .filter(|message| message.seq > read.after)
                    .take(read.limit as usize)
                    .cloned()
                    .collect();
                let end = self.log.len() as u64;
                let through = messages
                    .last()
                    .map_or_else(|| end.max(read.after), |last| last.seq);
                db_result::Result::Log(LogPage {
                    messages,
                    through,
                    more: through < end,
                })
            }
            db_call::Call::Related(related) => {
                self.related_asked.extend(&related.users);
                let entries = related.users.iter().map(|user| related_done::Entry {
                    user: *user,
                    related: self.related.get(user).cloned().unwrap_or_default(),
                });
                db_result::Result::Related(RelatedDone {
                    entries: entries.collect(),
                })
            }
        };
        DbResult {
            tag: call.tag,
            result: Some(result),
        }
    }

    fn login(&mut self, login: &im_proto_rpc::v1::LoginCall) -> LoginDone {
        self.logins += 1;
        let user = login.user_name.trim_start_matches('u').parse().unwrap_or(0);
        if login.password != "ok" || user == 0 {
            return LoginDone {
                result_code: 1,
                result_string: "用户名/密码错误".to_owned(),
                ..LoginDone::default()
            };
        }
        LoginDone {
            result_code: 0,
            result_string: String::new(),
            user_id: user,
            user_info: user_info(user).encode_to_vec().into(),
        }
    }

    fn store(&mut self, send: Send) -> SendDone {
        self.sends.push(send.clone());
        let outcome = self.outcomes.get(&send.to).copied().unwrap_or_default();
        let (seq, msg_id) = match outcome {
            send_done::Outcome::Stored => {
                let seq = self.log.len() as u64 + 1;
                let message = LiveMessage {
                    seq,
                    from: send.from,
                    to: send.to,
                    msg_id: u32::try_from(seq).unwrap(),
                    time: 1_700_000_000,
                    msg_type: send.msg_type,
                    data: send.data,
                    origin: send.origin,
                    recipients: vec![send.from, send.to],
                };
                self.log.push(message);
                (seq, u32::try_from(seq).unwrap())
            }
            _ => (0, 0),
        };
        SendDone {
            outcome: outcome as i32,
            msg_id,
            time: 1_700_000_000,
            seq,
        }
    }

    fn answer_query(&self, query: &im_proto_rpc::v1::Query) -> Answer {
        let command = Command::from_id(u16::try_from(query.command).unwrap()).unwrap();
        match command.answer() {
            Some(answer) => Answer {
                outcome: answer::Outcome::Answered as i32,
                command: u32::from(answer.id()),
                body: query.body.clone(),
                more: self.more.clone(),
            },
            None => Answer {
                outcome: answer::Outcome::Silent as i32,
                ..Answer::default()
            },
        }
    }

    fn is_held(&self, call: &DbCall) -> bool {
        self.holds && !matches!(call.call, Some(db_call::Call::ReadLog(_)))
    }
}

fn user_info(user: u32) -> UserInfo {
    UserInfo {
        user_id: user,
        user_gender: 1,
        user_nick_name: format!("nick {user}"),
        avatar_url: "http://a".to_owned(),
        department_id: 3,
        email: "e@x".to_owned(),
        user_real_name: "real".to_owned(),
        user_tel: "1".to_owned(),
        user_domain: "domain".to_owned(),
        status: 0,
        sign_info: Some("sign".to_owned()),
    }
}

#[derive(Clone)]
pub(super) struct DbPlayer(Arc<Mutex<Db>>);

impl DbPlayer {
    pub(super) fn state(&self) -> MutexGuard<'_, Db> {
        self.0.lock().unwrap()
    }

    /// Answers what was held, and no longer holds.
    pub(super) fn release(&self) {
        let mut db = self.state();
        db.holds = false;
        let held = std::mem::take(&mut db.held);
        let results = held.into_iter().map(|call| db.answer(call)).collect();
        let tx = db.link.as_ref().map(|(tx, _)| tx.clone());
        if let Some(tx) = tx {
            tx.try_send(DbResults { results }).unwrap();
        }
    }

    /// Cuts the link; new ones are accepted or not.
    pub(super) fn cut(&self, accepts: bool) {
        let mut db = self.state();
        db.accepts = accepts;
        db.held.clear();
        if let Some((_, closed)) = db.link.take() {
            closed.cancel();
        }
    }

    pub(super) fn accept_again(&self) {
        self.state().accepts = true;
    }

    pub(super) fn largest_batch(&self) -> usize {
        self.state().batches.iter().copied().max().unwrap_or(0)
    }

    /// Commits a message that some other server's user sent.
    pub(super) fn commit(&self, from: u32, recipients: &[u32]) -> LiveMessage {
        let mut db = self.state();
        let seq = db.log.len() as u64 + 1;
        let message = LiveMessage {
            seq,
            from,
            to: *recipients.last().unwrap(),
            msg_id: u32::try_from(seq).unwrap(),
            time: 1_700_000_000,
            msg_type: 1,
            data: Bytes::from(format!("message {seq}")),
            origin: 1,
            recipients: recipients.to_vec(),
        };
        db.log.push(message.clone());
        message
    }

    fn accept(&self, link: Link<DbResults, DbCalls>) {
        let Link {
            tx, mut rx, closed, ..
        } = link;
        {
            let mut db = self.state();
            if !db.accepts {
                closed.cancel();
                return;
            }
            db.link = Some((tx.clone(), closed.clone()));
        }
        let player = self.clone();
        tokio::spawn(async move {
            while let Some(Some(calls)) = closed.run_until_cancelled(rx.recv()).await {
                let results = {
                    let mut db = player.state();
                    db.batches.push(calls.calls.len());
                    let (held, now): (Vec<_>, Vec<_>) =
                        calls.calls.into_iter().partition(|call| db.is_held(call));
                    db.held.extend(held);
                    now.into_iter()
                        .map(|call| db.answer(call))
                        .collect::<Vec<_>>()
                };
                if !results.is_empty() && tx.send(DbResults { results }).await.is_err() {
                    return;
                }
            }
        });
    }
}

// ---- route ------------------------------------------------------------------

pub(super) struct Route {
    pub(super) sessions: Vec<SessionInfo>,
    pub(super) snapshots: u32,
    pub(super) calls: Vec<route_call::Call>,
    pub(super) online: Vec<u32>,
    /// Registrations and status questions are not answered while set.
    pub(super) holds: bool,
    held: Vec<route_item::Item>,
    pub(super) ring: u64,
    pub(super) sent: u64,
    accepts: bool,
    link: Option<(tokio::sync::mpsc::Sender<RouteItems>, CancellationToken)>,
}

#[derive(Clone)]
pub(super) struct RoutePlayer(Arc<Mutex<Route>>);

impl RoutePlayer {
    fn new(ring: u64) -> Self {
        Self(Arc::new(Mutex::new(Route {
            sessions: Vec::new(),
            snapshots: 0,
            calls: Vec::new(),
            online: Vec::new(),
            holds: false,
            held: Vec::new(),
            ring,
            sent: 0,
            accepts: true,
            link: None,
        })))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, Route> {
        self.0.lock().unwrap()
    }

    /// Sends a batch that follows the last one.
    pub(super) fn send(&self, through: u64, items: Vec<route_item::Item>) {
        let mut route = self.state();
        route.send_after(None, through, items);
    }

    /// Sends a batch that leaves something out.
    pub(super) fn send_after(&self, after: u64, through: u64, items: Vec<route_item::Item>) {
        self.state().send_after(Some(after), through, items);
    }

    pub(super) fn push(&self, message: LiveMessage) {
        self.send(message.seq, vec![route_item::Item::Message(message)]);
    }

    pub(super) fn release(&self) {
        let mut route = self.state();
        route.holds = false;
        let held = std::mem::take(&mut route.held);
        let through = route.sent;
        route.send_after(None, through, held);
    }

    pub(super) fn cut(&self, accepts: bool) {
        let mut route = self.state();
        route.accepts = accepts;
        if let Some((_, closed)) = route.link.take() {
            closed.cancel();
        }
    }

    pub(super) fn accept_again(&self) {
        self.state().accepts = true;
    }

    fn accept(&self, link: Link<RouteItems, RouteCalls>) {
        let Link {
            tx, mut rx, closed, ..
        } = link;
        {
            let mut route = self.state();
            if !route.accepts {
                closed.cancel();
                return;
            }
            route.sessions.clear();
            route.link = Some((tx, closed.clone()));
        }
        let player = self.clone();
        tokio::spawn(async move {
            while let Some(Some(calls)) = closed.run_until_cancelled(rx.recv()).await {
                let mut route = player.state();
                for call in calls.calls {
                    route.call(call);
                }
            }
        });
    }
}

impl Route {
    fn send_after(&mut self, after: Option<u64>, through: u64, items: Vec<route_item::Item>) {
        let after = after.unwrap_or(self.sent);
        self.sent = through;
        let items = items
            .into_iter()
            .map(|item| RouteItem { item: Some(item) })
            .collect();
        if let Some((tx, _)) = &self.link {
            tx.try_send(RouteItems {
                after,
                through,
                ring: self.ring,
                items,
            })
            .unwrap();
        }
    }

    fn call(&mut self, call: RouteCall) {
        use route_call::Call;
        let call = call.call.unwrap();
        let sent = self.sent;
        let answer = match &call {
            Call::Hello(_) => {
                // The position and the ring, at once.
                self.send_after(None, sent, Vec::new());
                None
            }
            Call::Up(up) => {
                self.sessions.push(up.session.clone().unwrap());
                (up.tag != 0).then_some(route_item::Item::Ready(SessionReady {
                    tag: up.tag,
                    through: sent,
                }))
            }
            Call::Down(down) => {
                self.sessions.retain(|session| session.epoch != down.epoch);
                None
            }
            Call::SnapshotBegin(_) => {
                self.sessions.clear();
                None
            }
            Call::SnapshotEnd(end) => {
                self.snapshots += 1;
                Some(route_item::Item::Snapshot(SnapshotDone {
                    tag: end.tag,
                    through: sent,
                }))
            }
            Call::Status(query) => Some(route_item::Item::Status(StatusResult {
                tag: query.tag,
                online: query
                    .users
                    .iter()
                    .copied()
                    .filter(|user| self.online.contains(user))
                    .collect(),
            })),
            Call::Signal(_) | Call::Kick(_) => None,
        };
        self.calls.push(call);
        let Some(item) = answer else { return };
        if self.holds && !matches!(item, route_item::Item::Snapshot(_)) {
            self.held.push(item);
        } else {
            self.send_after(None, sent, vec![item]);
        }
    }
}

/// Joins an endpoint's name to its player.
struct Named<F>(F);

impl<F> Connect<RouteCalls, RouteItems> for Named<F>
where
    F: Fn(&str) -> RoutePlayer + std::marker::Send + Sync + 'static,
{
    fn dialer(&self, endpoint: &Endpoint) -> Arc<dyn Dial<RouteCalls, RouteItems>> {
        let player = (self.0)(&endpoint.name);
        let accept: Arc<dyn Accept<RouteItems, RouteCalls>> =
            Arc::new(move |link| player.accept(link));
        Arc::new(LocalDialer::new(endpoint.name.clone(), accept, 1_024))
    }
}

// ---- login ------------------------------------------------------------------

#[derive(Default)]
pub(super) struct Login {
    pub(super) reports: Vec<LoadReport>,
    /// Reports are not confirmed while set.
    pub(super) is_deaf: bool,
    accepts: bool,
    closed: Option<CancellationToken>,
}

#[derive(Clone)]
pub(super) struct LoginPlayer(Arc<Mutex<Login>>);

impl LoginPlayer {
    pub(super) fn state(&self) -> MutexGuard<'_, Login> {
        self.0.lock().unwrap()
    }

    pub(super) fn last(&self) -> LoadReport {
        self.state().reports.last().cloned().unwrap_or_default()
    }

    pub(super) fn cut(&self, accepts: bool) {
        let mut login = self.state();
        login.accepts = accepts;
        if let Some(closed) = login.closed.take() {
            closed.cancel();
        }
    }

    fn accept(&self, link: Link<LoadSeen, LoadReport>) {
        let Link {
            tx, mut rx, closed, ..
        } = link;
        {
            let mut login = self.state();
            if !login.accepts {
                closed.cancel();
                return;
            }
            login.closed = Some(closed.clone());
        }
        let player = self.clone();
        tokio::spawn(async move {
            while let Some(Some(report)) = closed.run_until_cancelled(rx.recv()).await {
                let number = report.report;
                let is_deaf = {
                    let mut login = player.state();
                    login.reports.push(report);
                    login.is_deaf
                };
                if !is_deaf {
                    let _gone = tx.send(LoadSeen { report: number }).await;
                }
            }
        });
    }
}

// ---- the server -------------------------------------------------------------

/// A running msg server with its players.
pub(super) struct Rig {
    pub(super) addr: SocketAddr,
    pub(super) shared: Arc<Shared>,
    pub(super) context: Context,
    pub(super) db: DbPlayer,
    pub(super) routes: Vec<RoutePlayer>,
    pub(super) login: LoginPlayer,
    pub(super) stop: CancellationToken,
    pub(super) run: JoinHandle<Result<(), ServerError>>,
}

/// Defaults for tests: short waits, any port, no rate limit.
pub(super) fn config() -> MsgConfig {
    MsgConfig {
        name: "msg-test".to_owned(),
        listen: "127.0.0.1:0".to_owned(),
        sweep_ms: 10,
        kick_grace_ms: 100,
        close_grace_ms: 100,
        slow_grace_ms: 20,
        rate_limit: 0,
        pull_interval_ms: 20,
        pull_gap_ms: 1,
        ring_settle_ms: 10,
        report_delay_ms: 5,
        drain_seconds: 2,
        drain_notice_ms: 500,
        drain_pending_ms: 1_000,
        link: LinkConfig {
            backoff_min_ms: 1,
            backoff_max_ms: 10,
            ..LinkConfig::default()
        },
        ..MsgConfig::default()
    }
}

impl Rig {
    /// A server with one of each role, ready for logins.
    pub(super) async fn start() -> Self {
        Self::start_with(config()).await
    }

    pub(super) async fn start_with(config: MsgConfig) -> Self {
        let rig = Self::start_alone(config, &["route-a"]).await;
        rig.ready().await;
        rig
    }

    /// A server with these route servers; ready or not.
    pub(super) async fn start_alone(config: MsgConfig, names: &[&str]) -> Self {
        let ring = Ring::new(names.iter().copied()).digest();
        let db = DbPlayer(Arc::new(Mutex::new(Db {
            accepts: true,
            ..Db::default()
        })));
        let login = LoginPlayer(Arc::new(Mutex::new(Login {
            accepts: true,
            ..Login::default()
        })));
        let routes: Vec<RoutePlayer> = names.iter().map(|_| RoutePlayer::new(ring)).collect();
        let by_name: HashMap<String, RoutePlayer> = names
            .iter()
            .map(|name| (*name).to_owned())
            .zip(routes.clone())
            .collect();
        let endpoints = names
            .iter()
            .map(|name| Endpoint {
                name: (*name).to_owned(),
                address: (*name).to_owned(),
            })
            .collect();
        let (db_player, login_player) = (db.clone(), login.clone());
        let context = Context::default();
        let deps = Deps {
            context: context.clone(),
            link_metrics: LinkMetrics::default(),
            db_proxy: Peers::local(
                "db-proxy",
                Arc::new(move |link| db_player.accept(link)),
                &LinkConfig {
                    queue_batches: 1_024,
                    ..LinkConfig::default()
                },
            ),
            route: Peers::new(
                Arc::new(StaticList::new(endpoints)),
                Arc::new(Named(move |name: &str| by_name[name].clone())),
            ),
            login: Peers::local(
                "login",
                Arc::new(move |link| login_player.accept(link)),
                &LinkConfig::default(),
            ),
            revision: "test".to_owned(),
        };
        let server = Server::bind(config, deps).await.unwrap();
        let addr = server.bound().listen;
        let shared = Arc::clone(&server.shared);
        let stop = CancellationToken::new();
        let run = tokio::spawn(server.run(stop.clone()));
        Self {
            addr,
            shared,
            context,
            db,
            routes,
            login,
            stop,
            run,
        }
    }

    pub(super) async fn ready(&self) {
        until("the server is ready", || self.context.readiness.is_ready()).await;
    }

    pub(super) async fn live(&self) {
        until("delivery is live", || self.dump("live") == true).await;
    }

    pub(super) fn route(&self) -> &RoutePlayer {
        &self.routes[0]
    }

    pub(super) fn dump(&self, key: &str) -> serde_json::Value {
        self.context.dumps.dump()["msg"][key].clone()
    }

    pub(super) async fn connect(&self) -> Client {
        Client::connect(self.addr).await
    }

    /// A logged-in client.
    pub(super) async fn client(&self, user: u32, client_type: i32) -> Client {
        let mut client = self.connect().await;
        client
            .send(
                Command::LoginReq,
                1,
                &login_req(&format!("u{user}"), client_type),
            )
            .await;
        let answer: ImLoginRes = client.expect(Command::LoginRes, 1).await;
        assert_eq!(answer.result_code, 0);
        client
    }

    pub(super) async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.run)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
    }
}

pub(super) fn login_req(name: &str, client_type: i32) -> ImLoginReq {
    ImLoginReq {
        user_name: name.to_owned(),
        password: "ok".to_owned(),
        online_status: 1,
        client_type,
        client_version: Some("test/1".to_owned()),
    }
}

pub(super) fn text(to: u32, data: &str) -> ImMsgData {
    ImMsgData {
        from_user_id: 4_711,
        to_session_id: to,
        msg_id: 0,
        create_time: 0,
        msg_type: 1,
        msg_data: Bytes::copy_from_slice(data.as_bytes()),
        attach_data: None,
        client_msg_id: None,
    }
}

// ---- a client ---------------------------------------------------------------

pub(super) struct Client {
    pub(super) sock: TcpStream,
    buffer: BytesMut,
}

impl Client {
    pub(super) async fn connect(addr: SocketAddr) -> Self {
        let sock = TcpStream::connect(addr).await.unwrap();
        Self {
            sock,
            buffer: BytesMut::new(),
        }
    }

    pub(super) async fn raw(&mut self, bytes: &[u8]) {
        self.sock.write_all(bytes).await.unwrap();
    }

    pub(super) async fn send<M: TeamtalkMessage>(
        &mut self,
        command: Command,
        seq: u16,
        message: &M,
    ) {
        self.raw(&encode(command, seq, message)).await;
    }

    /// The next frame; `None` at the end of the stream.
    pub(super) async fn frame(&mut self) -> Option<Frame> {
        let reading = async {
            loop {
                if let Some(frame) = next_frame(&mut self.buffer, DEFAULT_MAX_FROM_SERVER).unwrap()
                {
                    return Some(frame);
                }
                match self.sock.read_buf(&mut self.buffer).await {
                    Ok(0) | Err(_) => return None,
                    Ok(_) => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, reading)
            .await
            .expect("a frame or the end in time")
    }

    /// The next frame must be this one.
    pub(super) async fn expect<M: TeamtalkMessage>(&mut self, command: Command, seq: u16) -> M {
        let frame = self
            .frame()
            .await
            .unwrap_or_else(|| panic!("end instead of {command:?}"));
        assert_eq!(frame.command(), Some(command));
        assert_eq!(frame.header.seq, seq);
        assert_eq!(frame.header.service_id, command.service() as u16);
        im_codec::decode_checked(frame.body).unwrap()
    }

    pub(super) async fn expect_message(&mut self) -> ImMsgData {
        self.expect(Command::MsgData, 0).await
    }

    pub(super) async fn expect_ack(&mut self, seq: u16) -> ImMsgDataAck {
        self.expect(Command::MsgDataAck, seq).await
    }

    pub(super) async fn expect_end(&mut self) {
        assert!(self.frame().await.is_none(), "a frame instead of the end");
    }

    /// Nothing has arrived before the answer to a heartbeat: whatever was ignored stays unanswered.
    pub(super) async fn expect_silence(&mut self) {
        self.raw(&im_codec::heartbeat(0xbeef)).await;
        let frame = self.frame().await.expect("the heartbeat comes back");
        assert_eq!(
            (frame.command(), frame.header.seq),
            (Some(Command::HeartBeat), 0xbeef)
        );
    }
}
