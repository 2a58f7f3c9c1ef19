//! Which sessions a kick ends.

use std::sync::Arc;

use im_core::TerminalClass;
use im_proto_rpc::v1::{Audience, Kick};

use super::sessions::{PendingLogin, Sessions};
use crate::connection::{Conn, Session};

/// Whether an audience includes this session.
pub(crate) fn is_meant(audience: Audience, session: &Session) -> bool {
    match audience {
        Audience::All => true,
        Audience::Pc => session.class() == TerminalClass::Pc,
        Audience::Mobile => session.class() == TerminalClass::Mobile,
    }
}

fn is_selected(kick: &Kick, conn: &Conn) -> bool {
    conn.session().is_some_and(|session| {
        session.user.get() == kick.user
            && session.epoch != kick.except
            && match kick.epoch {
                0 => is_meant(kick.audience(), session),
                epoch => session.epoch == epoch,
            }
    })
}

/// The registered sessions that a kick ends.
pub(crate) fn registered(sessions: &Sessions, kick: &Kick) -> Vec<Arc<Conn>> {
    let mut selected = Vec::new();
    sessions.of_user(kick.user, |conn| {
        if is_selected(kick, conn) {
            selected.push(Arc::clone(conn));
        }
    });
    selected
}

/// Takes out the pending logins that a kick ends.
pub(crate) fn pending(sessions: &Sessions, kick: &Kick) -> Vec<PendingLogin> {
    let mut pending = sessions.pending();
    pending
        .extract_if(|_, login| is_selected(kick, &login.conn))
        .map(|(_, login)| login)
        .collect()
}
