//! Load as a login server knows it (S-04).

use std::time::Duration;

use im_e2e::process::Process;
use im_e2e::proxy::{Cable, Proxy};
use im_e2e::{gauges, wait};
use im_proto_teamtalk::login::{ImLogoutReq, ImLogoutRsp};

use crate::support::*;

/// In which a login server must know of a login or of the end of a session.
const KNOWN: Duration = Duration::from_secs(2);

/// Sessions of the only msg server, as this login server knows them; `None` before it knows one.
async fn sessions(login: &Process) -> Option<u64> {
    let dump = gauges::dump(login).await.ok()?;
    dump.pointer("/login/servers/0/sessions")?.as_u64()
}

/// Waits until the count has gone from one value to the other, and fails if it has a third one meanwhile.
async fn moves(login: &Process, from: u64, to: u64, limit: Duration) {
    wait::until(&format!("{from} to {to} sessions"), limit, || async {
        let count = sessions(login).await.expect("a login server that answers");
        assert!([from, to].contains(&count), "{count}, not {from} or {to}");
        (count == to).then_some(())
    })
    .await
    .unwrap();
}

/// S-04: the count moves by one within two seconds of each login, each logout and each connection that is
/// closed, and of a connection that falls silent within two seconds of the time that it may be silent. A
/// login server that was restarted counts right within five seconds, without those who left meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_server_counts_each_login_and_each_end_of_a_session_in_time() {
    let shape = Shape {
        login: 1,
        msg: 1,
        route: 1,
    };
    let silence = Duration::from_secs(3);
    let options = Options::people(6).set("msg.idle_pc=3s");
    let mut platform = Platform::separate(shape, options).await.unwrap();
    let address = platform.msg_address("msg1");
    let login = platform.process("login1").unwrap();
    // Phones may be silent for as long as this test takes.
    let mut phones = Vec::new();
    for user in 1..=4 {
        phones.push(Terminal::login(address, user, Android).await);
        moves(login, u64::from(user) - 1, user.into(), KNOWN).await;
    }
    let mut leaves = phones.pop().unwrap();
    let answer: ImLogoutRsp = leaves.ask(Command::LogoutReq, &ImLogoutReq {}).await;
    assert_eq!(answer.result_code, 0);
    moves(login, 4, 3, KNOWN).await;
    drop(phones.pop());
    moves(login, 3, 2, KNOWN).await;

    for (fault, limit) in [(Cable::Cut, KNOWN), (Cable::Silent, silence + KNOWN)] {
        let cable = Proxy::start(address).await.unwrap();
        let pc = Terminal::login(cable.address(), 5, Windows).await;
        moves(login, 2, 3, KNOWN).await;
        cable.set(fault);
        moves(login, 3, 2, limit).await;
        drop(pc);
    }

    login.kill9().unwrap();
    drop(phones.pop());
    login.restart().unwrap();
    let again = Duration::from_secs(5);
    wait::until("the count after a restart", again, || async {
        // Whoever left before the restart is counted nowhere.
        (sessions(login).await? == 1).then_some(())
    })
    .await
    .unwrap();
    drop(phones);
}
