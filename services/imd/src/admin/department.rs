//! `imd admin department`. Imports make departments.

use clap::Subcommand;
use im_proto_rpc::v1::{
    DepartmentRecord, ListDepartmentsRequest, MoveDepartmentRequest, RemoveDepartmentRequest,
    RenameDepartmentRequest,
};
use serde_json::{Value, json};

use super::{Judge, Page};
use crate::connect::{ServerArgs, refusal};
use crate::output::{Table, show, tell_dry_run, tell_more};

#[derive(Debug, Subcommand)]
pub(super) enum DepartmentCommand {
    /// Lists departments, by path, and how many people are in each.
    List {
        #[command(flatten)]
        page: Page,
    },
    /// Gives a department another name; people and departments below it stay in it.
    Rename {
        /// Path such as Company/Research.
        path: String,
        /// The new last name of the path.
        name: String,
        #[command(flatten)]
        judge: Judge,
    },
    /// Puts a department, with its people and whatever is below it, under another one.
    Move {
        /// Path such as Company/Research.
        path: String,
        /// Path of the department that it is put under; "" for none.
        into: String,
        #[command(flatten)]
        judge: Judge,
    },
    /// Takes a department out of everybody's tree; an import that names it brings it back.
    Remove {
        /// Path such as Company/Research.
        path: String,
        /// Path of the department that its people move to; without it there must be nobody in it.
        #[arg(
            long,
            value_name = "PATH",
            default_value = "",
            hide_default_value = true
        )]
        into: String,
        #[command(flatten)]
        judge: Judge,
    },
}

pub(super) async fn run(
    command: DepartmentCommand,
    server: &ServerArgs,
    json: bool,
) -> anyhow::Result<()> {
    let mut admin = server.connect().await?;
    let (done, answer, dry_run) = match command {
        DepartmentCommand::List { page } => {
            let request = ListDepartmentsRequest {
                limit: page.limit,
                cursor: page.cursor,
            };
            let list = admin.list_departments(request).await;
            let list = list.map_err(|status| refusal(&status))?.into_inner();
            let value = Value::Array(list.departments.iter().map(as_json).collect());
            show(json, &value, || table(&list.departments));
            tell_more(&list.next);
            return Ok(());
        }
        DepartmentCommand::Rename { path, name, judge } => {
            let dry_run = judge.dry_run;
            let request = RenameDepartmentRequest {
                path,
                name,
                dry_run,
                ..RenameDepartmentRequest::default()
            };
            let answer = admin.rename_department(request).await;
            ("renamed", answer, dry_run)
        }
        DepartmentCommand::Move { path, into, judge } => {
            let dry_run = judge.dry_run;
            let request = MoveDepartmentRequest {
                path,
                into,
                dry_run,
                ..MoveDepartmentRequest::default()
            };
            ("moved", admin.move_department(request).await, dry_run)
        }
        DepartmentCommand::Remove { path, into, judge } => {
            let dry_run = judge.dry_run;
            let request = RemoveDepartmentRequest {
                path,
                into,
                dry_run,
                ..RemoveDepartmentRequest::default()
            };
            let answer = admin.remove_department(request).await;
            ("removed", answer, dry_run)
        }
    };
    let department = answer.map_err(|status| refusal(&status))?.into_inner();
    tell_dry_run(dry_run);
    show(json, &as_json(&department), || {
        let table = table(std::slice::from_ref(&department));
        if dry_run {
            table
        } else {
            format!("{done}:\n{table}")
        }
    });
    Ok(())
}

fn as_json(department: &DepartmentRecord) -> Value {
    json!({
        "id": department.id,
        "path": department.path,
        "people": department.people,
    })
}

fn table(departments: &[DepartmentRecord]) -> String {
    let mut table = Table::new(&["id", "path", "people"]);
    for department in departments {
        table.row(vec![
            department.id.to_string(),
            department.path.clone(),
            department.people.to_string(),
        ]);
    }
    table.render()
}
