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
use super::{reported, reporting};
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

/// Strangers, whoever floods, says too much at once, falls silent or never answers: the others are listed, asked
/// and chat as before.
#[tokio::test]
async fn a_reporter_that_floods_or_stalls_loses_its_own_link_and_holds_up_nobody() {
    let set = [
        "http_api.monitor.silence=4s",
        "http_api.monitor.question_timeout=300ms",
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
    let mut silent = Reporter::dial(monitor, secret).await.unwrap();
    assert!(silent.report("silent").await);
    let begin = Instant::now();
    silent.is_cut().await;
    assert!(begin.elapsed() > Duration::from_secs(3), "it had its time");
    let metrics = gauges::Metrics::read(platform.process("api").unwrap()).await;
    let metrics = metrics.unwrap();
    for reason in ["flood", "silent"] {
        let label = format!("reason=\"{reason}\"");
        assert_eq!(
            metrics.sum("im_http_api_cut_reporters", &label),
            1.0,
            "{reason}"
        );
    }

    // One that reports and answers nothing is named, and the others' sessions are there.
    let deaf = Reporter::dial(monitor, secret).await.unwrap();
    assert!(deaf.report("deaf").await);
    reported(api, &token, 5).await;
    let begin = Instant::now();
    let page = get("/api/v1/sessions").token(&token).expect(api, 200).await;
    let page = page.json();
    assert_eq!(page["silent"], json!(["deaf"]), "{page}");
    assert_eq!(page["items"].as_array().unwrap().len(), 2, "{page}");
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "no longer than a question"
    );
    // And as many as there may be, are.
    let more = Reporter::dial(monitor, secret).await.unwrap();
    assert!(more.report("more").await);
    reported(api, &token, 6).await;
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
    wait::until("those that were played are gone", WAIT, || async {
        let list = get("/api/v1/servers").token(&token).expect(api, 200).await;
        let list = list.json();
        (list["items"].as_array().unwrap().len() == 4).then_some(())
    })
    .await
    .unwrap();
}
