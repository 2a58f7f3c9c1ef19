//! `imd admin user`.

use clap::{Args, Subcommand};
use im_core::text::printable;
use im_core::time::UnixSeconds;
use im_proto_rpc::v1::{
    AddUserRequest, ClearLockRequest, DirectoryRow, ListLocksRequest, ListRefusalsRequest,
    ListUsersRequest, LockRecord, MoveUserRequest, RefusalRecord, RemoveUserRequest, RemovedUser,
    RenameUserRequest, SetPasswordRequest, SetUserStatusRequest, UserRecord,
};
use serde_json::{Value, json};

use super::{Judge, Page};
use crate::connect::{ServerArgs, refusal};
use crate::output::{Table, show, tell_dry_run, tell_more, time};
use crate::password::PasswordArgs;

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Adds a person.
    Add(Box<AddArgs>),
    /// Lists people whose name or nick contains a text.
    List {
        /// Part of the name or nick; without it everybody.
        #[arg(default_value = "")]
        matching: String,
        #[command(flatten)]
        page: Page,
    },
    /// Gives a person another login name. Id, messages and groups stay.
    Rename {
        /// Login name.
        name: String,
        /// The new login name.
        new_name: String,
        #[command(flatten)]
        judge: Judge,
    },
    /// Puts a person into another department.
    Move {
        /// Login name.
        name: String,
        /// Path such as Company/Research of a department that exists; "" for none.
        department: String,
        #[command(flatten)]
        judge: Judge,
    },
    /// Takes a person out: they cannot log in, leave their groups, and free their login name. What they
    /// wrote stays readable under their nick.
    Remove {
        /// Login name.
        name: String,
        #[command(flatten)]
        judge: Judge,
    },
    /// Sets a password.
    SetPassword {
        /// Login name.
        name: String,
        #[command(flatten)]
        password: PasswordArgs,
        #[command(flatten)]
        judge: Judge,
    },
    /// Ends the sessions of a person, who cannot log in any more (status left).
    Disable {
        /// Login name.
        name: String,
        #[command(flatten)]
        judge: Judge,
    },
    /// Lets a person log in again (status active).
    Enable {
        /// Login name.
        name: String,
        #[command(flatten)]
        judge: Judge,
    },
    /// Lists names with too many failed logins, and where they came from.
    Locks {
        /// Login name; without it all.
        #[arg(default_value = "", hide_default_value = true)]
        name: String,
        #[command(flatten)]
        page: Page,
    },
    /// Forgets the failed logins of a name.
    Unlock {
        /// Login name.
        name: String,
        #[command(flatten)]
        judge: Judge,
    },
    /// Says why the last logins with a name were refused, since the start of db-proxy.
    Refusals {
        /// Login name, as it was typed.
        name: String,
    },
    /// Sets a status: active, trial, regular, left or intern. Only active people log in.
    SetStatus {
        /// Login name.
        name: String,
        /// active, trial, regular, left or intern.
        status: String,
        #[command(flatten)]
        judge: Judge,
    },
}

#[derive(Args, Debug)]
pub(super) struct AddArgs {
    /// Login name.
    name: String,
    #[command(flatten)]
    password: PasswordArgs,
    /// Takes this hash (PHC string or $teamtalk$SALT$MD5HEX) instead of a password.
    #[arg(long, value_name = "HASH", conflicts_with = "password_file")]
    password_hash: Option<String>,
    /// User id; by default the next free one.
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    id: u32,
    /// Name that others see.
    #[arg(long, help_heading = "Profile")]
    nick: Option<String>,
    /// 1 male, 2 female, 0 unknown.
    #[arg(long, help_heading = "Profile")]
    sex: Option<u32>,
    /// Path such as Company/Research.
    #[arg(long, help_heading = "Profile")]
    department: Option<String>,
    /// Telephone number.
    #[arg(long, help_heading = "Profile")]
    phone: Option<String>,
    /// E-mail address.
    #[arg(long, help_heading = "Profile")]
    email: Option<String>,
    /// Name in Latin letters (pinyin), by which clients sort and search.
    #[arg(long, help_heading = "Profile")]
    domain: Option<String>,
    /// URL of a picture.
    #[arg(long, help_heading = "Profile")]
    avatar: Option<String>,
    /// active, trial, regular, left or intern.
    #[arg(long, help_heading = "Profile")]
    status: Option<String>,
    /// Text that others see beside the name.
    #[arg(long, help_heading = "Profile")]
    signature: Option<String>,
    #[command(flatten)]
    judge: Judge,
}

