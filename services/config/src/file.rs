//! Configuration of the file role.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{ByteSize, Span};
use crate::{Check, Checker, LinkConfig};

/// The server that passes files on and keeps those for people who are not there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FileConfig {
    /// Whether all-in-one transfers files; a process that runs this role alone always does.
    pub enabled: bool,
    /// Where clients connect; port 0 lets the kernel choose.
    pub client_listen: String,
    /// Where msg servers reach this server.
    pub listen: String,
    /// First address that clients are told, an IP address or a name; empty = the listening one. When
    /// that is no single address, such as 0.0.0.0: with everything in one process the one on which the
    /// client came to its msg server (`*`), otherwise 127.0.0.1.
    pub public_ip1: String,
    /// Second address that clients are told; empty = none.
    pub public_ip2: String,
    /// Port that clients are told; 0 = the listening one.
    pub public_port: u16,
    /// Directory of files for people who are not there, of this server alone; empty = `files` in the data
    /// directory.
    pub directory: PathBuf,
    /// Bounds of the links of msg servers.
    pub link: LinkConfig,
    /// Connections that wait in the kernel to be accepted.
    pub backlog: u32,
    /// Open client connections; then a newcomer takes the place of the one without a task that has been
    /// silent longest.
    pub max_connections: usize,
    /// Open client connections of one IPv4 address or IPv6 /64, and a quarter of those of a /24 or /56.
    pub max_connections_per_address: usize,
    /// Places that only networks (/24, /56) with few connections get; half of the places at most.
    pub reserved_connections: usize,
    /// Connections up to which a network may use what is reserved.
    pub reserved_per_network: usize,
    /// Time from the connection to the task.
    pub login_timeout: Span,
    /// Silence after which a client's connection is closed; original clients send something every 5 s.
    pub idle: Span,
    /// Time for a block that was asked for to come, and for bytes that were sent to be taken.
    pub block_timeout: Span,
    /// How long a task waits for a person or for the next request before it ends.
    pub task_wait: Span,
    /// How long a task lives at most.
    pub task_lifetime: Span,
    /// Longest block that is passed on; who asks for a longer one is given this. The Windows client asks
    /// for 34 KiB.
    pub max_block: ByteSize,
    /// Longest file name, which is the whole path on the sender's machine with the Windows client.
    pub max_name: ByteSize,
    /// Open tasks.
    pub max_tasks: u32,
    /// Open tasks that one person has begun.
    pub max_tasks_per_user: u32,
    /// Largest file that is kept for somebody; what is passed on directly has no bound but the protocol's
    /// 4 GiB.
    pub max_file: ByteSize,
    /// Files that wait for somebody, those on their way here included.
    pub max_files: u32,
    /// The same of one sender.
    pub max_files_per_user: u32,
    /// The same of one sender for one receiver.
    pub max_files_per_pair: u32,
    /// Bytes of files that wait for somebody, those on their way here included.
    pub max_stored: ByteSize,
    /// The same of one sender.
    pub max_stored_per_user: ByteSize,
    /// Bytes that stay free on the file system, but at most a tenth of it; an upload that would need them
    /// is refused.
    pub free_space_floor: ByteSize,
    /// How long a file waits for its receiver; then it is deleted.
    pub keep: Span,
    /// Tasks are searched for those that have lasted too long, and for overdue blocks, this often.
    pub sweep_interval: Span,
    /// Files that nobody fetched in time, and what uploads have left that are no more, are removed this
    /// often.
    pub clean_interval: Span,
    /// Largest answer to the question which files wait; the newest are left out beyond it.
    pub max_list: ByteSize,
    /// File operations at a time; further ones wait.
    pub workers: usize,
    /// Msg servers are told how many tasks there are at most this often.
    pub report_interval: Span,
    /// At a stop, time for transfers to end by themselves.
    pub drain_time: Span,
}

impl FileConfig {
    /// Bytes of a block of a file that is kept: the one that original clients know.
    pub const STORED_BLOCK: u32 = 32 << 10;
}

impl Default for FileConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            client_listen: "0.0.0.0:8600".to_owned(),
            listen: "0.0.0.0:8601".to_owned(),
            public_ip1: String::new(),
            public_ip2: String::new(),
            public_port: 0,
            directory: PathBuf::new(),
            link: LinkConfig::default(),
            backlog: 1_024,
            max_connections: 4_096,
            max_connections_per_address: 1_024,
            reserved_connections: 512,
            reserved_per_network: 16,
            login_timeout: Span::seconds(15),
            idle: Span::seconds(120),
            block_timeout: Span::seconds(60),
            task_wait: Span::seconds(600),
            task_lifetime: Span::seconds(43_200),
            max_block: ByteSize::kib(48),
            max_name: ByteSize::bytes(780),
            max_tasks: 10_000,
            max_tasks_per_user: 20,
            max_file: ByteSize::mib(1_024),
            max_files: 100_000,
            max_files_per_user: 500,
            max_files_per_pair: 50,
            max_stored: ByteSize::mib(65_536),
            max_stored_per_user: ByteSize::mib(4_096),
            free_space_floor: ByteSize::mib(256),
            keep: Span::days(7),
            sweep_interval: Span::seconds(1),
            clean_interval: Span::seconds(600),
            max_list: ByteSize::kib(256),
            workers: 8,
            report_interval: Span::seconds(1),
            drain_time: Span::seconds(5),
        }
    }
}

