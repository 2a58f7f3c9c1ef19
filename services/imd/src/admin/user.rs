//! `imd admin user`.

use clap::{Args, Subcommand};
use im_core::time::UnixSeconds;
use im_proto_rpc::v1::{
    ClearLockRequest, DirectoryRow, ListLocksRequest, ListUsersRequest, LockRecord,
    SetPasswordRequest, SetUserStatusRequest, UserRecord,
};
use serde_json::{Value, json};

use crate::connect::{ServerArgs, refusal};
use crate::output::{Table, show};
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
    /// Sets a password.
    SetPassword {
        name: String,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Ends the sessions of a person, who cannot log in any more (status left).
    Disable { name: String },
    /// Lets a person log in again (status active).
    Enable { name: String },
    /// Lists names with too many failed logins, and where they came from.
    Locks,
    /// Forgets the failed logins of a name.
    Unlock { name: String },
    /// Sets a status: active, trial, regular, left or intern. Only active people log in.
    SetStatus { name: String, status: String },
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
    #[arg(long)]
    nick: Option<String>,
    /// 1 male, 2 female, 0 unknown.
    #[arg(long)]
    sex: Option<u32>,
    /// Path such as Company/Research.
    #[arg(long)]
    department: Option<String>,
    #[arg(long)]
    phone: Option<String>,
    #[arg(long)]
    email: Option<String>,
    #[arg(long)]
    domain: Option<String>,
    /// URL of a picture.
    #[arg(long)]
    avatar: Option<String>,
    /// active, trial, regular, left or intern.
    #[arg(long)]
    status: Option<String>,
    #[arg(long)]
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
            let answer = server.connect().await?.list_users(request).await;
            let users = answer
                .map_err(|status| refusal(&status))?
                .into_inner()
                .users;
            show_users(json, &users);
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
            server
                .connect()
                .await?
                .set_password(SetPasswordRequest { name, password })
                .await
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
