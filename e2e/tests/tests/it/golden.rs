//! Golden frames as bytes (S-108): what an original client sends, byte for byte, and what the
//! server answers, compared byte for byte except for times.

use im_codec::encode;
use im_proto_teamtalk::base::UserInfo;
use im_proto_teamtalk::login::ImLoginRes;

use crate::support::*;

/// F4, F5, F9, F11, F16, F17, F19, F21, F23, F50, F51, F52 and F6 as published.
const F4: &str = "000000470001000000010103000100000a0474657374122065313061646333393439\
    62613539616262653536653035376632306638383365180120012a0977696e5f3130303836";
const F5: &str = "000000430006000000010103000100300a0474657374122065313061646333393439\
    62613539616262653536653035376632306638383365180120122a05312e302e30";
const F6: &str = "0000007700010000000101040001000008\
    80e2cfaa0610001a06e68890e58a9f20012a53080a10011a0454657374222668747470\
    3a2f2f3132372e302e302e313a383730302f67302f3030302f3030302f312e706e672801320b746573\
    744074742e6f72673a047465737442004a047465737450005a00";
const F9: &str = "00000038000100000003030101a20000080a10141800208\
    0e2cfaa0628013218554b68654e394b6d6a5a454f636a375a64476564\
    76773d3d";
const F16: &str = "00000038000100000003030100050000080a100718002080e2cfaa06281132186e6e5a5342776650437a363071363964646d66494a413d3d";
const F19: &str = "00000010000100000003030500000000";
const F21: &str = "000000120001000000030307000000000814";
const F23: &str = "0000001a0001000000030309ff0300000814\
    1001180a20052801";
const F50: &str = "00000014000100000002020100000000\
    08141000";
const F51: &str = "0000001e000100000004040500 0c0000 0800 1002 1a026731 2200 280a 2814";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|c| c.to_digit(16)).collect();
    digits
        .chunks_exact(2)
        .map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap())
        .collect()
}

/// Users 10, 20 and 30 of the golden frames; `Company` gets department id 1 like in F6 by being the
/// first.
async fn golden_platform() -> Platform {
    let platform = own_platform(0, &[]).await;
    let csv = "id,name,password,nick,sex,department,email,domain,avatar,status,signature\n\
        10,test,123456,Test,1,Company,test@tt.org,test,http://127.0.0.1:8700/g0/000/000/1.png,active,\n\
        20,u20,123456,Twenty,2,Company,,,,active,\n\
        30,u30,123456,Thirty,1,Company,,,,active,\n";
    let file = platform.dir().join("golden.csv");
    std::fs::write(&file, csv).unwrap();
    platform.import_file(&file).unwrap();
    platform
}

/// The next frame with this command, whole.
async fn frame(terminal: &mut Terminal, command: Command) -> Vec<u8> {
    let found = terminal
        .find(command.name(), |frame| frame.command() == Some(command))
        .await;
    found.to_bytes().to_vec()
}

fn now() -> u32 {
    im_core::time::UnixSeconds::now().get()
}

