//! The same people on a MariaDB: each role a process of its own, and db-proxy, then the database, killed in the middle.

use anyhow::Context;
use im_client::Sending;
use im_core::{GroupId, Peer};
use tokio::time::timeout;

use super::{PEOPLE, Person, WAIT, arrive, hear, say, show_history, user};
use crate::mariadb::MariaDb;
use crate::platform::{Options, Platform, Shape};

/// Runs it, with servers of its own.
///
/// # Errors
/// Something is not as it tells: what was sent has changed on its way, or did not come.
pub async fn run() -> anyhow::Result<()> {
    println!("Starting a MariaDB, an empty database.");
    let mariadb = MariaDb::start().await?;
    println!("  {} at {}", mariadb.url("HOST"), mariadb.address());
    println!("Starting the platform: db-proxy, route, msg and login, a process each.");
    let settings = mariadb.settings();
    let options = settings
        .iter()
        .fold(Options::default(), |options, set| options.set(set));
    let shape = Shape {
        login: 1,
        msg: 1,
        route: 1,
    };
    let mut platform = Platform::separate(shape, options).await?;
    let csv = platform.dir().join("people.csv");
    std::fs::write(&csv, PEOPLE)?;
    platform.import_file(&csv)?;
    println!("  ready; Ann, Ben and Cleo are in its directory.\n");

    let mut ann = arrive(&mut platform, "ann", "Ann").await?;
    let mut ben = arrive(&mut platform, "ben", "Ben").await?;
    let (ann_id, ben_id, cleo_id) = (user(1)?, user(2)?, user(3)?);
    println!("\nA conversation");
    say(&ann, Peer::User(ben_id), "Hi Ben, 你好!").await?;
    hear(&mut ben).await?;
    say(&ben, Peer::User(ann_id), "Hello Ann 😀").await?;
    hear(&mut ann).await?;
    let made = ann
        .client
        .create_group("lunch", "", &[ann_id, ben_id, cleo_id])
        .await?;
    let group = made.group_id.and_then(GroupId::from_wire);
    let group = group.context("make a group")?;
    say(&ann, Peer::Group(group), "Noodles at noon?").await?;
    hear(&mut ben).await?;

    println!("\ndb-proxy is killed (kill -9) in the middle of it, and started again");
    platform.process("db")?.kill9()?;
    println!("  killed. Both write meanwhile; their clients stay logged in and keep the messages.");
    let texts = ["I am in.", "So am I, if Cleo comes."];
    let (bens, anns) = (
        ben.client.post_text(Peer::Group(group), texts[0]).await?,
        ann.client.post_text(Peer::User(ben_id), texts[1]).await?,
    );
    platform.kill_and_restart("db").await?;
    acknowledged(&ben, bens).await?;
    acknowledged(&ann, anns).await?;
    hear(&mut ann).await?;
    hear(&mut ben).await?;

    println!("\nMariaDB is killed (kill -9), and comes back");
    mariadb.kill()?;
    let bens = ben
        .client
        .post_text(Peer::User(ann_id), "Still there?")
        .await?;
    println!("  killed. Ben writes meanwhile.");
    acknowledged(&ben, bens).await?;
    hear(&mut ann).await?;

    println!("\nCleo arrives, having been away all the time");
    let cleo = arrive(&mut platform, "cleo", "Cleo").await?;
    let unread = cleo.client.unread().await?;
    println!("  {} unread:", unread.total_cnt);
    show_history(&cleo, Peer::Group(group)).await?;
    println!("\nThe history of Ann and Ben: nothing is missing, nothing is there twice");
    show_history(&ann, Peer::User(ben_id)).await?;
    for person in [ann, ben, cleo] {
        person.client.close().await;
    }
    println!("\nTo run your own on a MariaDB or MySQL server:\n");
    println!("  imd all-in-one --data-dir data --store mysql://im@HOST:3306/im \\");
    println!("    --set mysql.password_file=password --set mysql.tls=verify-identity");
    Ok(())
}

/// Waits for the acknowledgement of what somebody has written.
async fn acknowledged(person: &Person, ack: Sending) -> anyhow::Result<()> {
    let ack = timeout(WAIT, ack).await;
    let ack = ack.context("wait for the ack after the restart")??;
    println!(
        "  {}'s message is acknowledged as number {} of its conversation.",
        person.nick, ack.msg_id
    );
    Ok(())
}