impl Check for FileConfig {
    fn check(&self, checker: &mut Checker) {
        let Self {
            enabled: _,
            client_listen,
            listen,
            public_ip1,
            public_ip2,
            public_port,
            directory: _,
            link,
            backlog,
            max_connections,
            max_connections_per_address,
            reserved_connections,
            reserved_per_network,
            login_timeout,
            idle,
            block_timeout,
            task_wait,
            task_lifetime,
            max_block,
            max_name,
            max_tasks,
            max_tasks_per_user,
            max_file,
            max_files,
            max_files_per_user,
            max_files_per_pair,
            max_stored,
            max_stored_per_user,
            free_space_floor,
            keep,
            sweep_interval,
            clean_interval,
            max_list,
            workers,
            report_interval,
            drain_time,
        } = self;
        checker.listen("client_listen", client_listen);
        checker.listen("listen", listen);
        checker.public_host("public_ip1", public_ip1);
        checker.public_host("public_ip2", public_ip2);
        checker.range("public_port", public_port, &(0..=u16::MAX));
        checker.table("link", link);
        let million = 1..=1_000_000;
        checker.range("backlog", backlog, &(1..=65_535));
        checker.range("max_connections", max_connections, &(1..=1_000_000));
        checker.range(
            "max_connections_per_address",
            max_connections_per_address,
            &(1..=1_000_000),
        );
        checker.range(
            "reserved_connections",
            reserved_connections,
            &(0..=1_000_000),
        );
        checker.range(
            "reserved_per_network",
            reserved_per_network,
            &(0..=1_000_000),
        );
        let wait = Span::millis(1)..=Span::seconds(3_600);
        checker.range("login_timeout", login_timeout, &wait);
        checker.range("idle", idle, &wait);
        checker.range("block_timeout", block_timeout, &wait);
        let long = Span::millis(1)..=Span::days(30);
        checker.range("task_wait", task_wait, &long);
        checker.range("task_lifetime", task_lifetime, &long);
        // A block of a stored file, and what the Windows client asks for, fit into the usual one.
        checker.range(
            "max_block",
            max_block,
            &(ByteSize::kib(32)..=ByteSize::mib(1)),
        );
        // Kept beside the file, whose tag has room for it and for two people.
        checker.range(
            "max_name",
            max_name,
            &(ByteSize::bytes(1)..=ByteSize::bytes(900)),
        );
        checker.range("max_tasks", max_tasks, &million);
        checker.range("max_tasks_per_user", max_tasks_per_user, &million);
        checker.range(
            "max_file",
            max_file,
            &(ByteSize::bytes(1)..=ByteSize::mib(4_095)),
        );
        checker.range("max_files", max_files, &million);
        checker.range("max_files_per_user", max_files_per_user, &million);
        checker.range("max_files_per_pair", max_files_per_pair, &million);
        let sizes = ByteSize::bytes(1)..=ByteSize::mib(1 << 30);
        checker.range("max_stored", max_stored, &sizes);
        checker.range("max_stored_per_user", max_stored_per_user, &sizes);
        checker.range(
            "free_space_floor",
            free_space_floor,
            &(ByteSize::ZERO..=ByteSize::mib(1 << 20)),
        );
        checker.range("keep", keep, &(Span::seconds(1)..=Span::days(3_650)));
        checker.steps("keep", keep, &Span::seconds(1));
        checker.range(
            "sweep_interval",
            sweep_interval,
            &(Span::millis(10)..=Span::seconds(3_600)),
        );
        checker.range(
            "clean_interval",
            clean_interval,
            &(Span::millis(10)..=Span::days(1)),
        );
        checker.range(
            "max_list",
            max_list,
            &(ByteSize::kib(4)..=ByteSize::mib(16)),
        );
        checker.range("workers", workers, &(1..=256));
        checker.range(
            "report_interval",
            report_interval,
            &(Span::millis(10)..=Span::seconds(60)),
        );
        checker.range(
            "drain_time",
            drain_time,
            &(Span::ZERO..=Span::seconds(3_600)),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_within_their_bounds() {
        FileConfig::default().validate().unwrap();
    }

    #[test]
    fn a_block_is_never_shorter_than_that_of_a_stored_file() {
        let config = FileConfig {
            max_block: ByteSize::bytes(u64::from(FileConfig::STORED_BLOCK) - 1),
            ..FileConfig::default()
        };
        let error = config.validate().unwrap_err().to_string();
        assert!(error.starts_with("max_block: must be 32KiB to"), "{error}");
    }
}
