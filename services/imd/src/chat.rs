//! `imd chat`: a terminal client; `imd script`: the same for tests and for programs.
//!
//! At a terminal the line that is being typed stays whole while messages come in, and a prompt says whom
//! one talks to. Without one, lines are read as they come; a script ends with the first that fails.

mod command;
mod input;
mod people;
mod received;
mod session;
mod show;

use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use im_client::{Client, ClientConfig, Event, Events, Password};
use im_config::units::ByteSize;
use im_core::{Classify as _, ClientType, ErrorKind};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use crate::connect::{PAUSE, WAIT_SECONDS};
use crate::output;
use crate::probe::misdirected;
use input::{Editor, Input};
use session::{Flow, Receiving, Session};

/// Longest password that is read, bytes.
const MAX_PASSWORD: usize = 4_096;

/// Who logs in where.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "The login")]
struct Login {
    /// Login name.
    user: String,
    /// Login server, or `host:port` of a msg server.
    #[arg(long, env = "IMD_SERVER", default_value = "http://127.0.0.1:8080")]
    server: String,
    /// File whose first line is the password; without it the password is asked for, or is the first line
    /// of standard input when that is no terminal.
    #[arg(long, env = "IMD_PASSWORD_FILE", value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Log in as a phone instead of a PC: both may be online at the same time.
    #[arg(long)]
    phone: bool,
    /// How long to wait for a server that is just starting, seconds.
    #[arg(long, default_value_t = WAIT_SECONDS, value_name = "SECONDS")]
    wait: u16,
}

/// What others send.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Files and pictures")]
struct Files {
    /// Folder for what others send, and what waited while you were away; made when something comes.
    #[arg(long, value_name = "DIR", default_value = "received")]
    files: PathBuf,
    /// Largest file that is taken. A larger one is refused, or stays at the server if it waits there; 0B
    /// takes none.
    #[arg(long, value_name = "SIZE", default_value = "100MiB")]
    max_file: ByteSize,
}

impl Files {
    fn receiving(&self) -> Receiving {
        Receiving {
            folder: self.files.clone(),
            max_file: self.max_file.as_u64(),
        }
    }
}

/// Chats from the terminal.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  imd chat ann
  imd chat ann --server http://chat.example.com:8080 --phone
  imd chat ann --files Downloads --max-file 2GiB      where files go, and how large they may be
  echo secret | imd chat ann                 the password from a pipe")]
pub(crate) struct Args {
    #[command(flatten)]
    login: Login,
    #[command(flatten)]
    files: Files,
}

/// Does what the lines of a file say, as if they were typed, and ends with the first that fails.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  imd script ann --password-file password lines.txt
  printf '/with ben\\nhello\\n/expect hi 20\\n' | imd script ann --password-file password
  printf '/with ben\\n/file report.pdf\\n' | imd script ann --password-file password")]
pub(crate) struct ScriptArgs {
    #[command(flatten)]
    login: Login,
    /// File with the lines; by default standard input.
    #[arg(value_name = "FILE|-", default_value = "-", hide_default_value = true)]
    lines: PathBuf,
    #[command(flatten)]
    files: Files,
}

/// Logs in and chats until `/quit`, the end of the input, or the end of the session.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let at_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    let password = match &args.login.password_file {
        Some(file) => read_password(file)?,
        None if io::stdin().is_terminal() => {
            rpassword::prompt_password(format!("Password of {}: ", args.login.user))
                .context("read password")?
        }
        None => first_line().context("read the password from standard input")?,
    };
    let (client, mut events) = log_in(&args.login, &password).await?;
    if at_terminal {
        let (mut editor, screen) = Editor::start().context("use the terminal")?;
        let receiving = args.files.receiving();
        let mut session = Session::new(client.clone(), screen, receiving, false);
        let outcome = typed(&mut session, &mut events, &mut editor).await;
        client.close().await;
        return outcome;
    }
    let mut lines = input::lines(BufReader::new(io::stdin()));
    let receiving = args.files.receiving();
    let mut session = Session::new(client.clone(), io::stdout(), receiving, false);
    let outcome = chat(&mut session, &mut events, &mut lines).await;
    client.close().await;
    outcome
}

