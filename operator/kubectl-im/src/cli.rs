//! Commands and flags. Nothing else reads the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::rotate::Which;

/// Looks after ImClusters: instant-messaging platforms on Kubernetes.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-im",
    bin_name = "kubectl im",
    version,
    about,
    propagate_version = true,
    max_term_width = 100,
    after_help = "\
Exit codes: 0 done or as it is to be; 1 failed, such as an API server that does not answer; 2 a command
line that cannot be understood; 3 not ready in time, not valid, or refused for a reason that is said."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where the cluster is.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct Global {
    /// Namespace; without it, that of the context.
    #[arg(short, long, global = true, value_name = "NAMESPACE")]
    pub(crate) namespace: Option<String>,
    /// Context of the kubeconfig; without it, the current one.
    #[arg(long, global = true, value_name = "CONTEXT")]
    pub(crate) context: Option<String>,
    /// The kubeconfig; without it, what KUBECONFIG names or ~/.kube/config.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Shows how an ImCluster is, what is missing and what to do about it.
    Status(StatusArgs),
    /// Moves the clients of a msg pod to others, or those of every msg pod of a node.
    Drain(DrainArgs),
    /// Takes a drain back.
    Undrain(UndrainArgs),
    /// Replaces the pods of a role one after the other.
    Restart(RestartArgs),
    /// Gives a secret of the installation another value, with an overlap in which both are good.
    Rotate(RotateArgs),
    /// Evens out the connections of msg pods once.
    Rebalance(RebalanceArgs),
    /// Copies the store into a file while the servers run.
    Backup(BackupArgs),
    /// Checks a backup and prints the steps of a restore.
    Restore(RestoreArgs),
    /// Checks the ImClusters of a manifest; every error names its field.
    Validate(ValidateArgs),
    /// Gathers what somebody needs who is to help, without secrets.
    Report(ReportArgs),
}

/// How something is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For eyes.
    #[default]
    Table,
    /// For programs.
    Json,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl im status                        the only ImCluster of the namespace, or all of them in brief
  kubectl im status demo -n chat
  kubectl im status demo -o json | jq .msgPods
  until kubectl im status demo; do sleep 5; done

