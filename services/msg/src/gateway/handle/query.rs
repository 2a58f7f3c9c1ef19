//! Requests that db-proxy answers, and what is answered while there is none.

use bytes::Bytes;
use im_codec::{Command, validate};
use im_proto_rpc::v1::Query;
use im_proto_teamtalk::group::{
    ImGroupChangeMemberReq, ImGroupChangeMemberRsp, ImGroupCreateReq, ImGroupCreateRsp,
    ImGroupInfoListRsp, ImGroupShieldReq, ImGroupShieldRsp, ImNormalGroupListRsp,
};
use im_proto_teamtalk::login::ImDeviceTokenRsp;

use super::Request;
use crate::metrics::Refusal;

const FAILED: u32 = 1;

/// Passes a request on that is answered.
pub(super) fn ask(request: &Request<'_>) {
    if let Some(query) = query(request) {
        let line = request.line.take();
        request
            .gateway
            .db
            .query(query, request.conn, request.seq, line);
    }
}

/// Passes a request on that has no answer.
pub(super) fn tell(request: &Request<'_>) {
    if let Some(query) = query(request) {
        request
            .gateway
            .db
            .told(query, request.conn, request.line.take());
    }
}

/// What db-proxy is asked; `None` for what is malformed, and where there is no db-proxy, for which the
/// client has its answer then.
fn query(request: &Request<'_>) -> Option<Query> {
    let Request {
        gateway,
        session,
        command,
        body,
        ..
    } = *request;
    if validate(command.message(), body).is_err() {
        request.refuse(Refusal::Malformed);
        return None;
    }
    if !gateway.db.is_up() {
        request.refuse(Refusal::NoDbProxy);
        without_db(request);
        return None;
    }
    Some(Query {
        user: session.user.get(),
        origin: session.epoch,
        client_type: session.client.to_wire(),
        command: u32::from(command.id()),
        body: Bytes::copy_from_slice(body),
        takes_parts: true,
    })
}

/// Answers as the original does without a database; most requests stay unanswered.
fn without_db(request: &Request<'_>) {
    let user_id = request.user();
    match request.command {
        Command::DeviceTokenReq => {
            request.answer(
                Command::DeviceTokenRsp,
                &ImDeviceTokenRsp {
                    user_id,
                    attach_data: None,
                },
            );
        }
        Command::NormalGroupListReq => {
            request.answer(
                Command::NormalGroupListRsp,
                &ImNormalGroupListRsp {
                    user_id,
                    ..ImNormalGroupListRsp::default()
                },
            );
        }
        Command::GroupInfoListReq => {
            request.answer(
                Command::GroupInfoListRsp,
                &ImGroupInfoListRsp {
                    user_id,
                    ..ImGroupInfoListRsp::default()
                },
            );
        }
        Command::GroupCreateReq => {
            let Some(asked) = request.decode::<ImGroupCreateReq>() else {
                return;
            };
            request.answer(
                Command::GroupCreateRsp,
                &ImGroupCreateRsp {
                    user_id,
                    result_code: FAILED,
                    group_name: asked.group_name,
                    ..ImGroupCreateRsp::default()
                },
            );
        }
        Command::GroupChangeMemberReq => {
            let Some(asked) = request.decode::<ImGroupChangeMemberReq>() else {
                return;
            };
            request.answer(
                Command::GroupChangeMemberRsp,
                &ImGroupChangeMemberRsp {
                    user_id,
                    change_type: asked.change_type,
                    result_code: FAILED,
                    group_id: asked.group_id,
                    ..ImGroupChangeMemberRsp::default()
                },
            );
        }
        Command::GroupShieldReq => {
            let Some(asked) = request.decode::<ImGroupShieldReq>() else {
                return;
            };
            request.answer(
                Command::GroupShieldRsp,
                &ImGroupShieldRsp {
                    user_id,
                    group_id: asked.group_id,
                    result_code: FAILED,
                    attach_data: None,
                },
            );
        }
        _ => {}
    }
}
