//! Runs roles: one of them, or all in one process.
//!
//! Order matters in two places. Roles are bound in the order in which they dial each other, so that
//! an occupied port ends the start before anything runs; and they stop one after the other in the
//! opposite order, msg first, so that what clients have sent is still stored and answered.

mod assembly;
mod blobs;
mod follow;
mod heap;
pub(crate) mod listeners;
mod msg_control;
mod owner;
mod reports;
mod roles;
mod secret;
mod store;
mod supervise;
mod threads;
mod told;
mod traces;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use im_config::ImdConfig;
use im_core::Chain;
use im_db_proxy::RememberKeys;
use im_role::{Role, TABLE, Table};
use im_rpc::{LinkMetrics, Secret};
use im_runtime::admin::Admin;
use im_runtime::ready_file::{self, Addresses};
use im_runtime::signals::{Signals, Stop};
use im_runtime::{Context, limits, process, telemetry};
use im_store::DataDir;
use prometheus_client::metrics::info::Info;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Level, error, info, warn};

use crate::cli::{AllInOneArgs, RoleArgs};
use crate::{config, output};
use assembly::Assembly;
use follow::follow;
use secret::Kept;
use threads::{Aside, Threads};

/// What runs in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    All,
    One(Role),
}

impl Plan {
    /// The roles that run, in the order in which they are bound.
    fn roles(self, table: &Table, config: &ImdConfig) -> Vec<Role> {
        match self {
            Self::All => {
                let all = table.in_order_of_start().into_iter();
                all.filter(|role| config.runs(role.section)).collect()
            }
            Self::One(role) => vec![role],
        }
    }

    fn runs(self, role: Role) -> bool {
        self == Self::All || self == Self::One(role)
    }

    /// What traces call this process.
    fn service(self) -> String {
        match self {
            Self::All => "imd".to_owned(),
            Self::One(role) => format!("imd-{role}"),
        }
    }
}

/// What every role of the process shares.
struct Shared {
    config: ImdConfig,
    secret: Secret,
    /// The administrators' secret, where db-proxy runs or is asked by one of them.
    admin_secret: Option<Secret>,
    /// The keys of remembered logins, where db-proxy runs and remembers them.
    remember_keys: Option<RememberKeys>,
    context: Context,
    links: LinkMetrics,
    aside: Aside,
}

/// Condition of readiness: nobody has asked the process to stop.
const NOT_STOPPING: &str = "not_stopping";

/// `imd all-in-one`.
pub(crate) fn all_in_one(args: &AllInOneArgs) -> anyhow::Result<ExitCode> {
    let config = config::load_all_in_one(args)?;
    listeners::check(Plan::All, &config)?;
    told::check(Plan::All, &config)?;
    if let Some(dir) = &config.data_dir {
        DataDir::refuse_writable_by_others(dir)?;
    }
    let secrets = Secrets {
        installation: Some(secret::of_all_in_one(&config)?),
        administrators: Some(secret::of_administrators(&config)?),
        remembered_logins: secret::of_remembered_logins(&config)?,
    };
    start(Plan::All, config, secrets, args.role.ready_file.clone())
}

/// `imd ROLE`.
pub(crate) fn single(role: Role, args: &RoleArgs) -> anyhow::Result<ExitCode> {
    let config = config::load_role(&args.config, role)?;
    listeners::check(Plan::One(role), &config)?;
    told::check(Plan::One(role), &config)?;
    let (administrators, remembered_logins) = if role == Role::DB_PROXY {
        (
            Some(secret::of_administrators(&config)?),
            secret::of_remembered_logins(&config)?,
        )
    } else if role == Role::HTTP_API {
        (Some(secret::of_http_api(&config)?), None)
    } else {
        (None, None)
    };
    // Who has no link has nobody to prove itself to, unless the configuration says to whom it reports, or that
    // others may report here.
    let reports =
        !config.peers.http_api.is_empty() || role == Role::HTTP_API && config.secret_file.is_some();
    let has_links = TABLE.dials(role) || TABLE.served_by(role).next().is_some() || reports;
    let installation = has_links.then(|| secret::of_role(&config)).transpose()?;
    let secrets = Secrets {
        installation,
        administrators,
        remembered_logins,
    };
    start(Plan::One(role), config, secrets, args.ready_file.clone())
}

/// The secrets of a process.
struct Secrets {
    /// Where a role runs that has links.
    installation: Option<Kept>,
    /// Where db-proxy runs, or http-api.
    administrators: Option<Kept>,
    /// Where db-proxy runs and remembers logins.
    remembered_logins: Option<Kept<RememberKeys>>,
}

