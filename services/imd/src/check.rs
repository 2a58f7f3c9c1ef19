//! `imd check`: passes a message between two people, the way their clients would; or looks whether what a store
//! holds fits together.

mod store;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use im_client::{Client, ClientConfig, Event, Events, Password};
use im_core::{Classify as _, ErrorKind, Peer, UserId};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::chat::{not_let_in, read_password};
use crate::cli::ConfigArgs;
use crate::output;
use crate::probe::misdirected;

/// Wait between two attempts to log in.
const PAUSE: Duration = Duration::from_millis(500);

/// Logs two people in and passes a message from the first to the second. Without names: reads all of a store, and says
/// whether it fits together.
#[derive(Debug, clap::Args)]
#[command(
    next_help_heading = "The server",
    after_help = "\
Examples:
  imd check ann ben --password-file password
  imd check probe1 probe2 --password-file password --server http://chat.example.com:8080 --within 5
  imd check --store mysql://im@db.example.com:3306/im --set mysql.password_file=password
  imd check --data-dir data

The embedded store is looked at while no server uses it: a restored backup, or after the end of the server."
)]
pub(crate) struct Args {
    /// Login name of the sender.
    #[arg(requires_all = ["to", "password_file"])]
    from: Option<String>,
    /// Login name of the receiver.
    to: Option<String>,
    /// Login server, or `host:port` of a msg server.
    #[arg(long, env = "IMD_SERVER", default_value = "http://127.0.0.1:8080")]
    server: String,
    /// File whose first line is the password of both.
    #[arg(long, env = "IMD_PASSWORD_FILE", value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Time for everything, seconds.
    #[arg(long, default_value_t = 30, value_name = "SECONDS")]
    within: u32,
    /// Prints what was found in a store as JSON.
    #[arg(long, conflicts_with = "from", help_heading = "A store")]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

/// Who is to write to whom, and how they log in.
struct Pair {
    from: String,
    to: String,
    server: String,
    within: u32,
}

/// Succeeds only when the receiver got the text that the server acknowledged to the sender, or everything in the store
/// fits together.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args {
        from: Some(from),
        to: Some(to),
        server,
        password_file: Some(password_file),
        within,
        ..
    } = args
    else {
        return store::run(&args.config, args.json).await;
    };
    let pair = Pair {
        from,
        to,
        server,
        within,
    };
    if pair.from == pair.to {
        bail!(
            "{} cannot write to themselves: name two different people",
            pair.from
        );
    }
    let deadline = Instant::now() + Duration::from_secs(u64::from(pair.within));
    let password = read_password(&password_file)?;
    let (sender, _sender_events) = log_in(&pair, &pair.from, &password, deadline).await?;
    let (receiver, mut heard) = log_in(&pair, &pair.to, &password, deadline).await?;
    let outcome = pass(&pair, &sender, &receiver, &mut heard, deadline).await;
    sender.close().await;
    receiver.close().await;
    output::print(&outcome?);
    Ok(ExitCode::SUCCESS)
}

/// Logs in, again and again while the platform cannot be reached; a wrong password is final.
async fn log_in(
    pair: &Pair,
    user: &str,
    password: &str,
    deadline: Instant,
) -> anyhow::Result<(Client, Events)> {
    loop {
        let config = ClientConfig::new(pair.server.as_str(), user, Password::clear(password));
        let Ok(outcome) = timeout_at(deadline, Client::connect(config)).await else {
            bail!("log in {user} at {}: no answer in time", pair.server);
        };
        match outcome {
            Ok(connected) => return Ok(connected),
            Err(error) if error.kind() == ErrorKind::Denied => return Err(not_let_in(user)),
            Err(error) => {
                let what = || format!("log in {user} at {}", pair.server);
                if let Some(found) = misdirected(&pair.server).await {
                    return Err(error).with_context(|| format!("{}: {found}", what()));
                }
                if !error.is_retryable() || Instant::now() + PAUSE >= deadline {
                    return Err(error).with_context(what);
                }
                sleep_until(Instant::now() + PAUSE).await;
            }
        }
    }
}

async fn pass(
    pair: &Pair,
    sender: &Client,
    receiver: &Client,
    heard: &mut Events,
    deadline: Instant,
) -> anyhow::Result<String> {
    let Some(to) = UserId::from_wire(receiver.user_id()) else {
        bail!("{} has no user id", pair.to);
    };
    // Different from every earlier one: a message of before must not count.
    let text = format!("check {}", jiff::Timestamp::now().as_nanosecond());
    let start = Instant::now();
    let ack = timeout_at(deadline, sender.send_text(Peer::User(to), &text))
        .await
        .map_err(anyhow::Error::new)
        .and_then(|ack| ack.map_err(anyhow::Error::new))
        .with_context(|| format!("send from {} to {}", pair.from, pair.to))?;
    let stored = start.elapsed();
    let arrival = arrival(receiver, heard, sender.user_id(), text.as_bytes());
    let Ok(arrived) = timeout_at(deadline, arrival).await else {
        bail!(
            "message {} of {} was acknowledged but did not reach {} within {} s",
            ack.msg_id,
            pair.from,
            pair.to,
            pair.within
        );
    };
    arrived.with_context(|| format!("wait for the message at {}", pair.to))?;
    Ok(format!(
        "message {} from {} (on {}) to {} (on {}): acknowledged after {} ms, delivered after {} ms",
        ack.msg_id,
        pair.from,
        sender.server_address(),
        pair.to,
        receiver.server_address(),
        stored.as_millis(),
        start.elapsed().as_millis(),
    ))
}

/// Waits until this very text has come from the sender.
pub(crate) async fn arrival(
    receiver: &Client,
    heard: &mut Events,
    from: u32,
    text: &[u8],
) -> anyhow::Result<()> {
    loop {
        match heard.recv().await {
            Some(Event::Message(message)) if message.data.from_user_id == from => {
                let content = receiver.cipher().decrypt(&message.data.msg_data);
                if content.is_ok_and(|content| content == text) {
                    return Ok(());
                }
            }
            Some(Event::Closed { error: Some(error) }) => return Err(error.into()),
            Some(Event::Closed { error: None }) | None => bail!("session ended"),
            Some(_) => {}
        }
    }
}
