//! A command for each role of the table.

use clap::error::{Error, ErrorKind};
use clap::{ArgMatches, Args, Command, FromArgMatches, Subcommand};
use im_role::{Role, TABLE, Table, Workload};

use super::RoleArgs;

/// Runs one role: `imd ROLE`.
#[derive(Debug)]
pub(crate) struct RoleCommand {
    pub(crate) role: Role,
    pub(crate) args: RoleArgs,
}

impl RoleCommand {
    /// The role of a table that was asked for, and its flags.
    fn of(table: &Table, matches: &ArgMatches) -> Result<Self, Error> {
        let asked = matches.subcommand();
        let (role, args) = asked
            .and_then(|(name, args)| Some((table.role(name)?, args)))
            .ok_or_else(|| Error::new(ErrorKind::MissingSubcommand))?;
        let args = RoleArgs::from_arg_matches(args)?;
        Ok(Self { role, args })
    }
}

/// Adds the commands of a table; first the roles that clients meet first, which start last.
fn augment(command: Command, table: &Table) -> Command {
    let roles = table.in_order_of_rollout().into_iter().rev();
    roles.fold(command, |command, role| {
        let about = format!("Runs the {role} role: {}", role.about);
        let mut own = RoleArgs::augment_args(Command::new(role.name())).about(about);
        if role.kubernetes.workload != Workload::StatefulSet {
            // It keeps nothing: a file for all roles may name the folder, a flag for this one is a mistake.
            own = own.mut_arg("data_dir", |flag| flag.hide(true));
        }
        command.subcommand(own)
    })
}

impl FromArgMatches for RoleCommand {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        Self::of(&TABLE, matches)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::of(&TABLE, matches)?;
        Ok(())
    }
}

impl Subcommand for RoleCommand {
    fn augment_subcommands(command: Command) -> Command {
        augment(command, &TABLE)
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        augment(command, &TABLE)
    }

    fn has_subcommand(name: &str) -> bool {
        TABLE.role(name).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{ECHO, WITH_ECHO};

    #[test]
    fn a_role_of_the_table_has_a_command_with_the_flags_of_every_role() {
        let mut command = augment(Command::new("imd"), &WITH_ECHO);
        let help = command.render_help().to_string();
        let line = "Runs the echo role: says everything twice";
        assert!(help.contains(line), "{help}");
        let line = ["imd", "echo", "--config", "c", "--ready-file", "r"];
        let matches = command.try_get_matches_from(line).unwrap();
        let RoleCommand { role, args } = RoleCommand::of(&WITH_ECHO, &matches).unwrap();
        assert_eq!(role, ECHO);
        assert_eq!(args.config.config, Some("c".into()));
        assert_eq!(args.ready_file, Some("r".into()));
        let help = |role: &str| {
            let own = TABLE
                .role(role)
                .map(|_| augment(Command::new("imd"), &TABLE));
            let mut all = own.unwrap();
            all.find_subcommand_mut(role)
                .unwrap()
                .render_help()
                .to_string()
        };
        for keeps in ["db-proxy", "msfs"] {
            assert!(help(keeps).contains("--data-dir"), "{keeps}");
        }
        for keeps_nothing in ["login", "msg", "route"] {
            assert!(
                !help(keeps_nothing).contains("--data-dir"),
                "{keeps_nothing}"
            );
        }
        assert!(RoleCommand::of(&TABLE, &matches).is_err(), "no such role");
    }
}
