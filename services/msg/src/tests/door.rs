//! Where connections are taken in.

use std::net::TcpStream;
use std::sync::mpsc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use super::rig::*;
use crate::server::ServerError;

fn one_thread() -> Runtime {
    let mut runtime = Builder::new_multi_thread();
    runtime.worker_threads(1).enable_all().build().unwrap()
}

#[test]
fn connections_are_taken_in_while_every_other_thread_is_held() {
    let (main, door) = (one_thread(), one_thread());
    let starting = Rig::start_behind(door.handle().clone(), config(), &["route-a"]);
    let rig = main.block_on(starting);
    let (holds, is_held) = mpsc::channel();
    let (free, held) = mpsc::channel::<()>();
    main.spawn(async move {
        holds.send(()).unwrap();
        assert!(held.recv().is_err());
    });
    is_held.recv_timeout(Duration::from_secs(10)).unwrap();
    let conns: Vec<_> = (0..3)
        .map(|_| TcpStream::connect(rig.addr).unwrap())
        .collect();
    let deadline = Instant::now() + Duration::from_secs(10);
    while (rig.gateway.connections.len() as usize) < conns.len() {
        assert!(Instant::now() < deadline, "nobody was taken in");
        std::thread::yield_now();
    }
    drop(free);
    let stopped = main.block_on(async {
        rig.stop.cancel();
        tokio::time::timeout(Duration::from_secs(10), rig.run).await
    });
    stopped.unwrap().unwrap().unwrap();
    // The port is closed with its server.
    assert!(TcpStream::connect(rig.addr).is_err());
}

#[test]
fn a_server_that_can_take_nobody_in_any_more_ends_and_says_so() {
    let (main, door) = (one_thread(), one_thread());
    let starting = Rig::start_behind(door.handle().clone(), config(), &["route-a"]);
    let rig = main.block_on(starting);
    door.shutdown_background();
    let ended =
        main.block_on(async { tokio::time::timeout(Duration::from_secs(10), rig.run).await });
    assert!(matches!(ended.unwrap().unwrap(), Err(ServerError::Door(_))));
}
