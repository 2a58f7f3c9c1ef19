//! Reporters that are not what they should be: each loses its own link, and nobody else notices.

use std::net::SocketAddr;
use std::time::Duration;

use futures::stream;
use im_e2e::platform::ports;
use im_e2e::{gauges, wait};
use im_proto_rpc::v1::monitor_call::Call;
use im_proto_rpc::v1::monitor_client::MonitorClient;
use im_proto_rpc::v1::{
    MonitorAsks, MonitorCall, MonitorCalls, ServerReport, SessionEvent, SessionInfo,
};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status, Streaming};

use super::calls::get;
use super::reporting;
use crate::support::*;

/// A server that is none.
struct Reporter {
    calls: mpsc::Sender<MonitorCalls>,
    asks: Streaming<MonitorAsks>,
}

impl Reporter {
    async fn dial(monitor: SocketAddr, secret: &str) -> Result<Self, Status> {
        let endpoint = Endpoint::from_shared(format!("http://{monitor}")).unwrap();
        let channel = endpoint.connect().await.unwrap();
        let mut client = MonitorClient::new(channel).max_encoding_message_size(64 << 20);
        let (calls, waiting) = mpsc::channel(4);
        let said = stream::unfold(waiting, |mut waiting| async move {
            let calls = waiting.recv().await?;
            Some((calls, waiting))
        });
        let mut request = Request::new(said);
        let bearer = format!("Bearer {secret}").parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
        let asks = client.report(request).await?.into_inner();
        Ok(Self { calls, asks })
    }

    /// Says this; false once nobody listens any more.
    async fn say(&self, calls: Vec<Call>) -> bool {
        let calls = calls
            .into_iter()
            .map(|call| MonitorCall { call: Some(call) });
        let calls = MonitorCalls {
            calls: calls.collect(),
        };
        self.calls.send(calls).await.is_ok()
    }

    async fn report(&self, name: &str) -> bool {
        let report = ServerReport {
            name: name.to_owned(),
            role: "msg".to_owned(),
            version: "1".to_owned(),
            instance: 1,
            ready: true,
            ..ServerReport::default()
        };
        self.say(vec![Call::Report(report)]).await
    }

    /// Waits for the end of the link.
    async fn is_cut(&mut self) {
        let ended = async { while let Ok(Some(_)) = self.asks.message().await {} };
        timeout(WAIT, ended).await.expect("the link is cut");
    }
}

/// A session of nobody whose address has so many bytes.
fn event(bytes: usize) -> Call {
    Call::Event(SessionEvent {
        up: true,
        session: Some(SessionInfo {
            user: 1,
            epoch: 7,
            address: "x".repeat(bytes),
            ..SessionInfo::default()
        }),
    })
}

/// Waits until the four servers of the platform and these of a role msg, and no others, are listed.
async fn listed(api: SocketAddr, token: &str, played: &[&str]) {
    let mut expected: Vec<&str> = played.iter().copied().chain(["msg1"]).collect();
    expected.sort_unstable();
    wait::until("just these are listed", WAIT, || async {
        let list = get("/api/v1/servers").token(token).expect(api, 200).await;
        let list = list.json();
        let all = list["items"].as_array().unwrap();
        let msg = all.iter().filter(|it| it["role"] == "msg");
        let names: Vec<_> = msg.filter_map(|it| it["name"].as_str()).collect();
        (all.len() == played.len() + 4 && names == expected).then_some(())
    })
    .await
    .unwrap();
}

