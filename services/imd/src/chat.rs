//! `imd chat`: a terminal client.
//!
//! It works on lines and in plain text, so that it can be typed into and scripted alike: with
//! standard input piped, the first command that fails ends it with an error.

mod command;
mod people;
mod session;
mod show;

use std::io::{self, BufRead as _, IsTerminal as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use im_client::{Client, ClientConfig, Event, Password};
use im_core::{Classify as _, ClientType, ErrorKind};
use tokio::sync::mpsc;

use session::{Flow, Session};

/// Lines that may wait while a command runs.
const WAITING_LINES: usize = 64;

/// Chats from the terminal.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Login name.
    user: String,
    /// Login server, or `host:port` of a msg server.
    #[arg(long, env = "IMD_SERVER", default_value = "http://127.0.0.1:8080")]
    server: String,
    /// File whose first line is the password; without it the password is asked for.
    #[arg(long, env = "IMD_PASSWORD_FILE", value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Log in as a phone instead of a PC: both may be online at the same time.
    #[arg(long)]
    phone: bool,
}

/// Logs in and chats until `/quit`, the end of the input, or the end of the session.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let password = match &args.password_file {
        Some(file) => read_password(file)?,
        None => rpassword::prompt_password(format!("Password of {}: ", args.user))
            .context("read password")?,
    };
    let scripted = !io::stdin().is_terminal();
    let client_type = if args.phone {
        ClientType::Android
    } else {
        ClientType::Mac
    };
    let config = ClientConfig::new(
        args.server.as_str(),
        args.user.as_str(),
        Password::clear(&password),
    )
    .with_client_type(client_type);
    let (client, mut events) = match Client::connect(config).await {
        Ok(connected) => connected,
        Err(error) if error.kind() == ErrorKind::Denied => {
            bail!("unknown user, wrong password, or not active: {}", args.user)
        }
        Err(error) => {
            return Err(error).with_context(|| format!("log in to {}", args.server));
        }
    };

    let mut session = Session::new(client.clone(), io::stdout(), scripted);
    let outcome = chat(&mut session, &mut events, &mut read_lines()).await;
    client.close().await;
    outcome
}

/// Serves events and lines in turn.
async fn chat(
    session: &mut Session<io::Stdout>,
    events: &mut im_client::Events,
    lines: &mut mpsc::Receiver<io::Result<String>>,
) -> anyhow::Result<()> {
    session.greet().await?;
    loop {
        // Both are cancellation-safe; a command that has begun is never cancelled.
        tokio::select! {
            event = events.recv() => session.hear(event).await?,
            line = lines.recv() => {
                let Some(line) = line else {
                    // What came in before the end of the input is still shown.
                    while let Some(event) = events.try_recv() {
                        session.hear(Some(event)).await?;
                    }
                    return Ok(());
                };
                match session.obey(&line.context("read input")?, events).await? {
                    Flow::Continue => {}
                    Flow::Quit => return Ok(()),
                }
            }
        }
    }
}

/// The first line of a password file.
pub(crate) fn read_password(file: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("read password file {}", file.display()))?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        _ => bail!("password file {} is empty", file.display()),
    }
}

/// The lines of standard input.
///
/// A read of a terminal cannot be cancelled, so it has a thread of its own that no runtime waits
/// for; it ends with the input or with the process.
fn read_lines() -> mpsc::Receiver<io::Result<String>> {
    let (sender, receiver) = mpsc::channel(WAITING_LINES);
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Ends the chat when the client has ended.
fn closed(event: Option<Event>) -> anyhow::Error {
    match event {
        Some(Event::Closed { error: Some(error) }) => {
            anyhow::Error::new(error).context("session ended")
        }
        _ => anyhow::anyhow!("session ended"),
    }
}
