//! `make demo`: real servers, real clients, one conversation – with the server killed in the middle.

#![allow(clippy::print_stdout, reason = "this program is for watching")]

use std::time::Duration;

use anyhow::{Context, bail};
use im_client::{Client, ClientConfig, Event, Events, Password};
use im_core::{GroupId, Peer, UserId};
use im_e2e::platform::{Options, Platform};
use im_e2e::process::imd_binary;
use tokio::time::timeout;

const PEOPLE: &str = "\
id,name,password,nick,sex,department
1,ann,demo,Ann,2,Company/Research
2,ben,demo,Ben,1,Company/Sales
3,cleo,demo,Cleo,2,Company/Research
";
/// Nicks of the people with the ids 1, 2 and 3.
const NICKS: [&str; 3] = ["Ann", "Ben", "Cleo"];
const WAIT: Duration = Duration::from_secs(20);

struct Person {
    nick: &'static str,
    client: Client,
    events: Events,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
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
    for peer in [Peer::Group(group), Peer::User(ben_id)] {
        show_history(&cleo, peer).await?;
    }

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

/// Waits for the next message and shows it as this person sees it.
async fn hear(person: &mut Person) -> anyhow::Result<()> {
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
    println!(
        "      {nick} reads: {}",
        text_of(person, &message.data.msg_data)
    );
    Ok(())
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
