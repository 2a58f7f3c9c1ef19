//! The filter fails in every way; db-proxy is killed while a verdict is out.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::*;

/// Ways to fail, and what counts them.
fn faults() -> Vec<(&'static str, Say)> {
    let long = json!({"verdicts": [], "more": "x".repeat(5_000)}).to_string();
    let perhaps = json!({"verdicts": [{"id": "0", "verdict": "perhaps"}]});
    vec![
        ("timeout", Say::Hang),
        ("timeout", Say::Slow),
        ("status", Say::Status(500, "no".to_owned())),
        ("status", Say::Status(302, String::new())),
        ("broken", Say::Reset),
        ("broken", Say::Cut),
        ("too_long", Say::Status(200, long)),
        (
            "bad_answer",
            Say::Status(200, "{\"verdicts\": [".to_owned()),
        ),
        ("bad_answer", Say::Status(200, "null".to_owned())),
        ("missing", Say::Verdicts(json!({"verdicts": []}))),
        ("unusable", Say::Verdicts(perhaps)),
    ]
}

/// Settings under which no failure is one too many.
const FAULTY: [&str; 3] = [
    "db_proxy.filter.failures=1000",
    "db_proxy.filter.max_answer=4KiB",
    "db_proxy.filter.timeout=300ms",
];

const FAILURES: &str = "im_db_proxy_filter_failures";

/// C17: each fault, where messages without a verdict are allowed.
#[tokio::test]
async fn whatever_fails_messages_are_stored_where_that_is_configured() {
    let mut filter = Server::start().await;
    let (mut platform, _dir) = filtered(2, &filter, &FAULTY).await;
    let mut ann = Terminal::login(platform.msg_address("all"), 1, Windows).await;
    let mut id = 0;
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for (n, (kind, say)) in faults().into_iter().enumerate() {
        let count = counts.entry(kind).or_default();
        *count += 1;
        filter.says(move |_| say.clone());
        id += 1;
        assert_eq!(ann.say(with_user(2), kind).await.msg_id, id, "{kind}");
        assert_eq!(filter.heard().len(), n + 1, "{kind}");
        let label = format!("kind=\"{kind}\"");
        counted(&mut platform, "all", FAILURES, &label, (*count).into()).await;
    }
    filter.stop();
    // The first question may still leave on the connection that was there.
    for _ in 0..2 {
        id += 1;
        assert_eq!(ann.say(with_user(2), "nobody there").await.msg_id, id);
    }
    counted(&mut platform, "all", FAILURES, "kind=\"unreachable\"", 1.0).await;
    // It is heeded as soon as it is back.
    filter.start_again().await;
    filter.says(deny);
    let denied = text_message(1, with_user(2), "denied");
    ann.send(Command::MsgData, &denied).await;
    let refused = "im_db_proxy_refused_messages";
    counted(&mut platform, "all", refused, "reason=\"filtered\"", 1.0).await;
}

/// C17: each fault, where messages without a verdict are denied: no acknowledgement, and stored once when they
/// come again and the filter answers.
#[tokio::test]
async fn whatever_fails_messages_are_refused_where_that_is_configured() {
    let mut filter = Server::start().await;
    let set: Vec<&str> = ["db_proxy.filter.on_failure=deny"]
        .iter()
        .chain(&FAULTY)
        .copied()
        .collect();
    let (mut platform, _dir) = filtered(2, &filter, &set).await;
    let mut ann = Terminal::login(platform.msg_address("all"), 1, Windows).await;
    let mut refused = 0.0;
    let mut id = 0;
    let kinds = faults().into_iter().map(|(kind, say)| (kind, Some(say)));
    for (kind, say) in kinds.chain([("unreachable", None)]) {
        let is_away = say.is_none();
        match say {
            Some(say) => filter.says(move |_| say.clone()),
            None => filter.stop(),
        }
        let message = text_message(1, with_user(2), kind);
        let seq = ann.send(Command::MsgData, &message).await;
        refused += 1.0;
        let name = "im_db_proxy_refused_messages";
        counted(&mut platform, "all", name, "reason=\"unjudged\"", refused).await;
        assert!(!is_acknowledged(&mut ann, seq).await, "{kind}");
        if is_away {
            filter.start_again().await;
        }
        filter.says(allow);
        id += 1;
        for _ in 0..2 {
            ann.send_seq(Command::MsgData, seq, &message).await;
            let ack: ImMsgDataAck = ann.answer(Command::MsgDataAck, seq).await;
            assert_eq!(ack.msg_id, id, "{kind}");
        }
    }
    let stored = texts(&mut ann, with_user(2)).await;
    let kinds = faults().into_iter().map(|it| it.0);
    assert_eq!(stored, kinds.chain(["unreachable"]).collect::<Vec<_>>());
}