/// The same frame with `time` where the golden one has 1700000000 or the second after it.
fn at(hex: &str, time: u32) -> Vec<u8> {
    let varint = |mut value: u32| {
        let mut out = Vec::new();
        while value >= 0x80 {
            out.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
        out
    };
    let frame = bytes(hex);
    let mut out = frame.clone();
    for golden in [varint(1_700_000_000), varint(1_700_000_001)] {
        if let Some(place) = frame
            .windows(golden.len())
            .position(|window| window == golden)
        {
            out.splice(place..place + golden.len(), varint(time));
        }
    }
    out
}

/// That one of the golden frames at now or up to two seconds ago is this one.
fn assert_frame(found: &[u8], golden: &str) {
    let times = (0..=3).map(|ago| at(golden, now() - ago));
    assert!(
        times.into_iter().any(|expected| expected == found),
        "got  {found:02x?}\nlike {:02x?}",
        at(golden, now())
    );
}

/// F4 is answered by F6, F5 by F6 with Android's number; the department's id is our own.
#[tokio::test]
async fn the_logins_of_windows_and_android_get_the_golden_answer() {
    let mut platform = golden_platform().await;
    let address = platform.msg_address("all");
    for request in [F4, F5] {
        let mut terminal = Terminal::connect(address).await;
        terminal.send_bytes(&bytes(request)).await;
        let answer = terminal.raw().recv(WAIT).await.unwrap();
        assert_conforms(&answer);
        let login: ImLoginRes = body(&answer);
        let department_id = login.user_info.as_ref().unwrap().department_id;
        let golden: ImLoginRes = decode_checked(bytes::Bytes::from(bytes(F6)).slice(16..)).unwrap();
        let expected = ImLoginRes {
            server_time: login.server_time,
            user_info: golden.user_info.clone().map(|info| UserInfo {
                department_id,
                ..info
            }),
            ..golden
        };
        assert_eq!(answer.to_bytes(), encode(Command::LoginRes, 1, &expected));
        assert!(login.server_time.abs_diff(now()) <= 2);
    }
    // F7: the wrong password.
    let mut terminal = Terminal::connect(address).await;
    let mut wrong = bytes(F4);
    wrong[0x18] ^= 1;
    terminal.send_bytes(&wrong).await;
    let answer = terminal.raw().recv(WAIT).await.unwrap();
    let f7 = "000000300001000000010104000100000880e2cfaa0610061a16e794a8e688b7e5908d2f\
        e5af86e7a081e99499e8afaf";
    assert_frame(&answer.to_bytes(), f7);
}

/// F9 → F11 and F12, F19 → F20, F21 → F22, F23 → F24, F13 and F14 silently, F50, and the read notice
/// F15; the pair has five messages as in the golden frames.
#[tokio::test]
async fn the_golden_conversation_of_two() {
    let mut platform = golden_platform().await;
    let address = platform.msg_address("all");
    let mut u10 = Terminal::connect(address).await;
    u10.send_bytes(&bytes(F4)).await;
    frame(&mut u10, Command::LoginRes).await;
    let mut u20 = Terminal::login(address, 20, Windows).await;
    let mut u20a = Terminal::login(address, 20, Android).await;
    for _ in 0..4 {
        let text = text_message(20, with_user(10), "before");
        let _: im_proto_teamtalk::message::ImMsgDataAck = u20.ask(Command::MsgData, &text).await;
        frame(&mut u20a, Command::MsgData).await;
    }
    u10.send_bytes(&bytes(F9)).await;
    let f11 = "000000180001000000030302 01a20000 080a 1014 1805 2001";
    assert_eq!(frame(&mut u10, Command::MsgDataAck).await, bytes(f11));
    let f12 = "00000038000100000003030100000000080a1014180520\
        81e2cfaa0628013218554b68654e394b6d6a5a454f636a375a6447656476773d3d";
    for terminal in [&mut u20, &mut u20a] {
        assert_frame(&frame(terminal, Command::MsgData).await, f12);
    }
    u10.send_bytes(&bytes(F19)).await;
    let f20 = "000000160001000000030306 00000000 0880e2cfaa06";
    assert_frame(&frame(&mut u10, Command::ClientTimeRsp).await, f20);
    u20.send_bytes(&bytes(F21)).await;
    let f22 = "0000003c0001000000030308000000000814 1001 1a26 080a 1001 1801 2005 2a18\
        554b68654e394b6d6a5a454f636a375a6447656476773d3d 3001 380a";
    assert_eq!(frame(&mut u20, Command::UnreadMsgCntRsp).await, bytes(f22));
    u20.send_bytes(&bytes(F23)).await;
    let f24 = "00000040000100000003030aff0300000814 1001 180a 2005 2a26 0805 100a\
        1881e2cfaa06 2001 2a18 554b68654e394b6d6a5a454f636a375a6447656476773d3d";
    assert_frame(&frame(&mut u20, Command::GetMsgListRsp).await, f24);
    u20.send_bytes(&bytes(F50)).await;
    let recent = frame(&mut u20, Command::RecentContactSessionRsp).await;
    assert_eq!(recent[4..16], bytes("0001000000020202 00000000")[..]);
    // F13 and F14: the receipt changes nothing, the read ack tells the other terminal (F15).
    u20.send_bytes(&bytes(
        "000000180001000000030302 00000000 0814 100a 1805 2001",
    ))
    .await;
    u20.send_bytes(&bytes(
        "000000180001000000030303 00000000 0814 100a 1805 2001",
    ))
    .await;
    let f15 = "000000180001000000030304 00000000 0814 100a 1805 2001";
    assert_eq!(
        frame(&mut u20a, Command::MsgDataReadNotify).await,
        bytes(f15)
    );
    assert!(!commands(&u20.settle().await).contains(&Command::MsgDataReadNotify));
}

/// F51 → F52 (with our own group number) as a Mac-style client sends it; F16 → F17 in that group.
#[tokio::test]
async fn the_golden_group() {
    let mut platform = golden_platform().await;
    let address = platform.msg_address("all");
    let mut u10 = Terminal::connect(address).await;
    u10.send_bytes(&bytes(F4)).await;
    frame(&mut u10, Command::LoginRes).await;
    let mut u20 = Terminal::login(address, 20, Windows).await;
    let mut group = 0;
    // The golden group has number 7.
    while group < 7 {
        u10.send_bytes(&bytes(F51)).await;
        let made = frame(&mut u10, Command::GroupCreateRsp).await;
        group = u32::from(made[21]);
        let f52 = format!(
            "0000001e00010000000404060 00c0000 080a 1000 18{group:02x} 2202 6731 280a 2814"
        );
        assert_eq!(made, bytes(&f52));
        assert!((1..=7).contains(&group), "numbers count up from 1");
    }
    for n in 1..=11 {
        let text = text_message(20, in_group(7), &n.to_string());
        let _: im_proto_teamtalk::message::ImMsgDataAck = u20.ask(Command::MsgData, &text).await;
    }
    u10.send_bytes(&bytes(F16)).await;
    let f17 = "000000180001000000030302 00050000 080a 1007 180c 2002";
    assert_eq!(frame(&mut u10, Command::MsgDataAck).await, bytes(f17));
    let copy = frame(&mut u20, Command::MsgData).await;
    let mut expected = bytes(F16);
    expected[13] = 0; // number 0
    expected[21] = 12; // the id
    assert_eq!(
        (&copy[..22], &copy[28..]),
        (&expected[..22], &expected[28..])
    );
}
