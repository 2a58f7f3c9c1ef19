//! `make demo`: real servers, real clients, one conversation – with a picture, a file, a group made over HTTP,
//! and the server killed in the middle.

#![allow(clippy::print_stdout, reason = "this program is for watching")]

pub mod mysql;

use std::io::Cursor;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use im_client::pictures::{self, Piece};
use im_client::proto::base::TransferFileType;
use im_client::{
    Client, ClientConfig, Event, Events, FileOffer, Password, Transfer, dispatch, transfer,
};
use im_core::{GroupId, Peer, UserId};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::platform::{Options, Platform};
use crate::process::imd_binary;
use crate::wait;

const PEOPLE: &str = "\
id,name,password,nick,sex,department
1,ann,demo,Ann,2,Company/Research
2,ben,demo,Ben,1,Company/Sales
3,cleo,demo,Cleo,2,Company/Research
";
/// Nicks of the people with the ids 1, 2 and 3.
const NICKS: [&str; 3] = ["Ann", "Ben", "Cleo"];
const WAIT: Duration = Duration::from_secs(20);
/// A picture of one point.
const PICTURE: &[u8] =
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00!\xf9\x04\x01\x00\x00\x00\
\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;";
/// The file that Ann sends to Cleo, bytes.
const FILE: u32 = 200_000;

struct Person {
    nick: &'static str,
    client: Client,
    events: Events,
}

/// Runs it, with a platform of its own.
///
/// # Errors
/// Something is not as it tells: what was sent has changed on its way, or did not come.
pub async fn run() -> anyhow::Result<()> {
    println!("Starting the platform: one process, an empty folder.");
    let mut platform = Platform::all_in_one(Options::default()).await?;
    let csv = platform.dir().join("people.csv");
    std::fs::write(&csv, PEOPLE)?;
    platform.import_file(&csv)?;
    println!("  ready; Ann, Ben and Cleo are in its directory.\n");

    let mut ann = arrive(&mut platform, "ann", "Ann").await?;
    let mut ben = arrive(&mut platform, "ben", "Ben").await?;
    let (ann_id, ben_id, cleo_id) = (user(1)?, user(2)?, user(3)?);

    println!("Two people");
    say(&ann, Peer::User(ben_id), "Hi Ben, 你好!").await?;
    hear(&mut ben).await?;
    say(&ben, Peer::User(ann_id), "Hello Ann 😀").await?;
    hear(&mut ann).await?;

    println!("\nA group");
    let made = ann
        .client
        .create_group("lunch", "", &[ann_id, ben_id, cleo_id])
        .await?;
    let group = made
        .group_id
        .and_then(GroupId::from_wire)
        .context("make a group")?;
    say(&ann, Peer::Group(group), "Noodles at noon?").await?;
    hear(&mut ben).await?;
    say(&ben, Peer::Group(group), "I am in.").await?;
    hear(&mut ann).await?;

    println!("\nA picture");
    show_picture(&platform.url(), &ann, &mut ben, ben_id).await?;

    println!("\nA group made over HTTP, by a back office with a token");
    let token = platform.token(&["groups:write"], &[])?;
    let sales = json!({"name": "sales", "owner": "ben", "members": ["ann", "cleo"]});
    let api = platform.http_api_address("all").to_string();
    let made = post(&api, "/api/v1/groups", &token, &sales).await?;
    let sales = made.get("id").and_then(Value::as_u64);
    let sales = sales.and_then(|id| GroupId::from_wire(u32::try_from(id).ok()?));
    let sales = sales.context("the API tells the id of the group")?;
    println!("  POST /api/v1/groups made \"sales\" of Ben, Ann and Cleo, #{sales}.");
    say(&ben, Peer::Group(sales), "Figures by Friday, please.").await?;
    hear(&mut ann).await?;

    println!("\nA file for Cleo, who is not there");
    let file: Vec<u8> = (0..FILE).map(|n| n.to_le_bytes()[1] ^ 0x5a).collect();
    leave_file(&ann, cleo_id, &file).await?;

    println!("\nThe server is killed (kill -9) and started again");
    platform.process("all")?.kill9()?;
    println!("  killed. Ben writes meanwhile; his client keeps the message.");
    let offline = ben
        .client
        .post_text(Peer::User(cleo_id), "Cleo, are you coming?")
        .await?;
    platform.kill_and_restart("all").await?;
    let ack = timeout(WAIT, offline)
        .await
        .context("wait for the ack after the restart")??;
    println!(
        "  up again; acknowledged as number {} of their conversation.",
        ack.msg_id
    );

    println!("\nCleo arrives, having been away all the time");
    let cleo = arrive(&mut platform, "cleo", "Cleo").await?;
    let unread = cleo.client.unread().await?;
    println!(
        "  {} unread in {} conversations:",
        unread.total_cnt,
        unread.unreadinfo_list.len()
    );
    for peer in [Peer::Group(group), Peer::Group(sales), Peer::User(ben_id)] {
        show_history(&cleo, peer).await?;
    }

    fetch_files(&cleo, &file).await?;

    println!("\nThe history of Ann and Ben is still there");
    show_history(&ann, Peer::User(ben_id)).await?;

    let url = platform.url();
    for person in [ann, ben, cleo] {
        person.client.close().await;
    }
    platform.process("all")?.terminate().await?;
    println!("\nThat was {url}, on a temporary folder, which is gone now. To chat yourself:\n");
    let imd = imd_binary()?;
    let imd = imd.display();
    println!("  {imd} all-in-one --data-dir data &");
    println!("  printf 'name,password\\nann,secret\\nben,secret\\n' > people.csv");
    println!("  {imd} directory import people.csv --data-dir data");
    println!("  {imd} chat ann        # and in another terminal: {imd} chat ben\n");
    println!("clients: http://127.0.0.1:8080/msg_server");
    println!("data:    the folder data, for its owner only");
    println!("people:  {imd} directory import people.csv --data-dir data");
    Ok(())
}

