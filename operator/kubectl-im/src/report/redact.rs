//! Takes out of texts what is nobody else's business: values of secrets, credentials by where they stand,
//! and what looks like a telephone number. No input or output.

use serde_json::Value;

/// What stands in place of a credential.
const REMOVED: &str = "[removed]";
/// What stands in place of a telephone number.
const PHONE: &str = "[phone]";

/// Shortest value of a Secret that is looked for: shorter ones are in every text.
const SHORTEST: usize = 6;

/// Digits that belong to nothing known by themselves: a key, a token.
const LONG_HEX: usize = 40;

/// Words that name a credential at the end of a field or of an argument.
const NAMES: [&str; 9] = [
    "password",
    "passwd",
    "token",
    "secret",
    "authorization",
    "apikey",
    "api_key",
    "private_key",
    "access_key",
];

/// What is taken out.
#[derive(Clone, Debug, Default)]
pub(super) struct Redactor {
    /// Longest first: one may be a part of another.
    values: Vec<String>,
}

impl Redactor {
    /// Takes out these values of Secrets, in clear and as base64, each of their lines too.
    pub(super) fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let mut values = Vec::new();
        for base64 in secrets {
            values.push(base64.to_owned());
            let Some(text) = crate::rotate::decoded(base64) else {
                continue;
            };
            values.extend(text.lines().map(|line| line.trim().to_owned()));
            values.push(text);
        }
        values.retain(|value| value.len() >= SHORTEST);
        values.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        values.dedup();
        Self { values }
    }

    /// The text without any of it.
    pub(super) fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for value in &self.values {
            if text.contains(value.as_str()) {
                text = text.replace(value.as_str(), REMOVED);
            }
        }
        without_phones(&without_credentials(&text))
    }

    /// The object without any of it, and without what is there for programs alone.
    pub(super) fn object(&self, mut object: Value) -> Value {
        self.clean(&mut object, "");
        object
    }

    fn clean(&self, value: &mut Value, name: &str) {
        match value {
            Value::Object(fields) => {
                fields.remove("managedFields");
                fields.remove("kubectl.kubernetes.io/last-applied-configuration");
                // A variable of an environment.
                let named = fields.get("name").and_then(Value::as_str);
                if named.is_some_and(is_credential)
                    && let Some(text) = fields.get_mut("value")
                {
                    *text = REMOVED.into();
                }
                for (name, field) in fields.iter_mut() {
                    self.clean(field, name);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.clean(item, name)),
            Value::String(text) if is_credential(name) || is_phone_field(name) => {
                REMOVED.clone_into(text);
            }
            Value::Number(_) if is_phone_field(name) => *value = REMOVED.into(),
            // Sums are no secrets, and would be taken for some.
            Value::String(text) if is_sum(text) => {}
            Value::String(text) => *text = self.text(text),
            _ => {}
        }
    }
}

fn is_credential(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    NAMES.iter().any(|word| name.ends_with(word))
}

fn is_phone_field(name: &str) -> bool {
    ["phone", "telephone", "mobile", "tel"].contains(&name.to_ascii_lowercase().as_str())
}

