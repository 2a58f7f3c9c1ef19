//! `imd admin user`.

use clap::{Args, Subcommand};
use im_core::text::printable;
use im_core::time::UnixSeconds;
use im_proto_rpc::v1::{
    ClearLockRequest, DirectoryRow, ListLocksRequest, ListRefusalsRequest, ListUsersRequest,
    LockRecord, RefusalRecord, RemoveUserRequest, RemovedUser, RenameUserRequest,
    SetPasswordRequest, SetUserStatusRequest, UserRecord,
};
use serde_json::{Value, json};

use crate::connect::{ServerArgs, refusal};
use crate::output::{Table, show, tell_more};
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
        /// Most people to list.
        #[arg(long, default_value_t = 1000)]
        limit: u32,
        /// Only people with a greater id, to go on where a list ended.
        #[arg(long, default_value_t = 0, value_name = "ID")]
        after: u32,
    },
    /// Gives a person another login name. Id, messages and groups stay.
    Rename {
        /// Login name.
        name: String,
        /// The new login name.
        new_name: String,
    },
    /// Takes a person out: they cannot log in, leave their groups, and free their login name. What they
    /// wrote stays readable under their nick.
    Remove {
        /// Login name.
        name: String,
        /// Only says what would happen.
        #[arg(long)]
        dry_run: bool,
    },
    /// Sets a password.
    SetPassword {
        /// Login name.
        name: String,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Ends the sessions of a person, who cannot log in any more (status left).
    Disable {
        /// Login name.
        name: String,
    },
    /// Lets a person log in again (status active).
    Enable {
        /// Login name.
        name: String,
    },
    /// Lists names with too many failed logins, and where they came from.
    Locks,
    /// Forgets the failed logins of a name.
    Unlock {
        /// Login name.
        name: String,
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
}

impl AddArgs {
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
    let answer = match command {
        UserCommand::List {
            matching,
            limit,
            after,
        } => {
            let request = ListUsersRequest {
                matching,
                limit,
                after_id: after,
            };
            let list = server.connect().await?.list_users(request).await;
            let list = list.map_err(|status| refusal(&status))?.into_inner();
            show_users(json, &list.users);
            tell_more(list.more, list.users.last().map(|user| user.id));
            return Ok(());
        }
        UserCommand::Locks => {
            let answer = server
                .connect()
                .await?
                .list_locks(ListLocksRequest {})
                .await;
            let locks = answer
                .map_err(|status| refusal(&status))?
                .into_inner()
                .locks;
            show_locks(json, &locks);
            return Ok(());
        }
        UserCommand::Refusals { name } => {
            let request = ListRefusalsRequest { name };
            let answer = server.connect().await?.list_refusals(request).await;
            let refusals = answer
                .map_err(|status| refusal(&status))?
                .into_inner()
                .refusals;
            show_refusals(json, &refusals);
            return Ok(());
        }
        UserCommand::Remove { name, dry_run } => {
            let request = RemoveUserRequest { name, dry_run };
            let answer = server.connect().await?.remove_user(request).await;
            let removed = answer.map_err(|status| refusal(&status))?.into_inner();
            show_removed(json, dry_run, &removed);
            return Ok(());
        }
        UserCommand::Rename { name, new_name } => {
            let request = RenameUserRequest { name, new_name };
            server.connect().await?.rename_user(request).await
        }
        UserCommand::Unlock { name } => {
            let answer = server
                .connect()
                .await?
                .clear_lock(ClearLockRequest { name })
                .await;
            let forgotten = answer
                .map_err(|status| refusal(&status))?
                .into_inner()
                .forgotten;
            show(json, &json!({ "forgotten": forgotten }), || {
                format!("failed logins from {forgotten} places forgotten")
            });
            return Ok(());
        }
        UserCommand::Add(args) => {
            let row = args.into_row()?;
            server.connect().await?.add_user(row).await
        }
        UserCommand::SetPassword { name, password } => {
            let password = password.read(&name)?;
            let request = SetPasswordRequest { name, password };
            let answer = server.connect().await?.set_password(request).await;
            let user = answer.map_err(|status| refusal(&status))?.into_inner();
            let name = printable(&user.name);
            show(json, &as_json(&user), || match user.status.as_str() {
                "active" => format!("password of {name} (#{}) set", user.id),
                status => format!(
                    "password of {name} (#{}) set; they cannot log in, because their status is {status}",
                    user.id
                ),
            });
            return Ok(());
        }
        UserCommand::Disable { name } => set_status(server, name, "left").await?,
        UserCommand::Enable { name } => set_status(server, name, "active").await?,
        UserCommand::SetStatus { name, status } => set_status(server, name, &status).await?,
    };
    let user = answer.map_err(|status| refusal(&status))?.into_inner();
    show(json, &as_json(&user), || table(std::slice::from_ref(&user)));
    Ok(())
}

type Answer = Result<tonic::Response<UserRecord>, tonic::Status>;

async fn set_status(server: &ServerArgs, name: String, status: &str) -> anyhow::Result<Answer> {
    let request = SetUserStatusRequest {
        name,
        status: status.to_owned(),
    };
    Ok(server.connect().await?.set_user_status(request).await)
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
            let time = jiff::Timestamp::from_second(refusal.time.into());
            table.row(vec![
                time.map_or_else(|_| refusal.time.to_string(), |time| time.to_string()),
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
