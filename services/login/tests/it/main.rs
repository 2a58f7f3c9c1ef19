//! The login role over real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests fail by panicking, and their helpers are not marked as tests"
)]

mod clients;
mod control;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use im_config::LoginConfig;
use im_login::{Bound, Deps, LoadTable, Metrics, Reports, Server};
use im_proto_rpc::v1::load_report::State;
use im_proto_rpc::v1::{LoadReport, LoadSeen};
use im_rpc::{Accept, Guard, Link, link};
use im_runtime::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A running login server.
struct Login {
    bound: Bound,
    reports: Arc<Reports>,
    metrics: Metrics,
    table: Arc<Mutex<LoadTable>>,
    context: Context,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Login {
    async fn start() -> Self {
        Self::with(None, |_| {}).await
    }

    async fn with(guard: Option<Guard>, configure: impl FnOnce(&mut LoginConfig)) -> Self {
        let any = "127.0.0.1:0".to_owned();
        let mut config = LoginConfig {
            http_listen: any.clone(),
            client_listen: any.clone(),
            control_listen: any,
            ..LoginConfig::default()
        };
        configure(&mut config);
        let context = Context::default();
        let deps = Deps {
            context: context.clone(),
            guard,
        };
        let server = Server::bind(config, deps).await.unwrap();
        let (bound, reports) = (server.bound(), server.attach());
        let (metrics, table) = (server.metrics(), server.table());
        let stop = CancellationToken::new();
        let running = server.run(stop.clone());
        let task = tokio::spawn(async move { running.await.unwrap() });
        Self {
            bound,
            reports,
            metrics,
            table,
            context,
            stop,
            task,
        }
    }

    /// A msg server of this process that has reported.
    async fn msg(&self, server: &str, sessions: u32) -> MsgServer {
        let (near, far) = link::pair(server, "login", 8);
        self.reports.accept(far);
        let mut msg = MsgServer {
            link: near,
            server: server.to_owned(),
            number: 0,
        };
        msg.report(sessions).await;
        msg
    }

    async fn http(&self) -> TcpStream {
        TcpStream::connect(self.bound.http).await.unwrap()
    }
}

/// A msg server's end of its report stream.
struct MsgServer {
    link: Link<LoadReport, LoadSeen>,
    server: String,
    number: u64,
}

impl MsgServer {
    /// Reports and waits until it is seen.
    async fn report(&mut self, sessions: u32) {
        self.report_as(sessions, State::Accepting).await;
    }

    async fn report_as(&mut self, sessions: u32, state: State) {
        self.send(sessions, state, true).await;
        assert_eq!(
            self.link.rx.recv().await,
            Some(LoadSeen {
                report: self.number
            })
        );
    }

    async fn send(&mut self, sessions: u32, state: State, confirm: bool) {
        self.number += 1;
        let report = LoadReport {
            server: self.server.clone(),
            instance: 7,
            ip1: "192.0.2.1".to_owned(),
            ip2: "192.0.2.2".to_owned(),
            port: 8000,
            sessions,
            state: state as i32,
            report: self.number,
            confirm,
            ..LoadReport::default()
        };
        self.link.tx.send(report).await.unwrap();
    }
}

/// Everything that comes until the server closes.
async fn read_all(mut stream: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    bytes
}

/// Sends these bytes and reads to the end.
async fn exchange(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    read_all(stream).await
}