/// Strangers, whoever floods, says too much at once or never answers: the others are listed, asked
/// and chat as before.
#[tokio::test]
async fn a_reporter_that_floods_or_stalls_loses_its_own_link_and_holds_up_nobody() {
    let set = [
        "http_api.monitor.silence=60s",
        "http_api.monitor.question_timeout=5s",
        "http_api.monitor.report_rate=16KiB",
        "http_api.monitor.max_servers=6",
    ];
    let (mut platform, api, token) = reporting(2, 1, &set).await;
    let monitor = SocketAddr::from((platform.address_of("api"), ports::MONITOR));
    let secret = std::fs::read_to_string(platform.secret_file()).unwrap();
    let secret = secret.trim();
    let stranger = Reporter::dial(monitor, "somebody else's").await;
    assert_eq!(stranger.err().unwrap().code(), Code::Unauthenticated);
    let msg = platform.msg_address("msg1");
    let mut one = Terminal::login(msg, 1, Windows).await;
    let mut two = Terminal::login(msg, 2, Windows).await;

    // Eight seconds' worth of bytes may come at once, and not one more.
    let mut loud = Reporter::dial(monitor, secret).await.unwrap();
    assert!(loud.report("loud").await);
    let flooding = async { while loud.say(vec![event(900)]).await {} };
    timeout(WAIT, flooding)
        .await
        .expect("nobody listens any more");
    loud.is_cut().await;
    // A message beyond the bound is not even read.
    let mut large = Reporter::dial(monitor, secret).await.unwrap();
    assert!(large.report("large").await);
    large.say(vec![event(9 << 20)]).await;
    large.is_cut().await;
    let metrics = gauges::Metrics::read(platform.process("api").unwrap()).await;
    let flooded = "reason=\"flood\"";
    let cut = metrics.unwrap().sum("im_http_api_cut_reporters", flooded);
    assert_eq!(cut, 1.0);

    listed(api, &token, &[]).await;
    // One that reports and answers nothing is named, and the others' sessions are there.
    let deaf = Reporter::dial(monitor, secret).await.unwrap();
    assert!(deaf.report("deaf").await);
    listed(api, &token, &["deaf"]).await;
    let begin = Instant::now();
    let page = get("/api/v1/sessions").token(&token).expect(api, 200).await;
    let page = page.json();
    assert_eq!(page["silent"], json!(["deaf"]), "{page}");
    assert_eq!(page["items"].as_array().unwrap().len(), 2, "{page}");
    assert!(
        begin.elapsed() < Duration::from_secs(15),
        "no longer than a question"
    );
    // And as many as there may be, are.
    let more = Reporter::dial(monitor, secret).await.unwrap();
    assert!(more.report("more").await);
    listed(api, &token, &["deaf", "more"]).await;
    let mut much = Reporter::dial(monitor, secret).await.unwrap();
    assert!(much.report("too-much").await);
    much.is_cut().await;
    let whom = get("/api/v1/servers/too-much").token(&token);
    whom.expect(api, 404).await;

    for n in 0..5 {
        one.say(with_user(2), &format!("{n}")).await;
        assert_eq!(text_of(&two.message().await), format!("{n}"));
    }
    drop((deaf, more));
    listed(api, &token, &[]).await;
}

/// One that falls silent, as a process that was stopped does, is listed no more after its time.
#[tokio::test]
async fn a_reporter_that_falls_silent_is_listed_no_more() {
    let set = ["http_api.monitor.silence=4s"];
    let (mut platform, api, token) = reporting(0, 1, &set).await;
    let monitor = SocketAddr::from((platform.address_of("api"), ports::MONITOR));
    let secret = std::fs::read_to_string(platform.secret_file()).unwrap();
    let mut silent = Reporter::dial(monitor, secret.trim()).await.unwrap();
    let begin = Instant::now();
    assert!(silent.report("silent").await);
    listed(api, &token, &["silent"]).await;
    silent.is_cut().await;
    assert!(begin.elapsed() >= Duration::from_secs(4), "it had its time");
    listed(api, &token, &[]).await;
    let metrics = gauges::Metrics::read(platform.process("api").unwrap()).await;
    let silent = "reason=\"silent\"";
    assert!(metrics.unwrap().sum("im_http_api_cut_reporters", silent) >= 1.0);
}
