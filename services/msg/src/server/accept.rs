//! Takes client connections in.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use im_core::{AcceptBackoff, Chain};
use im_runtime::listen;
use im_transport::Transport;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tracing::warn;

use crate::connection::pace::Pace;
use crate::connection::{Conn, read};
use crate::gateway::Gateway;
use crate::metrics::Refusal;

/// Takes connections in, for ever.
pub(super) async fn run(gateway: Arc<Gateway>, listener: TcpListener) {
    let (mut backoff, opened) = (AcceptBackoff::default(), Instant::now());
    let mut pace = Pace::new(gateway.env.config.accept_rate);
    loop {
        pace.turn().await;
        match accept(&gateway, &listener).await {
            Ok((sock, remote)) => {
                backoff.succeeded();
                // Those of IPv4 are told apart from IPv6 also where one socket takes both.
                take_in(&gateway, sock, remote.ip().to_canonical());
            }
            Err(error) => {
                gateway.env.metrics.accept_errors.inc();
                let (wait, log) = backoff.failed(opened.elapsed());
                if log {
                    warn!(error = %Chain(&error), "accept failed");
                }
                tokio::time::sleep(wait).await;
            }
        }
    }
}

/// Accepts one connection, whose socket wakes the threads of clients.
async fn accept(gateway: &Gateway, listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    poll_fn(|cx| {
        // A socket belongs to the runtime in which it is made.
        let _clients = gateway.env.clients.enter();
        listener.poll_accept(cx)
    })
    .await
}

fn take_in(gateway: &Arc<Gateway>, sock: TcpStream, remote: IpAddr) {
    if gateway.drain.state().is_closed {
        // It sees an end, as at a server that has gone.
        gateway.env.metrics.refused(Refusal::Cordoned);
        return;
    }
    let place = match gateway.admission.admit(remote) {
        Ok(place) => place,
        Err(reason) => {
            gateway.env.metrics.refused(reason);
            // Whoever has been silent for longest makes room for somebody who may yet speak.
            let admission = &gateway.admission;
            let may_go = |old: &Conn| admission.may_replace(old.remote(), remote, reason);
            if !gateway.connections.evict(may_go) {
                return;
            }
            admission.admit_instead(remote)
        }
    };
    // A socket that is gone already is noticed at the first read.
    listen::tune(&sock).ok();
    let conn = Arc::new(Conn::new(Transport::new(sock), place, gateway.env.now()));
    gateway.connections.opened(&conn);
    gateway
        .env
        .spawn_client(read::run(Arc::clone(gateway), conn));
}
