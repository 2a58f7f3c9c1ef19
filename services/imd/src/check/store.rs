//! Whether what a store holds fits together.

use std::process::ExitCode;

use anyhow::bail;

use crate::cli::ConfigArgs;
use crate::contents::place;
use crate::output;
use crate::teamtalk::Progress;

/// Reads all of it, and ends with a failure when something does not fit.
pub(super) async fn run(args: &ConfigArgs, json: bool) -> anyhow::Result<ExitCode> {
    let (place, name) = place(args, "name two people, or a store to look at")?;
    if place.schema().await?.found.is_none() {
        bail!("there is no store at {name}");
    }
    let store = place.open().await?;
    let mut progress = Progress::start();
    let found = im_migrate::inspect(store.as_ref(), &mut |told| progress.show(told)).await;
    let closed = store.close().await;
    progress.end();
    let found = found?;
    closed?;
    if json {
        output::print_json(&serde_json::to_value(&found)?);
    } else {
        for line in found.words() {
            output::print(&line);
        }
    }
    Ok(if found.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
