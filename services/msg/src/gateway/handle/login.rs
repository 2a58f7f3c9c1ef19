//! Login, logout, and kicking the PC from a phone.

use std::sync::Arc;

use bytes::Bytes;
use im_codec::{Command, DecodeError, Violation, decode_checked, encode};
use im_core::{ClientType, TerminalClass, UserId};
use im_proto_rpc::v1::{Audience, Kick, LoginCall, LoginDone, Query};
use im_proto_teamtalk::base::{KickReasonType, ResultType, UserInfo, UserStatType};
use im_proto_teamtalk::login::{
    ImDeviceTokenReq, ImKickPcClientReq, ImKickPcClientRsp, ImLoginReq, ImLoginRes, ImLogoutRsp,
};
use im_trace::{Trace, hop};
use prost::Message;
use tracing::{debug, warn};

use super::Request;
use crate::connection::{CloseReason, Conn, Phase, Session};
use crate::gateway::calls::LoginAttempt;
use crate::gateway::routes::RouteBound;
use crate::gateway::state::Gateway;
use crate::metrics::Refusal;
use crate::requests::Line;
use crate::session::PendingLogin;

const SUCCESS: &str = "成功";
const PEER_MISSING: &str = "服务端异常";
const INTERNAL: &str = "服务端内部错误";
const BAD_CREDENTIALS: &str = "用户名/密码错误";
const BUSY: &str = "服务器繁忙,请稍后再试";

/// Bytes of a name or password that db-proxy is sent, more than it takes under any configuration. It
/// refuses what is longer without a hash, and counts that.
const MAX_CREDENTIAL: usize = 256;

/// Bit of a login's `features`: the client understands a time to wait.
const FEATURE_RETRY_AFTER: u32 = 1;

/// Time that a client is asked to wait when too many logins wait here, milliseconds; each gets up to
/// twice that, so that they do not come back together.
const RETRY_AFTER_MS: u32 = 2_000;

/// Starts a login. A second one on the same connection is ignored, decided or not.
pub(super) fn login(
    gateway: &Arc<Gateway>,
    conn: &Arc<Conn>,
    seq: u16,
    body: &[u8],
    mut line: Line,
) {
    if conn.phase() != Phase::Fresh {
        return;
    }
    let drain = gateway.drain.state();
    if drain.is_closed {
        // As by a server that is gone: after an answer some clients would not look for another one.
        gateway.env.refuse(&mut line, Refusal::Cordoned);
        gateway.finish(conn, None, CloseReason::Finish);
        return;
    }
    let missing = if !gateway.db.is_up() {
        Some(ResultType::RefuseReasonNoDbServer)
    } else if drain.links == 0 {
        Some(ResultType::RefuseReasonNoLoginServer)
    } else if !gateway.routes.table().is_usable() {
        Some(ResultType::RefuseReasonNoRouteServer)
    } else {
        None
    };
    if let Some(reason) = missing {
        refuse_missing(gateway, conn, seq, reason, &mut line);
        return;
    }
    let Some(request) = decode(body) else {
        gateway.env.refuse(&mut line, Refusal::Malformed);
        return;
    };
    let client = u32::try_from(request.client_type)
        .ok()
        .and_then(ClientType::from_wire);
    let Some(client) = client else {
        gateway.env.refuse(&mut line, Refusal::Malformed);
        return;
    };
    if !conn.step(Phase::Fresh, Phase::Asking) {
        return;
    }
    let version = gateway
        .admission
        .version(request.client_version.as_deref().unwrap_or_default());
    let call = LoginCall {
        user_name: cut(request.user_name),
        password: cut(request.password),
        client_type: client.to_wire(),
        client_version: version.as_ref().to_owned(),
        address: conn.remote().to_string(),
    };
    // What is no presence counts as online.
    let status = u8::try_from(request.online_status)
        .ok()
        .filter(|status| (1..=3).contains(status));
    let takes_retry = request.features.unwrap_or_default() & FEATURE_RETRY_AFTER != 0;
    let attempt = LoginAttempt {
        conn: Arc::downgrade(conn),
        seq,
        status: status.unwrap_or(UserStatType::UserStatusOnline as u8),
        client,
        version,
        takes_retry,
        trace: Trace::sample(),
        line,
        place: None,
    };
    match gateway.db.login(call, conn.remote(), attempt) {
        Ok(None) => {}
        Ok(Some(loser)) => {
            gateway.env.metrics.refused(Refusal::Busy);
            if let Some(conn) = loser.conn.upgrade() {
                busy(gateway, &conn, loser.seq, loser.takes_retry, retry_after());
            }
        }
        Err(mut attempt) => {
            gateway.env.refuse(&mut attempt.line, Refusal::Busy);
            busy(gateway, conn, seq, takes_retry, retry_after());
        }
    }
}

