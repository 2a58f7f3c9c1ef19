//! What an import did, or would do, for people and for programs.

use std::fs::File;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use im_core::text::printable;
use im_proto_rpc::v1::{FieldChange, ImportReport, PersonChange};
use serde_json::{Value, json};

use crate::output;

/// Lines of each kind on a terminal.
const LINES_ON_A_TERMINAL: usize = 20;

/// The file that takes the whole report; made before anything is imported.
pub(super) struct ReportFile(Option<(PathBuf, File)>);

impl ReportFile {
    pub(super) fn create(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else {
            return Ok(Self(None));
        };
        let file =
            File::create(path).with_context(|| format!("make report file {}", path.display()))?;
        Ok(Self(Some((path.to_owned(), file))))
    }

    /// Writes the whole report, as text or as JSON.
    pub(super) fn write(self, outcome: &Outcome, json: bool) -> anyhow::Result<()> {
        let Some((path, mut file)) = self.0 else {
            return Ok(());
        };
        let text = if json {
            output::json(&outcome.as_json())
        } else {
            let lines = outcome.errors().chain(outcome.changes());
            let lines: Vec<String> = lines.chain([outcome.summary()]).collect();
            lines.join("\n")
        };
        writeln!(file, "{text}").with_context(|| format!("write report file {}", path.display()))
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) report: ImportReport,
    pub(super) changes: Vec<PersonChange>,
}

impl Outcome {
    /// Prints it. On a terminal long lists end early; `--report` has them whole.
    pub(super) fn show(&self, json: bool) {
        if json {
            output::print_json(&self.as_json());
            return;
        }
        let terminal = std::io::stderr().is_terminal();
        list(self.errors(), terminal, output::note);
        if self.report.errors_left_out > 0 {
            let more = self.report.errors_left_out;
            output::note(&format!("… and {more} more errors than a report has"));
        }
        for twins in &self.report.twins {
            output::note(&format!(
                "warning: different people have names that look alike: {}",
                printable(&twins.names.join(", "))
            ));
        }
        if self.report.dry_run && self.report.errors.is_empty() {
            let terminal = std::io::stdout().is_terminal();
            list(self.changes(), terminal, output::print);
        }
        if self.report.errors.is_empty() {
            output::print(&self.summary());
        } else {
            output::note(&self.summary());
        }
    }

    fn errors(&self) -> impl Iterator<Item = String> {
        let errors = self.report.errors.iter();
        errors.map(|error| format!("line {}: {}", error.line, printable(&error.message)))
    }

    fn changes(&self) -> impl Iterator<Item = String> {
        self.changes.iter().map(|change| {
            let kind = if change.added { "added" } else { "changed" };
            let fields: Vec<String> = change
                .fields
                .iter()
                .map(|field| field_text(change.added, field))
                .collect();
            let (line, name) = (change.line, printable(&change.name));
            let fields = fields.join("; ");
            format!("line {line}: {kind} {name}  {fields}")
                .trim_end()
                .to_owned()
        })
    }

    fn summary(&self) -> String {
        let ImportReport {
            added,
            updated,
            unchanged,
            departments_added,
            errors,
            errors_left_out,
            dry_run,
            ..
        } = &self.report;
        if !errors.is_empty() {
            let lines = errors.len() as u64 + u64::from(*errors_left_out);
            return format!("nothing imported, bad lines: {lines}");
        }
        let kind = if *dry_run {
            "dry run, nothing imported: "
        } else {
            ""
        };
        format!(
            "{kind}{added} added, {updated} updated, {unchanged} unchanged, {departments_added} \
             departments added"
        )
    }

    fn as_json(&self) -> Value {
        let report = &self.report;
        let errors = report.errors.iter();
        let errors = errors.map(|error| json!({"line": error.line, "message": error.message}));
        let changes = self.changes.iter().map(|change| {
            let fields = change.fields.iter().map(
                |field| json!({"field": field.field, "before": field.before, "after": field.after}),
            );
            json!({
                "line": change.line,
                "name": change.name,
                "added": change.added,
                "fields": fields.collect::<Vec<_>>(),
            })
        });
        let twins = report.twins.iter().map(|twins| json!(twins.names));
        json!({
            "applied": report.applied,
            "dry_run": report.dry_run,
            "added": report.added,
            "updated": report.updated,
            "unchanged": report.unchanged,
            "departments_added": report.departments_added,
            "changes": changes.collect::<Vec<_>>(),
            "errors": errors.collect::<Vec<_>>(),
            "errors_left_out": report.errors_left_out,
            "look_alike_names": twins.collect::<Vec<_>>(),
        })
    }
}

fn field_text(added: bool, field: &FieldChange) -> String {
    let FieldChange {
        field,
        before,
        after,
    } = field;
    if field == "password" {
        return if added || before.is_empty() {
            "password set".to_owned()
        } else {
            "password changed".to_owned()
        };
    }
    let (before, after) = (printable(before), printable(after));
    if added {
        format!("{field} {after:?}")
    } else {
        format!("{field} {before:?} → {after:?}")
    }
}

fn list(lines: impl Iterator<Item = String>, capped: bool, say: impl Fn(&str)) {
    let mut left_out = 0;
    for (n, line) in lines.enumerate() {
        if capped && n >= LINES_ON_A_TERMINAL {
            left_out += 1;
        } else {
            say(&line);
        }
    }
    if left_out > 0 {
        say(&format!("… and {left_out} more; --report FILE has all"));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn outcome() -> Outcome {
        let field = |field: &str, before: &str, after: &str| FieldChange {
            field: field.to_owned(),
            before: before.to_owned(),
            after: after.to_owned(),
        };
        Outcome {
            report: ImportReport {
                dry_run: true,
                added: 1,
                updated: 1,
                ..ImportReport::default()
            },
            changes: vec![
                PersonChange {
                    line: 2,
                    name: "ann".to_owned(),
                    added: true,
                    fields: vec![field("nick", "", "Ann"), field("password", "", "set")],
                },
                PersonChange {
                    line: 3,
                    name: "ben\u{1b}".to_owned(),
                    added: false,
                    fields: vec![field("nick", "Ben", "B"), field("password", "set", "set")],
                },
            ],
        }
    }

    #[test]
    fn changes_are_told_field_by_field_and_passwords_are_not_shown() {
        let lines: Vec<String> = outcome().changes().collect();
        assert_eq!(
            lines,
            [
                "line 2: added ann  nick \"Ann\"; password set",
                "line 3: changed ben\\u{1b}  nick \"Ben\" → \"B\"; password changed",
            ]
        );
        assert!(
            outcome()
                .summary()
                .starts_with("dry run, nothing imported: 1 added, 1 updated")
        );
    }

    #[test]
    fn the_report_file_has_everything_and_a_terminal_the_beginning() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("report");
        let file = ReportFile::create(Some(&path)).unwrap();
        let mut long = outcome();
        long.changes = vec![long.changes[0].clone(); 50];
        file.write(&long, false).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 51);
        let said = RefCell::new(Vec::new());
        list(long.changes(), true, |line| {
            said.borrow_mut().push(line.to_owned());
        });
        assert_eq!(said.borrow().len(), LINES_ON_A_TERMINAL + 1);
        assert_eq!(
            said.borrow().last().unwrap(),
            "… and 30 more; --report FILE has all"
        );
        let missing = ReportFile::create(Some(Path::new("/nowhere/at/all")));
        assert!(missing.is_err());
    }
}
