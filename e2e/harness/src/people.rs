//! Test people: `u1`, `u2`, … with ids 1, 2, … and one password.

use std::path::{Path, PathBuf};

use anyhow::Context;
use im_client::Password;

/// What every test person types.
pub const PASSWORD: &str = "123456";

/// `md5(md5(PASSWORD) + "7")`, the form in which accounts of the original are imported: cheap to
/// check the first time, upgraded by the server afterwards.
const IMPORTED_HASH: &str = "$teamtalk$7$";

/// Login name of a test person.
pub fn name(id: u32) -> String {
    format!("u{id}")
}

/// Writes a directory file with people `1..=count` in two departments.
pub fn write_csv(dir: &Path, count: u32) -> anyhow::Result<PathBuf> {
    let path = dir.join("people.csv");
    std::fs::write(&path, csv(count)).context("write the directory file")?;
    Ok(path)
}

/// A directory file with people `1..=count` in two departments.
pub fn csv(count: u32) -> String {
    let digest = Password::clear(PASSWORD);
    let salted = Password::clear(&format!("{}7", digest.as_wire()));
    let hash = format!("{IMPORTED_HASH}{}", salted.as_wire());
    let mut csv = String::from("id,name,password_hash,nick,sex,department,status\n");
    for id in 1..=count {
        let department = if id % 2 == 0 {
            "Company/Research"
        } else {
            "Company/Sales"
        };
        let sex = id % 3;
        csv += &format!("{id},u{id},{hash},Person {id},{sex},{department},active\n");
    }
    csv
}