/// When a client may try again, milliseconds.
fn retry_after() -> u32 {
    RETRY_AFTER_MS + rand::random_range(0..RETRY_AFTER_MS)
}

/// Cuts what no account has; it stays longer than any account's.
fn cut(mut text: String) -> String {
    text.truncate(text.ceil_char_boundary(MAX_CREDENTIAL));
    text
}

/// Reads a login. The wanted presence may be any number.
fn decode(body: &[u8]) -> Option<ImLoginReq> {
    let body = Bytes::copy_from_slice(body);
    match decode_checked::<ImLoginReq>(body.clone()) {
        Ok(request) => Some(request),
        Err(DecodeError::Violation(Violation::Missing {
            field: "online_status",
            ..
        })) => {
            let request = ImLoginReq::decode(body).ok()?;
            let is_given = UserStatType::try_from(request.online_status).is_err();
            (is_given && !request.user_name.is_empty()).then_some(request)
        }
        Err(_) => None,
    }
}

/// Tells a client that its login cannot be checked in time. Original clients get no answer, only the
/// end: whatever code they get reads as a wrong password on Android and hangs iOS.
fn busy(gateway: &Arc<Gateway>, conn: &Arc<Conn>, seq: u16, takes_retry: bool, wait: u32) {
    let frame = takes_retry.then(|| {
        let answer = ImLoginRes {
            server_time: im_core::time::UnixSeconds::now().get(),
            result_code: ResultType::RefuseReasonMsgServerFull as i32,
            result_string: Some(BUSY.to_owned()),
            retry_after_ms: Some(wait),
            ..ImLoginRes::default()
        };
        encode(Command::LoginRes, seq, &answer)
    });
    gateway.finish(conn, frame, CloseReason::Finish);
}

fn refuse(gateway: &Arc<Gateway>, conn: &Arc<Conn>, seq: u16, code: ResultType, text: &str) {
    let answer = ImLoginRes {
        server_time: im_core::time::UnixSeconds::now().get(),
        result_code: code as i32,
        result_string: Some(text.to_owned()),
        ..ImLoginRes::default()
    };
    let frame = encode(Command::LoginRes, seq, &answer);
    gateway.finish(conn, Some(frame), CloseReason::Finish);
}

fn refuse_missing(
    gateway: &Arc<Gateway>,
    conn: &Arc<Conn>,
    seq: u16,
    code: ResultType,
    line: &mut Line,
) {
    gateway.env.refuse(line, Refusal::PeerMissing);
    debug!(remote = %conn.remote(), reason = code.as_str_name(), "login refused");
    refuse(gateway, conn, seq, code, PEER_MISSING);
}

/// Refuses a login whose db-proxy is gone.
pub(crate) fn refuse_no_db(gateway: &Arc<Gateway>, conn: &Arc<Conn>, attempt: &mut LoginAttempt) {
    let (seq, code) = (attempt.seq, ResultType::RefuseReasonNoDbServer);
    refuse_missing(gateway, conn, seq, code, &mut attempt.line);
}

/// Refuses a login whose route server is gone.
pub(crate) fn refuse_no_route(gateway: &Arc<Gateway>, login: &mut PendingLogin) {
    let answer = &login.answer;
    let seq = answer
        .first_chunk()
        .map_or(0, |header| im_codec::Header::parse(header).seq);
    let code = ResultType::RefuseReasonNoRouteServer;
    refuse_missing(gateway, &login.conn, seq, code, &mut login.line);
}

