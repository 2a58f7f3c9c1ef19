//! The HTTP API over real processes: what back offices and administrators do, and what nobody should.

mod away;
mod bounds;
pub(crate) mod calls;
mod contract;
mod files;
mod https;
mod idempotent;
mod original;
mod reporters;
pub(crate) mod rig;
mod servers;
mod statuses;
mod tokens;
mod traces;
mod transfer;
mod work;

use std::net::SocketAddr;

use self::rig::Rig;
use crate::support::*;

/// Everything that a token can allow.
const EVERYTHING: [&str; 23] = [
    "users:read",
    "users:write",
    "departments:read",
    "departments:write",
    "bots:read",
    "bots:write",
    "discovery:read",
    "discovery:write",
    "files:read",
    "files:write",
    "groups:read",
    "groups:write",
    "hooks:read",
    "hooks:write",
    "sessions:read",
    "sessions:write",
    "tokens:read",
    "tokens:write",
    "audit:read",
    "messages:read",
    "messages:write",
    "ops:read",
    "ops:write",
];

/// A platform of one process with these settings and people, its port, and a token that allows everything.
async fn whole(people: u32, set: &[&str]) -> (Platform, SocketAddr, String) {
    let Rig {
        platform,
        api,
        token,
    } = Rig::whole(people, set).await;
    (platform, api, token)
}

/// A platform of processes with an http-api server `api` of these settings, its port, and such a token.
async fn apart(people: u32, set: &[&str]) -> (Platform, SocketAddr, String) {
    beside(people, 1, set).await
}

async fn beside(people: u32, msg: usize, set: &[&str]) -> (Platform, SocketAddr, String) {
    with_files(people, msg, 0, set).await
}

/// The same with so many file servers.
async fn with_files(
    people: u32,
    msg: usize,
    files: usize,
    set: &[&str],
) -> (Platform, SocketAddr, String) {
    let shape = Shape {
        login: 1,
        msg,
        route: 1,
    };
    let options = CHEAP_HASHES
        .iter()
        .chain(set)
        .fold(Options::people(people), |options, set| options.set(set));
    // More than one under each key that a test tries.
    let options = options
        .set("db_proxy.administration.subscriptions=256")
        .set("db_proxy.administration.announcements=256")
        .set("db_proxy.administration.incoming_hooks=1000")
        .set("db_proxy.administration.discovery_items=1000")
        // So slow that the next one can be cancelled.
        .set("db_proxy.administration.announcement_rate=1");
    let platform = Platform::separate(shape, options.reports().files(files))
        .await
        .unwrap();
    let Rig {
        platform,
        api,
        token,
    } = Rig::serving(platform, set).await;
    (platform, api, token)
}

/// The same with so many msg servers, when every server has reported to `api`.
async fn reporting(people: u32, msg: usize, set: &[&str]) -> (Platform, SocketAddr, String) {
    let (platform, api, token) = beside(people, msg, set).await;
    reported(api, &token, msg + 3).await;
    (platform, api, token)
}

/// Waits until so many servers have reported.
async fn reported(api: SocketAddr, token: &str, servers: usize) {
    im_e2e::wait::until("all servers report", WAIT, || async {
        let list = calls::get("/api/v1/servers").token(token).send(api).await;
        let listed = list.json()["items"].as_array().map_or(0, Vec::len);
        (listed >= servers).then_some(())
    })
    .await
    .unwrap();
}
