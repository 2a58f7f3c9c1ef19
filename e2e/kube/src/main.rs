//! `kube-node`: a real Kubernetes node for tests, and the images that run on it.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a command-line program")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Parser, Subcommand};
use im_e2e_kube::image::build::{Programs, Release, guest};
use im_e2e_kube::image::index;
use im_e2e_kube::layout::Layout;
use im_e2e_kube::member::Member;
use im_e2e_kube::node::Node;
use im_e2e_kube::parts::Part;
use im_e2e_kube::{audit, init, netpol, programs, requirements, volumes};
use k8s_openapi::api::rbac::v1::PolicyRule;

#[derive(Parser)]
#[command(about = "A real Kubernetes node for tests, on this machine")]
struct Args {
    /// Folder of the node's state; by default one in the cache, different for each checkout.
    #[arg(long, global = true, env = "IM_NODE_DIR")]
    run: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Builds the Go programs, once.
    Programs,
    /// Installs packages, builds programs and starts the node, with workers beside it if they are asked for:
    /// then pods run on those. Without any, the node is as before.
    Up {
        /// So many workers, `n1`, `n2`, …; each takes about 100 MiB of memory besides its pods.
        #[arg(long, default_value_t = 0)]
        workers: u8,
        /// So many zones, `z1`, `z2`, …, in which workers take turns; one for each by default.
        #[arg(long, requires = "workers")]
        zones: Option<u8>,
        /// OCI archives of images that pods find from the beginning.
        archives: Vec<PathBuf>,
    },
    /// Ends the node and removes everything of it.
    Down,
    /// Opens a shell in the node, with KUBECONFIG set.
    Shell,
    /// Runs a command in the node, with KUBECONFIG set.
    Exec {
        /// Program and arguments.
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Lists the parts and workers and their states.
    Status,
    /// Starts, stops or cuts off workers, or those of a zone.
    Node {
        /// What is done.
        #[arg(value_enum)]
        verb: Verb,
        /// Names of workers (`n1`) and zones (`z1`).
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Starts a part.
    Start {
        /// Which.
        part: Part,
    },
    /// Ends a part; it stays down.
    Stop {
        /// Which.
        part: Part,
        /// By SIGKILL instead of SIGTERM.
        #[arg(long)]
        kill: bool,
    },
    /// Puts the images of OCI archives where pods find them.
    Import {
        /// Archives.
        #[arg(required = true)]
        archives: Vec<PathBuf>,
    },
    /// Builds static programs and writes images of them as OCI archives.
    Image {
        /// Cargo profile.
        #[arg(long, default_value = "dist")]
        profile: String,
        /// Folder of static programs to take instead of building them.
        #[arg(long, conflicts_with = "profile")]
        programs: Option<PathBuf>,
        /// First part of the images' names.
        #[arg(long, default_value = "imcluster.test")]
        repository: String,
        /// Last part of the images' names.
        #[arg(long, default_value = env!("CARGO_PKG_VERSION"))]
        tag: String,
        /// Folder for `imd.tar` and `im-operator.tar`.
        #[arg(long, default_value = "target/images")]
        out: PathBuf,
    },
    /// Makes one image for several processors of archives that hold it for one each, and prints its name
    /// and digest.
    Index {
        /// The image's full name.
        #[arg(long)]
        name: String,
        /// The archive to write.
        #[arg(long)]
        out: PathBuf,
        /// Archives.
        #[arg(required = true)]
        archives: Vec<PathBuf>,
    },
    /// Builds the image of the tests' helper program, once, and prints its archive.
    Guest,
    /// Compares what the operators asked the API server for with the rules that `im-operator rules`
    /// prints: nothing may be denied, and nothing granted without use.
    Audit {
        /// File with the rules.
        #[arg(long)]
        rules: PathBuf,
    },
    /// The node's first process.
    #[command(hide = true)]
    Init,
    /// The part `netpol`.
    #[command(hide = true)]
    Netpol,
    /// The part `volumes`.
    #[command(hide = true)]
    Volumes,
}

/// What can be done to a worker.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Verb {
    /// Switches it on; its disk is as it was.
    Start,
    /// Takes its power away: it falls silent, and everything in it is killed.
    Stop,
    /// Cuts it off from all other nodes; everything on it goes on.
    Cut,
    /// Ends that.
    Join,
    /// Lets no further pod be placed on it.
    Cordon,
    /// Ends that.
    Uncordon,
}

impl Verb {
    async fn apply(self, node: &Node, name: &str) -> anyhow::Result<()> {
        let control = node.control();
        match self {
            Self::Start => control.start_node(name).await,
            Self::Stop => control.stop_node(name).await,
            Self::Cut => control.cut_node(name).await,
            Self::Join => control.join_node(name).await,
            Self::Cordon => node.output("kubectl", &["cordon", name]).map(drop),
            Self::Uncordon => node.output("kubectl", &["uncordon", name]).map(drop),
        }
    }
}

/// The names of the workers that are meant by names of workers and zones.
fn workers_of(layout: &Layout, names: &[String]) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    for name in names {
        let all = layout.member().workers();
        let meant = all.filter(|it| it.name() == *name || it.zone().as_ref() == Some(name));
        let before = found.len();
        found.extend(meant.map(Member::name));
        anyhow::ensure!(found.len() > before, "no worker or zone is called {name:?}");
    }
    Ok(found)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let layout = match args.run {
        Some(run) => Layout::new(std::path::absolute(run)?),
        None => Layout::of_workspace()?,
    };
    let node = Node::new(layout.clone());
    match args.command {
        Command::Programs => {
            for folder in programs::build()? {
                println!("{}", folder.display());
            }
        }
        Command::Up {
            workers,
            zones,
            archives,
        } => {
            let member = Member::control(workers, zones.unwrap_or(workers))?;
            node.up(member, &archives).await?;
        }
        Command::Down => {
            requirements::check_root()?;
            node.down().await?;
        }
        Command::Shell => {
            let shell = std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
            return replace(&node, &shell, &[]);
        }
        Command::Exec { command } => {
            let (program, rest) = command.split_first().context("no command given")?;
            return replace(&node, program, rest);
        }
        Command::Status => println!("{}", node.control().status().await?),
        Command::Node { verb, names } => {
            for name in workers_of(&layout, &names)? {
                verb.apply(&node, &name).await?;
            }
        }
        Command::Start { part } => node.control().start(part).await?,
        Command::Stop { part, kill: true } => node.control().kill(part).await?,
        Command::Stop { part, kill: false } => node.control().stop(part).await?,
        Command::Import { archives } => {
            for archive in archives {
                node.import(&archive)?;
            }
        }
        Command::Image {
            profile,
            programs,
            repository,
            tag,
            out,
        } => {
            let release = Release {
                programs: match &programs {
                    Some(folder) => Programs::In(folder),
                    None => Programs::Build { profile: &profile },
                },
                repository: &repository,
                tag: &tag,
                out: &out,
            };
            for image in release.write()? {
                println!("{} {} {}", image.name, image.digest, image.file.display());
            }
        }
        Command::Index {
            name,
            out,
            archives,
        } => {
            let digest = index::merge(&archives, &name, &out)?;
            println!("{name} {digest} {}", out.display());
        }
        Command::Guest => println!("{}", guest()?.display()),
        Command::Audit { rules } => compare_audit_log(&layout, &rules)?,
        Command::Init => init::run(layout).await?,
        Command::Netpol => netpol::run(&layout).await?,
        Command::Volumes => volumes::run(&layout).await?,
    }
    Ok(())
}

fn compare_audit_log(layout: &Layout, rules: &Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(rules).context("read the rules")?;
    let rules: BTreeMap<String, Vec<PolicyRule>> = serde_saphyr::from_str(&text)?;
    let rules: Vec<PolicyRule> = rules.into_values().flatten().collect();
    let requests = audit::read(&layout.audit_log())?;
    let wrong = audit::compare(&requests, "im-operator", &rules);
    anyhow::ensure!(
        wrong.is_empty(),
        "the operator's rules do not fit what it asked for:\n{}",
        wrong.join("\n")
    );
    println!(
        "{} requests: nothing denied, no permission unused",
        requests.len()
    );
    Ok(())
}

/// Turns this process into a command inside the node.
fn replace(node: &Node, program: &OsString, args: &[OsString]) -> anyhow::Result<()> {
    let error = node.command(program, args)?.exec();
    Err(error).context("start nsenter")
}
