//! The kubectl beside this program, for what streams in and out of pods: it knows each way to do that which
//! an API server may offer, and whatever stands between.

use std::process::Command;

use crate::cli::Global;

/// A call of kubectl in a namespace; `KUBECTL` names another program.
pub(crate) fn kubectl(global: &Global, namespace: &str) -> Command {
    let program = std::env::var_os("KUBECTL").unwrap_or_else(|| "kubectl".into());
    let mut command = Command::new(program);
    command.args(["--namespace", namespace]);
    if let Some(context) = &global.context {
        command.args(["--context", context]);
    }
    if let Some(file) = &global.kubeconfig {
        command.arg("--kubeconfig").arg(file);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_speaks_to_the_same_cluster() {
        let global = Global {
            namespace: None,
            context: Some("here".to_owned()),
            kubeconfig: Some("/k".into()),
        };
        let command = kubectl(&global, "chat");
        let args: Vec<_> = command.get_args().collect();
        let wanted = [
            "--namespace",
            "chat",
            "--context",
            "here",
            "--kubeconfig",
            "/k",
        ];
        assert_eq!(args, wanted);
    }
}
