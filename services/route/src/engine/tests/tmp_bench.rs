use super::super::inputs::{Input, LinkId};
use super::*;

#[tokio::test]
async fn tmp_bench() {
    let (_links, new_links) = mpsc::channel(16);
    let mut engine = Engine::new(
        RouteConfig::default(),
        Metrics::default(),
        Readiness::default(),
        Arc::default(),
        new_links,
    );
    let mut ends = Vec::new();
    for n in 0..2u64 {
        let (near, far) = link::pair("msg", "route", 64);
        engine.open(NewLink::Msg(far));
        let hello = RouteHello {
            server: format!("m{n}"),
            instance: 1,
        };
        engine.handle(Input::Calls(
            LinkId(n + 1),
            RouteCalls {
                calls: vec![RouteCall {
                    call: Some(Call::Hello(hello)),
                }],
            },
        ));
        ends.push(near);
    }
    let (wnear, wfar) = link::pair("db", "route", 64);
    engine.open(NewLink::Writer(wfar));
    engine.handle(Input::Publish(
        LinkId(3),
        PublishBatch {
            after: 0,
            through: 0,
            ring: 1,
            items: vec![],
        },
    ));
    for user in 1..=100_000u32 {
        let up = SessionUp {
            tag: 0,
            session: Some(session(user, ANDROID, u64::from(user))),
        };
        engine.handle(Input::Calls(
            LinkId(1 + u64::from(user % 2)),
            RouteCalls {
                calls: vec![RouteCall {
                    call: Some(Call::Up(up)),
                }],
            },
        ));
    }
    engine.flush();
    for end in &mut ends {
        while end.rx.try_recv().is_ok() {}
    }
    for (name, batch, group) in [
        ("1:1 x50", 50u32, 2u32),
        ("1:1 x1", 1, 2),
        ("group 500 x1", 1, 500),
    ] {
        let rounds = if group == 2 { 200_000 / batch } else { 2_000 };
        let batches: Vec<PublishBatch> = (0..rounds)
            .map(|r| {
                let items = (0..batch)
                    .map(|i| {
                        let from = (r * batch + i).wrapping_mul(7919) % 100_000 + 1;
                        let recipients = (0..group)
                            .map(|k| (from + k * 191) % 100_000 + 1)
                            .collect::<Vec<_>>();
                        PublishItem {
                            item: Some(Published::Message(LiveMessage {
                                seq: 1,
                                from: recipients[0],
                                origin: u64::from(recipients[0]),
                                data: Bytes::from(vec![0u8; 100]),
                                recipients,
                                ..LiveMessage::default()
                            })),
                        }
                    })
                    .collect();
                PublishBatch {
                    after: 0,
                    through: 0,
                    ring: 1,
                    items,
                }
            })
            .collect();
        let start = std::time::SystemTime::now();
        let mut spent = Duration::ZERO;
        for b in batches {
            let s = std::time::SystemTime::now();
            engine.handle(Input::Publish(LinkId(3), b));
            engine.on_time();
            engine.flush();
            spent += s.elapsed().unwrap();
            for end in &mut ends {
                while end.rx.try_recv().is_ok() {}
            }
        }
        let n = u64::from(rounds * batch);
        eprintln!(
            "BENCH {name}: {} ns per message, {} ns per recipient (total {:?})",
            spent.as_nanos() as u64 / n,
            spent.as_nanos() as u64 / n / u64::from(group),
            start.elapsed()
        );
    }
    drop(wnear);
}
