//! Words for what db-proxy says in numbers.

use im_core::ClientType;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::problem::{Kind, Problem};

/// Greatest id of a user or group that the document has.
pub(crate) const MAX_ID: u32 = 0x7fff_ffff;

/// State of an account.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// May log in.
    Active,
    /// May not; so may nobody below.
    Trial,
    Regular,
    Left,
    Intern,
}

impl Status {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Trial => "trial",
            Self::Regular => "regular",
            Self::Left => "left",
            Self::Intern => "intern",
        }
    }
}

/// Sex of a person, as clients show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Sex {
    Unknown,
    Male,
    Female,
}

impl Sex {
    pub(crate) const fn of(number: u32) -> Self {
        match number {
            1 => Self::Male,
            2 => Self::Female,
            _ => Self::Unknown,
        }
    }

    pub(crate) const fn number(self) -> u32 {
        match self {
            Self::Unknown => 0,
            Self::Male => 1,
            Self::Female => 2,
        }
    }
}

/// A moment as RFC 3339; `None` for 0, which is none.
pub(crate) fn moment(unix_seconds: u32) -> Option<String> {
    let moment = Timestamp::from_second(unix_seconds.into()).ok();
    moment
        .filter(|_| unix_seconds != 0)
        .map(|it| it.to_string())
}

/// The same of milliseconds.
pub(crate) fn moment_ms(unix_ms: u64) -> Option<String> {
    let moment = i64::try_from(unix_ms).ok();
    let moment = moment.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    moment.filter(|_| unix_ms != 0).map(|it| it.to_string())
}

/// Unix microseconds as RFC 3339.
pub(crate) fn moment_us(unix_us: u64) -> String {
    let moment = i64::try_from(unix_us).ok();
    let moment = moment.and_then(|us| Timestamp::from_microsecond(us).ok());
    moment.unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

/// Unix seconds as RFC 3339 also where they are 0.
pub(crate) fn time(unix_seconds: u32) -> String {
    let moment = Timestamp::from_second(unix_seconds.into());
    moment.unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

/// The word for a number of `IM.BaseDefine.ClientType`.
pub(crate) fn client(number: u32) -> &'static str {
    match ClientType::from_wire(number) {
        Some(ClientType::Windows) => "windows",
        Some(ClientType::Mac) => "mac",
        Some(ClientType::Ios) => "ios",
        Some(ClientType::Android) => "android",
        None => "unknown",
    }
}

/// A text that is something.
pub(crate) fn some(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// The unix second of a moment that a caller gives, 1 at least.
pub(crate) fn unix_seconds(moment: &str) -> Result<u32, Problem> {
    let parsed = moment.parse::<Timestamp>().ok();
    let seconds = parsed.and_then(|it| u32::try_from(it.as_second()).ok());
    seconds.filter(|seconds| *seconds > 0).ok_or_else(|| {
        let detail = format!("{moment:?} is no moment of RFC 3339 from 1970 to 2106");
        Problem::new(Kind::MalformedRequest, detail)
    })
}

/// A hash as hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_spelled_as_rfc_3339_has_them() {
        assert_eq!(moment(0), None);
        assert_eq!(moment(1).as_deref(), Some("1970-01-01T00:00:01Z"));
        assert_eq!(moment_ms(1_500).as_deref(), Some("1970-01-01T00:00:01.5Z"));
        assert_eq!(moment_ms(0), None);
        assert_eq!(moment_us(1_500_007), "1970-01-01T00:00:01.500007Z");
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn a_moment_is_read_from_1970_to_2106() {
        assert_eq!(unix_seconds("1970-01-01T00:00:01.9Z").unwrap(), 1);
        assert_eq!(
            unix_seconds("2026-01-31T09:00:00+01:00").unwrap(),
            1_769_846_400
        );
        for wrong in [
            "",
            "0",
            "1970-01-01T00:00:00Z",
            "2106-02-07T06:28:16Z",
            "2026-01-31",
        ] {
            let problem = unix_seconds(wrong).unwrap_err();
            assert_eq!(problem.kind, Kind::MalformedRequest, "{wrong}");
        }
    }

    #[test]
    fn words_and_numbers_of_sexes_are_each_others() {
        for number in 0..3 {
            assert_eq!(Sex::of(number).number(), number);
        }
        assert_eq!(Sex::of(9), Sex::Unknown);
        assert_eq!(client(1), "windows");
        assert_eq!(client(99), "unknown");
        assert_eq!(hex(&[0, 255]), "00ff");
    }
}