fn user(id: u32) -> anyhow::Result<UserId> {
    UserId::from_wire(id).context("a user id is not zero")
}

async fn arrive(platform: &mut Platform, name: &str, nick: &'static str) -> anyhow::Result<Person> {
    let config = ClientConfig::new(platform.url().as_str(), name, Password::clear("demo"));
    let (client, events) = Client::connect(config)
        .await
        .with_context(|| format!("log {name} in"))?;
    println!(
        "  {nick} logs in and is sent to {}.",
        client.server_address()
    );
    Ok(Person {
        nick,
        client,
        events,
    })
}

async fn say(person: &Person, to: Peer, text: &str) -> anyhow::Result<()> {
    let ack = person.client.send_text(to, text).await.context("send")?;
    println!(
        "  {}: {text}   (stored as number {})",
        person.nick, ack.msg_id
    );
    Ok(())
}

/// Waits for the next message and shows it as this person sees it; gives its text.
async fn hear(person: &mut Person) -> anyhow::Result<String> {
    let nick = person.nick;
    let message = timeout(WAIT, async {
        loop {
            match person.events.recv().await {
                Some(Event::Message(message)) => return Ok(message),
                Some(_) => {}
                None => bail!("{nick}'s client has ended"),
            }
        }
    })
    .await
    .with_context(|| format!("{nick} waits for a message"))??;
    let text = text_of(person, &message.data.msg_data);
    println!("      {nick} reads: {text}");
    Ok(text)
}

/// Ann stores a picture and shows it; Ben fetches what he sees.
async fn show_picture(url: &str, ann: &Person, ben: &mut Person, to: UserId) -> anyhow::Result<()> {
    let base = dispatch::lookup(url, None, WAIT).await?.files;
    let base = base.context("the dispatcher tells where pictures are")?;
    let url = pictures::store(&base, "dot.gif", PICTURE.into(), WAIT).await?;
    println!("  Ann stores it over HTTP: {url}");
    say(
        ann,
        Peer::User(to),
        &format!("Look: {}", pictures::mark(&url)),
    )
    .await?;
    let text = hear(ben).await?;
    for piece in pictures::pieces(&text) {
        let Piece::Picture(url) = piece else { continue };
        let got = pictures::fetch(url, 1 << 20, WAIT).await?;
        ensure!(got == PICTURE, "the picture has changed on its way");
        println!("      Ben fetches it: {} bytes, the same.", got.len());
    }
    Ok(())
}