impl AddArgs {
    fn into_request(self) -> anyhow::Result<AddUserRequest> {
        let dry_run = self.judge.dry_run;
        let user = Some(self.into_row()?);
        Ok(AddUserRequest { user, dry_run })
    }

    fn into_row(self) -> anyhow::Result<DirectoryRow> {
        let (password, password_hash) = match self.password_hash {
            Some(hash) => (String::new(), hash),
            None => (self.password.read(&self.name)?, String::new()),
        };
        Ok(DirectoryRow {
            line: 0,
            id: self.id,
            name: self.name,
            password,
            password_hash,
            nick: self.nick,
            sex: self.sex,
            department: self.department,
            phone: self.phone,
            email: self.email,
            domain: self.domain,
            avatar: self.avatar,
            status: self.status,
            signature: self.signature,
        })
    }
}

pub(super) async fn run(
    command: UserCommand,
    server: &ServerArgs,
    json: bool,
) -> anyhow::Result<()> {
    let (done, dry_run) = match command {
        UserCommand::List { matching, page } => {
            let request = ListUsersRequest {
                matching,
                limit: page.limit,
                cursor: page.cursor,
            };
            let list = take(server.connect().await?.list_users(request).await)?;
            show_users(json, &list.users);
            tell_more(&list.next);
            return Ok(());
        }
        UserCommand::Locks { name, page } => {
            let request = ListLocksRequest {
                name,
                limit: page.limit,
                cursor: page.cursor,
            };
            let list = take(server.connect().await?.list_locks(request).await)?;
            show_locks(json, &list.locks);
            tell_more(&list.next);
            return Ok(());
        }
        UserCommand::Refusals { name } => {
            let request = ListRefusalsRequest { name };
            let list = take(server.connect().await?.list_refusals(request).await)?;
            show_refusals(json, &list.refusals);
            return Ok(());
        }
        UserCommand::Remove { name, judge } => {
            let dry_run = judge.dry_run;
            let request = RemoveUserRequest { name, dry_run };
            let removed = take(server.connect().await?.remove_user(request).await)?;
            show_removed(json, dry_run, &removed);
            return Ok(());
        }
        UserCommand::Unlock { name, judge } => {
            let dry_run = judge.dry_run;
            let request = ClearLockRequest { name, dry_run };
            let forgotten = take(server.connect().await?.clear_lock(request).await)?.forgotten;
            tell_dry_run(dry_run);
            show(json, &json!({ "forgotten": forgotten }), || {
                if dry_run {
                    format!("{forgotten} locks would be lifted")
                } else {
                    format!("failed logins from {forgotten} places forgotten")
                }
            });
            return Ok(());
        }
        UserCommand::SetPassword {
            name,
            password,
            judge,
        } => {
            let password = password.read(&name)?;
            let dry_run = judge.dry_run;
            let request = SetPasswordRequest {
                name,
                password,
                dry_run,
            };
            let user = take(server.connect().await?.set_password(request).await)?;
            show_password(json, dry_run, &user);
            return Ok(());
        }
        UserCommand::Rename {
            name,
            new_name,
            judge,
        } => {
            let dry_run = judge.dry_run;
            let request = RenameUserRequest {
                name,
                new_name,
                dry_run,
            };
            (server.connect().await?.rename_user(request).await, dry_run)
        }
        UserCommand::Move {
            name,
            department,
            judge,
        } => {
            let dry_run = judge.dry_run;
            let request = MoveUserRequest {
                name,
                department,
                dry_run,
            };
            (server.connect().await?.move_user(request).await, dry_run)
        }
        UserCommand::Add(args) => {
            let request = args.into_request()?;
            let dry_run = request.dry_run;
            (server.connect().await?.add_user(request).await, dry_run)
        }
        UserCommand::Disable { name, judge } => set_status(server, name, "left", judge).await?,
        UserCommand::Enable { name, judge } => set_status(server, name, "active", judge).await?,
        UserCommand::SetStatus {
            name,
            status,
            judge,
        } => set_status(server, name, &status, judge).await?,
    };
    let user = take(done)?;
    tell_dry_run(dry_run);
    show(json, &as_json(&user), || table(std::slice::from_ref(&user)));
    Ok(())
}