/// A digest of an image or the like: a word, a colon, hexadecimal digits.
fn is_sum(text: &str) -> bool {
    let sum = text.rsplit_once("sha256:").map(|(_, sum)| sum);
    sum.is_some_and(|sum| sum.len() == 64 && sum.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Without what follows the name of a credential, the user of a URL, and long hexadecimal numbers.
fn without_credentials(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (number, line) in text.split('\n').enumerate() {
        if number > 0 {
            out.push('\n');
        }
        let line = without_users(&without_named(line));
        out.push_str(&without_hex(&line));
    }
    out
}

/// `token=…`, `"password": "…"`, `Authorization: Bearer …`.
fn without_named(line: &str) -> String {
    let lower = line.to_ascii_lowercase();
    let mut out = String::new();
    let mut from = 0;
    while let Some((at, word)) = next_name(&lower, from) {
        let after = at + word.len();
        let rest = line.get(after..).unwrap_or_default();
        let sign = rest.trim_start_matches(['"', '\'', '\\', ' ']);
        out.push_str(line.get(from..after).unwrap_or_default());
        from = after;
        let Some(value) = sign.strip_prefix(['=', ':']) else {
            continue;
        };
        let value = value.trim_start_matches([' ', '\\']);
        let quote = value.chars().next().filter(|it| "\"'".contains(*it));
        let value = quote.map_or(value, |quote| value.trim_start_matches(quote));
        let scheme = ["Bearer ", "bearer ", "Basic ", "basic "];
        let value = { scheme.iter() }
            .find_map(|scheme| value.strip_prefix(scheme))
            .unwrap_or(value);
        let ends = |it: char| match quote {
            Some(quote) => it == quote,
            None => it.is_whitespace() || "\"'\\,;&})]".contains(it),
        };
        let length = value.find(ends).unwrap_or(value.len());
        if length == 0 {
            continue;
        }
        let begin = line.len() - value.len();
        out.push_str(line.get(from..begin).unwrap_or_default());
        out.push_str(REMOVED);
        from = begin + length;
    }
    out.push_str(line.get(from..).unwrap_or_default());
    out
}

/// The first name of a credential from a place on.
fn next_name(lower: &str, from: usize) -> Option<(usize, &'static str)> {
    let rest = lower.get(from..)?;
    let all = NAMES.iter();
    all.filter_map(|word| Some((from + rest.find(word)?, *word)))
        .min_by_key(|(at, word)| (*at, usize::MAX - word.len()))
}

/// `scheme://user:password@host`.
fn without_users(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("://") {
        out.push_str(before);
        out.push_str("://");
        let end = after.find(|it: char| it.is_whitespace() || "/\"'?".contains(it));
        let authority = after.get(..end.unwrap_or(after.len())).unwrap_or_default();
        rest = after;
        if let Some((user, _)) = authority.rsplit_once('@') {
            out.push_str(REMOVED);
            rest = after.get(user.len()..).unwrap_or_default();
        }
    }
    out.push_str(rest);
    out
}

/// Runs of so many hexadecimal digits, but for sums.
fn without_hex(line: &str) -> String {
    let mut out = String::new();
    let mut word = String::new();
    let end = |word: &mut String, out: &mut String| {
        if word.len() >= LONG_HEX && !out.ends_with("sha256:") {
            out.push_str(REMOVED);
        } else {
            out.push_str(word);
        }
        word.clear();
    };
    for letter in line.chars() {
        if letter.is_ascii_hexdigit() {
            word.push(letter);
        } else {
            end(&mut word, &mut out);
            out.push(letter);
        }
    }
    end(&mut word, &mut out);
    out
}

/// Numbers with a plus and 8 to 15 digits, with signs between them or not; and by themselves eleven digits as
/// of mobile telephones in China, which is where clients of this protocol come from.
fn without_phones(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(letter) = letters.get(at).copied() {
        let before = at.checked_sub(1).and_then(|before| letters.get(before));
        let length = match letter {
            '+' => international(&letters, at),
            '1' if !before.is_some_and(|it| it.is_alphanumeric() || "._-+".contains(*it)) => {
                mobile(&letters, at)
            }
            _ => None,
        };
        match length {
            Some(length) => {
                out.push_str(PHONE);
                at += length;
            }
            None => {
                out.push(letter);
                at += 1;
            }
        }
    }
    out
}

fn international(letters: &[char], at: usize) -> Option<usize> {
    let rest = letters.get(at + 1..)?;
    let (mut digits, mut length) = (0, 0);
    for (place, letter) in rest.iter().enumerate() {
        if letter.is_ascii_digit() {
            digits += 1;
            length = place + 1;
        } else if !" -()".contains(*letter) || place == 0 {
            break;
        }
    }
    (8..=15).contains(&digits).then_some(length + 1)
}

fn mobile(letters: &[char], at: usize) -> Option<usize> {
    let number = letters.get(at..at + 11)?;
    let is_number = number.iter().all(char::is_ascii_digit);
    let is_mobile = number.get(1).is_some_and(|it| ('3'..='9').contains(it));
    let ends = letters
        .get(at + 11)
        .is_none_or(|it| !(it.is_alphanumeric() || "._-".contains(*it)));
    (is_number && is_mobile && ends).then_some(11)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn redactor() -> Redactor {
        // "first-value\nsecond-value", "tiny", and bytes that are no text.
        Redactor::new([
            "Zmlyc3QtdmFsdWUKc2Vjb25kLXZhbHVl",
            "dGlueQ==",
            "/////////w==",
        ])
    }

    #[test]
    fn values_of_secrets_are_nowhere_in_clear_or_encoded() {
        let text =
            "a first-value b second-value\nZmlyc3QtdmFsdWUKc2Vjb25kLXZhbHVl tiny /////////w==";
        assert_eq!(
            redactor().text(text),
            "a [removed] b [removed]\n[removed] tiny [removed]"
        );
    }

    #[test]
    fn credentials_go_by_where_they_stand_and_what_they_look_like() {
        let hex = "0123456789abcdef".repeat(4);
        for (text, wanted) in [
            ("token=abc&x=1".to_owned(), "token=[removed]&x=1"),
            (
                r#"{"password": "a b", "n": 1}"#.to_owned(),
                r#"{"password": "[removed]", "n": 1}"#,
            ),
            (
                "Authorization: Bearer abc.def".to_owned(),
                "Authorization: Bearer [removed]",
            ),
            (
                "mysql://im:pw@db:3306/im".to_owned(),
                "mysql://[removed]@db:3306/im",
            ),
            (
                "the token is read from a file".to_owned(),
                "the token is read from a file",
            ),
            (format!("key {hex}."), "key [removed]."),
            (
                "PASSWORD='x' secret: y".to_owned(),
                "PASSWORD='[removed]' secret: [removed]",
            ),
        ] {
            assert_eq!(redactor().text(&text), wanted);
        }
        let sum = format!("imd@sha256:{hex}");
        assert_eq!(redactor().text(&sum), sum);
    }

    #[test]
    fn telephone_numbers_go_and_times_ids_and_addresses_stay() {
        for (text, wanted) in [
            ("call +49 (30) 1234-5678 now", "call [phone] now"),
            ("+8613800138000", "[phone]"),
            ("user 13800138000 said", "user [phone] said"),
            (
                "2026-03-14T15:09:26.123456+00:00",
                "2026-03-14T15:09:26.123456+00:00",
            ),
            (
                "at 1773500966123 ms, 1773500966 s",
                "at 1773500966123 ms, 1773500966 s",
            ),
            ("10.13800138000 v13800138000", "10.13800138000 v13800138000"),
            ("pod-13800138000-x", "pod-13800138000-x"),
        ] {
            assert_eq!(redactor().text(text), wanted);
        }
    }

    #[test]
    fn objects_lose_credentials_and_keep_their_names() {
        let object = json!({
            "metadata": {"managedFields": [1], "annotations":
                {"kubectl.kubernetes.io/last-applied-configuration": "x", "note": "first-value"}},
            "spec": {
                "secretName": "tls",
                "env": [{"name": "DB_PASSWORD", "value": "x"}, {"name": "A", "value": "b"}],
                "volumes": [{"secret": {"secretName": "demo"}}],
                "person": {"phone": 123, "token": "t"},
                "image": format!("imd@sha256:{}", "0".repeat(64)),
            },
        });
        let spec = json!({
            "secretName": "tls",
            "env": [{"name": "DB_PASSWORD", "value": "[removed]"}, {"name": "A", "value": "b"}],
            "volumes": [{"secret": {"secretName": "demo"}}],
            "person": {"phone": "[removed]", "token": "[removed]"},
            "image": format!("imd@sha256:{}", "0".repeat(64)),
        });
        let wanted = json!({"metadata": {"annotations": {"note": "[removed]"}}, "spec": spec});
        assert_eq!(redactor().object(object), wanted);
    }
}
