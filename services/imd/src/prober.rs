//! `imd probe`: two people write to each other for ever, and figures tell how that goes.
//!
//! Once per period the login server is asked as clients ask it. Through each address that clients are
//! told both people log in, the first writes to the second, and the message has to be acknowledged and to
//! arrive (`round`). A session of a person ends the one before, so addresses have their turns one after
//! the other, and nobody else uses these two accounts.

mod addresses;
mod figures;
mod round;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use im_config::ImdConfig;
use im_config::units::Span;
use im_runtime::admin::Admin;
use im_runtime::ready_file::Addresses;
use im_runtime::signals::{Signals, Stop};
use im_runtime::{Context, Throttle, telemetry};
use tokio::runtime::Handle;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::chat::read_password;
use crate::cli::ConfigArgs;
use crate::{config, output, run};
use figures::{Figures, Step};
use round::{Failure, People, Person};

/// Where metrics are shown unless the configuration says otherwise.
const ADMIN: &str = "127.0.0.1:10709";

/// Condition of readiness: there is something to show.
const FIRST_ROUND: &str = "first_round";

/// Passes messages between two people for ever, and shows figures of it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  imd probe probe1 probe2 --password-file password
  imd probe probe1 probe2 --password-file p1 --to-password-file p2 --server http://chat.example.com:8080
  imd probe probe1 probe2 --password-file password --table login.internal:10701     every msg server
  imd probe probe1 probe2 --password-file password --set admin.listen=0.0.0.0:9090  metrics for others")]
pub(crate) struct Args {
    /// Login name of the sender; nobody else uses it.
    from: String,
    /// Login name of the receiver; nobody else uses it.
    to: String,
    /// Login server, or `host:port` of a msg server.
    #[arg(long, env = "IMD_SERVER", default_value = "http://127.0.0.1:8080")]
    server: String,
    /// File whose first line is the password of the sender, and of the receiver.
    #[arg(long, env = "IMD_PASSWORD_FILE", value_name = "FILE")]
    password_file: PathBuf,
    /// File whose first line is the password of the receiver, if it is another.
    #[arg(
        long,
        env = "IMD_TO_PASSWORD_FILE",
        value_name = "FILE",
        help_heading = "The people"
    )]
    to_password_file: Option<PathBuf>,
    /// Admin port of a login server, `host:port`: every msg server to which that one sends people is
    /// tried. Without it, the one that is told to the next client is.
    #[arg(long, env = "IMD_PROBE_TABLE", value_name = "ADDRESS", help_heading = ROUNDS)]
    table: Option<String>,
    /// Time between two messages through the same address, 1s to 1h.
    #[arg(long, env = "IMD_PROBE_EVERY", value_name = "TIME", default_value = "10s", help_heading = ROUNDS)]
    every: Span,
    /// Time for each step: both logins, the acknowledgement, the delivery; 100ms to 1m.
    #[arg(long, env = "IMD_PROBE_WITHIN", value_name = "TIME", default_value = "10s", help_heading = ROUNDS)]
    within: Span,
    /// Addresses that are tried in one round, 1 to 1000; others have their turn in the next.
    #[arg(long, env = "IMD_PROBE_MOST", value_name = "N", default_value_t = 64, help_heading = ROUNDS)]
    most: usize,
    /// Configuration file (TOML): its tables `admin`, `log`, `trace` and `process`.
    #[arg(long, env = "IMD_CONFIG", value_name = "FILE", help_heading = PROCESS)]
    config: Option<PathBuf>,
    /// Sets one key of them, such as `admin.listen=0.0.0.0:9090`; repeatable.
    #[arg(long, value_name = "KEY=VALUE", help_heading = PROCESS)]
    set: Vec<String>,
    /// Log levels, such as `info` (key `log.filter`, also IMD_LOG).
    #[arg(long, value_name = "FILTER", help_heading = PROCESS)]
    log: Option<String>,
    /// Receives the bound addresses as JSON after the first round.
    #[arg(long, env = "IMD_READY_FILE", value_name = "FILE", help_heading = PROCESS)]
    ready_file: Option<PathBuf>,
}

/// Heading of options in the help.
const ROUNDS: &str = "The rounds";
/// Heading of options in the help.
const PROCESS: &str = "The process";

impl Args {
    /// Refuses what makes no sense, and reads the passwords.
    fn people(&self) -> anyhow::Result<People> {
        let every = self.every.duration();
        let within = self.within.duration();
        ensure!(
            (Duration::from_secs(1)..=Duration::from_hours(1)).contains(&every),
            "--every is {}: take 1s to 1h",
            self.every
        );
        ensure!(
            (Duration::from_millis(100)..=Duration::from_mins(1)).contains(&within),
            "--within is {}: take 100ms to 1m",
            self.within
        );
        ensure!(
            (1..=1_000).contains(&self.most),
            "--most is {}: take 1 to 1000",
            self.most
        );
        ensure!(
            self.from != self.to,
            "{} cannot write to themselves: name two different people",
            self.from
        );
        let receivers = self.to_password_file.as_ref();
        Ok(People {
            from: Person::new(&self.from, &read_password(&self.password_file)?),
            to: Person::new(
                &self.to,
                &read_password(receivers.unwrap_or(&self.password_file))?,
            ),
            within,
        })
    }