/// A filter that is down costs nobody anything but its probe, and is heeded again when it is back.
#[tokio::test]
async fn a_filter_that_keeps_failing_is_left_alone_and_asked_again_after_a_pause() {
    let filter = Server::start().await;
    let set = ["db_proxy.filter.failures=3", "db_proxy.filter.pause=3s"];
    let (mut platform, _dir) = filtered(2, &filter, &set).await;
    let mut ann = Terminal::login(platform.msg_address("all"), 1, Windows).await;
    filter.says(|_| Say::Status(503, "down".to_owned()));
    for n in 1..=3 {
        ann.say(with_user(2), "asked about").await;
        assert_eq!(filter.heard().len(), n);
    }
    let shut = Instant::now();
    let gauge = "im_db_proxy_filter_left_alone";
    counted(&mut platform, "all", gauge, "", 1.0).await;
    let dump = im_e2e::gauges::dump(platform.process("all").unwrap()).await;
    assert_eq!(dump.unwrap()["db_proxy"]["filter"]["left_alone"], true);
    // From here on it would deny everything, if somebody asked.
    filter.says(deny);
    for _ in 0..5 {
        let message = text_message(1, with_user(2), "not asked about");
        let seq = ann.send(Command::MsgData, &message).await;
        if shut.elapsed() >= Duration::from_millis(900) {
            break; // The machine is busy, and the pause may be over.
        }
        let _: ImMsgDataAck = ann.answer(Command::MsgDataAck, seq).await;
        assert_eq!(filter.heard().len(), 3);
    }
    let probed = || async { (filter.heard().len() > 3).then_some(()) };
    let mut sent = 0;
    while probed().await.is_none() {
        ann.send(Command::MsgData, &text_message(1, with_user(2), "perhaps"))
            .await;
        sent += 1;
        assert!(sent < 2_000, "nobody asked again");
        ann.settle().await;
        tokio::time::timeout(Duration::from_millis(50), filter.asked(4))
            .await
            .ok();
    }
    let told = "im_db_proxy_filter_verdicts";
    counted(&mut platform, "all", told, "verdict=\"deny\"", 1.0).await;
    let metrics = Metrics::read(platform.process("all").unwrap())
        .await
        .unwrap();
    assert!(metrics.sum(gauge, "") < 1.0);
    assert!(metrics.sum(told, "verdict=\"skipped\"") >= 1.0);
    // It has answered, so every message is asked about.
    filter.says(allow);
    let before = filter.heard().len();
    ann.say(with_user(2), "asked about").await;
    assert!(filter.heard().len() > before);
}

/// C17: kill -9 of db-proxy while a verdict is out. The msg server sends the message again, the filter is asked
/// again, and it is stored once.
#[tokio::test]
async fn a_message_whose_verdict_was_out_when_db_proxy_was_killed_is_stored_once() {
    let filter = Server::start().await;
    let (go, may) = watch::channel(false);
    filter.says(move |asked| Say::Once(may.clone(), allowed(asked)));
    let dir = tempfile::tempdir().unwrap();
    let set = settings(&filter, dir.path(), &["db_proxy.filter.on_failure=deny"]);
    let set = CHEAP_HASHES.iter().map(|it| (*it).to_owned()).chain(set);
    let options = set.fold(Options::people(2), |options, set| options.set(&set));
    let shape = Shape {
        login: 1,
        msg: 1,
        route: 1,
    };
    let mut platform = Platform::separate(shape, options).await.unwrap();
    let mut ann = Terminal::login(platform.msg_address("msg1"), 1, Windows).await;
    let message = text_message(1, with_user(2), "once");
    let seq = ann.send(Command::MsgData, &message).await;
    let first = filter.asked(1).await;
    platform.kill_and_restart("db").await.unwrap();
    let second = filter.asked(2).await;
    assert_ne!(
        first[0].header("webhook-id"),
        second[1].header("webhook-id"),
        "another question"
    );
    // The verdict on the first question comes too late for anybody.
    go.send_replace(true);
    let ack: ImMsgDataAck = ann.answer(Command::MsgDataAck, seq).await;
    assert_eq!(ack.msg_id, 1);
    assert_eq!(ann.say(with_user(2), "next").await.msg_id, 2);
    assert_eq!(texts(&mut ann, with_user(2)).await, ["once", "next"]);
}