type Answer<T> = Result<tonic::Response<T>, tonic::Status>;

fn take<T>(answer: Answer<T>) -> anyhow::Result<T> {
    let answer = answer.map_err(|status| refusal(&status))?;
    Ok(answer.into_inner())
}

async fn set_status(
    server: &ServerArgs,
    name: String,
    status: &str,
    judge: Judge,
) -> anyhow::Result<(Answer<UserRecord>, bool)> {
    let request = SetUserStatusRequest {
        name,
        status: status.to_owned(),
        dry_run: judge.dry_run,
    };
    let answer = server.connect().await?.set_user_status(request).await;
    Ok((answer, judge.dry_run))
}

fn show_password(json: bool, dry_run: bool, user: &UserRecord) {
    tell_dry_run(dry_run);
    let name = printable(&user.name);
    show(json, &as_json(user), || {
        let set = if dry_run { "can be set" } else { "set" };
        match user.status.as_str() {
            "active" => format!("password of {name} (#{}) {set}", user.id),
            status => format!(
                "password of {name} (#{}) {set}; they cannot log in, because their status is {status}",
                user.id
            ),
        }
    });
}

fn show_users(json: bool, users: &[UserRecord]) {
    let value = Value::Array(users.iter().map(as_json).collect());
    show(json, &value, || table(users));
}

fn show_locks(json: bool, locks: &[LockRecord]) {
    let value = locks.iter().map(|lock| {
        json!({
            "name": lock.name,
            "address": lock.address,
            "failures": lock.failures,
            "newest": lock.newest,
            "ends": lock.ends,
        })
    });
    show(json, &Value::Array(value.collect()), || {
        let mut table = Table::new(&["name", "address", "failures", "ends in"]);
        let now = UnixSeconds::now();
        for lock in locks {
            table.row(vec![
                lock.name.clone(),
                lock.address.clone(),
                lock.failures.to_string(),
                format!("{} s", UnixSeconds::from_wire(lock.ends).seconds_since(now)),
            ]);
        }
        table.render()
    });
}

fn show_refusals(json: bool, refusals: &[RefusalRecord]) {
    let value = refusals.iter().map(|refusal| {
        json!({
            "time": refusal.time,
            "reason": refusal.reason,
            "address": refusal.address,
            "client_version": refusal.client_version,
        })
    });
    show(json, &Value::Array(value.collect()), || {
        if refusals.is_empty() {
            return "no login with this name was refused lately".to_owned();
        }
        let mut table = Table::new(&["time", "reason", "address", "client"]);
        for refusal in refusals {
            table.row(vec![
                time(refusal.time),
                refusal.reason.clone(),
                refusal.address.clone(),
                refusal.client_version.clone(),
            ]);
        }
        table.render()
    });
}

fn show_removed(json: bool, dry_run: bool, removed: &RemovedUser) {
    let user = removed.user.clone().unwrap_or_default();
    let value = json!({
        "user": as_json(&user),
        "groups": removed.groups,
        "dry_run": dry_run,
    });
    show(json, &value, || {
        let groups = removed.groups.len();
        let name = printable(&user.name);
        if dry_run {
            format!(
                "{name} (#{}) would be removed, from {groups} groups too",
                user.id
            )
        } else {
            format!("removed, and out of {groups} groups; the account is {name} now")
        }
    });
}

fn as_json(user: &UserRecord) -> Value {
    json!({
        "id": user.id,
        "name": user.name,
        "nick": user.nick,
        "status": user.status,
        "department": user.department,
    })
}

fn table(users: &[UserRecord]) -> String {
    let mut table = Table::new(&["id", "name", "nick", "status", "department"]);
    for user in users {
        table.row(vec![
            user.id.to_string(),
            user.name.clone(),
            user.nick.clone(),
            user.status.clone(),
            user.department.clone(),
        ]);
    }
    table.render()
}
