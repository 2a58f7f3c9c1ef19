//! The watch against a small server of the API's list and watch, which can go away. That the real
//! one is understood is shown on a real cluster, in the end-to-end tests.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;

use super::*;

/// Longer than any wait of these tests.
const DEADLINE: Duration = Duration::from_secs(30);

struct State {
    is_away: bool,
    /// Connections that came while the server was away.
    turned_away: u32,
    version: u32,
    /// `None` as long as there is no such Service.
    slice: Option<Value>,
    /// Lines for open watches; another sender ends them.
    lines: broadcast::Sender<String>,
    /// Lines of requests.
    asked: Vec<String>,
}

#[derive(Clone)]
struct Server(Arc<Mutex<State>>);

impl Server {
    async fn start(pods: &[&str], is_away: bool) -> (Self, SocketAddr) {
        let api = Self(Arc::new(Mutex::new(State {
            is_away,
            turned_away: 0,
            version: 1,
            slice: Some(slice(pods, 1)),
            lines: broadcast::Sender::new(16),
            asked: Vec::new(),
        })));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = api.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serving.clone().answer(stream));
            }
        });
        (api, address)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Changes the slice and tells open watches.
    fn change(&self, pods: &[&str]) {
        let mut state = self.state();
        state.version += 1;
        let changed = slice(pods, state.version);
        let kind = if state.slice.is_some() {
            "MODIFIED"
        } else {
            "ADDED"
        };
        let line = json!({"type": kind, "object": changed}).to_string();
        state.slice = Some(changed);
        drop(state.lines.send(line));
    }

    /// Changes the slice and cuts everybody off.
    fn leave(&self, pods: &[&str]) {
        let mut state = self.state();
        state.is_away = true;
        state.version += 1;
        state.slice = Some(slice(pods, state.version));
        state.lines = broadcast::Sender::new(16);
    }

    async fn answer(self, mut stream: TcpStream) {
        if self.state().is_away {
            self.state().turned_away += 1;
            return;
        }
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let head = String::from_utf8(head).unwrap();
        let line = head.lines().next().unwrap().to_owned();
        let (lines, version, items) = {
            let mut state = self.state();
            state.asked.push(line.clone());
            let items: Vec<Value> = state.slice.iter().cloned().collect();
            (state.lines.subscribe(), state.version, items)
        };
        let body = if line.contains("watch=true") {
            let is_known = line.contains(&format!("resourceVersion={version}"));
            return watch(stream, lines, is_known).await;
        } else {
            json!({
                "kind": "EndpointSliceList",
                "apiVersion": "discovery.k8s.io/v1",
                "metadata": {"resourceVersion": version.to_string()},
                "items": items,
            })
        };
        drop(stream.write_all(format!("{HEAD}{body}").as_bytes()).await);
    }
}

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n";

async fn watch(mut stream: TcpStream, mut lines: broadcast::Receiver<String>, is_known: bool) {
    let mut text = HEAD.to_owned();
    if !is_known {
        let gone = json!({"type": "ERROR", "object": {
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "too old", "reason": "Expired", "code": 410,
        }});
        text.push_str(&format!("{gone}\n"));
    }
    loop {
        if stream.write_all(text.as_bytes()).await.is_err() || !is_known {
            return;
        }
        match lines.recv().await {
            Ok(line) => text = line + "\n",
            Err(_) => return,
        }
    }
}

fn slice(pods: &[&str], version: u32) -> Value {
    let endpoints: Vec<_> = pods
        .iter()
        .map(|pod| {
            json!({
                "addresses": ["10.0.0.1"],
                "conditions": {"ready": true, "serving": true, "terminating": false},
                "targetRef": {"kind": "Pod", "name": pod, "uid": pod},
            })
        })
        .collect();
    json!({
        "kind": "EndpointSlice",
        "apiVersion": "discovery.k8s.io/v1",
        "metadata": {
            "name": "demo-route-x", "namespace": "chat", "resourceVersion": version.to_string(),
        },
        "addressType": "IPv4",
        "ports": [{"name": "grpc", "port": 8200, "protocol": "TCP"}],
        "endpoints": endpoints,
    })
}