Exit codes: 0 Ready; 1 failed; 2 usage; 3 not Ready, or the operator has not seen the latest change.")]
pub(crate) struct StatusArgs {
    /// The ImCluster.
    pub(crate) name: Option<String>,
    /// How it is shown.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Format,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl im drain demo-msg-7d9f-abcde --reason 'its node makes noises'
  kubectl im drain node/worker-3           no new pods on it; msg pods leave it
  kubectl im status                        shows how far it is

A pod is marked, and the operator moves its clients at a bounded rate; a node is cordoned as by `kubectl
cordon`, which takes the right to change nodes. `kubectl drain` goes on from there.

Exit codes: 0 asked for; 1 failed; 2 usage; 3 refused, such as a pod that is no msg pod.")]
pub(crate) struct DrainArgs {
    /// A msg pod or a node: `POD`, `NODE`, `pod/POD` or `node/NODE`. A name of both is the pod.
    pub(crate) target: String,
    /// Why, for those who look at it later.
    #[arg(long, default_value = "by hand", value_name = "TEXT")]
    pub(crate) reason: String,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl im undrain demo-msg-7d9f-abcde
  kubectl im undrain node/worker-3

Exit codes: 0 taken back, or nothing to take back; 1 failed; 2 usage; 3 refused.")]
pub(crate) struct UndrainArgs {
    /// As for `drain`.
    pub(crate) target: String,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl im restart msg --wait
  kubectl im restart dbProxy --name demo
  kubectl im restart login --wait --timeout 300

The time goes into the ImCluster, spec.roles.ROLE.podOverrides.metadata.annotations, as
kubectl.kubernetes.io/restartedAt; the operator replaces the pods as it does for any change. What
`kubectl rollout restart` writes it would put right again.

Exit codes: 0 asked for, or done with --wait; 1 failed; 2 usage; 3 refused (paused, or the role is not
there), or not done in time.")]
pub(crate) struct RestartArgs {
    /// The role: a field of spec.roles such as msg or dbProxy, or the name of its component.
    pub(crate) role: String,
    /// The ImCluster; needed where the namespace has several.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Waits until every pod has been replaced and is ready.
    #[arg(long)]
    pub(crate) wait: bool,
    /// Longest time to wait, seconds.
    #[arg(long, default_value_t = 1_800, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) timeout: u64,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl im rotate internal --wait        some four minutes; the operator goes the way to its end
  kubectl im rotate admin
  kubectl im rotate remember               a new key beside the old one
  kubectl im rotate remember --finish      30 days later: the new key alone

Nobody is cut off: old and new value are both accepted until everybody presents the new one. Refused
while the ImCluster is paused or not Ready, and while another rotation of the secret is under way.

Exit codes: 0 begun, or done with --wait; 1 failed; 2 usage; 3 refused, or not done in time.")]
pub(crate) struct RotateArgs {
    /// Which secret.
    #[arg(value_enum)]
    pub(crate) secret: Which,
    /// The ImCluster; needed where the namespace has several.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Waits until the new value is the only one.
    #[arg(long)]
    pub(crate) wait: bool,
    /// Longest time to wait, seconds.
    #[arg(long, default_value_t = 900, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) timeout: u64,
    /// Ends the rotation of `remember`: the old key is good no more.
    #[arg(long)]
    pub(crate) finish: bool,
    /// With --finish: before logins under the old key have ended by themselves. Each of their people is
    /// verified once more, which costs a hash.
    #[arg(long, requires = "finish")]
    pub(crate) early: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  kubectl im rebalance                     one round now; `kubectl im status` shows its progress

Exit codes: 0 asked for; 1 failed; 2 usage; 3 refused, such as while it is paused.")]
pub(crate) struct RebalanceArgs {
    /// The ImCluster; needed where the namespace has several.
    #[arg(long)]
    pub(crate) name: Option<String>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl im backup                        into demo-20260314T150926Z.backup
  kubectl im backup --to /backups/demo.backup
  kubectl im backup --to - | age -r KEY > demo.backup.age

Runs `imd backup` in the dbProxy pod through `kubectl exec`; KUBECTL names another kubectl. The file
appears under its name when it is whole. Files and pictures are not in it: back up their volumes or
bucket after it.

Exit codes: 0 written; 1 failed; 2 usage; 3 refused: the database is on a server, which has tools of its
own, or the file exists.")]
pub(crate) struct BackupArgs {
    /// The ImCluster; needed where the namespace has several.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// The file; `-` is standard output.
    #[arg(long, value_name = "FILE|-")]
    pub(crate) to: Option<PathBuf>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl im restore --plan demo.backup --name restored
  kubectl im restore --plan demo.backup --name demo --size 50Gi --image example.com/imd:0.1.0

Changes nothing: it reads the file and prints the commands, in order.

Exit codes: 0 the file can be restored; 1 failed; 2 usage; 3 the file is cut off, or no backup.")]
pub(crate) struct RestoreArgs {
    /// The backup.
    #[arg(long, required = true, value_name = "FILE")]
    pub(crate) plan: PathBuf,
    /// The ImCluster that is to start from it.
    #[arg(long, default_value = "restored")]
    pub(crate) name: String,
    /// Size of its volume, as its specification says.
    #[arg(long, default_value = "10Gi")]
    pub(crate) size: String,
    /// Image of the servers; without it, that of a dbProxy pod of the namespace.
    #[arg(long)]
    pub(crate) image: Option<String>,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl im validate -f demo.yaml
  kubectl im validate -f demo.yaml --server -n chat
  helm template demo charts/im-cluster | kubectl im validate -f -

Without --server nobody is asked: types, bounds, unknown fields and keys, and what the operator checks.
With it the API server judges too, by a dry run: the definition's rules, admission, quotas.

Exit codes: 0 valid; 1 failed; 2 usage; 3 not valid.")]
pub(crate) struct ValidateArgs {
    /// The manifest; `-` is standard input.
    #[arg(short, long, value_name = "FILE|-")]
    pub(crate) file: PathBuf,
    /// Asks the API server too; nothing is changed.
    #[arg(long)]
    pub(crate) server: bool,
    /// The operator that will run it may read nodes.
    #[arg(long)]
    pub(crate) node_access: bool,
    /// How it is shown.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Format,
}

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  kubectl im report                        into im-report-chat-demo.tar.gz
  kubectl im report --name demo --to /tmp/report.tar.gz

Holds the ImCluster and what was made of it, events, logs of 30 minutes and what servers say of
themselves; at most 20 MiB. Values of secrets, tokens and passwords are taken out, and what looks like a
telephone number. Names of people and texts of messages are in none of these. LEFT-OUT.txt in it says
what is missing and why. Look through it before you give it away.

Exit codes: 0 written; 1 failed; 2 usage; 3 refused: the file exists.")]
pub(crate) struct ReportArgs {
    /// The ImCluster; needed where the namespace has several.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// The file.
    #[arg(long, value_name = "FILE")]
    pub(crate) to: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn every_command_has_examples_and_its_exit_codes() {
        let command = Cli::command();
        command.clone().debug_assert();
        let mut count = 0;
        for command in command.get_subcommands() {
            let help = command.get_after_help().unwrap().to_string();
            let example = format!("kubectl im {}", command.get_name());
            assert!(help.contains(&example), "{help}");
            assert!(help.contains("Exit codes: 0"), "{help}");
            count += 1;
        }
        assert_eq!(count, 10);
    }
}
