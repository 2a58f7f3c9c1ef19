//! Names of columns, as people and the tables of TeamTalk write them.

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Id,
    Name,
    Password,
    PasswordHash,
    /// Of a TeamTalk table: `password` is then a salted MD5.
    Salt,
    Nick,
    Sex,
    Department,
    /// Of a TeamTalk table: the id of a department.
    DepartmentId,
    Phone,
    Email,
    Domain,
    Avatar,
    Status,
    Signature,
    /// Known, and of no use here.
    Unused,
}

/// A column and its name; then others for the same, without what [`plain`] leaves out.
const COLUMNS: [(Column, &str, &[&str]); 15] = [
    (Column::Id, "id", &["userid", "uid", "用户id", "编号"]),
    (
        Column::Name,
        "name",
        &[
            "username",
            "login",
            "loginname",
            "account",
            "uname",
            "user",
            "用户名",
            "登录名",
            "账号",
            "帐号",
        ],
    ),
    (
        Column::Password,
        "password",
        &["passwd", "pass", "pwd", "密码"],
    ),
    (
        Column::PasswordHash,
        "password_hash",
        &["hash", "passwordphc", "phc"],
    ),
    (Column::Salt, "salt", &[]),
    (
        Column::Nick,
        "nick",
        &[
            "nickname",
            "displayname",
            "fullname",
            "shownname",
            "昵称",
            "姓名",
        ],
    ),
    (Column::Sex, "sex", &["gender", "性别"]),
    (
        Column::Department,
        "department",
        &["dept", "departname", "deptname", "depart", "部门"],
    ),
    (
        Column::DepartmentId,
        "departId",
        &["deptid", "departmentid", "部门id"],
    ),
    (
        Column::Phone,
        "phone",
        &[
            "telephone",
            "tel",
            "mobile",
            "phonenumber",
            "mobilephone",
            "cell",
            "电话",
            "手机",
            "手机号",
        ],
    ),
    (
        Column::Email,
        "email",
        &["mail", "emailaddress", "邮箱", "电子邮件"],
    ),
    (Column::Domain, "domain", &["pinyin", "拼音"]),
    (
        Column::Avatar,
        "avatar",
        &["picture", "photo", "avatarurl", "头像"],
    ),
    (Column::Status, "status", &["state", "状态"]),
    (
        Column::Signature,
        "signature",
        &["signinfo", "sign", "签名"],
    ),
];

/// Columns of the table IMUser that hold nothing to import.
const UNUSED: [&str; 3] = ["created", "updated", "pushshieldstatus"];

impl Column {
    /// The column that a heading means.
    pub(super) fn of(heading: &str) -> Option<Self> {
        let wanted = plain(heading);
        let known = COLUMNS
            .iter()
            .find(|(_, name, others)| plain(name) == wanted || others.contains(&wanted.as_str()));
        match known {
            Some((column, _, _)) => Some(*column),
            None => UNUSED.contains(&wanted.as_str()).then_some(Self::Unused),
        }
    }

    /// As messages name it.
    pub(super) fn name(self) -> &'static str {
        let known = COLUMNS.iter().find(|(column, _, _)| *column == self);
        known.map_or("unused", |(_, name, _)| name)
    }
}

/// Says that nobody knows a heading.
pub(super) fn unknown(heading: &str) -> String {
    let names: Vec<&str> = COLUMNS.iter().map(|(_, name, _)| *name).collect();
    format!(
        "unknown column {heading:?}; known are {} and usual words for them",
        names.join(", ")
    )
}

/// A heading without case, blanks and marks.
fn plain(heading: &str) -> String {
    let letters = heading.chars().filter(|c| c.is_alphanumeric());
    letters.flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_are_known_in_any_case_by_the_usual_words() {
        for (heading, column) in [
            ("NAME", Column::Name),
            (" User Name ", Column::Name),
            ("e-mail", Column::Email),
            ("Telephone", Column::Phone),
            ("Gender", Column::Sex),
            ("用户名", Column::Name),
            ("密码", Column::Password),
            ("Password_Hash", Column::PasswordHash),
        ] {
            assert_eq!(Column::of(heading), Some(column), "{heading}");
        }
        assert_eq!(Column::of("nmae"), None);
        assert!(unknown("nmae").starts_with("unknown column \"nmae\"; known are id, name,"));
    }

    #[test]
    fn every_column_of_the_table_imuser_is_known() {
        for heading in "id sex name domain nick password salt phone email avatar departId status \
                        created updated push_shield_status sign_info"
            .split_whitespace()
        {
            assert!(Column::of(heading).is_some(), "{heading}");
        }
        assert_eq!(Column::of("sign_info"), Some(Column::Signature));
        assert_eq!(Column::of("departId"), Some(Column::DepartmentId));
        assert_eq!(Column::of("created"), Some(Column::Unused));
    }

    #[test]
    fn no_word_means_two_columns() {
        let mut words: Vec<String> = COLUMNS
            .iter()
            .flat_map(|(_, name, others)| {
                std::iter::once(plain(name)).chain(others.iter().map(|word| (*word).to_owned()))
            })
            .collect();
        words.extend(UNUSED.map(str::to_owned));
        words.sort();
        let all = words.len();
        words.dedup();
        assert_eq!(words.len(), all);
    }
}