fn follow(address: SocketAddr) -> (ServiceEndpoints, watch::Receiver<Vec<Endpoint>>) {
    let mut config = Config::new(format!("http://{address}").parse().unwrap());
    config.default_namespace = "chat".to_owned();
    let endpoints = Kubernetes::of(config)
        .unwrap()
        .service("demo-route", "grpc");
    let watch = endpoints.watch();
    (endpoints, watch)
}

async fn expect(watch: &mut watch::Receiver<Vec<Endpoint>>, pods: &[&str]) {
    let is_there =
        |listed: &Vec<Endpoint>| listed.iter().map(|e| e.name.as_str()).eq(pods.to_vec());
    let waiting = watch.wait_for(is_there);
    let reached = tokio::time::timeout(DEADLINE, waiting).await;
    assert!(reached.is_ok(), "never saw {pods:?}");
}

#[tokio::test]
async fn pods_come_and_go_as_the_slices_of_the_service_say() {
    let (api, address) = Server::start(&["a"], false).await;
    let (_endpoints, mut watch) = follow(address);
    expect(&mut watch, &["a"]).await;
    assert_eq!(watch.borrow()[0].address, "10.0.0.1:8200");
    watched(&api).await;
    api.change(&["a", "b"]);
    expect(&mut watch, &["a", "b"]).await;
    api.change(&["b"]);
    expect(&mut watch, &["b"]).await;
    let asked = api.state().asked.clone();
    let path = "/apis/discovery.k8s.io/v1/namespaces/chat/endpointslices?";
    let label = "labelSelector=kubernetes.io%2Fservice-name%3Ddemo-route";
    for line in &asked {
        assert!(line.starts_with(&format!("GET {path}")), "{line}");
        assert!(line.contains(label), "{line}");
    }
}

/// Waits until somebody watches.
async fn watched(api: &Server) {
    let is_watched = || {
        let asked = &api.state().asked;
        asked.iter().any(|line| line.contains("watch=true"))
    };
    let waiting = async {
        while !is_watched() {
            tokio::task::yield_now().await;
        }
    };
    let came = tokio::time::timeout(DEADLINE, waiting).await;
    assert!(came.is_ok(), "nobody watches");
}

/// That of an optional role that an installation does not have yet.
#[tokio::test]
async fn a_service_that_does_not_exist_is_an_empty_list_until_it_comes() {
    let (api, address) = Server::start(&[], false).await;
    api.state().slice = None;
    let (_endpoints, mut watch) = follow(address);
    watched(&api).await;
    assert!(watch.borrow().is_empty());
    api.change(&["a"]);
    expect(&mut watch, &["a"]).await;
}

#[tokio::test]
async fn the_list_stays_while_the_server_is_away_and_is_right_again_when_it_is_back() {
    let (api, address) = Server::start(&["a"], true).await;
    let (_endpoints, mut watch) = follow(address);
    turned_away(&api, 2).await;
    assert!(watch.borrow().is_empty(), "nobody has said anything yet");
    api.state().is_away = false;
    expect(&mut watch, &["a"]).await;
    watch.mark_unchanged();

    api.leave(&["b", "c"]);
    turned_away(&api, 4).await;
    assert!(!watch.has_changed().unwrap(), "the last list stays");
    api.state().is_away = false;
    expect(&mut watch, &["b", "c"]).await;
}

async fn turned_away(api: &Server, times: u32) {
    let waiting = async {
        while api.state().turned_away < times {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let came = tokio::time::timeout(DEADLINE, waiting).await;
    assert!(came.is_ok(), "the server was not asked again");
}

#[tokio::test]
async fn a_process_outside_of_a_cluster_is_told_so() {
    // These tests run outside of one, or in a pod, where the account is there.
    if let Err(error) = Kubernetes::in_cluster() {
        assert!(error.to_string().contains("ServiceAccount"), "{error}");
    }
}