    fn load(&self) -> Result<ImdConfig, config::BadConfig> {
        let args = ConfigArgs {
            config: self.config.clone(),
            set: self.set.clone(),
            log: self.log.clone(),
            ..ConfigArgs::default()
        };
        let presets = vec![("admin.listen".to_owned(), ADMIN.to_owned())];
        config::load(&args, presets)
    }
}

/// Runs until it is told to stop.
pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = args.load()?;
    let people = args.people()?;
    let signals = Signals::install().context("take over signals")?;
    let telemetry = telemetry::init(&config.log, &config.trace, "imd-probe")
        .map_err(config::BadConfig::Telemetry)?;
    let outcome = Box::pin(serve(args, config, people, signals)).await;
    telemetry.finish().await;
    outcome
}

async fn serve(
    args: Args,
    config: ImdConfig,
    people: People,
    signals: Signals,
) -> anyhow::Result<ExitCode> {
    let context = Context::default();
    let runtimes = vec![Handle::current()];
    run::show_process(&context, runtimes.clone());
    let figures = context.metrics.register(Figures::register);
    let (drain, stop_rest) = (CancellationToken::new(), CancellationToken::new());
    let rest = TaskTracker::new();
    let mut bound = Addresses::new();
    if !config.admin.listen.is_empty() {
        let admin = Admin::bind(config.admin.clone(), context.clone(), runtimes).await?;
        let listeners = bound.entry("admin".to_owned()).or_default();
        listeners.insert("http".to_owned(), admin.local_addr());
        rest.spawn(run::serve_admin(admin, stop_rest.clone()));
    }
    info!(
        version = env!("CARGO_PKG_VERSION"),
        server = args.server,
        "probing"
    );
    context.readiness.set(FIRST_ROUND, false);
    let ready_file = args.ready_file.clone();
    rest.spawn(run::tell_ready(
        context.clone(),
        ready_file,
        bound,
        None,
        stop_rest.clone(),
    ));
    rest.spawn(run::tell_stopping(
        context.clone(),
        drain.clone(),
        stop_rest.clone(),
    ));
    let prober = Prober {
        args,
        people,
        figures,
        context,
        complaints: Throttle::default(),
    };
    let limit = config.process.stop_timeout.duration();
    let work = Box::pin(prober.run(drain.clone()));
    let (stop, _) = signals.supervise(work, &drain, limit).await;
    stop_rest.cancel();
    rest.close();
    if stop != Stop::InTime {
        return Ok(ExitCode::FAILURE);
    }
    rest.wait().await;
    info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Makes rounds.
struct Prober {
    args: Args,
    people: People,
    figures: Figures,
    context: Context,
    /// Of lines about failures: the metrics count the rest.
    complaints: Throttle,
}

impl Prober {
    /// Makes rounds until `stop`. What is under way then is dropped, and no failure.
    async fn run(self, stop: CancellationToken) {
        let mut ticks = interval(self.args.every.duration());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        // The address that came last, where there are more than fit into a round.
        let mut last = String::new();
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let Some(()) = stop.run_until_cancelled(self.round(&mut last)).await else {
                return;
            };
            self.context.readiness.set(FIRST_ROUND, true);
        }
    }

    async fn round(&self, last: &mut String) {
        let known = match addresses::told(&self.args.server, self.args.within.duration()).await {
            Ok(told) => self.with_table(told).await,
            Err(error) => {
                self.figures.addresses(0);
                return self.failed(&self.args.server, Failure::new(Step::login, error));
            }
        };
        self.figures.addresses(known.len());
        for address in addresses::turn(&known, last, self.args.most) {
            match self.people.pass(&address).await {
                Ok(times) => self.figures.took(&times),
                Err(failure) => self.failed(&address, failure),
            }
            *last = address;
        }
    }

    /// What a client is told, and what the table of the login server has besides.
    async fn with_table(&self, told: addresses::Told) -> addresses::Known {
        let mut known = addresses::Known::from([told.address.clone()]);
        if let Some(table) = &self.args.table {
            match addresses::table(table, &told, self.args.within.duration()).await {
                Ok(all) => known.extend(all),
                Err(error) => {
                    if self.complaints.is_due() {
                        let error = output::one_line(&output::causes(&error));
                        warn!(table, error, "only what clients are told is tried");
                    }
                }
            }
        }
        known
    }

    /// Counts a failure and says why, a line per second at most.
    fn failed(&self, address: &str, failure: Failure) {
        let Failure { step, error } = failure;
        self.figures.failed(step);
        if self.complaints.is_due() {
            let error = output::one_line(&output::causes(&error));
            warn!(step = ?step, address, error, "a message has not passed");
        }
    }
}
