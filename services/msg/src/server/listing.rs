//! Sessions in pages, in an order that all msg servers share: by slice of the registry, then user, then
//! epoch. So a page looks at the slices it needs, and the last one costs what the first does.

use std::sync::Arc;

use im_core::ClientType;
use im_proto_rpc::v1::{MonitorSessions, PlacedSession, SessionPlace, SessionsAsk};

use crate::connection::{Conn, Session};
use crate::gateway::Gateway;
use crate::session::slice_of;

/// Most sessions of a page.
const MAX_PAGE: u32 = 1_000;

/// Where a session stands.
type Place = (usize, u32, u64);

fn place_of(session: &Session) -> Place {
    let user = session.user.get();
    (slice_of(user), user, session.epoch)
}

/// Whether a session is asked for, wherever the page begins.
fn is_meant(ask: &SessionsAsk, session: &Session) -> bool {
    (ask.user == 0 || ask.user == session.user.get())
        && (ask.client_type == 0 || ClientType::from_wire(ask.client_type) == Some(session.client))
        && (ask.epoch == 0 || ask.epoch == session.epoch)
}

/// A page of the sessions that are asked for.
pub(super) async fn page(gateway: &Gateway, ask: &SessionsAsk) -> MonitorSessions {
    let limit = ask.limit.clamp(1, MAX_PAGE) as usize;
    let after: Option<Place> = ask.after.as_ref().map(|place| {
        let part = usize::try_from(place.part).unwrap_or(usize::MAX);
        (part, place.user, place.epoch)
    });
    let mut found = MonitorSessions::default();
    let only = (ask.user != 0).then(|| slice_of(ask.user));
    let mut slice = after.map_or(0, |(part, ..)| part).max(only.unwrap_or(0));
    loop {
        let mut here: Vec<(Place, Arc<Conn>)> = Vec::new();
        let exists = gateway.sessions.slice(slice, |conn| {
            if let Some(session) = conn.session().filter(|session| is_meant(ask, session)) {
                let place = place_of(session);
                if after.is_none_or(|after| place > after) {
                    here.push((place, Arc::clone(conn)));
                }
            }
        });
        if !exists {
            return found;
        }
        here.sort_unstable_by_key(|(place, _)| *place);
        for (place, conn) in here {
            if found.sessions.len() == limit {
                found.more = true;
                return found;
            }
            found.sessions.extend(placed(gateway, place, &conn));
        }
        if only.is_some() {
            return found;
        }
        slice += 1;
        // Others get their turn between two slices.
        tokio::task::yield_now().await;
    }
}

fn placed(gateway: &Gateway, (part, user, epoch): Place, conn: &Conn) -> Option<PlacedSession> {
    let session = conn.session()?;
    let info = session.info(&gateway.env.name, conn.remote().to_string());
    Some(PlacedSession {
        place: Some(SessionPlace {
            part: u32::try_from(part).unwrap_or(u32::MAX),
            user,
            epoch,
        }),
        session: Some(info),
    })
}
