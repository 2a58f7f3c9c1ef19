use clap::CommandFactory;

use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split_whitespace())
}

#[test]
fn the_commands_are_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_documented_command_is_understood() {
    for line in [
        "imd all-in-one --data-dir d --bind 127.0.0.1 --config c --ready-file r",
        "imd all-in-one -f imcluster.yaml --data-dir d",
        "imd all-in-one --file - --data-dir d",
        "imd login --config c --ready-file r",
        "imd msg --config c --set msg.rate_limit=0 --set msg.name=a",
        "imd route --secret-file s",
        "imd db-proxy --data-dir d --log debug",
        "imd config show --config c",
        "imd config check",
        "imd config schema",
        "imd db-proxy --data-dir d --store sqlite:///s",
        "imd backup --data-dir d --to f",
        "imd backup --store sqlite:///s --to f",
        "imd backup --data-dir d --to - --keep-free 1GiB",
        "imd restore --data-dir d --from f",
        "imd restore --data-dir d --from -",
        "imd restore --data-dir d --from f --skip-ids 0",
        "imd export --data-dir d --to f",
        "imd export --store mysql://im@db/im --set mysql.password_file=p --to - --json",
        "imd import --config c --from - --report r",
        "imd import --data-dir d --from f --verify-only",
        "imd migrate status --data-dir d --json",
        "imd migrate plan --config c",
        "imd migrate up --store sqlite:///s",
        "imd import-teamtalk --from mysql://r@old/teamtalk --dry-run",
        "imd import-teamtalk --from mysql://r@old:3307/teamtalk --from-tls verify-ca --data-dir d --verify-only",
        "imd import-teamtalk --from mysql://r@old/teamtalk --config c --files f --redis k --rows 20000 --report r --json",
        "imd directory import people.csv --server 127.0.0.1:10601",
        "imd directory import - --format yaml --secret-file s",
        "imd admin user add ann --nick Ann --password-file p --data-dir d",
        "imd admin user list an --json",
        "imd admin user disable ann --actor eva --dry-run",
        "imd admin user move ann Company/Sales",
        "imd admin user list --limit 10 --cursor 00ff",
        "imd admin user set-password ann --password-file p --server h:1 --secret-file s",
        "imd admin group create Team --owner ann --member ben --member cleo",
        "imd admin group add 7 ben cleo",
        "imd admin --json group list --user ann",
        "imd admin group set-owner 7 ben --dry-run",
        "imd admin department move Company/Lab Company/Research --dry-run",
        "imd admin department list --limit 10 --cursor 00ff",
        "imd admin user locks ann --limit 10",
        "imd admin session list --user ann",
        "imd admin session kick ann --epoch 0123456789abcdef",
        "imd chat ann --server http://127.0.0.1:8080",
        "imd check ann ben --server http://127.0.0.1:8080 --password-file p --within 5",
        "imd check --store mysql://im@db/im --json",
        "imd check --data-dir d",
        "imd probe ann ben --password-file p --table h:1 --every 10s --set admin.listen=0.0.0.0:9090",
    ] {
        assert!(parse(line).is_ok(), "{line}: {}", parse(line).unwrap_err());
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    for line in [
        "imd",
        "imd serve",
        "imd all-in-one --bind nowhere",
        "imd admin session kick ann --epoch xyz",
        "imd admin group create Team",
        "imd backup --data-dir d",
        "imd backup --to f",
        "imd backup --data-dir d --to - --keep-free 64",
        "imd check ann --password-file p",
        "imd check ann ben",
        "imd check ann ben --password-file p --json",
        "imd probe ann ben",
        "imd probe ann ben --password-file p --every 10",
        "imd export --data-dir d",
        "imd import --data-dir d --from f --no-verify --verify-only",
        "imd migrate --data-dir d",
        "imd import-teamtalk --data-dir d",
        "imd import-teamtalk --from mysql://r:password@old/teamtalk --data-dir d",
        "imd import-teamtalk --from mysql://r@old/teamtalk --rows 0",
        "imd import-teamtalk --from mysql://r@old/teamtalk --dry-run --verify-only",
    ] {
        assert!(parse(line).is_err(), "{line}");
    }
}

/// The overview that a stranger sees first.
#[test]
fn the_help_names_every_command() {
    let help = Cli::command().render_help().to_string();
    assert_eq!(help, include_str!("help.txt"));
}

#[test]
fn every_command_and_every_argument_is_explained() {
    fn walk(command: &clap::Command, path: &str, missing: &mut Vec<String>) {
        for argument in command.get_arguments() {
            if argument.get_help().is_none() {
                missing.push(format!("{path} {}", argument.get_id()));
            }
        }
        for below in command.get_subcommands() {
            let path = format!("{path} {}", below.get_name());
            if below.get_about().is_none() {
                missing.push(path.clone());
            }
            walk(below, &path, missing);
        }
    }
    let mut missing = Vec::new();
    walk(&Cli::command(), "imd", &mut missing);
    assert_eq!(missing, Vec::<String>::new());
}

/// Every command that somebody types by hand; the roles are started by files of others.
#[test]
fn commands_that_people_type_have_examples() {
    fn walk(command: &clap::Command, path: &str, missing: &mut Vec<String>) {
        let help = command.get_after_help().map(ToString::to_string);
        if help.is_some_and(|help| help.contains("Examples:")) {
            return;
        }
        let is_role = im_role::TABLE.role(command.get_name()).is_some();
        if command.get_subcommands().next().is_none() && !is_role {
            missing.push(path.to_owned());
        }
        for below in command.get_subcommands() {
            walk(below, &format!("{path} {}", below.get_name()), missing);
        }
    }
    let mut missing = Vec::new();
    walk(&Cli::command(), "imd", &mut missing);
    // What they print is all there is to say of them.
    missing.retain(|path| !path.starts_with("imd config"));
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn many_options_stand_under_headings() {
    fn walk(command: &clap::Command, path: &str, without: &mut Vec<String>) {
        let options: Vec<_> = command
            .get_arguments()
            .filter(|argument| !argument.is_positional() && !argument.is_hide_set())
            .collect();
        if options.len() > 3 {
            let bare = options
                .iter()
                .filter(|one| one.get_help_heading().is_none());
            // What a command is about comes first, under no heading.
            without.extend(bare.skip(3).map(|one| format!("{path} --{}", one.get_id())));
        }
        for below in command.get_subcommands() {
            walk(below, &format!("{path} {}", below.get_name()), without);
        }
    }
    let mut without = Vec::new();
    walk(&Cli::command(), "imd", &mut without);
    assert_eq!(without, Vec::<String>::new());
}
