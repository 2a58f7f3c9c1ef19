//! The platform of a script: every role that clients meet is a process, msg is two.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use im_client::Profile;
use im_e2e::originals::{Original, Script};
use im_e2e::platform::ports;
use im_proto_teamtalk::base::{DepartInfo, UserInfo};

use crate::support::*;

/// People `1..=PEOPLE`, in three departments.
pub(crate) const PEOPLE: u32 = 6;

/// Where the records of the scripts are.
pub(crate) fn met() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/originals/met")
}

/// A person's record, no field of which is empty.
pub(crate) fn info(user: u32) -> UserInfo {
    UserInfo {
        user_id: user,
        user_gender: 1 + user % 2,
        user_nick_name: format!("Person {user}"),
        avatar_url: format!("http://127.0.0.1:8700/g0/000/000/{user}.png"),
        department_id: 1 + (user - 1) % 3,
        email: format!("u{user}@example.org"),
        user_real_name: format!("u{user}"),
        user_tel: format!("0170 {user}"),
        user_domain: format!("person{user}"),
        status: 0,
        sign_info: Some(format!("Signature {user}")),
    }
}

/// The departments.
pub(crate) fn departments() -> Vec<DepartInfo> {
    [(1, "Company", 0), (2, "Research", 1), (3, "Sales", 1)]
        .map(|(id, name, parent)| DepartInfo {
            dept_id: id,
            priority: id,
            dept_name: name.to_owned(),
            parent_dept_id: parent,
            dept_status: 0,
        })
        .to_vec()
}

fn csv() -> String {
    let mut csv = String::from(
        "id,name,password,nick,sex,department,phone,email,domain,avatar,status,signature\n",
    );
    for user in 1..=PEOPLE {
        let it = info(user);
        let department = match it.department_id {
            1 => "Company",
            2 => "Company/Research",
            _ => "Company/Sales",
        };
        csv += &format!(
            "{user},{},123456,{},{},{department},{},{},{},{},active,{}\n",
            it.user_real_name,
            it.user_nick_name,
            it.user_gender,
            it.user_tel,
            it.email,
            it.user_domain,
            it.avatar_url,
            it.sign_info.unwrap_or_default(),
        );
    }
    csv
}

/// A platform and the conversation on it.
pub(crate) struct World {
    pub(crate) platform: Platform,
    pub(crate) script: Script,
    /// Where login servers answer.
    pub(crate) login: SocketAddr,
    /// Where pictures are.
    pub(crate) pictures: SocketAddr,
    /// Where files are.
    pub(crate) files: SocketAddr,
}

impl World {
    pub(crate) async fn new() -> Self {
        let script = Script::begin();
        let shape = Shape {
            login: 1,
            msg: 2,
            route: 1,
        };
        let options = CHEAP_HASHES.iter().fold(
            // Pictures are at the address of the login server, so that it can be told before it is known.
            Options::default()
                .files(1)
                .set("login.msfs=\"http://*:8700/\""),
            |options, set| options.set(set),
        );
        let mut platform = Platform::separate(shape, options).await.unwrap();
        let login = platform.address_of("login1");
        let pictures = SocketAddr::from((login, ports::MSFS));
        let listen = format!("msfs.listen=\"{pictures}\"");
        platform.start_msfs("msfs", &[listen]).unwrap();
        platform.ready("msfs").await.unwrap();
        let file = platform.dir().join("people.csv");
        std::fs::write(&file, csv()).unwrap();
        platform.import_file(&file).unwrap();
        let files = platform.file_address("file1");
        Self {
            platform,
            script,
            login: SocketAddr::from((login, ports::LOGIN_HTTP)),
            pictures,
            files,
        }
    }

    /// The base URL of pictures, as clients are told.
    pub(crate) fn base(&self) -> String {
        format!("http://{}/", self.pictures)
    }

    /// The msg server that is not this one.
    pub(crate) fn other(&mut self, here: SocketAddr) -> SocketAddr {
        let servers = ["msg1", "msg2"].map(|name| self.platform.msg_address(name));
        let other = servers.into_iter().find(|it| *it != here);
        other.expect("there are two")
    }

    /// Somebody who logs in as a client that has been there before: no word about it.
    pub(crate) async fn come(&self, profile: Profile, at: SocketAddr, user: u32) -> Original {
        let mut client = Original::connect(&self.script, profile, at).await;
        client.log_in(&info(user)).await;
        client
    }
}
