//! `imd migrate`: the schema of a store before servers use it.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use im_store::{SchemaState, SchemaStep, StorePlace};
use serde_json::{Value, json};

use crate::cli::ConfigArgs;
use crate::contents::place;
use crate::output::{self, Table};

/// Steps are missing.
const BEHIND: u8 = 3;
/// A later version was here.
const TOO_NEW: u8 = 4;

#[derive(Debug, Subcommand)]
#[command(after_help = "\
Exit codes of status: 0 up to date, 3 steps are missing or there is no store yet, 4 a later version was here, 1 it cannot be read.

Examples:
  imd migrate status --config cluster.toml
  imd migrate plan --store mysql://im@db/im --set mysql.password_file=password
  imd migrate up --data-dir data")]
pub(crate) enum MigrateCommand {
    /// Lists the steps that are missing, and what each does.
    Plan(MigrateArgs),
    /// Says by its exit code whether steps are missing.
    Status(MigrateArgs),
    /// Makes the steps that are missing, while no server uses the store. Servers do the same at their start.
    Up(MigrateArgs),
}

#[derive(Args, Debug)]
pub(crate) struct MigrateArgs {
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(crate) async fn command(command: MigrateCommand) -> anyhow::Result<ExitCode> {
    match command {
        MigrateCommand::Plan(args) => {
            let state = found(&args)?.schema().await?;
            output::show(args.json, &value(&state), || plan(&state));
            Ok(code(&state)
                .filter(|_| state.is_too_new())
                .unwrap_or(ExitCode::SUCCESS))
        }
        MigrateCommand::Status(args) => {
            let state = found(&args)?.schema().await?;
            output::show(args.json, &value(&state), || words(&state));
            Ok(code(&state).unwrap_or(ExitCode::SUCCESS))
        }
        MigrateCommand::Up(args) => up(&args).await,
    }
}

fn found(args: &MigrateArgs) -> anyhow::Result<Box<dyn StorePlace>> {
    Ok(place(&args.config, "there must be a store to look at")?.0)
}

async fn up(args: &MigrateArgs) -> anyhow::Result<ExitCode> {
    let place = found(args)?;
    let before = place.schema().await?;
    let mut done = 0_usize;
    place
        .upgrade(&mut |step| {
            done += 1;
            let most = before.missing.len();
            output::note(&format!(
                "{done} of {most}: step {}, {}",
                step.number, step.name
            ));
        })
        .await?;
    let state = place.schema().await?;
    output::show(args.json, &value(&state), || words(&state));
    Ok(code(&state).unwrap_or(ExitCode::SUCCESS))
}

/// The exit code of a store that is not as this program needs it.
fn code(state: &SchemaState) -> Option<ExitCode> {
    if state.is_too_new() {
        return Some(ExitCode::from(TOO_NEW));
    }
    (!state.missing.is_empty()).then(|| ExitCode::from(BEHIND))
}

fn words(state: &SchemaState) -> String {
    let SchemaState {
        found,
        needed,
        missing,
    } = state;
    match found {
        None => format!("there is no store yet; this program makes one with step {needed}"),
        Some(found) if state.is_too_new() => format!(
            "the store has step {found}, and this program knows {needed}: use the version that was here, or a later one"
        ),
        Some(found) if missing.is_empty() => format!("the store has step {found}, as it should"),
        Some(found) => format!(
            "the store has step {found}, and this program needs {needed}: {} steps are missing",
            missing.len()
        ),
    }
}

fn plan(state: &SchemaState) -> String {
    let mut table = Table::new(&["STEP", "DOES", "SERVERS", "ROWS"]);
    for SchemaStep {
        number,
        name,
        is_online,
        rows,
    } in &state.missing
    {
        let servers = if *is_online {
            "go on"
        } else {
            "are ended first"
        };
        table.row(vec![
            number.to_string(),
            name.clone(),
            servers.to_owned(),
            format!("about {rows}"),
        ]);
    }
    let words = words(state);
    if state.missing.is_empty() {
        words
    } else {
        format!("{words}\n{}", table.render())
    }
}

fn value(state: &SchemaState) -> Value {
    let missing = state.missing.iter().map(|step| {
        json!({
            "number": step.number,
            "name": step.name,
            "online": step.is_online,
            "rows": step.rows,
        })
    });
    json!({
        "found": state.found,
        "needed": state.needed,
        "missing": missing.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(found: Option<u32>, missing: u32) -> SchemaState {
        let step = |number| SchemaStep {
            number,
            name: "bots".to_owned(),
            is_online: false,
            rows: 7,
        };
        SchemaState {
            found,
            needed: 14,
            missing: (0..missing).map(|n| step(14 - missing + 1 + n)).collect(),
        }
    }

    #[test]
    fn the_exit_code_says_whether_steps_are_missing() {
        let code = |found, missing| code(&state(found, missing)).map(|code| format!("{code:?}"));
        let number = |number: u8| Some(format!("{:?}", ExitCode::from(number)));
        assert_eq!(code(Some(14), 0), None);
        assert_eq!(code(Some(12), 2), number(3));
        assert_eq!(code(None, 14), number(3));
        assert_eq!(code(Some(15), 0), number(4));
    }

    #[test]
    fn a_plan_names_each_step_and_what_it_needs() {
        let text = plan(&state(Some(13), 1));
        assert!(
            text.starts_with(
                "the store has step 13, and this program needs 14: 1 steps are missing\n"
            ),
            "{text}"
        );
        assert!(
            text.contains("are ended first") && text.contains("about 7"),
            "{text}"
        );
        assert_eq!(
            plan(&state(Some(14), 0)),
            "the store has step 14, as it should"
        );
        assert!(plan(&state(Some(15), 0)).contains("use the version that was here"));
    }
}
