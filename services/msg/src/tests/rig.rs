//! A msg server under test, the players around it, and a bare client.

mod client;
mod db;
mod login;
mod route;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use im_codec::{Command, DEFAULT_MAX_FROM_SERVER, Frame, TeamtalkMessage, encode, next_frame};
use im_config::units::Span;
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
use im_rpc::{Accept, Connect, Dial, FileAttach, Link, LinkMetrics, Peers, Ring, Secret};
use im_runtime::Context;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::gateway::Gateway;
use crate::server::{Control, Deps, Server, ServerError};

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

pub(super) use client::Client;
pub(super) use db::{Db, DbPlayer, LOGIN_MS};
pub(super) use login::{Login, LoginPlayer};
use route::Named;
pub(super) use route::RoutePlayer;

/// A running msg server with its players.
pub(super) struct Rig {
    pub(super) addr: SocketAddr,
    pub(super) gateway: Arc<Gateway>,
    pub(super) control: Control,
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
        sweep_interval: Span::millis(10),
        kick_grace: Span::millis(100),
        close_grace: Span::millis(100),
        slow_grace: Span::millis(20),
        catch_up_time: Span::millis(300),
        rate_limit: 0,
        pull_interval: Span::millis(20),
        pull_gap: Span::millis(1),
        ring_settle: Span::millis(10),
        report_delay: Span::millis(5),
        drain_time: Span::seconds(2),
        drain_notice: Span::millis(500),
        drain_pending: Span::seconds(1),
        link: LinkConfig {
            backoff_min: Span::millis(1),
            backoff_max: Span::millis(10),
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
        Self::start_behind(Handle::current(), config, names).await
    }

    /// The same with a runtime that takes connections in.
    pub(super) async fn start_behind(door: Handle, config: MsgConfig, names: &[&str]) -> Self {
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
            file: Peers::grpc::<FileAttach>(
                Arc::new(StaticList::new(Vec::new())),
                &Secret::generate(),
                &config.link,
            ),
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
            clients: Handle::current(),
            door,
        };
        let server = Server::bind(config, deps).await.unwrap();
        let addr = server.bound().listen;
        let gateway = Arc::clone(&server.gateway);
        let control = server.control();
        let stop = CancellationToken::new();
        let run = tokio::spawn(server.run(stop.clone()));
        Self {
            addr,
            gateway,
            control,
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
        ..ImLoginReq::default()
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