impl Secrets {
    /// From now on a change of a file counts.
    fn follow(self, tasks: &TaskTracker, stop: &CancellationToken) {
        if let Some(kept) = self.installation {
            tasks.spawn(follow(kept, Secret::reload, stop.clone()));
        }
        if let Some(kept) = self.administrators {
            tasks.spawn(follow(kept, Secret::reload, stop.clone()));
        }
        if let Some(kept) = self.remembered_logins {
            tasks.spawn(follow(kept, RememberKeys::reload, stop.clone()));
        }
    }
}

fn start(
    plan: Plan,
    config: ImdConfig,
    secrets: Secrets,
    ready_file: Option<PathBuf>,
) -> anyhow::Result<ExitCode> {
    let threads = Threads::start(plan, &config).context("start threads")?;
    let aside = threads.aside();
    let code = threads.block_on(serve(plan, config, secrets, ready_file, aside));
    threads.end();
    code
}

async fn serve(
    plan: Plan,
    config: ImdConfig,
    secrets: Secrets,
    ready_file: Option<PathBuf>,
    aside: Aside,
) -> anyhow::Result<ExitCode> {
    let signals = Signals::install().context("take over signals")?;
    let telemetry = telemetry::init(&config.log, &config.trace, &plan.service())
        .map_err(config::BadConfig::Telemetry)?;
    // Large: on the heap from the beginning.
    let running = Box::pin(run(plan, config, secrets, ready_file, aside, signals));
    let outcome = running.await;
    let outcome = outcome.or_else(tell);
    telemetry.finish().await;
    outcome
}

/// How a server ended that nobody asked to.
enum Failed {
    /// Before it ran.
    Start(anyhow::Error),
    /// A role ended.
    Role(anyhow::Error),
}

impl From<anyhow::Error> for Failed {
    fn from(error: anyhow::Error) -> Self {
        Self::Start(error)
    }
}

/// Says in the log why the server has not started or has ended, on one line with all causes. Where the
/// filter shows no such line, the error is the caller's to say.
fn tell(failed: Failed) -> anyhow::Result<ExitCode> {
    let is_start = matches!(failed, Failed::Start(_));
    let (Failed::Start(error) | Failed::Role(error)) = failed;
    if !tracing::enabled!(Level::ERROR) {
        return Err(error);
    }
    let causes = output::one_line(&output::causes(&error));
    output::tell_kubernetes(&causes);
    if is_start {
        error!(error = causes, "not started");
    } else {
        error!(error = causes, "a role failed, so all have ended");
    }
    Ok(crate::exit_code(&error))
}

