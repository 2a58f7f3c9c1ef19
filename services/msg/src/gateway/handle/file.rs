//! File requests, answered as the original does without a file server.

use im_codec::{Command, validate};
use im_proto_teamtalk::file::{ImFileHasOfflineRsp, ImFileReq, ImFileRsp};

use super::Request;
use crate::metrics::Refusal;

const FAILED: u32 = 1;

/// Answers a file request; the two that the protocol leaves unanswered stay so.
pub(super) fn answer(request: &Request<'_>) {
    match request.command {
        Command::FileReq => {
            let Some(asked) = request.decode::<ImFileReq>() else {
                return;
            };
            request.answer(
                Command::FileRsp,
                &ImFileRsp {
                    result_code: FAILED,
                    from_user_id: request.user(),
                    to_user_id: asked.to_user_id,
                    // Unchanged: the Windows client opens this path again.
                    file_name: asked.file_name,
                    task_id: String::new(),
                    ip_addr_list: Vec::new(),
                    trans_mode: asked.trans_mode,
                },
            );
        }
        Command::FileHasOfflineReq => {
            if validate(request.command.message(), request.body).is_err() {
                request.gateway.env.metrics.refused(Refusal::Malformed);
                return;
            }
            request.answer(
                Command::FileHasOfflineRsp,
                &ImFileHasOfflineRsp {
                    user_id: request.user(),
                    ..ImFileHasOfflineRsp::default()
                },
            );
        }
        _ => {}
    }
}
