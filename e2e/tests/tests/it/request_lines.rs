//! The lines that requests of clients leave in the log (S-92): one for each, wherever it goes, and none for
//! what asks for nothing.

use bytes::Bytes;
use im_client::RawConn;
use im_e2e::platform::ports;
use im_e2e::wait;
use im_proto_teamtalk::login::{ImMsgServReq, ImMsgServRsp};
use im_proto_teamtalk::message::{ImClientTimeReq, ImClientTimeRsp, ImMsgDataAck};
use serde_json::Value;

use crate::api::calls::get;
use crate::dispatch::exchange;
use crate::files::client::{Download, Peer, content, stored, waiting};
use crate::support::*;

/// A task that nobody has.
const FORGED: &str = "0f0e0d0c-0b0a-4908-8706-050403020100";

/// Lines of requests: command, user, outcome and reason.
fn lines(log: &str) -> Vec<[String; 4]> {
    let requests = log.lines().filter_map(|line| {
        let line: Value = serde_json::from_str(line).ok()?;
        (line["target"] == "im_runtime::requests").then_some(line)
    });
    let told = requests.map(|line| {
        assert_eq!(
            (&line["level"], &line["message"]),
            (&"DEBUG".into(), &"request".into())
        );
        assert!(line["micros"].is_u64(), "{line}");
        let is_refused = line["outcome"] == "refused";
        assert_eq!(line["left_out"].is_u64(), is_refused, "{line}");
        // Who is not known is told by the address.
        let nobody = ["/msg_server", "MsgServReq"].contains(&line["command"].as_str().unwrap());
        assert_eq!(line["from"].is_string(), nobody, "{line}");
        let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        let user = line["user"].as_u64().unwrap().to_string();
        [text("command"), user, text("outcome"), text("reason")]
    });
    told.collect()
}

/// With the filter of the README requests to the login server, the msg server and the file server have a line
/// each, and nothing else is at debug; heartbeats, receipts and blocks have none.
#[tokio::test]
async fn each_request_of_a_client_has_one_line_and_heartbeats_and_receipts_have_none() {
    let settings = [
        "log.filter=\"info,im_runtime::requests=debug,im_http_api::service=debug,im_msfs::service=debug\"",
        "log.format=\"json\"",
    ];
    let mut platform = own_platform(2, &settings).await;
    let ready = lines(&platform.process("all").unwrap().log()).len();

    let host = platform.address_of("all");
    let ask = |path: &str| format!("GET {path} HTTP/1.1\r\n\r\n");
    let http = (host, ports::LOGIN_HTTP).into();
    exchange(http, ask("/msg_server").as_bytes()).await;
    assert_eq!(exchange(http, ask("/elsewhere").as_bytes()).await, "");
    let mut binary = Terminal::connect((host, ports::LOGIN_BINARY).into()).await;
    let _: ImMsgServRsp = binary.ask(Command::MsgServReq, &ImMsgServReq {}).await;

    let address = platform.msg_address("all");
    let mut ann = Terminal::login(address, 1, Windows).await;
    let mut ben = Terminal::login(address, 2, Windows).await;
    let said = ann.say(with_user(2), "hello").await;
    ben.message().await;
    let receipt = ImMsgDataAck {
        user_id: 1,
        session_id: 2,
        ..said
    };
    ben.send(Command::MsgDataAck, &receipt).await;
    // A heartbeat, whose echo says that the receipt was read.
    ben.settle().await;
    let _: ImClientTimeRsp = ben.ask(Command::ClientTimeReq, &ImClientTimeReq {}).await;

    let file: Bytes = content(40_000);
    let (task, at) = stored(&mut ann, 1, 2, &file).await;
    waiting(&mut ben).await;
    let mut peer = Peer::enter(at, &task, 2, Download).await;
    assert_eq!(peer.download(1, 0, 40_000).await, file);
    Peer::refused(at, FORGED, 2, Download).await;

    let line = |command: &str, user: u32, outcome: &str, reason: &str| {
        [
            command.to_owned(),
            user.to_string(),
            outcome.to_owned(),
            reason.to_owned(),
        ]
    };
    let done = |command: &str, user: u32| line(command, user, "done", "");
    let expected = [
        done("/msg_server", 0),
        line("/msg_server", 0, "refused", "elsewhere"),
        done("MsgServReq", 0),
        done("LoginReq", 1),
        done("LoginReq", 2),
        done("MsgData", 1),
        done("ClientTimeReq", 2),
        done("FileReq", 1),
        done("FileLoginReq", 1),
        done("FileHasOfflineReq", 2),
        done("FileLoginReq", 2),
        done("FilePullDataReq", 2),
        done("FilePullDataReq", 2),
        line("FileLoginReq", 2, "refused", "task"),
    ];
    let log = platform.process("all").unwrap().log();
    assert_eq!(lines(&log)[ready..], expected);

    let pictures = platform.msfs_address("all");
    let api = platform.http_api_address("all");
    let log = platform.process("all").unwrap().log();
    get("/api/v1/me").expect(api, 401).await;
    crate::pictures::web::get(pictures, "/nothing", &[]).await;
    let log = platform.process("all").unwrap().log()[log.len()..].to_owned();
    for (target, status) in [("im_http_api::service", 401), ("im_msfs::service", 404)] {
        let mut found = log.lines().filter_map(|line| {
            let line: Value = serde_json::from_str(line).ok()?;
            (line["target"] == target && line["status"] == status).then_some(line)
        });
        assert!(found.next().is_some() && found.next().is_none(), "{log}");
    }

    let process = platform.process("all").unwrap();
    let log = || process.log();
    // Of refused ones a line a second, which says how many are missing; one that the server closes has none of
    // a request.
    let closed = wait::until("the next second", wait::SOON, || async {
        let mut broken = RawConn::connect(&at.to_string()).await.unwrap();
        broken.send_bytes(&[0xff; 16]).await.unwrap();
        broken.wait_closed(WAIT).await.unwrap();
        lines(&log()).pop().filter(|last| *last != expected[13])
    });
    assert_eq!(
        closed.await.unwrap(),
        line("connection", 0, "refused", "frame")
    );
    let log = log();
    let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert!(last["left_out"].as_u64() >= Some(1), "{last}");
}
