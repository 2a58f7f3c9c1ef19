//! Figures of the operator: optimised programs, a node of its own, and `e2e/operator-bench` inside.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::bail;

use crate::steps::{cargo, programs, step};
use crate::{limits, tools};

/// The cargo profile of releases.
const PROFILE: &str = "dist";

/// What is measured, and what measures.
const PROGRAMS: [&str; 4] = ["imd", "im-operator", "kube-node", "operator-bench"];

/// Builds everything, starts a node, measures in it, and ends it, whatever happened.
pub(crate) fn run(json: &str, args: &[String]) -> anyhow::Result<()> {
    tools::check()?;
    if !tools::is_root()? {
        bail!("the operator is measured on a Kubernetes node, which needs root: run it as root");
    }
    let mut build = cargo(&["build", "--workspace", "--locked", "--profile", PROFILE]);
    for name in PROGRAMS {
        build.args(["--bin", name]);
    }
    step(&limits::OPTIMISED, &mut build)?;
    let bin = programs(PROFILE)?;
    let node = Node {
        program: bin.join("kube-node"),
        // Not the node of the tests, which may be up.
        dir: tools::cache_dir()?.join("node-operator-bench"),
    };
    let images = bin.join("images");
    let mut image = node.command(&["image"]);
    image.arg("--programs").arg(&bin).arg("--out").arg(&images);
    step(&limits::IMAGES, &mut image)?;
    step(&limits::NODE_EARLIER, &mut node.command(&["down"]))?;
    step(&limits::NODE_UP, &mut node.command(&["up"]))?;
    let mut bench = Command::new(bin.join("operator-bench"));
    bench.args(["--json", json]).args(args);
    let result = measure(&node, &images, &bench);
    let down = step(&limits::NODE_DOWN, &mut node.command(&["down"]));
    result.and(down)
}

fn measure(node: &Node, images: &Path, bench: &Command) -> anyhow::Result<()> {
    let mut import = node.command(&["import"]);
    import.args(["imd.tar", "im-operator.tar"].map(|name| images.join(name)));
    step(&limits::IMPORT, &mut import)?;
    let mut inside = node.command(&["exec", "--"]);
    inside.arg(bench.get_program()).args(bench.get_args());
    step(&limits::FIGURES, &mut inside)
}

/// A node, and the program that controls it.
struct Node {
    program: PathBuf,
    dir: PathBuf,
}

impl Node {
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(args).env("IM_NODE_DIR", &self.dir);
        command
    }
}