/// db-proxy has decided about a login.
pub(crate) fn login_done(gateway: &Arc<Gateway>, attempt: LoginAttempt, done: LoginDone) {
    let LoginAttempt {
        conn,
        seq,
        status,
        client,
        version,
        takes_retry,
        trace,
        mut line,
        place: _,
    } = attempt;
    line.of(done.user_id);
    hop!(
        root: trace,
        "login",
        user = done.user_id,
        client = ?client,
        result = done.result_code,
        retry_after_ms = done.retry_after_ms
    );
    let Some(conn) = conn.upgrade().filter(|conn| conn.phase() == Phase::Asking) else {
        return;
    };
    if done.retry_after_ms != 0 {
        gateway.env.refuse(&mut line, Refusal::Busy);
        busy(gateway, &conn, seq, takes_retry, done.retry_after_ms);
        return;
    }
    if done.result_code != 0 {
        gateway.env.refuse(&mut line, Refusal::Credentials);
        let text = match done.result_string.as_str() {
            "" => BAD_CREDENTIALS,
            text => text,
        };
        refuse(
            gateway,
            &conn,
            seq,
            ResultType::RefuseReasonDbValidateFailed,
            text,
        );
        return;
    }
    let (Some(user), Ok(info)) = (
        UserId::from_wire(done.user_id),
        UserInfo::decode(done.user_info.clone()),
    ) else {
        warn!(
            user = done.user_id,
            "db-proxy accepted a login without a usable user record"
        );
        refuse(
            gateway,
            &conn,
            seq,
            ResultType::RefuseReasonDbValidateFailed,
            INTERNAL,
        );
        return;
    };
    let answer = ImLoginRes {
        server_time: im_core::time::UnixSeconds::now().get(),
        result_code: ResultType::RefuseReasonNone as i32,
        result_string: Some(SUCCESS.to_owned()),
        online_status: Some(i32::from(status)),
        user_info: Some(info),
        retry_after_ms: None,
    };
    let answer = encode(Command::LoginRes, seq, &answer);
    let login_ms = match done.login_ms {
        0 => im_core::time::unix_millis(),
        said => said,
    };
    conn.bind(Session::new(
        user,
        crate::ids::random_id(),
        client,
        status,
        login_ms,
        version,
    ));
    if let Err(mut line) = gateway.register(&conn, answer, line) {
        let code = ResultType::RefuseReasonNoRouteServer;
        refuse_missing(gateway, &conn, seq, code, &mut line);
    }
}

/// Ends the session. A phone's push token goes with it.
pub(super) fn logout(request: &Request<'_>) {
    let Request {
        gateway,
        conn,
        session,
        seq,
        ..
    } = *request;
    if session.class() == TerminalClass::Mobile && gateway.db.is_up() {
        let body = ImDeviceTokenReq {
            user_id: session.user.get(),
            device_token: String::new(),
            client_type: Some(i32::from(session.client as u8)),
            attach_data: None,
        };
        let query = Query {
            user: session.user.get(),
            origin: session.epoch,
            client_type: session.client.to_wire(),
            command: u32::from(Command::DeviceTokenReq.id()),
            body: Bytes::from(body.encode_to_vec()),
            takes_parts: true,
        };
        gateway.db.tell(query);
    }
    debug!(user = %session.user, epoch = session.epoch, "signed out");
    let answer = encode(Command::LogoutRsp, seq, &ImLogoutRsp { result_code: 0 });
    gateway.finish(conn, Some(answer), CloseReason::Finish);
}

/// Ends the session on the user's PC, wherever it is. Phones only.
pub(super) fn kick_pc(request: &Request<'_>) {
    let Request {
        gateway, session, ..
    } = *request;
    if session.class() != TerminalClass::Mobile {
        return;
    }
    if request.decode::<ImKickPcClientReq>().is_none() {
        return;
    }
    let reason = KickReasonType::KickReasonMobileKick as u32;
    let kick = Kick {
        user: request.user(),
        epoch: 0,
        audience: Audience::Pc as i32,
        except: session.epoch,
        reason,
    };
    match gateway.routes.table().owner(session.user) {
        Some(link) => {
            if !link.kick(kick, RouteBound::of(&gateway.env.config)) {
                request.refuse(Refusal::RouteQueue);
            }
        }
        None => {
            let mut pcs: Vec<Arc<Conn>> = Vec::new();
            gateway.sessions.of_user(request.user(), |other| {
                if other
                    .session()
                    .is_some_and(|other| other.class() == TerminalClass::Pc)
                {
                    pcs.push(Arc::clone(other));
                }
            });
            for pc in pcs {
                gateway.kick(&pc, reason);
            }
        }
    }
    let answer = ImKickPcClientRsp {
        user_id: request.user(),
        result_code: 0,
    };
    request.answer(Command::KickPcClientRsp, &answer);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_account_has_is_cut_and_still_too_long() {
        assert_eq!(cut("u".repeat(255)), "u".repeat(255));
        assert_eq!(cut("u".repeat(1_000)).len(), MAX_CREDENTIAL);
        assert_eq!(cut("用".repeat(1_000)).len(), MAX_CREDENTIAL + 2);
    }
}
