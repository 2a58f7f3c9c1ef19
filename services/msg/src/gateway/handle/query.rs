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

/// Passes a request on.
pub(super) fn ask(request: &Request<'_>) {
    let Request {
        gateway,
        conn,
        session,
        command,
        seq,
        body,
    } = *request;
    if validate(command.message(), body).is_err() {
        gateway.env.metrics.refused(Refusal::Malformed);
        return;
    }
    if !gateway.db.is_up() {
        gateway.env.metrics.refused(Refusal::NoDbProxy);
        without_db(request);
        return;
    }
    let query = Query {
        user: session.user.get(),
        origin: session.epoch,
        client_type: session.client.to_wire(),
        command: u32::from(command.id()),
        body: Bytes::copy_from_slice(body),
        takes_parts: true,
    };
    if command == Command::MsgDataReadAck {
        gateway.db.told(query, conn);
    } else {
        gateway.db.query(query, conn, seq);
    }
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
