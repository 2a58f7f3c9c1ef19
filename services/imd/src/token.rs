//! `imd token`: tokens of the HTTP API.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use im_proto_rpc::v1::{CreateTokenRequest, ListTokensRequest, RevokeTokenRequest, TokenRecord};
use serde_json::{Value, json};

use crate::admin::{Judge, Page};
use crate::connect::{ServerArgs, refusal};
use crate::output::{Table, note, show, tell_dry_run, tell_more, time};

/// Seconds of a day.
const DAY: u32 = 86_400;

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  imd token create wiki --scope users:read --scope groups:read --data-dir data
  imd token create backup-job --scope users:read --days 30 --address 192.0.2.0/24 --data-dir data
  imd token list --data-dir data
  imd token revoke 7 --data-dir data        refused by every http-api within 5 seconds")]
pub(crate) struct TokenArgs {
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
    /// Makes a token and prints it: nobody is told again what it is.
    Create(CreateArgs),
    /// Lists tokens, the newest first; those that ended stay in the list for a month.
    List {
        /// Only those of this person or program.
        #[arg(long, default_value = "", hide_default_value = true)]
        owner: String,
        #[command(flatten)]
        page: Page,
    },
    /// Ends a token.
    Revoke {
        /// Its number, as the list shows it; the first one inside the token.
        id: u32,
        #[command(flatten)]
        judge: Judge,
    },
}

#[derive(Args, Debug)]
struct CreateArgs {
    /// Whose it is: a person or a program.
    owner: String,
    /// What it allows, such as users:read; repeatable. A wrong one is answered with all there are.
    #[arg(long = "scope", required = true, value_name = "SCOPE")]
    scopes: Vec<String>,
    /// What it is for.
    #[arg(long, default_value = "", hide_default_value = true)]
    label: String,
    /// How long it is good, days.
    #[arg(
        long,
        default_value_t = 90,
        value_parser = clap::value_parser!(u32).range(1..=3_650),
        help_heading = "Where and how long"
    )]
    days: u32,
    /// Address or network that it is good from, such as 192.0.2.0/24; repeatable. Without it from
    /// everywhere.
    #[arg(
        long = "address",
        value_name = "ADDRESS",
        help_heading = "Where and how long"
    )]
    addresses: Vec<String>,
    #[command(flatten)]
    judge: Judge,
}

pub(crate) async fn command(args: TokenArgs) -> anyhow::Result<ExitCode> {
    let TokenArgs { json, server, what } = args;
    match what {
        What::Create(args) => create(args, &server, json).await?,
        What::List { owner, page } => {
            let request = ListTokensRequest {
                owner,
                limit: page.limit,
                cursor: page.cursor,
            };
            let list = server.connect().await?.list_tokens(request).await;
            let list = list.map_err(|status| refusal(&status))?.into_inner();
            let value = list.tokens.iter().map(as_json).collect();
            show(json, &Value::Array(value), || table(&list.tokens));
            tell_more(&list.next);
        }
        What::Revoke { id, judge } => {
            let dry_run = judge.dry_run;
            let request = RevokeTokenRequest { id, dry_run };
            let token = server.connect().await?.revoke_token(request).await;
            let token = token.map_err(|status| refusal(&status))?.into_inner();
            tell_dry_run(dry_run);
            show(json, &as_json(&token), || {
                table(std::slice::from_ref(&token))
            });
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn create(args: CreateArgs, server: &ServerArgs, json: bool) -> anyhow::Result<()> {
    let dry_run = args.judge.dry_run;
    let request = CreateTokenRequest {
        owner: args.owner,
        label: args.label,
        scopes: args.scopes,
        seconds: args.days.saturating_mul(DAY),
        addresses: args.addresses,
        dry_run,
    };
    let made = server.connect().await?.create_token(request).await;
    let made = made.map_err(|status| refusal(&status))?.into_inner();
    let token = made.token.unwrap_or_default();
    tell_dry_run(dry_run);
    let mut value = as_json(&token);
    if let Some(value) = value.as_object_mut() {
        value.insert("token".to_owned(), made.secret.clone().into());
    }
    if !dry_run {
        note("keep it now: it is not shown again");
    }
    show(json, &value, || {
        if dry_run {
            table(std::slice::from_ref(&token))
        } else {
            made.secret.clone()
        }
    });
    Ok(())
}

fn as_json(token: &TokenRecord) -> Value {
    json!({
        "id": token.id,
        "owner": token.owner,
        "label": token.label,
        "scopes": token.scopes,
        "addresses": token.addresses,
        "created": token.created,
        "expires": token.expires,
        "revoked": token.revoked,
        "used": token.used,
        "made_by": token.made_by,
    })
}

fn table(tokens: &[TokenRecord]) -> String {
    let mut table = Table::new(&[
        "id", "owner", "label", "scopes", "from", "expires", "used", "state",
    ]);
    let day = |seconds: u32| match seconds {
        0 => "never".to_owned(),
        seconds => time(seconds).chars().take(10).collect(),
    };
    let now = im_core::time::UnixSeconds::now().get();
    for token in tokens {
        let state = match token {
            TokenRecord { revoked: 1.., .. } => "revoked",
            TokenRecord { expires, .. } if *expires <= now => "expired",
            _ => "good",
        };
        table.row(vec![
            token.id.to_string(),
            token.owner.clone(),
            token.label.clone(),
            token.scopes.join(" "),
            token.addresses.join(" "),
            day(token.expires),
            day(token.used),
            state.to_owned(),
        ]);
    }
    table.render()
}