/// Logs in and does what the lines say.
pub(crate) async fn script(args: ScriptArgs) -> anyhow::Result<()> {
    let Some(file) = &args.login.password_file else {
        bail!("a script needs --password-file: its input has its lines");
    };
    let password = read_password(file)?;
    let mut lines = if args.lines == Path::new("-") {
        input::lines(BufReader::new(io::stdin()))
    } else {
        let file = std::fs::File::open(&args.lines)
            .with_context(|| format!("read {}", args.lines.display()))?;
        input::lines(BufReader::new(file))
    };
    let (client, mut events) = log_in(&args.login, &password).await?;
    let receiving = args.files.receiving();
    let mut session = Session::new(client.clone(), io::stdout(), receiving, true);
    let outcome = chat(&mut session, &mut events, &mut lines).await;
    client.close().await;
    outcome
}

async fn log_in(login: &Login, password: &str) -> anyhow::Result<(Client, Events)> {
    let client_type = if login.phone {
        ClientType::Android
    } else {
        ClientType::Mac
    };
    let config = ClientConfig::new(
        login.server.as_str(),
        login.user.as_str(),
        Password::clear(password),
    )
    .with_client_type(client_type);
    let deadline = Instant::now() + Duration::from_secs(login.wait.into());
    let mut said = false;
    loop {
        let error = match Client::connect(config.clone()).await {
            Ok(connected) => return Ok(connected),
            Err(error) => error,
        };
        if error.kind() == ErrorKind::Denied {
            return Err(not_let_in(&login.user));
        }
        if let Some(what) = misdirected(&login.server).await {
            return Err(error).with_context(|| format!("log in to {}: {what}", login.server));
        }
        if !error.is_retryable() || Instant::now() >= deadline {
            return Err(error).with_context(|| format!("log in to {}", login.server));
        }
        if !said {
            said = true;
            let wait = login.wait;
            output::note(&format!(
                "waiting up to {wait} s for {}: {error}",
                login.server
            ));
        }
        sleep(PAUSE).await;
    }
}

/// Serves events and lines in turn.
async fn chat<W: Write>(
    session: &mut Session<W>,
    events: &mut Events,
    lines: &mut mpsc::Receiver<Input>,
) -> anyhow::Result<()> {
    session.greet().await?;
    loop {
        // All are cancellation-safe; a command that has begun is never cancelled.
        tokio::select! {
            event = events.recv() => session.hear(event).await?,
            progress = session.progress() => session.note(progress).await?,
            input = lines.recv() => {
                let Some(input) = input else {
                    return session.finish(events).await;
                };
                match session.take(input, events).await? {
                    Flow::Continue => {}
                    Flow::Quit => return session.finish(events).await,
                }
            }
        }
    }
}

/// The same at a terminal, which shows a prompt when a line is wanted.
async fn typed<W: Write>(
    session: &mut Session<W>,
    events: &mut Events,
    editor: &mut Editor,
) -> anyhow::Result<()> {
    session.greet().await?;
    editor.prompt(session.prompt());
    loop {
        tokio::select! {
            event = events.recv() => session.hear(event).await?,
            progress = session.progress() => session.note(progress).await?,
            input = editor.lines.recv() => {
                let Some(input) = input else {
                    return session.finish(events).await;
                };
                match session.take(input, events).await? {
                    Flow::Continue => editor.prompt(session.prompt()),
                    Flow::Quit => return session.finish(events).await,
                }
            }
        }
    }
}

/// A login that was refused; the server does not say why.
pub(crate) fn not_let_in(user: &str) -> anyhow::Error {
    anyhow::anyhow!(
        "{user} is not let in: unknown user, wrong password, or not active (an administrator sees which: \
         imd admin user refusals {user})"
    )
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

/// The first line of standard input; what follows stays there.
fn first_line() -> anyhow::Result<String> {
    let mut line = String::new();
    let mut input = io::Read::take(io::stdin().lock(), MAX_PASSWORD as u64);
    input.read_line(&mut line)?;
    let line = line.trim_end_matches(['\r', '\n']);
    if line.is_empty() {
        bail!("it is empty");
    }
    Ok(line.to_owned())
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