/// Stores a file for somebody who is away.
async fn leave_file(from: &Person, to: UserId, file: &[u8]) -> anyhow::Result<()> {
    let offer = FileOffer {
        to,
        name: "figures.bin".to_owned(),
        size: FILE,
        mode: TransferFileType::FileTypeOnline,
    };
    let answer = from.client.offer_file(&offer).await?;
    ensure!(answer.result_code == 0, "the platform takes no file");
    let mode = answer.trans_mode();
    ensure!(
        mode == TransferFileType::FileTypeOffline,
        "nobody is there to take it"
    );
    let transfer = Transfer {
        address: Transfer::first_address(&answer.ip_addr_list).context("a file server")?,
        task_id: answer.task_id,
        user_id: from.client.user_id(),
        mode,
        size: FILE,
    };
    transfer::give(&transfer, &mut Cursor::new(file), WAIT).await?;
    from.client
        .add_offline_file(&offer, &transfer.task_id)
        .await?;
    println!(
        "  {} leaves {} for her: {FILE} bytes, stored at {}.",
        from.nick, offer.name, transfer.address
    );
    Ok(())
}

/// Fetches what waits, which is this file.
async fn fetch_files(person: &Person, expected: &[u8]) -> anyhow::Result<()> {
    // A server that has just started may not have found its file server yet.
    let waiting = wait::until("the file that waits", WAIT, || async {
        let waiting = person.client.offline_files().await.ok()?;
        (!waiting.offline_file_list.is_empty()).then_some(waiting)
    });
    let waiting = waiting.await?;
    let address = Transfer::first_address(&waiting.ip_addr_list).context("a file server")?;
    for file in waiting.offline_file_list {
        let transfer = Transfer {
            address: address.clone(),
            task_id: file.task_id,
            user_id: person.client.user_id(),
            mode: TransferFileType::FileTypeOffline,
            size: file.file_size,
        };
        let mut got = Vec::new();
        transfer::take(&transfer, &mut got, WAIT).await?;
        ensure!(got == expected, "the file has changed on its way");
        if let Some(from) = UserId::from_wire(file.from_user_id) {
            person
                .client
                .delete_offline_file(from, &transfer.task_id)
                .await?;
        }
        println!(
            "  {} fetches {} ({} bytes), which Ann left before the server was killed.",
            person.nick, file.file_name, file.file_size
        );
    }
    Ok(())
}

/// Asks the API for something; gives what it answers.
async fn post(api: &str, path: &str, token: &str, body: &Value) -> anyhow::Result<Value> {
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {api}\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    let exchange = async {
        let mut stream = TcpStream::connect(api).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let answer = timeout(WAIT, exchange).await.context("ask the API")??;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer")?;
    ensure!(head.contains(" 201 "), "the API refused: {answer}");
    Ok(serde_json::from_str(body)?)
}

async fn show_history(person: &Person, peer: Peer) -> anyhow::Result<()> {
    let history = person.client.history(peer, 0, 20).await?;
    for message in history.msg_list.iter().rev() {
        let text = text_of(person, &message.msg_data);
        let from = NICKS
            .get(usize::try_from(message.from_session_id)?.wrapping_sub(1))
            .copied()
            .unwrap_or("somebody");
        println!("  #{} {from}: {text}", message.msg_id);
    }
    Ok(())
}

fn text_of(person: &Person, msg_data: &[u8]) -> String {
    match person.client.cipher().decrypt(msg_data) {
        Ok(text) => String::from_utf8_lossy(&text).into_owned(),
        Err(error) => format!("[{error}]"),
    }
}
