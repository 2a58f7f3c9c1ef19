//! `kube-node`: a real Kubernetes node for tests, and the images that run on it.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "a command-line program")]

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Parser, Subcommand};
use im_e2e_kube::image::build::Release;
use im_e2e_kube::layout::Layout;
use im_e2e_kube::node::Node;
use im_e2e_kube::parts::Part;
use im_e2e_kube::{init, netpol, programs, requirements, volumes};

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
    /// Installs packages, builds programs and starts the node.
    Up,
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
    /// Lists the parts and their states.
    Status,
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
        Command::Up => node.up().await?,
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
            repository,
            tag,
            out,
        } => {
            let release = Release {
                profile: &profile,
                repository: &repository,
                tag: &tag,
                out: &out,
            };
            for image in release.write()? {
                println!("{} {} {}", image.name, image.digest, image.file.display());
            }
        }
        Command::Init => init::run(layout).await?,
        Command::Netpol => netpol::run(&layout).await?,
        Command::Volumes => volumes::run(&layout).await?,
    }
    Ok(())
}

/// Turns this process into a command inside the node.
fn replace(node: &Node, program: &OsString, args: &[OsString]) -> anyhow::Result<()> {
    let error = node.command(program, args)?.exec();
    Err(error).context("start nsenter")
}
