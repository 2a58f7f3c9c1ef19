//! The interfaces, addresses and routes of a node.
//!
//! The node with the control plane has a pair of interfaces with both ends inside. With workers, the other
//! end is plugged into a switch: a bridge in a network namespace of its own, so that nobody's packet filter
//! sees what passes from node to node. Each worker plugs itself in; pulling its plug cuts it off.

use std::process::Command;

use crate::layout::{DNS_IP, Layout, SERVICE_CIDR};
use crate::member::Member;
use crate::run::check_output;

/// The network namespace of the switch.
const SWITCH: &str = "switch";
/// The bridge in it.
const BRIDGE: &str = "nodes";

/// Makes the network of a node. That of a worker begins where the switch can still be seen: see [`plug_in`].
///
/// # Errors
/// A command fails: the error holds what it said.
pub(crate) fn make(layout: &Layout) -> anyhow::Result<()> {
    let member = layout.member();
    let address = format!("{}/24", member.ip());
    if !member.is_worker() {
        run("ip link add node0 type veth peer name node0p")?;
        run(&format!("ip addr add {DNS_IP}/24 dev node0"))?;
        run("ip link set node0p up")?;
        if !member.is_alone() {
            run(&format!("ip netns add {SWITCH}"))?;
            run(&format!("ip link set node0p netns {SWITCH}"))?;
            run(&format!("ip -n {SWITCH} link add {BRIDGE} type bridge"))?;
            run(&format!("ip -n {SWITCH} link set {BRIDGE} up"))?;
            run(&format!(
                "ip -n {SWITCH} link set node0p master {BRIDGE} up"
            ))?;
        }
    }
    run("ip link set lo up")?;
    run(&format!("ip addr add {address} dev node0"))?;
    run("ip link set node0 up")?;
    // Addresses of Services must be routable before they are translated.
    let ip = member.ip();
    run(&format!("ip route add {SERVICE_CIDR} dev node0 src {ip}"))?;
    for other in member.others() {
        let (pods, node) = (other.pod_cidr(), other.ip());
        run(&format!("ip route add {pods} via {node}"))?;
    }
    run("sysctl -qw net.ipv4.ip_forward=1")
}

/// Connects the worker whose first process this is to the switch.
///
/// # Errors
/// A command fails.
pub(crate) fn plug_in(member: Member) -> anyhow::Result<()> {
    let name = member.name();
    let last = member.ip().rsplit('.').next().map(str::to_owned);
    // Always the same, so that nobody remembers an old one when the node comes back.
    let hardware = format!("02:00:00:00:01:{}", last.unwrap_or_default());
    run(&format!(
        "ip -n {SWITCH} link add {name} type veth peer name node0 address {hardware} netns 1"
    ))?;
    run(&format!(
        "ip -n {SWITCH} link set {name} master {BRIDGE} up"
    ))
}

/// Cuts a worker off from everybody, or ends that.
///
/// # Errors
/// The worker is not plugged in.
pub(crate) fn connect(member: Member, connected: bool) -> anyhow::Result<()> {
    let (name, state) = (member.name(), if connected { "up" } else { "down" });
    run(&format!("ip -n {SWITCH} link set {name} {state}"))
}

/// Removes what is left of the plug of a worker that has ended; the kernel does the same a little later.
pub(crate) fn unplug(member: Member) {
    let name = member.name();
    // There may be nothing left.
    run(&format!("ip -n {SWITCH} link del {name}")).ok();
}

/// Runs a command line of words without blanks.
fn run(line: &str) -> anyhow::Result<()> {
    let mut words = line.split(' ');
    let program = words.next().unwrap_or_default();
    check_output(Command::new(program).args(words)).map(drop)
}
