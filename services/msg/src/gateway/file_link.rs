//! The links to file servers.

use std::sync::Arc;

use im_proto_rpc::v1::{FileCalls, FileItems};
use im_rpc::{Link, PeerEvent, batch};
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::handle::file;
use super::state::Gateway;

/// Serves each file server that is up, until the server stops.
pub(crate) async fn run(
    gateway: Arc<Gateway>,
    mut events: mpsc::Receiver<PeerEvent<FileCalls, FileItems>>,
) {
    let stop = gateway.env.stop.clone();
    while let Some(Some(event)) = stop.run_until_cancelled(events.recv()).await {
        if let PeerEvent::Up(link) = event {
            let serving = serve(Arc::clone(&gateway), link);
            gateway.env.tasks.spawn(serving);
        }
    }
}

async fn serve(gateway: Arc<Gateway>, link: Link<FileCalls, FileItems>) {
    let Link {
        tx,
        mut rx,
        peer,
        closed,
    } = link;
    info!(%peer, "a file server is linked");
    let link = gateway.files.add(peer);
    let over = closed.child_token();
    let bound = batch::sending_bound(&gateway.env.config.link);
    let sender = Arc::clone(&link).run(tx, bound, over.clone());
    let sender = gateway.env.tasks.spawn(sender);
    loop {
        let batch = tokio::select! {
            biased;
            () = gateway.env.stop.cancelled() => None,
            batch = rx.recv() => batch,
        };
        let Some(batch) = batch else { break };
        for item in batch.items {
            file::item(&gateway, &link, item);
        }
    }
    gateway.files.remove(link.id);
    link.close();
    over.cancel();
    drop(sender.await);
    if !gateway.env.stop.is_cancelled() {
        closed.cancel();
        warn!(peer = %link.name, "the link to a file server is lost");
    }
    file::link_lost(&gateway, link.id);
}
