//! `imd audit`: who changed what.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use im_proto_rpc::v1::{AuditRecord, AuditVerdict, ListAuditRequest, VerifyAuditRequest};
use serde_json::{Value, json};

use crate::admin::Page;
use crate::connect::{ServerArgs, refusal};
use crate::output::{Table, show, tell_more, time};

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imd audit list --data-dir data
  imd audit list --target \"user ann\" --data-dir data
  imd audit verify --data-dir data
  imd audit verify --from 4711:5f0c… --data-dir data     from a row that was noted before")]
pub(crate) struct AuditArgs {
    /// Prints results as JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    server: ServerArgs,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Lists changes, and requests of the HTTP API that were not allowed, the newest first.
    List {
        /// Only by this person or program.
        #[arg(
            long,
            default_value = "",
            hide_default_value = true,
            help_heading = "Which rows"
        )]
        actor: String,
        /// Only of this, as the list shows it, such as "user ann" or "group 7".
        #[arg(
            long,
            default_value = "",
            hide_default_value = true,
            help_heading = "Which rows"
        )]
        target: String,
        /// Only this call, such as AddUser.
        #[arg(
            long,
            default_value = "",
            hide_default_value = true,
            help_heading = "Which rows"
        )]
        action: String,
        #[command(flatten)]
        page: Page,
    },
    /// Follows the chain of hashes, and names the first row that was edited or removed. Note the last row
    /// and its hash elsewhere: whoever can write the database can make a whole chain anew, but not one
    /// with that row in it.
    Verify {
        /// Begins behind this row, as an earlier run named it.
        #[arg(long, value_name = "ROW:HASH", value_parser = place)]
        from: Option<(u64, Vec<u8>)>,
    },
}

/// Bytes of a hash.
const HASH: usize = 32;

fn place(text: &str) -> Result<(u64, Vec<u8>), String> {
    let wanted = || {
        format!(
            "a row is its number and hash, such as 7:{}",
            "0".repeat(2 * HASH)
        )
    };
    let (number, hash) = text.split_once(':').ok_or_else(wanted)?;
    let number = number.parse().map_err(|_| wanted())?;
    if hash.len() != 2 * HASH || !hash.is_ascii() {
        return Err(wanted());
    }
    let pairs = hash.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(pair, 16).ok()
    });
    let hash: Option<Vec<u8>> = pairs.collect();
    Ok((number, hash.ok_or_else(wanted)?))
}

pub(crate) async fn command(args: AuditArgs) -> anyhow::Result<ExitCode> {
    let AuditArgs { json, server, what } = args;
    match what {
        What::List {
            actor,
            target,
            action,
            page,
        } => {
            let request = ListAuditRequest {
                actor,
                target,
                action,
                limit: page.limit,
                cursor: page.cursor,
            };
            list(request, &server, json).await
        }
        What::Verify { from } => verify(from.unwrap_or_default(), &server, json).await,
    }
}

/// Goes on over pages in which nothing was found.
async fn list(
    mut request: ListAuditRequest,
    server: &ServerArgs,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let mut admin = server.connect().await?;
    let list = loop {
        let list = admin.list_audit(request.clone()).await;
        let list = list.map_err(|status| refusal(&status))?.into_inner();
        if !list.rows.is_empty() || list.next.is_empty() {
            break list;
        }
        request.cursor = list.next;
    };
    let value = list.rows.iter().map(as_json).collect();
    show(json, &Value::Array(value), || table(&list.rows));
    tell_more(&list.next);
    Ok(ExitCode::SUCCESS)
}

async fn verify(
    (after, hash): (u64, Vec<u8>),
    server: &ServerArgs,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let mut admin = server.connect().await?;
    let mut request = VerifyAuditRequest {
        after,
        hash: hash.into(),
    };
    let mut rows = 0;
    let end: AuditVerdict = loop {
        let step = admin.verify_audit(request).await;
        let step = step.map_err(|status| refusal(&status))?.into_inner();
        rows += step.rows;
        if !step.more {
            break step;
        }
        request = VerifyAuditRequest {
            after: step.last,
            hash: step.hash,
        };
    };
    let value = json!({
        "good": end.bad == 0,
        "rows": rows,
        "last": end.last,
        "hash": hex(&end.hash),
        "bad": end.bad,
        "reason": end.reason,
    });
    let AuditVerdict {
        last, bad, reason, ..
    } = &end;
    show(json, &value, || {
        let good = format!(
            "{rows} rows are as they were written, up to {last}:{}",
            hex(&end.hash)
        );
        match bad {
            0 => good,
            bad => format!("{good}\nrow {bad} is not: {reason}"),
        }
    });
    Ok(match bad {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

fn hex(bytes: &[u8]) -> String {
    let hex = |text: String, byte: &u8| text + &format!("{byte:02x}");
    bytes.iter().fold(String::new(), hex)
}

fn as_json(row: &AuditRecord) -> Value {
    let object = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
    json!({
        "number": row.number,
        "time": row.time,
        "actor": row.actor,
        "credential": row.credential,
        "address": row.address,
        "request": row.request,
        "action": row.action,
        "target": row.target,
        "before": object(&row.before),
        "after": object(&row.after),
        "outcome": row.outcome,
        "hash": hex(&row.hash),
    })
}

fn table(rows: &[AuditRecord]) -> String {
    let mut table = Table::new(&[
        "row", "time", "actor", "with", "from", "action", "target", "before", "after", "outcome",
    ]);
    for row in rows {
        table.row(vec![
            row.number.to_string(),
            time(row.time),
            row.actor.clone(),
            row.credential.clone(),
            row.address.clone(),
            row.action.clone(),
            row.target.clone(),
            row.before.clone(),
            row.after.clone(),
            row.outcome.clone(),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_named_by_number_and_hash() {
        let hash = "0f".repeat(HASH);
        let named = place(&format!("7:{hash}")).unwrap();
        assert_eq!(named, (7, vec![15; HASH]));
        assert_eq!(hex(&named.1), hash);
        for odd in [
            "",
            "7",
            "7:",
            "x:00",
            &format!("7:{}", "0".repeat(63)),
            &format!("7:{}g", "0".repeat(63)),
        ] {
            assert!(place(odd).is_err(), "{odd}");
        }
    }
}