async fn run(
    plan: Plan,
    config: ImdConfig,
    secrets: Secrets,
    ready_file: Option<PathBuf>,
    aside: Aside,
    mut signals: Signals,
) -> Result<ExitCode, Failed> {
    match limits::raise_open_files() {
        Ok(limit) => info!(
            version = env!("CARGO_PKG_VERSION"),
            open_files = limit,
            "starting"
        ),
        Err(error) => warn!(error = %Chain(&error), "raise limit of open files failed"),
    }
    let stop_limit = config.process.stop_timeout.duration();
    if plan.runs(Role::MSG) && config.msg.longest_stop() > stop_limit {
        warn!(
            longest = ?config.msg.longest_stop(),
            "process.stop_timeout ends a stop before msg.drain_time and its other bounds do"
        );
    }
    for warning in told::warnings(plan, &config) {
        warn!("{warning}");
    }
    let welcome = match (plan, &config.data_dir) {
        (Plan::All, Some(dir)) if std::io::stderr().is_terminal() => Some(dir.clone()),
        _ => None,
    };
    let roles = plan.roles(&TABLE, &config);
    let shared = share(config, &secrets, aside);
    let context = shared.context.clone();
    let door = shared.aside.door.clone();
    let admin = bind_admin(&shared).await?;
    let mut assembly = Assembly::new(shared, plan == Plan::All);
    if let Some(admin) = &admin {
        assembly.note("admin", "http", admin.local_addr());
    }
    let (rest, stop_rest) = (TaskTracker::new(), CancellationToken::new());
    if let Some(admin) = admin {
        rest.spawn_on(serve_admin(admin, stop_rest.clone()), &door);
    }
    if plan.runs(Role::DB_PROXY) {
        // Whoever stands by for the log of a shared store can be asked and stopped.
        tokio::select! {
            opened = assembly.open_store() => opened?,
            () = signals.next() => {
                info!("stopped");
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
    for role in &roles {
        assembly.bind(*role, roles::BINDS).await?;
    }
    for role in roles {
        assembly.report(role)?;
    }
    let (running, addresses) = assembly.start();

    let drain = CancellationToken::new();
    secrets.follow(&rest, &stop_rest);
    rest.spawn(tell_ready(
        context.clone(),
        ready_file,
        addresses,
        welcome,
        stop_rest.clone(),
    ));
    rest.spawn(tell_stopping(context, drain.clone(), stop_rest.clone()));
    let (stop, ended) = signals
        .supervise(running.run(drain.clone()), &drain, stop_limit)
        .await;
    if stop == Stop::AtOnce {
        // Whoever asks twice does not wait for anything.
        std::process::exit(1);
    }
    stop_rest.cancel();
    rest.close();
    if stop == Stop::InTime {
        rest.wait().await;
    }
    match (stop, ended) {
        (Stop::InTime, Some(ended)) => {
            ended.map_err(Failed::Role)?;
            info!("stopped");
            Ok(ExitCode::SUCCESS)
        }
        _ => Ok(ExitCode::FAILURE),
    }
}

fn share(config: ImdConfig, secrets: &Secrets, aside: Aside) -> Shared {
    let context = Context::default();
    let links = context.metrics.register(LinkMetrics::register);
    show_process(&context, aside.all());
    Shared {
        config,
        secret: match &secrets.installation {
            Some(kept) => kept.secret.clone(),
            None => Secret::generate(),
        },
        admin_secret: secrets
            .administrators
            .as_ref()
            .map(|kept| kept.secret.clone()),
        remember_keys: secrets
            .remembered_logins
            .as_ref()
            .map(|kept| kept.secret.clone()),
        context,
        links,
        aside,
    }
}

/// Registers what every process shows of itself.
pub(crate) fn show_process(context: &Context, runtimes: Vec<Handle>) {
    context.metrics.register(|registry| {
        process::register(registry, runtimes);
        heap::register(registry);
        let version = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("im_build", "The program", version);
    });
    context.dumps.register("process", || {
        let usage = process::Usage::read();
        serde_json::json!({
            "open_files": usage.open_files,
            "resident_bytes": usage.resident_bytes,
            "threads": usage.threads,
        })
    });
}

async fn bind_admin(shared: &Shared) -> anyhow::Result<Option<Admin>> {
    let config = shared.config.admin.clone();
    if config.listen.is_empty() {
        return Ok(None);
    }
    let context = shared.context.clone();
    let runtimes = shared.aside.all();
    let binding = async move { Admin::bind(config, context, runtimes).await };
    // A listener wakes the threads on which it was made.
    let bound = shared.aside.door.spawn(binding).await;
    Ok(Some(bound.context("bind the admin port")??))
}

/// Serves the admin port until `stop`.
pub(crate) async fn serve_admin(admin: Admin, stop: CancellationToken) {
    if let Err(error) = admin.run(stop).await {
        error!(error = %Chain(&error), "admin port failed");
    }
}

/// A process that stops serves those that are there and wants nobody new: it is not ready any more.
pub(crate) async fn tell_stopping(
    context: Context,
    drain: CancellationToken,
    stop: CancellationToken,
) {
    context.readiness.set(NOT_STOPPING, true);
    if stop.run_until_cancelled(drain.cancelled()).await.is_some() {
        context.readiness.set(NOT_STOPPING, false);
    }
}

/// Says once that everything is ready: in the log, to whoever started it at a terminal, in the ready
/// file.
pub(crate) async fn tell_ready(
    context: Context,
    file: Option<PathBuf>,
    addresses: Addresses,
    welcome: Option<PathBuf>,
    stop: CancellationToken,
) {
    if stop
        .run_until_cancelled(context.readiness.ready())
        .await
        .is_none()
    {
        return;
    }
    info!(addresses = %serde_json::json!(addresses), "ready");
    if let Some(text) = welcome.and_then(|dir| told::welcome(&dir, &addresses)) {
        output::note(&text);
    }
    let Some(file) = file else { return };
    match ready_file::write(&file, &addresses) {
        Ok(()) => info!(file = %file.display(), "wrote the ready file"),
        Err(error) => {
            error!(error = %Chain(&error), file = %file.display(), "write ready file failed");
        }
    }
}
