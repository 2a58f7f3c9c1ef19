//! `imd admin session`.

use clap::Subcommand;
use im_core::{ClientType, Epoch};
use im_proto_rpc::v1::{
    KickSessionRequest, ListSessionsRequest, SessionInfo, SessionsReply, sessions_reply,
};
use serde_json::{Value, json};

use super::{Judge, Page};
use crate::connect::{ServerArgs, refusal};
use crate::output::{Table, show, tell_dry_run, tell_more};

#[derive(Debug, Subcommand)]
pub(super) enum SessionCommand {
    /// Lists who is logged in, where and with what.
    List {
        /// Only sessions of this user.
        #[arg(long, default_value = "", hide_default_value = true)]
        user: String,
        #[command(flatten)]
        page: Page,
    },
    /// Ends sessions of a user.
    Kick {
        /// Login name.
        user: String,
        /// Only this session, as the list shows it; by default all.
        #[arg(long, value_parser = epoch)]
        epoch: Option<u64>,
        #[command(flatten)]
        judge: Judge,
    },
}

fn epoch(text: &str) -> Result<u64, String> {
    match u64::from_str_radix(text, 16) {
        Ok(0) | Err(_) => Err("an epoch is a hexadecimal number other than 0".to_owned()),
        Ok(epoch) => Ok(epoch),
    }
}

pub(super) async fn run(
    command: SessionCommand,
    server: &ServerArgs,
    json: bool,
) -> anyhow::Result<()> {
    let mut admin = server.connect().await?;
    match command {
        SessionCommand::List { user, page } => {
            let request = ListSessionsRequest {
                user,
                limit: page.limit,
                cursor: page.cursor,
            };
            let answer = admin.list_sessions(request).await;
            let SessionsReply { sessions, next } =
                answer.map_err(|status| refusal(&status))?.into_inner();
            let value = Value::Array(sessions.iter().filter_map(as_json).collect());
            show(json, &value, || table(&sessions));
            tell_more(&next);
        }
        SessionCommand::Kick { user, epoch, judge } => {
            let request = KickSessionRequest {
                user,
                epoch: epoch.unwrap_or(0),
                dry_run: judge.dry_run,
                ..KickSessionRequest::default()
            };
            let answer = admin.kick_session(request).await;
            let ended = answer
                .map_err(|status| refusal(&status))?
                .into_inner()
                .sessions;
            tell_dry_run(judge.dry_run);
            show(json, &json!({"sessions": ended}), || {
                let verb = if judge.dry_run { "would end" } else { "ended" };
                format!("{ended} sessions {verb}")
            });
        }
    }
    Ok(())
}

fn as_json(session: &sessions_reply::Session) -> Option<Value> {
    let info = session.info.as_ref()?;
    Some(json!({
        "user": session.user,
        "id": info.user,
        "epoch": Epoch(info.epoch).to_string(),
        "terminal": terminal(info),
        "server": info.server,
        "address": info.address,
        "client_version": info.client_version,
        "login_ms": info.login_ms,
    }))
}

fn terminal(info: &SessionInfo) -> String {
    ClientType::from_wire(info.client_type).map_or_else(
        || info.client_type.to_string(),
        |kind| format!("{kind:?}").to_lowercase(),
    )
}

fn table(sessions: &[sessions_reply::Session]) -> String {
    let mut table = Table::new(&[
        "user", "id", "epoch", "terminal", "server", "address", "version",
    ]);
    for session in sessions {
        if let Some(info) = &session.info {
            table.row(vec![
                session.user.clone(),
                info.user.to_string(),
                Epoch(info.epoch).to_string(),
                terminal(info),
                info.server.clone(),
                info.address.clone(),
                info.client_version.clone(),
            ]);
        }
    }
    table.render()
}
